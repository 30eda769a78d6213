//! The node: builds every part, owns every task and thread, decides what it may answer.
//!
//! Starts in the order of `start.rs`; stops in the reverse: no new writes, the writer thread ends, the tasks end, the
//! engine applies what is queued and flushes, the directory is released.
//!
//! **Invariants.** A write is acknowledged only by a primary whose promise is its own epoch, after it is durable on the
//! copies named (I18). A deadline makes the fate of a write unknown, never failed (I19). After a failure of log, store
//! or control nothing more is acknowledged, while reads go on (I20).

mod admission;
mod identity;
mod reads;
mod request;
mod start;
mod status;
mod upkeep;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use self::admission::{Admission, Full};
use self::start::Started;
use self::writer::{Accepted, Ceiling, Job};
use crate::base::clock::timeout;
use crate::base::disk::{DirLock, Disk};
use crate::base::task::thread;
use crate::base::{Clock, Epoch, TaskGroup};
use crate::config::Config;
use crate::control::LocalControl;
use crate::engine::{Engine, ReplayProgress};
use crate::model::{Catalogue, View, ViewId, limits};
use crate::storage::RequestEntry;

pub use identity::Identity;
pub use request::{
    Answered, CatalogueChange, Error, Health, LookupRequest, ScanPage, ScanRequest, Selection,
    WriteRequest, Written,
};
pub use start::StartError;

/// Jobs that may wait for the writer thread; beyond it, writes wait for room until their deadline.
const JOBS: usize = 256;

/// A node that is starting: what can be said of it before it serves.
#[derive(Debug, Clone, Default)]
pub struct Starting {
    progress: Arc<ReplayProgress>,
}

impl Starting {
    /// Bytes of WAL replayed, and to be replayed in all.
    #[must_use]
    pub fn replay(&self) -> (u64, u64) {
        (
            self.progress.done_bytes.load(Ordering::Relaxed),
            self.progress.total_bytes.load(Ordering::Relaxed),
        )
    }
}

/// A serving node. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    identity: Identity,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    control: Arc<Mutex<LocalControl>>,
    engine: Arc<Engine>,
    ceiling: Ceiling,
    /// Where the last record appended ends in the WAL.
    appended: Arc<AtomicU64>,
    admission: Admission,
    /// Bytes available on the disk when last looked; `u64::MAX` before.
    disk_available: AtomicU64,
    disk_is_low: AtomicBool,
    /// `None` once the node is stopping.
    jobs: RwLock<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    tasks: TaskGroup,
    /// Guards the names under which everything is counted.
    registry: Mutex<Registry>,
    gauges: status::Gauges,
    lock: Mutex<Option<DirLock>>,
}

impl Node {
    /// Starts the node on its data directory.
    ///
    /// # Errors
    /// Why it cannot start; nothing in the directory is changed for the worse.
    pub async fn start(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        starting: &Starting,
    ) -> Result<Node, StartError> {
        let progress = Arc::clone(&starting.progress);
        let (blocking, on_disk, by_clock) = (config.clone(), Arc::clone(&disk), Arc::clone(&clock));
        let started = tokio::task::spawn_blocking(move || {
            start::start(&blocking, &on_disk, &by_clock, &progress)
        });
        let started = started.await.map_err(|_| StartError::Aborted)??;
        Node::assemble(config, disk, clock, started)
    }

    fn assemble(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        started: Started,
    ) -> Result<Node, StartError> {
        let Started {
            lock,
            identity,
            control,
            engine,
            writer,
            ceiling,
            appended,
            epoch,
        } = started;
        let (jobs, queue) = mpsc::channel(JOBS);
        let writer = thread("writer", move || writer.run(queue)).map_err(StartError::Thread)?;
        let mut registry = Registry::with_prefix("steadfast");
        engine.register(&mut registry);
        let gauges = status::Gauges::register(&mut registry);
        let inner = Inner {
            admission: Admission::new(config.write.in_flight_bytes),
            config,
            identity,
            epoch,
            clock,
            disk,
            control,
            engine,
            ceiling,
            appended,
            disk_available: AtomicU64::new(u64::MAX),
            disk_is_low: AtomicBool::new(false),
            jobs: RwLock::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
            tasks: TaskGroup::new(),
            registry: Mutex::new(registry),
            gauges,
            lock: Mutex::new(Some(lock)),
        };
        let node = Node {
            inner: Arc::new(inner),
        };
        upkeep::spawn(&node);
        Ok(node)
    }

    /// The views in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.engine.catalogue()
    }

    /// Rows of a view that hold features.
    #[must_use]
    pub fn row_count(&self, view: ViewId) -> u64 {
        self.inner
            .engine
            .state()
            .rows
            .get(&view)
            .copied()
            .unwrap_or(0)
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The epoch of which it is primary.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// Lets others name what they count.
    pub fn with_registry<T>(&self, work: impl FnOnce(&mut Registry) -> T) -> T {
        work(
            &mut self
                .inner
                .registry
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Writes a batch. All its rows are written, or none.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the write may have happened; after any other error it has not.
    pub async fn write(&self, request: WriteRequest) -> Result<Written, Error> {
        let WriteRequest {
            batch,
            level,
            request_id,
            deadline,
        } = request;
        let bytes = batch.size_bytes();
        if bytes > limits::BATCH_BYTES {
            return Err(Error::BatchTooLarge {
                bytes,
                max: limits::BATCH_BYTES,
            });
        }
        self.check_writable()?;
        let full = |Full { in_flight, max }| Error::Overloaded { in_flight, max };
        let admitted = self.inner.admission.admit(bytes).map_err(full)?;
        let until = self.inner.clock.monotonic() + deadline;
        let (reply, accepted) = oneshot::channel();
        self.submit(
            Job::Write {
                batch,
                request_id,
                admitted,
                reply,
            },
            deadline,
        )
        .await?;

        let accepted = self.within(until, accepted, None).await??;
        let (stamp, fate) = match accepted {
            Accepted::Logged { stamp, fate } => (stamp, fate),
            Accepted::Repeated(entry) => return Ok(repeated(&entry, level)),
        };
        let unknown = |reason: String| Error::Unknown {
            reason,
            stamp: Some(stamp),
        };
        let outcome = self
            .within(until, fate, Some(stamp))
            .await?
            .map_err(|cause| unknown(cause.to_string()))?;
        Ok(Written {
            applied: outcome.applied,
            older: outcome.older,
            folded: outcome.folded,
            stamp,
            copies: 1,
            level,
            repeated: false,
        })
    }

    /// Changes the catalogue; on return the change is in force. Returns the view, unless it was dropped.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the change may have happened; after any other error it has not.
    pub async fn define(
        &self,
        change: CatalogueChange,
        deadline: Duration,
    ) -> Result<Option<Arc<View>>, Error> {
        self.check_writable()?;
        let until = self.inner.clock.monotonic() + deadline;
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Define { change, reply }, deadline).await?;
        self.within(until, answer, None).await?
    }

    fn check_writable(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if let Some(cause) = inner.engine.applied().closed() {
            return Err(Error::NotWritable {
                cause: cause.to_string(),
            });
        }
        if let Some(cause) = inner.engine.wal().durable().closed() {
            return Err(Error::NotWritable {
                cause: cause.to_string(),
            });
        }
        if let Some(cause) = inner.ceiling.closed() {
            return Err(Error::NotWritable { cause });
        }
        if inner.disk_is_low.load(Ordering::Acquire) {
            let available = inner.disk_available.load(Ordering::Acquire);
            return Err(Error::LowDisk {
                available,
                needed: inner.config.disk.low_watermark_bytes,
            });
        }
        Ok(())
    }

    async fn submit(&self, job: Job, deadline: Duration) -> Result<(), Error> {
        let jobs = self
            .inner
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
        stamp: Option<crate::base::Stamp>,
    ) -> Result<T, Error> {
        let left = until.saturating_sub(self.inner.clock.monotonic());
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

    /// Waits until the node has failed so badly that its process should end; then says why.
    pub async fn failure(&self) -> String {
        self.inner.tasks.failure().await
    }

    /// Stops: what was acknowledged is applied and flushed, so that the next start has nothing to replay.
    ///
    /// # Errors
    /// If log or store had failed; what was acknowledged is durable in either case.
    pub async fn stop(&self, limit: Duration) -> Result<(), crate::engine::Error> {
        self.inner
            .jobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let writer = self
            .inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let inner = Arc::clone(&self.inner);
        let ended = tokio::task::spawn_blocking(move || {
            if writer.is_some_and(|writer| writer.join().is_err()) {
                warn!("the writer thread had panicked");
            }
            inner.engine.stop()
        });
        let outcome = ended.await.unwrap_or(Err(crate::engine::Error::Stopped));
        self.inner.tasks.stop(limit).await;
        self.inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        info!("stopped");
        outcome
    }
}

fn repeated(entry: &RequestEntry, level: crate::model::CommitLevel) -> Written {
    Written {
        applied: entry.applied,
        older: entry.older,
        folded: entry.folded,
        stamp: entry.stamp,
        copies: 1,
        level,
        repeated: true,
    }
}
