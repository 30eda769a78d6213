//! Seeding: a member whose gaps no log can fill any more gets another member's store.
//!
//! ```text
//!   the primary                                       the member
//!   Seeding::offer: checkpoint ── OfferSnapshot ───► Seeding::take ── store.incoming
//!   Seeding::give: its files  ◄── FetchFile ────────     │ whole and verified
//!                                                        ▼
//!                                              Seed ── is it accepted still? ── engine::reseed
//! ```
//! The member fetches what it lacks; a transfer that broke off goes on where it was. What has arrived is a [`Seed`]: whoever
//! gets it asks the replica once more whether it accepts it, and holds it until it is in the store's place, or will not be.
//!
//! **Invariants.** While a [`Seed`] is held, nothing touches its files. Snapshots take a bounded part of disk and network:
//! one checkpoint for each member, one store that is received, so many bytes in a second.

mod giver;
mod offer;
mod taker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use self::giver::Giver;
use self::offer::Offer;
use self::taker::Taker;
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{Epoch, IncarnationId, SnapshotId, TaskGroup};
use crate::config::Config;
use crate::control::ControlState;
use crate::engine::{self, Engine, incoming_dir};
use crate::net::{CHUNKS_READY, CallError, FILES_AT_ONCE, Me, Refusal, SnapshotPeer};
use crate::proto::{Invalid, v1};
use crate::storage::{self, Received};

/// How often it is looked whether checkpoints are still used.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a snapshot was not given or taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store that is received failed, or is not what was offered.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// No checkpoint could be made.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The other member failed.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// A request cannot be read.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The other member is not one of this set, or means another.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The snapshot does not fit on the disk.
    #[error("the snapshot needs {needed} bytes of disk, and {available} are to be had")]
    NoSpace {
        /// What it needs.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// The snapshot is not kept here, or no longer.
    #[error("there is no snapshot {id} here")]
    NoSuchSnapshot {
        /// Its name.
        id: SnapshotId,
    },
    /// As many files are being sent as may be.
    #[error("{} files of snapshots are being sent", FILES_AT_ONCE)]
    Busy,
    /// Another snapshot is offered, or the node is stopping.
    #[error("it was given up")]
    GivenUp,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl Error {
    /// Does trying again not help?
    fn is_final(&self) -> bool {
        match self {
            Error::Peer(CallError::NotFound(_)) | Error::GivenUp | Error::Stopping => true,
            // What came damaged comes again; a disk that fails does not heal.
            Error::Store(cause) => !matches!(cause, storage::Error::Differs { .. }),
            Error::Peer(_) => false,
            Error::Engine(_)
            | Error::Invalid(_)
            | Error::Refused(_)
            | Error::File { .. }
            | Error::NoSpace { .. }
            | Error::Busy
            | Error::NoSuchSnapshot { .. } => true,
        }
    }
}

/// The chunks of a file that is given away.
pub type Given = ReceiverStream<Result<v1::FetchFileResponse, Error>>;

/// A store that was received whole and verified, to be put in the place of the own one.
#[derive(Debug)]
pub struct Seed {
    /// In whose name it was offered.
    pub epoch: Epoch,
    /// By whom.
    pub from: IncarnationId,
    /// The store.
    pub received: Received,
    /// Tells by its end that the files may be touched again.
    _held: oneshot::Sender<()>,
}

/// Gives and takes snapshots. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Seeding {
    me: Me,
    giver: Arc<Giver>,
    offers: mpsc::Sender<Offer>,
    received_bytes: Counter,
    tasks: TaskGroup,
    /// Offers are made by threads that are no tasks.
    runtime: Handle,
}

impl Seeding {
    /// Begins, in the node's directory: what is received is told to `seeded`. Removes checkpoints that an earlier process left.
    ///
    /// # Errors
    /// If those cannot be removed.
    pub fn start(
        me: Me,
        config: &Config,
        seeded: impl Fn(Seed) + Send + Sync + 'static,
        tasks: &TaskGroup,
    ) -> Result<Seeding, Error> {
        let dir = config.data_dir.join("checkpoints");
        let bytes_per_second = config.replication.snapshot_bytes_per_second;
        let giver = Arc::new(Giver::open(dir, bytes_per_second)?);
        let taker = Taker {
            dir: incoming_dir(&config.data_dir),
            lineage: me.lineage,
            spared_bytes: config.disk.low_watermark_bytes,
            received_bytes: Counter::default(),
            seeded: Box::new(seeded),
        };
        // Offers are repeated, so none is missed for long.
        let (offers, offered) = mpsc::channel(1);
        let seeding = Seeding {
            me,
            giver,
            offers,
            received_bytes: taker.received_bytes.clone(),
            tasks: tasks.clone(),
            runtime: Handle::current(),
        };
        tasks.spawn_finite("seeding", taker.run(offered, tasks.cancelled()));
        tasks.spawn_finite(
            "checkpoints",
            expire(Arc::clone(&seeding.giver), tasks.clone()),
        );
        Ok(seeding)
    }

    /// Names what is counted.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "snapshot_sent_bytes",
            "Bytes of snapshots sent to other members",
            self.giver.sent_bytes.clone(),
        );
        registry.register(
            "snapshot_received_bytes",
            "Bytes of snapshots received from another member",
            self.received_bytes.clone(),
        );
    }

    /// Offers the store to a member, in the name of an epoch; with it goes what is not spread, by what is agreed. It may be
    /// lost, and is then to be offered again; the member is offered the same snapshot for as long as it fetches it.
    pub fn offer(
        &self,
        engine: Arc<Engine>,
        control: Arc<ControlState>,
        to: IncarnationId,
        epoch: Epoch,
    ) {
        let this = self.clone();
        let stopped = self.tasks.cancelled();
        let _entered = self.runtime.enter();
        self.tasks.spawn_finite("snapshot offer", async move {
            let offered = this.try_offer(engine, control, to, epoch);
            if let Some(Err(cause)) = stopped.run_until_cancelled(offered).await {
                warn!(member = %to, %cause, "cannot offer a snapshot");
            }
        });
    }

    async fn try_offer(
        &self,
        engine: Arc<Engine>,
        control: Arc<ControlState>,
        to: IncarnationId,
        epoch: Epoch,
    ) -> Result<(), Error> {
        let Some(member) = control.members.get(&to) else {
            return Ok(());
        };
        let address = member.addresses.peer.clone();
        let Some((id, checkpoint)) = self.giver.checkpoint(engine, control, to).await? else {
            return Ok(());
        };
        let offer = Offer {
            hello: self.me.hello(to),
            epoch,
            id,
            snapshot: checkpoint.snapshot().clone(),
        };
        let mut member = SnapshotPeer::connect(&address).await?;
        Ok(member.offer(offer.into()).await?)
    }

    /// Takes what another member offers; what it consists of comes later.
    ///
    /// # Errors
    /// If the offer cannot be read, or is not meant for this member.
    pub fn take(&self, offer: v1::OfferSnapshotRequest) -> Result<(), Error> {
        let offer = Offer::try_from(offer)?;
        self.me.judge(&offer.hello)?;
        let _room = self.offers.try_send(offer);
        Ok(())
    }

    /// Gives a file of a snapshot that was offered.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn give(&self, request: v1::FetchFileRequest) -> Result<Given, Error> {
        let (file, place) = self.giver.open_file(&request)?;
        let (out, given) = mpsc::channel(CHUNKS_READY);
        let (giver, stopped) = (Arc::clone(&self.giver), self.tasks.cancelled());
        self.tasks.spawn_finite("snapshot file", async move {
            let sent = giver.send(file, request, out);
            let _stopped = stopped.run_until_cancelled(sent).await;
            drop(place);
        });
        Ok(ReceiverStream::new(given))
    }
}

async fn expire(giver: Arc<Giver>, tasks: TaskGroup) {
    let stopped = tasks.cancelled();
    while stopped
        .run_until_cancelled(sleep(LOOK_EVERY))
        .await
        .is_some()
    {
        let giver = Arc::clone(&giver);
        let _stopping = blocking(move || giver.expire(now_monotonic())).await;
    }
}

/// Does what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Stopping)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
#[path = "seeding_test.rs"]
mod tests;
