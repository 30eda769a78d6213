//! The node: builds every part, owns every task and thread, decides what it may answer.
//!
//! Starts in the order of `start.rs`; stops in the reverse: no new writes, the writer thread ends, the tasks end, the
//! engine applies what is queued and flushes, the directory is released.
//!
//! **Invariants.** A write is acknowledged only by a primary whose promise is its own epoch, after it is durable on the
//! copies named (I18). A deadline makes the fate of a write unknown, never failed (I19). After a failure of log, store
//! or control nothing more is acknowledged, while reads go on (I20).

mod agreement;
mod forget;
mod history;
mod horizons;
mod identity;
mod init;
mod joining;
mod lives;
mod member;
mod members;
mod peers;
mod reads;
mod refound;
mod request;
mod seeding;
mod set;
mod start;
mod status;
mod survey;
mod upkeep;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tracing::{info, warn};

use self::agreement::{Agreement, RaftPlace};
use self::member::{Awaited, Member};
use self::start::Started;
use self::writer::{Accepted, Job, Writer};
use crate::base::clock::{sleep, timeout};
use crate::base::disk::{DirLock, Disk};
use crate::base::task::{give_way, thread, threads};
use crate::base::{Budget, Clock, CommitLevel, ReadLevel, Stamp, TaskGroup, explained};
use crate::config::{Config, MemoryBound};
use crate::engine::{self, Engine, ReplayProgress, Span, SpanSeen};
use crate::model::{Catalogue, View, ViewId, limits};
use crate::net::{Me, Waits, Wires};
use crate::storage::RequestEntry;

pub use crate::control::Addresses;
pub use forget::{Entity, Forgotten, Tombstone};
pub use identity::{Identity, IdentityFile};
pub use init::init;
pub use joining::Joining;
pub use reads::Columns;
pub use refound::{Error as RefoundError, Remains};
pub use request::{
    Answered, CatalogueChange, Error, Health, LookupRequest, Primary, Replay, ScanPage,
    ScanRequest, Selection, Spent, WriteRequest, Written,
};
pub use seeding::{Error as SeedingError, Given, Seed, Seeding};
pub use set::{Applicant, JoinToken, Joined, SetChange};
pub use start::StartError;
pub use survey::{AgreementStatus, MemberStatus, SetStatus};

/// How long the tasks of a start that failed may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Jobs that may wait for the writer thread; beyond it, writes wait for room until their deadline.
const JOBS: usize = 256;
/// A write under way is in memory as a batch for the applier and as a record for the log.
const COPIES_UNDER_WAY: usize = 2;

/// A node, starting or serving. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    progress: Arc<ReplayProgress>,
    budgets: Budgets,
    /// There while the node knows who it is to its peers.
    wires: ArcSwapOption<Wires>,
    /// There while it knows where it agrees.
    raft: ArcSwapOption<Agreement>,
    /// There while the node gives and takes snapshots.
    seeding: ArcSwapOption<Seeding>,
    /// There while the node serves.
    serving: ArcSwapOption<Serving>,
    /// Where stores go that were received from other members.
    seeds: mpsc::Sender<Seed>,
    /// Whoever has the node live takes them.
    seeded: AsyncMutex<mpsc::Receiver<Seed>>,
}

/// The memory that requests may take. Writes have their own, so that they leave lookups room.
#[derive(Debug, Clone)]
pub struct Budgets {
    /// Of lookups and scans, and of their answers.
    pub reads: Budget,
    /// Of writes.
    pub writes: Budget,
}

/// What a node is once its data are open.
#[derive(Debug)]
struct Serving {
    config: Config,
    budgets: Budgets,
    memory_bound: MemoryBound,
    /// As it was at the start.
    identity: Identity,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    agreement: Arc<Agreement>,
    place: RaftPlace,
    member: Arc<Member>,
    wires: Wires,
    engine: Arc<Engine>,
    /// Bytes available on the disk when last looked; `u64::MAX` before.
    disk_available: AtomicU64,
    disk_is_low: AtomicBool,
    /// `None` once the node is stopping.
    jobs: RwLock<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    tasks: TaskGroup,
    /// The names under which everything is counted.
    registry: Registry,
    gauges: status::Gauges,
    lock: Mutex<Option<DirLock>>,
}

impl Node {
    /// A node that has not been opened: it says so to whoever asks.
    #[must_use]
    pub fn new(config: Config, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Node {
        let progress = Arc::default();
        // A member takes one at a time.
        let (seeds, seeded) = mpsc::channel(1);
        let budgets = Budgets {
            reads: Budget::new(config.read.in_flight_bytes),
            writes: Budget::new(config.write.in_flight_bytes),
        };
        Node {
            shared: Arc::new(Shared {
                config,
                disk,
                clock,
                progress,
                budgets,
                wires: ArcSwapOption::empty(),
                raft: ArcSwapOption::empty(),
                seeding: ArcSwapOption::empty(),
                serving: ArcSwapOption::empty(),
                seeds,
                seeded: AsyncMutex::new(seeded),
            }),
        }
    }

    /// Opens the data directory, replays its log and takes part in its set, alone as primary. To be called once; others
    /// reach this node at `addresses`. With `joining` the
    /// directory first becomes a member of a set.
    ///
    /// # Errors
    /// Why it cannot start; nothing in the directory is changed for the worse.
    pub async fn open(
        &self,
        addresses: Addresses,
        joining: Option<Joining>,
    ) -> Result<(), StartError> {
        if let Some(joining) = &joining {
            let dir = self.shared.config.data_dir.as_path();
            joining.join(&self.shared.disk, dir, &addresses).await?;
        }
        self.begin(addresses, joining).await
    }

    /// Begins a life on the data directory as it is.
    async fn begin(
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
            tasks.stop(STOP_LIMIT).await;
            let stopped = tokio::task::spawn_blocking(move || started.stop());
            stopped.await.map_err(|_| StartError::Aborted)?;
            return Err(cause);
        }
        let serving = Arc::new(Serving::assemble(&self.shared, started, wires, tasks)?);
        self.shared.serving.store(Some(Arc::clone(&serving)));
        upkeep::spawn(&serving);
        members::coordinate(&serving, &serving.tasks);
        Ok(())
    }

    /// The wires to its peers, while it has some.
    #[must_use]
    pub fn wires(&self) -> Option<Wires> {
        self.shared.wires.load().as_deref().cloned()
    }

    /// Gives the node its wires, on which it is called from now on.
    pub fn connect(&self, wires: Wires) {
        self.shared.wires.store(Some(Arc::new(wires)));
    }

    /// What gives and takes snapshots, while there is something.
    #[must_use]
    pub fn seeding(&self) -> Option<Seeding> {
        self.shared.seeding.load().as_deref().cloned()
    }

    /// Has the node give and take snapshots from now on.
    pub fn seed(&self, seeding: Seeding) {
        self.shared.seeding.store(Some(Arc::new(seeding)));
    }

    /// The memory that requests may take.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.shared.budgets
    }

    /// Who answers in place of this node what only a primary answers: nobody if this node serves, or knows no other.
    #[must_use]
    pub fn elsewhere(&self) -> Option<Primary> {
        let standing = self.serving().ok()?.member.standing();
        standing.primary().filter(|_| standing.serves.is_none())
    }

    /// Waits until this node knows that another member, or itself, is primary in the place of this one.
    pub async fn replaced(&self, primary: &Primary) {
        let Ok(serving) = self.serving() else {
            return std::future::pending().await;
        };
        let mut standings = serving.member.standings();
        let is_replaced = standings.wait_for(|standing| {
            let other = standing.primary().filter(|other| other != primary);
            standing.serves.is_some() || other.is_some()
        });
        if is_replaced.await.is_err() {
            std::future::pending().await
        }
    }

    /// Does this node hold rows, as all do but arbiters?
    #[must_use]
    pub fn holds_rows(&self) -> bool {
        let serving = self.serving();
        serving.map_or(true, |serving| serving.member.standing().holds_rows())
    }

    /// Can this node answer lookups of this level, as it stands now?
    #[must_use]
    pub fn answers(&self, level: ReadLevel) -> bool {
        self.serving().is_ok_and(|serving| serving.answers(level))
    }

    /// Can this node answer lookups of this level by its rows, if it has some?
    ///
    /// # Errors
    /// Why not.
    pub fn check_answers(&self, level: ReadLevel) -> Result<(), Error> {
        self.serving()?.check_answers(level)
    }

    /// Can this node write?
    ///
    /// # Errors
    /// Why not.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.serving()?.check_writable()
    }

    fn serving(&self) -> Result<Arc<Serving>, Error> {
        let serving = self.shared.serving.load_full();
        serving.ok_or_else(|| Error::Starting {
            replay: self.replay(),
        })
    }

    fn replay(&self) -> Replay {
        let progress = &self.shared.progress;
        Replay {
            done_bytes: progress.done_bytes.load(Ordering::Relaxed),
            total_bytes: progress.total_bytes.load(Ordering::Relaxed),
        }
    }

    /// The views in force; none before the node serves.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.serving()
            .map_or_else(|_| Arc::default(), |serving| serving.engine.catalogue())
    }

    /// Rows of a view that hold features.
    #[must_use]
    pub fn row_count(&self, view: ViewId) -> u64 {
        self.serving().map_or(0, |serving| serving.row_count(view))
    }

    /// Writes a batch. All its rows are written, or none.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the write may have happened; after any other error it has not.
    pub async fn write(&self, request: WriteRequest) -> Result<Written, Error> {
        self.serving()?.write(request).await
    }

    /// Changes the catalogue; on return the change is in force here and acknowledged at the set's default level. Returns the view, unless it was dropped. After `deadline`
    /// its fate is reported as unknown.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the change may have happened; after any other error it has not.
    pub async fn define(
        &self,
        change: CatalogueChange,
        deadline: Duration,
    ) -> Result<Option<Arc<View>>, Error> {
        self.serving()?.define(change, deadline).await
    }

    /// Looks features up.
    ///
    /// # Errors
    /// If stored rows cannot be read or are damaged, or the deadline passes.
    pub async fn lookup(&self, request: LookupRequest) -> Result<Answered<Columns>, Error> {
        self.serving()?.lookup(request).await
    }

    /// Reads a page of a view in key order.
    ///
    /// # Errors
    /// If stored rows cannot be read or are damaged.
    pub async fn scan(&self, request: ScanRequest) -> Result<ScanPage, Error> {
        self.serving()?.scan(request).await
    }

    /// Deletes an entity's rows; from now on they are not found. Their values are in files until they are erased, by
    /// [`erase_from_log`](Self::erase_from_log) and [`erase_from_store`](Self::erase_from_store).
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn forget(
        &self,
        entities: &[Entity],
        deadline: Duration,
    ) -> Result<Vec<Forgotten>, Error> {
        self.serving()?.forget(entities, deadline).await
    }

    /// Lets go of the whole log that was written before. Takes as long as flushing the store does.
    ///
    /// # Errors
    /// If log or store fails.
    pub async fn erase_from_log(&self) -> Result<(), Error> {
        self.serving()?.erase_from_log().await
    }

    /// Rewrites the store's files that hold rows of these entities, so that only what is stored now is in them. Comes
    /// after [`erase_from_log`](Self::erase_from_log), which flushes.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn erase_from_store(&self, entities: &[Entity]) -> Result<(), Error> {
        self.serving()?.erase_from_store(entities).await
    }

    /// Looks at rows, so that they can be compared with those of another member.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn look_at(&self, span: Span) -> Result<SpanSeen, Error> {
        let serving = self.serving()?;
        let engine = Arc::clone(&serving.engine);
        serving.blocking(move || engine.look_at(span)).await
    }

    /// Stops: what was acknowledged is applied and flushed, so that the next start has nothing to replay. `limit` bounds
    /// the waiting for what may never end: background tasks, and all of it once the node has failed.
    ///
    /// # Errors
    /// If log or store had failed; what was acknowledged is durable in either case.
    pub async fn stop(&self, limit: Duration) -> Result<(), engine::Error> {
        match self.serving() {
            Ok(serving) => serving.stop(limit).await,
            Err(_) => Ok(()),
        }
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

    fn row_count(&self, view: ViewId) -> u64 {
        self.engine.state().rows.get(&view).copied().unwrap_or(0)
    }

    async fn write(&self, request: WriteRequest) -> Result<Written, Error> {
        match self.check_writable() {
            Err(refusal @ Error::LowDisk { .. }) => {
                return self.written_before(&request).await.ok_or(refusal);
            }
            refused => refused?,
        }
        let WriteRequest {
            batch,
            level,
            request_id,
            deadline,
            mut memory,
        } = request;
        let bytes = batch.size_bytes();
        if bytes > limits::BATCH_BYTES {
            return Err(Error::BatchTooLarge {
                bytes,
                max: limits::BATCH_BYTES,
            });
        }
        memory.grow(bytes.saturating_mul(COPIES_UNDER_WAY))?;
        let level = self.agreement.state().settings.commit_level(level);
        let begun = self.clock.monotonic();
        let until = begun + deadline;
        let (reply, accepted) = oneshot::channel();
        self.submit(
            Job::Write {
                batch,
                level,
                request_id,
                memory,
                reply,
            },
            deadline,
        )
        .await?;

        let accepted = self.within(until, accepted, None).await??;
        let logged = self.clock.monotonic();
        let (stamp, fate, mut reached) = match accepted {
            Accepted::Logged {
                stamp,
                fate,
                reached,
            } => (stamp, fate, reached),
            Accepted::Repeated { entry, mut reached } => {
                let copies = self.copies(until, &mut reached, entry.stamp).await?;
                return Ok(repeated(&entry, level, copies));
            }
        };
        let outcome = self.within(until, fate, Some(stamp)).await?;
        let outcome = outcome.map_err(|cause| Error::Unknown {
            reason: explained(&cause),
            stamp: Some(stamp),
        })?;
        let copies = self.copies(until, &mut reached, stamp).await?;
        Ok(Written {
            applied: outcome.applied,
            older: outcome.older,
            folded: outcome.folded,
            stamp,
            copies,
            level,
            repeated: false,
            spent: Spent {
                waiting: logged.saturating_sub(begun),
                applying: self.clock.monotonic().saturating_sub(logged),
                ..Spent::default()
            },
        })
    }

    /// Waits until a write has reached its level; then says how many durable copies there are.
    async fn copies(
        &self,
        until: Duration,
        reached: &mut Awaited,
        stamp: Stamp,
    ) -> Result<u32, Error> {
        let left = until.saturating_sub(self.clock.monotonic());
        let unknown = |reason: &str| Error::Unknown {
            reason: reason.to_owned(),
            stamp: Some(stamp),
        };
        match timeout(left, reached.reached()).await {
            Ok(Some(copies)) => Ok(u32::try_from(copies).unwrap_or(u32::MAX)),
            Ok(None) => match &self.member.standing().halted {
                Some(halt) => Err(unknown(&explained(halt))),
                None => Err(unknown(
                    "this node ceased to be primary before it was acknowledged",
                )),
            },
            Err(_) => Err(unknown("its deadline passed")),
        }
    }

    /// The result of a named write that is applied, which can be told even if nothing more is written.
    async fn written_before(&self, request: &WriteRequest) -> Option<Written> {
        let until = self.clock.monotonic() + request.deadline;
        let (caller, id) = request.request_id.clone()?;
        let engine = Arc::clone(&self.engine);
        let found = self.blocking(move || engine.request(&caller, &id));
        let entry = timeout(request.deadline, found).await.ok()?.ok()??;
        if entry.body_hash != request.batch.digest() {
            return None;
        }
        let level = self.agreement.state().settings.commit_level(request.level);
        let mut reached = self.member.await_level(entry.stamp, level).ok()?;
        let copies = self.copies(until, &mut reached, entry.stamp).await.ok()?;
        Some(repeated(&entry, level, copies))
    }

    async fn define(
        &self,
        change: CatalogueChange,
        deadline: Duration,
    ) -> Result<Option<Arc<View>>, Error> {
        self.check_writable()?;
        let until = self.clock.monotonic() + deadline;
        let (reply, answer) = oneshot::channel();
        let level = self.agreement.state().settings.commit_level(None);
        let job = Job::Define {
            change,
            level,
            reply,
        };
        self.submit(job, deadline).await?;
        let mut defined = self.within(until, answer, None).await??;
        self.copies(until, &mut defined.reached, defined.stamp)
            .await?;
        Ok(defined.view)
    }

    fn check_writable(&self) -> Result<(), Error> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_none() {
            return Err(Error::Stopping);
        }
        drop(jobs);
        if let Some(cause) = self.engine.ended() {
            return Err(Error::NotWritable {
                cause: explained(&cause),
            });
        }
        let standing = self.member.standing();
        if let Some(halt) = &standing.halted {
            return Err(halt.clone().into());
        }
        if standing.serves.is_none() {
            return Err(Error::NotPrimary {
                primary: standing.primary(),
            });
        }
        if self.disk_is_low.load(Ordering::Acquire) {
            let available = self.disk_available.load(Ordering::Acquire);
            return Err(Error::LowDisk {
                available,
                needed: self.config.disk.low_watermark_bytes,
            });
        }
        Ok(())
    }

    async fn submit(&self, job: Job, deadline: Duration) -> Result<(), Error> {
        let jobs = self
            .jobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let jobs = jobs.ok_or(Error::Stopping)?;
        match timeout(deadline, jobs.send(job)).await {
            Ok(sent) => sent.map_err(|_| Error::Stopping),
            Err(_) => Err(Error::DeadlineExceeded { limit: deadline }),
        }
    }

    /// Waits for a reply that says what became of a write.
    async fn within<T>(
        &self,
        until: Duration,
        reply: oneshot::Receiver<T>,
        stamp: Option<Stamp>,
    ) -> Result<T, Error> {
        let left = until.saturating_sub(self.clock.monotonic());
        let unknown = |reason: &str| Error::Unknown {
            reason: reason.to_owned(),
            stamp,
        };
        match timeout(left, reply).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(unknown("the node stopped before it was answered")),
            Err(_) => Err(unknown("its deadline passed")),
        }
    }

    async fn stop(&self, limit: Duration) -> Result<(), engine::Error> {
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

fn repeated(entry: &RequestEntry, level: CommitLevel, copies: u32) -> Written {
    Written {
        applied: entry.applied,
        older: entry.older,
        folded: entry.folded,
        stamp: entry.stamp,
        copies,
        level,
        repeated: true,
        spent: Spent::default(),
    }
}
