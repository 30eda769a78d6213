//! The lives of a node: from an opening to a failure, or until another member's store has to take the place of its own.
//!
//! ```text
//!  open ──► serves ──► a Seed is received, and accepted ──► stops ──► engine::reseed ──► serves again
//!              └────── fails: the process ends
//! ```
//! A member that is re-seeded goes on like one that was stopped and started: its listeners stay, everything else begins anew.
//!
//! **Invariants.** Whether the store is accepted is asked and the replica ended in one step, so that it promises and
//! acknowledges nothing in between. The store is replaced only after the last use of it. Broken off at any point, by the end of
//! the process too, the directory holds one store or the other.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::archiving::Archiving;
use super::backup::Backups;
use super::quorum::Quorum;
use super::start::{self, Started};
use super::writer::Writer;
use super::{Addresses, Joining, Node, Seed, Seeding, Serving, Shared, StartError};
use super::{archiving, members, peers, schedule, status, upkeep};
use crate::base::clock::{sleep, timeout};
use crate::base::task::{give_way, thread, threads};
use crate::base::{TaskGroup, explained};
use crate::engine;
use crate::net::{Me, Waits, Wires};

/// Jobs that may wait for the writer thread; beyond it, writes wait for room until their deadline.
const JOBS: usize = 256;
/// How long the tasks of a start that failed may take to end.
const START_STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long what uses the store may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long requests under way may use it.
const USE_LIMIT: Duration = Duration::from_secs(60);

impl Node {
    /// Begins a life on the data directory as it is.
    pub(super) async fn begin(
        &self,
        addresses: Addresses,
        joining: Option<Joining>,
    ) -> Result<(), StartError> {
        let shared = Arc::clone(&self.shared);
        let there = addresses.clone();
        let tasks = TaskGroup::new();
        let group = tasks.clone();
        let started = tokio::task::spawn_blocking(move || {
            let Shared {
                config,
                disk,
                clock,
                progress,
                ..
            } = shared.as_ref();
            start::start(config, disk, clock, progress, there, &group)
        });
        let started = started.await.map_err(|_| StartError::Aborted)??;
        let me = Me {
            lineage: started.identity.lineage,
            incarnation: started.identity.incarnation,
            address: addresses.peer.clone(),
        };
        let seeds = self.shared.seeds.clone();
        let seeded = move |seed| {
            // What nobody has time for is offered again.
            let _busy = seeds.try_send(seed);
        };
        let seeding = Seeding::start(me.clone(), &self.shared.config, seeded, &tasks)?;
        let wires = Wires::start(me, Waits::default(), started.member.inbox(), &tasks);
        started.member.connect(wires.clone(), seeding.clone());
        self.connect(wires.clone());
        self.seed(seeding);
        self.shared.raft.store(Some(Arc::clone(&started.agreement)));
        peers::follow(&started.member, wires.clone(), &tasks);
        if let Some(joining) = joining {
            joining.insist(&started.member, addresses, &tasks);
        }
        // Alone it is primary at once; a member of more takes part as soon as it is there.
        let mut standings = started.member.standings();
        let stands = standings.wait_for(|standing| standing.has_started());
        let begun = tokio::select! {
            stands = stands => match stands.map_err(|_| StartError::Aborted)?.halted.clone() {
                Some(halt) => Err(halt.into()),
                None => Ok(()),
            },
            cause = tasks.failure() => Err(StartError::Failed(cause)),
        };
        if let Err(cause) = begun {
            // Another start may try the directory at once.
            tasks.stop(START_STOP_LIMIT).await;
            let stopped = tokio::task::spawn_blocking(move || started.stop());
            stopped.await.map_err(|_| StartError::Aborted)?;
            return Err(cause);
        }
        let serving = Arc::new(Serving::assemble(&self.shared, started, wires, tasks)?);
        self.shared.serving.store(Some(Arc::clone(&serving)));
        upkeep::spawn(&serving);
        archiving::spawn(&serving);
        schedule::spawn(&serving);
        members::coordinate(&serving, &serving.tasks);
        Ok(())
    }

    /// Lives on until the node has failed so badly that its process should end; then says why. Waits for ever if it does
    /// not serve. To be called once the node is open, by one at a time.
    pub async fn live(&self) -> String {
        let mut seeded = self.shared.seeded.lock().await;
        loop {
            let Ok(serving) = self.serving() else {
                return std::future::pending().await;
            };
            let seed = tokio::select! {
                cause = serving.tasks.failure() => return cause,
                Some(seed) = seeded.recv() => seed,
            };
            if let Err(cause) = self.take(serving, seed).await {
                return explained(&cause);
            }
        }
    }

    /// Goes on with a store that was received, if it is needed.
    async fn take(&self, serving: Arc<Serving>, seed: Seed) -> Result<(), StartError> {
        let (from, epoch) = (seed.from, seed.epoch);
        if !serving
            .member
            .give_way(epoch, &seed.received.state().applied.0)
        {
            info!(%from, %epoch, "a snapshot was received that is not needed");
            return Ok(());
        }
        info!(%from, %epoch, "going on with the store of another member");
        let addresses = serving.place.addresses.clone();
        let lineage = serving.identity.lineage;
        self.shared.serving.store(None);
        self.shared.seeding.store(None);
        self.shared.wires.store(None);
        self.shared.raft.store(None);
        serving.stop(STOP_LIMIT).await?;
        let gone = serving.engine.gone();
        drop(serving);
        if timeout(USE_LIMIT, gone).await.is_err() {
            // Replacing it fails then, and so does opening it again.
            warn!("the store is still used");
        }
        let shared = Arc::clone(&self.shared);
        let replaced = tokio::task::spawn_blocking(move || {
            let config = &shared.config;
            let (dir, wal, store) = (&config.data_dir, config.wal, &config.store);
            engine::reseed(&shared.disk, dir, lineage, wal, store, &seed.received)
        });
        if let Err(cause) = replaced.await.map_err(|_| StartError::Aborted)? {
            let cause = explained(&cause);
            warn!(cause, "the store is not replaced");
        }
        self.begin(addresses, None).await
    }
}

impl Serving {
    fn assemble(
        shared: &Shared,
        started: Started,
        wires: Wires,
        tasks: TaskGroup,
    ) -> Result<Serving, StartError> {
        let Started {
            lock,
            identity,
            agreement,
            engine,
            member,
            place,
        } = started;
        let (jobs, queue) = mpsc::channel(JOBS);
        let config = &shared.config;
        let writer = Writer::new(
            Arc::clone(&engine),
            Arc::clone(&member),
            Arc::clone(&agreement),
            Arc::clone(&shared.clock),
            Duration::from_secs(config.write.event_time_ahead_seconds),
            config.purge.horizon_lag(),
        );
        let writer = thread("writer", move || {
            // Lookups go first.
            give_way();
            writer.run(queue);
        })
        .map_err(StartError::Thread)?;
        let mut registry = Registry::with_prefix("steadfast");
        engine.register(&mut registry);
        if let Some(wires) = shared.wires.load().as_ref() {
            wires.register(&mut registry);
        }
        if let Some(seeding) = shared.seeding.load().as_ref() {
            seeding.register(&mut registry);
        }
        let gauges = status::Gauges::register(&mut registry);
        let archiving = Archiving::register(&mut registry);
        let backups = Backups::start(
            shared.config.data_dir.join("backup.checkpoint"),
            shared.config.backup.bytes_per_second,
        )
        .map_err(StartError::Thread)?;
        Ok(Serving {
            memory_bound: shared.config.memory_bound(threads()),
            budgets: shared.budgets.clone(),
            config: shared.config.clone(),
            identity,
            clock: Arc::clone(&shared.clock),
            disk: Arc::clone(&shared.disk),
            agreement,
            place,
            member,
            wires,
            engine,
            backups,
            archiving,
            quorum: Quorum::default(),
            disk_available: AtomicU64::new(u64::MAX),
            disk_is_low: AtomicBool::new(false),
            jobs: RwLock::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
            tasks,
            registry,
            gauges,
            lock: Mutex::new(Some(lock)),
        })
    }

    pub(super) async fn stop(&self, limit: Duration) -> Result<(), engine::Error> {
        self.hand_over_first().await;
        self.jobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A writer that waits for stamps would wait for ever, if the others are not there to grant any.
        self.member.grant_no_more();
        let (engine, member) = (Arc::clone(&self.engine), Arc::clone(&self.member));
        let agreement = Arc::clone(&self.agreement);
        let ended = tokio::task::spawn_blocking(move || {
            if writer.is_some_and(|writer| writer.join().is_err()) {
                warn!("the writer thread had panicked");
            }
            let (serves, end) = (member.standing().serves, member.end());
            member.stop();
            let applied = engine.applied().reached_blocking(end);
            if let (Some(epoch), Ok(_)) = (serves, &applied) {
                // From now on a directory that lacks any of it is known to have lost it.
                let held = vec![(member.incarnation(), engine.durable())];
                if let Err(cause) = agreement.record_held(epoch, held) {
                    warn!(%cause, "could not record what is held");
                }
            }
            let flushed =
                applied.and_then(|_| engine.flush_keeping(upkeep::need(agreement.state())));
            engine.stop().and(flushed)
        });
        let ended = tokio::select! {
            ended = ended => Some(ended.unwrap_or(Err(engine::Error::Stopped))),
            () = self.given_up(limit) => None,
        };
        let agreement_gone = self.agreement.end().await;
        // What is still at work may still write, so after a failure the directory stays locked until the process ends.
        let all_ended =
            self.tasks.stop(limit).await && timeout(limit, agreement_gone).await.is_ok();
        if all_ended && matches!(ended, Some(Ok(()))) {
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            info!("stopped");
        } else {
            warn!("not everything ended as it should");
        }
        ended.unwrap_or(Err(engine::Error::Stopped))
    }

    /// A disk that does not answer may keep threads for ever.
    async fn given_up(&self, limit: Duration) {
        let _cause = self.tasks.failure().await;
        sleep(limit).await;
    }
}
