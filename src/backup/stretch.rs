//! Pure: the stretches of an archive: from where on it holds every record, and which logs may still grow.
//!
//! Whoever begins to archive writes one before anything else: a new primary, which goes on where the last one was, or a primary
//! whose log no longer reached back to there, so that some records are in no stretch.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::{Named, StretchId};
use crate::base::sealed::{self, Kind};
use crate::base::{Epoch, Hlc, LineageId, LogId, RegionId, VersionVector};

const KIND: Kind = Kind {
    name: "stretch",
    version: 1,
};

/// A stretch's text is no longer than this.
pub const MAX_STRETCH_BYTES: u64 = 1 << 20;

/// The beginning of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Its name: when it began, and under whom.
    pub id: StretchId,
    /// What is archived already, or never will be: records behind it follow.
    pub from: VersionVector,
    /// Is all of that in earlier stretches? If not, a restore point must hold it before this stretch is of use to it.
    pub continues: bool,
    /// The logs that were not closed.
    pub active: BTreeSet<LogId>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    since: Hlc,
    epoch: Epoch,
    from: VersionVector,
    continues: bool,
    active: Vec<(RegionId, Epoch)>,
}

impl Stretch {
    /// Its name in the bucket.
    #[must_use]
    pub fn name(&self, lineage: LineageId) -> String {
        Named::Stretch(self.id).in_lineage(lineage)
    }

    /// Its text.
    #[must_use]
    pub fn seal(&self) -> String {
        let active = self.active.iter().map(|log| (log.region, log.epoch));
        let text = Text {
            since: self.id.since,
            epoch: self.id.epoch,
            from: self.from.clone(),
            continues: self.continues,
            active: active.collect(),
        };
        let body = serde_json::to_string(&text);
        KIND.seal(&body.expect("every part of a stretch is plain JSON"))
    }

    /// Reads the object of this name.
    ///
    /// # Errors
    /// If it is not what was written under this name.
    pub fn open(lineage: LineageId, id: StretchId, bytes: &[u8]) -> Result<Stretch, sealed::Error> {
        let name = Named::Stretch(id).in_lineage(lineage);
        let path = Path::new(&name);
        let body = KIND.open(path, bytes)?;
        let damaged = |problem: String| sealed::Error::Damaged {
            path: path.to_owned(),
            problem,
        };
        let text: Text = serde_json::from_str(&body).map_err(|cause| damaged(cause.to_string()))?;
        let (since, epoch) = (text.since, text.epoch);
        if (StretchId { since, epoch }) != id {
            return Err(damaged("it is another stretch's".to_owned()));
        }
        let active = text.active.into_iter();
        Ok(Stretch {
            id,
            from: text.from,
            continues: text.continues,
            active: active
                .map(|(region, epoch)| LogId { region, epoch })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seq;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stretch_reads_back_under_its_own_name_only(
            since: u64,
            epoch: u64,
            continues: bool,
            logs: Vec<(u64, u64, u64)>,
            at: prop::sample::Index,
        ) {
            let logs: Vec<_> = logs.into_iter().map(|(region, epoch, seq)| {
                (LogId { region: RegionId(region), epoch: Epoch(epoch) }, Seq(seq))
            }).collect();
            let mut from = VersionVector::new();
            logs.iter().for_each(|(log, seq)| from.advance(*log, *seq));
            let id = StretchId { since: Hlc(since), epoch: Epoch(epoch) };
            let active = logs.into_iter().map(|(log, _)| log).collect();
            let stretch = Stretch { id, from, continues, active };
            let text = stretch.seal();
            let read = |id, bytes: &[u8]| Stretch::open(LineageId(1), id, bytes).ok();
            prop_assert_eq!(read(id, text.as_bytes()), Some(stretch));
            let other = StretchId { epoch: Epoch(epoch.wrapping_add(1)), ..id };
            prop_assert_eq!(read(other, text.as_bytes()), None);
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            // An older version, or another form of a digit, is still read.
            prop_assert!(read(id, &changed).is_none_or(|read| read.seal() == text));
        }
    }
}
