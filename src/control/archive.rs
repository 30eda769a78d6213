//! Pure: how far the set's logs are archived.
//!
//! **Invariants.** What is archived only grows while the archive stays in one bucket; in another bucket it begins anew. The end of
//! a log is not forgotten before the log is archived to it: otherwise nobody could say any more that it is.

use serde::{Deserialize, Serialize};

use super::command::Effect;
use super::rejection::Rejection;
use super::state::{ControlState, LogState};
use crate::base::{Epoch, LogId, Missing, Seq, VersionVector};

/// How far the logs are archived in the bucket that the settings name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archived {
    /// What a restore point must hold so that what is archived follows it without a gap.
    pub base: VersionVector,
    /// What is archived, or in `base`.
    pub through: VersionVector,
}

/// The primary says what is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveClaim {
    /// The epoch of the primary that says so.
    pub by: Epoch,
    /// The URL of the bucket.
    pub bucket: String,
    /// If the archive begins anew: what a restore point must hold for it to be of use.
    pub base: Option<VersionVector>,
    /// What is archived.
    pub through: VersionVector,
}

impl ControlState {
    pub(super) fn archive(&mut self, claim: ArchiveClaim) -> Result<Effect, Rejection> {
        if claim.by != self.open_epoch() {
            return Err(self.stale(claim.by));
        }
        let elsewhere = Rejection::ArchivedElsewhere {
            bucket: claim.bucket.clone(),
        };
        if self.settings.backup.bucket.as_ref() != Some(&claim.bucket) {
            return Err(elsewhere);
        }
        // One that comes late, or twice, takes nothing back.
        let is_known = |base: &VersionVector| {
            let archived = self.archived.as_ref();
            archived.is_some_and(|archived| archived.base.covers(base))
        };
        if let Some(base) = claim.base.filter(|base| !is_known(base)) {
            let through = base.clone();
            self.archived = Some(Archived { base, through });
        }
        let archived = self.archived.as_mut().ok_or(elsewhere)?;
        archived.through.join(&claim.through);
        self.forget_folded_logs();
        Ok(Effect::Done)
    }

    /// Is this record still to be archived?
    #[must_use]
    pub fn is_to_be_archived(&self, log: LogId, seq: Seq) -> bool {
        let archived = self.archived.as_ref();
        archived.is_some_and(|archived| !archived.through.contains(log, seq))
    }

    /// What of these records is known to be [spread](Self::is_spread).
    #[must_use]
    pub fn spread(&self, held: &VersionVector) -> VersionVector {
        let mut spread = VersionVector::new();
        for (region, epoch) in held.bases() {
            spread.fold(region, epoch);
        }
        for (log, last) in held.logs() {
            spread.advance(log, last.min(self.spread_through(log)));
        }
        spread
    }

    /// What of the set's own logs is durable here and not in `archived`, the earliest log first.
    #[must_use]
    pub fn unarchived(&self, archived: &VersionVector, durable: &VersionVector) -> Vec<Missing> {
        let lacks = |(epoch, state): (&Epoch, &LogState)| {
            let log = self.log(*epoch);
            let after = archived.last(log)?;
            let end = match state {
                LogState::Closed { last, .. } => *last,
                LogState::Active => Seq(u64::MAX),
            };
            let through = end.min(durable.last(log).unwrap_or(end));
            (after < through).then_some(Missing {
                log,
                after,
                through,
            })
        };
        self.logs.iter().filter_map(lacks).collect()
    }

    /// What of that may be archived: it is on enough members, so that no later epoch opens without it.
    #[must_use]
    pub fn to_be_archived(
        &self,
        archived: &VersionVector,
        durable: &VersionVector,
    ) -> Vec<Missing> {
        let spread = |missing: Missing| Missing {
            through: missing.through.min(self.spread_through(missing.log)),
            ..missing
        };
        let unarchived = self.unarchived(archived, durable).into_iter();
        let spread = unarchived.map(spread);
        spread
            .filter(|missing| missing.after < missing.through)
            .collect()
    }
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
