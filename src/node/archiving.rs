//! Archiving, as long as this node is primary and the settings name a bucket; and what every member knows of how far it has come.
//!
//! **Invariants.** One member of a set archives, the primary of the open epoch; one that is primary no more and does not know it can
//! only put what every later primary holds. What goes wrong is tried again, and told until it has gone well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Serving;
use super::agreement;
use crate::backup::archive::{self, Archive, Put};
use crate::backup::archiver::{Archiver, Step};
use crate::backup::bucket::{self, Bucket, BucketUrl, Environment, Patience};
use crate::backup::layout::Named;
use crate::backup::repository::{self, Repository};
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{Missing, NodeNumber, explained};
use crate::control::{Command, ControlState, Failed, Made, Rejection};
use crate::engine::{self, Engine};

/// How often it is looked whether there is something to do, and how far the archive has come.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How the archive of a set does, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveStatus {
    /// The URL of the bucket.
    pub bucket: String,
    /// What is archived; `None` before anything is.
    pub through: Option<String>,
    /// How long ago the oldest record was written that is here and not archived: that much would be lost with all members.
    /// Zero if there is none. As long as what is archived follows no restore point, it grows.
    pub unarchived_for: Option<Duration>,
    /// Why nothing was archived when it was last tried. Only the primary tries.
    pub trouble: Option<String>,
    /// The member that is to make a restore point now.
    pub ordered: Option<NodeNumber>,
    /// The last restore point that was made, and how long ago.
    pub last: Option<(Made, Duration)>,
    /// The last one that was ordered, if it was not made, and how long ago.
    pub failed: Option<(Failed, Duration)>,
    /// How long ago all restore points were last found whole.
    pub whole_ago: Option<Duration>,
    /// What was wrong when it was last looked.
    pub problem: Option<String>,
}

/// What a node knows of the archive, and counts.
#[derive(Debug, Default)]
pub(super) struct Archiving {
    seen: Mutex<Seen>,
    /// Set when a round is not to wait for its time.
    hurry: Notify,
    objects: Counter,
    bytes: Counter,
    failures: Counter,
    gaps: Counter,
}

#[derive(Debug, Default)]
struct Seen {
    /// Since when, in milliseconds of wall time, there is something that is not archived.
    unarchived_since: Option<u64>,
    trouble: Option<String>,
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the bucket's URL is none: {0}")]
    Url(String),
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    #[error(transparent)]
    Archive(#[from] archive::Error),
    #[error("cannot tell the set what is archived")]
    Agreement(#[from] agreement::Error),
}

impl From<repository::Error> for Trouble {
    fn from(error: repository::Error) -> Trouble {
        Trouble::Archive(error.into())
    }
}

impl Archiving {
    pub fn register(registry: &mut Registry) -> Archiving {
        let archiving = Archiving::default();
        let counters = [
            (
                "archive_objects",
                "Objects of records put into the bucket",
                &archiving.objects,
            ),
            ("archive_bytes", "Bytes of them", &archiving.bytes),
            (
                "archive_failures",
                "Rounds of archiving that went wrong",
                &archiving.failures,
            ),
            (
                "archive_gaps",
                "How often records were gone from the log before they were archived",
                &archiving.gaps,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        archiving
    }

    /// Has what there is archived now.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Did the last round go wrong?
    pub fn is_troubled(&self) -> bool {
        lock(&self.seen).trouble.is_some()
    }

    /// How long ago the oldest record was written that is not archived, by the wall time in milliseconds.
    pub fn unarchived_for(&self, now_millis: u64) -> Duration {
        let since = lock(&self.seen).unarchived_since;
        Duration::from_millis(since.map_or(0, |since| now_millis.saturating_sub(since)))
    }

    /// Takes note of how a round ended; says it where that is news.
    fn ended(&self, outcome: Result<(), Trouble>) {
        let trouble = outcome.err().map(|trouble| explained(&trouble));
        if trouble.is_some() {
            self.failures.inc();
        }
        let before = std::mem::replace(&mut lock(&self.seen).trouble, trouble.clone());
        match trouble {
            Some(cause) if before.as_ref() != Some(&cause) => {
                warn!(cause, "cannot archive; it is tried again");
            }
            None if before.is_some() => info!("archiving goes on"),
            Some(_) | None => {}
        }
    }
}

/// Starts archiving, and looking how far it has come.
pub(super) fn spawn(node: &Arc<Serving>) {
    let (watching, archiving) = (Arc::clone(node), Arc::clone(node));
    let stopped = node.tasks.cancelled();
    node.tasks.spawn("archive watch", async move {
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => return Ok::<(), String>(()),
                () = sleep(LOOK_EVERY) => {}
            }
            watch(&watching).await;
        }
    });
    let stopped = node.tasks.cancelled();
    node.tasks.spawn("archive", async move {
        tokio::select! {
            biased;
            () = stopped.cancelled() => Ok::<(), String>(()),
            () = archive(&archiving) => Ok(()),
        }
    });
}

/// Looks since when there is something that is not archived.
async fn watch(node: &Serving) {
    let control = Arc::clone(&node.member.standing().control);
    let Some(archived) = &control.archived else {
        lock(&node.archiving.seen).unarchived_since = None;
        return;
    };
    let durable = node.engine.durable();
    let missing = control.unarchived(&archived.through, &durable);
    let engine = Arc::clone(&node.engine);
    let before = lock(&node.archiving.seen).unarchived_since;
    // What was given up, or is gone from the WAL, is not archived for as long as anything is known not to be.
    let released = before.unwrap_or_else(|| node.clock.wall_millis());
    let since = tokio::task::spawn_blocking(move || oldest(&engine, missing, released)).await;
    match since {
        Ok(Ok(since)) => {
            let given_up = (!control.can_be_restored()).then_some(released);
            let since = [since, given_up].into_iter().flatten().min();
            lock(&node.archiving.seen).unarchived_since = since;
        }
        Ok(Err(cause)) => warn!(cause = %explained(&cause), "cannot tell what is not archived"),
        Err(_stopping) => {}
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the oldest of these was written. What the WAL holds no more was seen before to be of the time `released`.
fn oldest(
    engine: &Engine,
    missing: Vec<Missing>,
    released: u64,
) -> Result<Option<u64>, engine::Error> {
    let mut oldest = None;
    for missing in missing {
        let written = match engine.records(&[missing], 1)? {
            Some(records) => records.first().map(|record| record.stamp.hlc.millis()),
            None => Some(released),
        };
        oldest = [oldest, written].into_iter().flatten().min();
    }
    Ok(oldest)
}

/// What there is while this node archives.
struct Reign {
    archiver: Archiver,
    archive: Archive,
}

async fn archive(node: &Serving) {
    let mut reign: Option<Reign> = None;
    let mut last = None;
    loop {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = node.archiving.hurry.notified() => last = None,
        }
        let standing = node.member.standing();
        let control = Arc::clone(&standing.control);
        let settings = &control.settings.backup;
        let epoch = standing
            .serves
            .filter(|epoch| *epoch == control.open_epoch());
        let (Some(epoch), Some(bucket)) = (epoch, &settings.bucket) else {
            reign = None;
            last = None;
            node.archiving.ended(Ok(()));
            continue;
        };
        let goes_on =
            |reign: &Reign| (reign.archiver.epoch(), reign.archiver.bucket()) == (epoch, bucket);
        if !reign.as_ref().is_some_and(goes_on) {
            reign = None;
        }
        let is_due = last.is_none_or(|last| now_monotonic() >= last + settings.archive_interval());
        if !is_due {
            continue;
        }
        last = Some(now_monotonic());
        let outcome = node.archive_once(&control, bucket, &mut reign).await;
        node.archiving.ended(outcome);
    }
}

impl Serving {
    /// Archives what there is now.
    async fn archive_once(
        &self,
        control: &ControlState,
        bucket: &str,
        reign: &mut Option<Reign>,
    ) -> Result<(), Trouble> {
        let current = match reign {
            Some(current) => current,
            None => match self.begin_reign(control, bucket)? {
                Some(begun) => reign.insert(begun),
                None => return Ok(()),
            },
        };
        let durable = self.engine.durable();
        while let Some(step) = current.archiver.next(control, &durable) {
            match self.step(control, current, step).await {
                Ok(true) => {}
                Ok(false) => break,
                // Another epoch is open, or the archive is elsewhere: what is agreed says how to go on.
                Err(Trouble::Agreement(agreement::Error::Rejected(
                    Rejection::Stale { .. } | Rejection::ArchivedElsewhere { .. },
                ))) => {
                    *reign = None;
                    break;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    fn begin_reign(&self, control: &ControlState, bucket: &str) -> Result<Option<Reign>, Trouble> {
        let url: BucketUrl = bucket
            .parse()
            .map_err(|error| Trouble::Url(format!("{error}")))?;
        let opened = Bucket::create(&url, &Environment::of_process(), Patience::default())?;
        let durable = self.engine.durable();
        let archiver = Archiver::new(control, &durable, bucket.to_owned());
        Ok(archiver.map(|archiver| Reign {
            archiver,
            archive: Archive::new(
                Repository::new(opened),
                self.identity.lineage,
                Arc::clone(&self.engine),
            ),
        }))
    }

    /// Takes a step. Returns whether there may be another one now.
    async fn step(
        &self,
        control: &ControlState,
        reign: &mut Reign,
        step: Step,
    ) -> Result<bool, Trouble> {
        let Reign { archiver, archive } = reign;
        let lineage = self.identity.lineage;
        match step {
            Step::Begin(stretch) => {
                archive.repository().put_stretch(lineage, &stretch).await?;
                archiver.begun();
            }
            Step::Put(missing) => match archive.put(missing).await? {
                Put::Archived { segment, bytes } => {
                    archiver.put(&segment);
                    self.archiving.objects.inc();
                    self.archiving.bytes.inc_by(bytes);
                }
                Put::Released => {
                    let log = missing.log;
                    let from = missing.after.next();
                    warn!(%log, %from, "records were let go of before they were archived: the archive begins anew");
                    self.archiving.gaps.inc();
                    archiver.begin_anew(control, &self.engine.durable());
                }
                Put::Later => return Ok(false),
            },
            Step::End(end) => {
                archive.repository().mark(lineage, Named::End(end)).await?;
                archiver.ended(&end);
            }
            Step::Tell(claim) => {
                self.agreement
                    .agree(Command::Archive(claim.clone()))
                    .await?;
                archiver.told(&claim);
            }
        }
        Ok(true)
    }

    /// How the archive does, as this node sees it; `None` if there is to be none.
    pub(super) fn archive_status(&self, control: &ControlState) -> Option<ArchiveStatus> {
        let bucket = control.settings.backup.bucket.clone()?;
        let archived = control.archived.as_ref();
        let now = self.clock.wall_millis();
        let ago = |at: u64| Duration::from_millis(now.saturating_sub(at));
        let (made, failed) = (control.backups.made.clone(), control.backups.failed.clone());
        Some(ArchiveStatus {
            bucket,
            through: archived.map(|archived| archived.through.to_string()),
            unarchived_for: archived.map(|_| self.archiving.unarchived_for(now)),
            trouble: lock(&self.archiving.seen).trouble.clone(),
            ordered: control.backups.ordered.map(|order| order.member),
            last: made.map(|made| (made.clone(), ago(made.at))),
            failed: failed.map(|failed| (failed.clone(), ago(failed.at))),
            whole_ago: control.backups.whole_at.map(ago),
            problem: control.backups.problem.clone(),
        })
    }
}
