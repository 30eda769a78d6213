//! Pure: which restore points the set makes by itself, and when.
//!
//! ```text
//!   due ──► Ordered (the primary chooses a member) ──► Made, or Failed (the member says) ──► due again
//! ```
//! **Invariants.** One backup is ordered at a time. Who is to make it, and what was made, is agreed, so that it survives a change of
//! primary. As long as something is archived there is a restore point that it follows, or one is due.

use serde::{Deserialize, Serialize};

use super::command::Effect;
use super::rejection::Rejection;
use super::state::ControlState;
use crate::base::{Epoch, NodeNumber, VersionVector};

/// After a backup that failed the next one is ordered no earlier, in milliseconds.
const AGAIN_MILLIS: u64 = 10_000;

/// What is agreed about the set's own backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backups {
    /// Which member is to make one.
    pub ordered: Option<Ordered>,
    /// The last one that was made.
    pub made: Option<Made>,
    /// From when on the next one is counted, in milliseconds of wall time: when the last one was ordered, or was made if nobody
    /// ordered it. 0 before the first.
    pub counted_from: u64,
    /// The same of full ones.
    pub full_counted_from: u64,
    /// The last one that was ordered, if it failed.
    pub failed: Option<Failed>,
    /// When all restore points were last found whole, in milliseconds of wall time.
    pub whole_at: Option<u64>,
    /// What was wrong when it was last looked.
    pub problem: Option<String>,
}

impl Backups {
    // Programs that know nothing of them need not see them as long as there are none.
    pub(super) fn is_empty(&self) -> bool {
        *self == Backups::default()
    }
}

/// A backup that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// By whom.
    pub member: NodeNumber,
    /// It is to share no file with those before.
    pub full: bool,
    /// Since when, in milliseconds of wall time.
    pub at: u64,
}

/// A restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Its name.
    pub point: String,
    /// Whose store it holds.
    pub member: NodeNumber,
    /// Does it share no file with those before?
    pub full: bool,
    /// When it was complete, in milliseconds of wall time.
    pub at: u64,
    /// What it holds.
    pub held: VersionVector,
}

/// A backup that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Who was to make it.
    pub member: NodeNumber,
    /// When it was given up, in milliseconds of wall time.
    pub at: u64,
    /// Why.
    pub why: String,
}

/// What becomes of the set's backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackupNote {
    /// The primary of an epoch orders one.
    Ordered {
        /// Its epoch.
        by: Epoch,
        /// What it orders.
        order: Ordered,
    },
    /// One was made, ordered or not.
    Made {
        /// The URL of the bucket.
        bucket: String,
        /// The restore point.
        made: Made,
    },
    /// One that was ordered was not made.
    Failed {
        /// The URL of the bucket.
        bucket: String,
        /// What came of it.
        failed: Failed,
    },
    /// It was looked whether all that are kept are whole.
    Looked {
        /// The URL of the bucket.
        bucket: String,
        /// When, in milliseconds of wall time.
        at: u64,
        /// What was wrong.
        problem: Option<String>,
    },
}

impl ControlState {
    pub(super) fn note_backup(&mut self, note: BackupNote) -> Result<Effect, Rejection> {
        let of_set = self.settings.backup.bucket.as_ref();
        match note {
            BackupNote::Ordered { by, .. } if by != self.open_epoch() => return Err(self.stale(by)),
            BackupNote::Ordered { order, .. } => self.backups.ordered = Some(order),
            BackupNote::Made { bucket, .. }
            | BackupNote::Failed { bucket, .. }
            | BackupNote::Looked { bucket, .. }
                if of_set != Some(&bucket) =>
            {
                return Err(Rejection::ArchivedElsewhere { bucket });
            }
            BackupNote::Made { made, .. } => {
                let ordered = self.end_order(made.member);
                let since = ordered.map_or(made.at, |order| order.at);
                self.backups.counted_from = since;
                if made.full {
                    self.backups.full_counted_from = since;
                }
                self.backups.failed = None;
                self.backups.made = Some(made);
            }
            BackupNote::Looked { at, problem, .. } => {
                if problem.is_none() {
                    self.backups.whole_at = Some(at);
                }
                self.backups.problem = problem;
            }
            BackupNote::Failed { failed, .. } => {
                self.end_order(failed.member);
                self.backups.failed = Some(failed);
            }
        }
        Ok(Effect::Done)
    }

    /// What was ordered of this member, which is not any more.
    fn end_order(&mut self, member: NodeNumber) -> Option<Ordered> {
        let ordered = &mut self.backups.ordered;
        ordered.take_if(|order| order.member == member)
    }

    /// Is a backup to be ordered at this wall time, in milliseconds? Says whether it is to be a full one. Clocks may have been
    /// wrong: a time that lies a whole span ahead is as long ago as one that lies behind.
    #[must_use]
    pub fn backup_due(&self, now: u64) -> Option<bool> {
        let settings = &self.settings.backup;
        let Backups {
            ordered,
            made,
            counted_from,
            full_counted_from,
            failed,
            ..
        } = &self.backups;
        let waits = failed
            .as_ref()
            .is_some_and(|failed| now.abs_diff(failed.at) < AGAIN_MILLIS);
        if settings.bucket.is_none() || ordered.is_some() || waits {
            return None;
        }
        let is_over = |since: u64, span: u64| span > 0 && now.abs_diff(since) >= span;
        let full = is_over(*full_counted_from, settings.full_every_ms);
        let is_due = match made {
            // What is archived is of no use without one.
            None => self.archived.is_some(),
            Some(made) => {
                let is_over = is_over(*counted_from, settings.every_ms);
                is_over || full || !self.archive_follows(&made.held)
            }
        };
        is_due.then_some(full)
    }

    /// Is there a restore point that what is archived follows? If not, the archive alone brings nothing back.
    #[must_use]
    pub fn can_be_restored(&self) -> bool {
        let made = self.backups.made.as_ref();
        made.is_some_and(|made| self.archive_follows(&made.held))
    }

    /// Does what is archived follow a restore point that holds this?
    fn archive_follows(&self, held: &VersionVector) -> bool {
        let follows = |base: &VersionVector| held.covers(base) || self.covers(held, base);
        self.archived
            .as_ref()
            .is_none_or(|archived| follows(&archived.base))
    }
}

#[cfg(test)]
#[path = "schedule_test.rs"]
mod tests;
