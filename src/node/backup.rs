//! Backing this member's store up.
//!
//! **Invariants.** It gives way to all else that the node does. What goes into a bucket is on enough data members first: no later epoch opens without it. The rows of a member
//! whose digest was not that of the primary go nowhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use tracing::{info, warn};

use super::{Node, Serving};
use crate::backup::bucket::{self, Bucket, BucketUrl, Environment, Patience};
use crate::backup::manifest::Manifest;
use crate::backup::repository::Repository;
use crate::backup::take::{self, How, Progress, Source};
use crate::base::clock::timeout;
use crate::base::task::Background;
use crate::base::{LogId, Pace, VersionVector};
use crate::engine::{self, Checkpoint};

/// How long it may take until what a checkpoint holds is on enough members.
const SPREAD_WITHIN: Duration = Duration::from_secs(60);

/// What is to be backed up, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOrder {
    /// The bucket.
    pub bucket: BucketUrl,
    /// Send every file, whatever is there.
    pub full: bool,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The node does not serve yet.
    #[error("the node is starting")]
    Starting,
    /// This member has no rows.
    #[error("this member is an arbiter: it holds no rows to back up")]
    NoRows,
    /// This member's rows may be damaged.
    #[error("the rows here are not what the primary's were: back up another member")]
    Quarantined,
    /// One is being made.
    #[error("this member is making a backup already")]
    UnderWay,
    /// What is here is not on enough members.
    #[error(
        "what is here has not come to enough members within {}: {missing}",
        humantime::format_duration(SPREAD_WITHIN)
    )]
    NotSpread {
        /// The records that are not.
        missing: String,
    },
    /// No checkpoint can be made.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The bucket cannot be opened.
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    /// It cannot be put into the bucket.
    #[error(transparent)]
    Take(#[from] take::Error),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// What a node needs to back up its store.
#[derive(Debug)]
pub(super) struct Backups {
    /// Where checkpoints are made.
    dir: PathBuf,
    pace: Arc<Pace>,
    threads: Background,
    /// Held while one is made, or a checkpoint is, whose backup was given up.
    busy: Arc<AsyncMutex<()>>,
}

impl Backups {
    /// Starts the threads that back up.
    ///
    /// # Errors
    /// If the operating system refuses one.
    pub fn start(dir: PathBuf, bytes_per_second: u64) -> std::io::Result<Backups> {
        Ok(Backups {
            dir,
            pace: Arc::new(Pace::new(bytes_per_second)),
            threads: Background::start("backup")?,
            busy: Arc::default(),
        })
    }
}

impl Node {
    /// Makes a restore point of this member's store in a bucket. Dropping the future gives it up; what was sent stays there and is
    /// not sent again.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn back_up(
        &self,
        order: &BackupOrder,
        progress: &Arc<Progress>,
    ) -> Result<Manifest, BackupError> {
        let serving = self.serving().map_err(|_| BackupError::Starting)?;
        serving.back_up(order, progress).await
    }
}

impl Serving {
    pub(super) async fn back_up(
        self: &Arc<Self>,
        order: &BackupOrder,
        progress: &Arc<Progress>,
    ) -> Result<Manifest, BackupError> {
        let (node, order, progress) = (Arc::clone(self), order.clone(), Arc::clone(progress));
        let given_up = self.tasks.cancelled().child_token();
        let _giving_up = given_up.clone().drop_guard();
        let making = self.backups.threads.run(async move {
            let making = Box::pin(node.make_restore_point(&order, &progress));
            given_up.run_until_cancelled(making).await
        });
        // Who stops waits for it.
        let (tell, made) = oneshot::channel();
        self.tasks.spawn_finite("backup", async move {
            let _nobody_waits = tell.send(making.await.flatten());
        });
        made.await.ok().flatten().ok_or(BackupError::Stopping)?
    }

    async fn make_restore_point(
        &self,
        order: &BackupOrder,
        progress: &Progress,
    ) -> Result<Manifest, BackupError> {
        let busy = Arc::clone(&self.backups.busy).try_lock_owned();
        let busy = busy.map_err(|_| BackupError::UnderWay)?;
        if !self.member.standing().holds_rows() {
            return Err(BackupError::NoRows);
        }
        let environment = Environment::of_process();
        let bucket = Bucket::create(&order.bucket, &environment, Patience::default())?;
        let (mut busy, mut checkpoint) = self.checkpoint(busy).await?;
        let standing = loop {
            // Looked at afterwards: a marker that came before it is in it.
            if self.engine.quarantined().is_some() {
                return Err(BackupError::Quarantined);
            }
            let held = &checkpoint.snapshot().state.applied.0;
            self.spread(held).await?;
            let standing = self.member.standing();
            // The ends of logs that are open in it must not be forgotten: nobody could tell any more whether it holds them.
            let control = &standing.control;
            let is_known =
                |log: LogId| log.region != control.region || log.epoch > control.forgotten;
            if held.logs().all(|(log, _)| is_known(log)) {
                break standing;
            }
            drop(checkpoint);
            (busy, checkpoint) = self.checkpoint(busy).await?;
        };
        let number = standing.control.members.get(&self.identity.incarnation);
        let member = number.ok_or(BackupError::NoRows)?.number;
        let source = Source {
            checkpoint,
            control: standing.control.disclosed(),
            member,
        };
        let how = How {
            full: order.full,
            now_millis: self.clock.wall_millis(),
            random: rand::random(),
        };
        let repository = Repository::new(bucket.paced(Arc::clone(&self.backups.pace)));
        let taken = take::take(&repository, &source, how, progress).await;
        match &taken {
            Ok(manifest) => {
                let (point, bytes) = (manifest.point, manifest.bytes());
                info!(bucket = %order.bucket, %point, bytes, "made a restore point");
                self.note_point(&order.bucket, manifest).await;
            }
            Err(cause) => warn!(bucket = %order.bucket, %cause, "could not make a restore point"),
        }
        drop(busy);
        Ok(taken?)
    }

    /// Makes the checkpoint. What holds others off goes with it, because it is made to its end even if nobody waits for it.
    async fn checkpoint(
        &self,
        busy: OwnedMutexGuard<()>,
    ) -> Result<(OwnedMutexGuard<()>, Checkpoint), BackupError> {
        let (engine, dir) = (Arc::clone(&self.engine), self.backups.dir.clone());
        let make = move || {
            // One that a process left which was killed.
            match std::fs::remove_dir_all(&dir) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    warn!(%cause, path = %dir.display(), "cannot remove an old checkpoint");
                }
                _ => {}
            }
            let made = engine.checkpoint(dir, |_| Vec::new())?;
            Ok((busy, made))
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.map_err(|_| BackupError::Stopping)?
    }

    /// Waits until all of this is on enough data members.
    async fn spread(&self, held: &VersionVector) -> Result<(), BackupError> {
        let mut standings = self.member.standings();
        let is_spread = standings.wait_for(|standing| standing.control.unspread(held).is_empty());
        match timeout(SPREAD_WITHIN, is_spread).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BackupError::Stopping),
            Err(_) => {
                let missing = self.member.standing().control.unspread(held);
                let missing = missing.iter().map(|missing| {
                    let (log, after, through) = (missing.log, missing.after, missing.through);
                    format!("{log} from {} to {through}", after.next())
                });
                let missing = missing.collect::<Vec<_>>().join(", ");
                Err(BackupError::NotSpread { missing })
            }
        }
    }
}
