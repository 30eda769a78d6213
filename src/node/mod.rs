//! The node: builds every part, owns every task and thread, decides what it may answer.
//!
//! Starts in the order of `start.rs`; stops in the reverse: no new writes, the writer thread ends, the tasks end, the
//! engine applies what is queued and flushes, the directory is released.
//!
//! **Invariants.** A write is acknowledged only by a primary whose promise is its own epoch, after it is durable on the
//! copies named (I18). A deadline makes the fate of a write unknown, never failed (I19). After a failure of log, store
//! or control nothing more is acknowledged, while reads go on (I20).

mod agreement;
mod archiving;
mod backup;
mod forget;
mod history;
mod horizons;
mod identity;
mod init;
mod joining;
mod keeping;
mod lives;
mod member;
mod members;
mod peers;
mod quorum;
mod reads;
mod refound;
mod request;
mod restore;
mod scans;
mod schedule;
mod seeding;
mod selected;
mod sessions;
mod set;
mod start;
mod status;
mod survey;
mod upkeep;
mod writer;
mod writes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use self::agreement::{Agreement, RaftPlace};
use self::archiving::Archiving;
use self::backup::Backups;
use self::member::Member;
use self::quorum::Quorum;
use self::writer::Job;
use crate::base::disk::{DirLock, Disk};
use crate::base::{Budget, Clock, ReadLevel, TaskGroup};
use crate::config::{Config, MemoryBound};
use crate::engine::{self, Engine, ReplayProgress, Span, SpanSeen};
use crate::model::{Catalogue, View, ViewId};
use crate::net::Wires;

pub use crate::control::Addresses;
pub use archiving::ArchiveStatus;
pub use backup::{BackupError, BackupOrder};
pub use forget::{Entity, Forgotten, Tombstone};
pub use identity::{Identity, IdentityFile};
pub use init::init;
pub use joining::Joining;
pub use quorum::{
    Answer, KeySpan, KeysAsked, NamedRow, RowsAsked, keys_answer_to_proto, rows_answer_to_proto,
};
pub use reads::Columns;
pub use refound::{Error as RefoundError, Remains};
pub use request::{
    Answered, CatalogueChange, Error, Health, LookupRequest, Primary, Replay, ScanPage,
    ScanRequest, Selection, Spent, WriteRequest, Written,
};
pub use restore::{Error as RestoreError, restore};
pub use seeding::{Error as SeedingError, Given, Seed, Seeding};
pub use sessions::Session;
pub use set::{Applicant, JoinToken, Joined, SetChange};
pub use start::StartError;
pub use survey::{AgreementStatus, MemberStatus, SetStatus};

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
    backups: Backups,
    archiving: Archiving,
    quorum: Quorum,
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
    fn row_count(&self, view: ViewId) -> u64 {
        self.engine.state().rows.get(&view).copied().unwrap_or(0)
    }
}
