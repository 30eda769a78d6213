//! Pure: the stretches of an archive: from where on it holds every record, and of which logs more may follow.
//!
//! Whoever begins to archive writes one before anything else: a new primary, which goes on where the last one was, or a primary
//! whose log no longer reached back to there. Some records are in no stretch then, and the base of this one, and of those that
//! go on from it, says which.

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
    /// All stamps of its epoch's log lie above it.
    pub since: Hlc,
    /// The epoch whose primary began it.
    pub epoch: Epoch,
    /// What a restore point must hold for all of the archive from here on to follow it: something before that was never archived.
    pub base: VersionVector,
    /// The logs of which there may be more than was archived before.
    pub unfinished: BTreeSet<LogId>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    since: Hlc,
    epoch: Epoch,
    base: VersionVector,
    unfinished: Vec<(RegionId, Epoch)>,
}

impl Stretch {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> StretchId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.body().as_bytes());
        let mut content = [0; 8];
        hasher.finalize_xof().fill(&mut content);
        StretchId {
            since: self.since,
            epoch: self.epoch,
            content: u64::from_be_bytes(content),
        }
    }

    /// Its name in the bucket.
    #[must_use]
    pub fn name(&self, lineage: LineageId) -> String {
        Named::Stretch(self.id()).in_lineage(lineage)
    }

    /// Its text.
    #[must_use]
    pub fn seal(&self) -> String {
        KIND.seal(&self.body())
    }

    fn body(&self) -> String {
        let unfinished = self.unfinished.iter().map(|log| (log.region, log.epoch));
        let text = Text {
            since: self.since,
            epoch: self.epoch,
            base: self.base.clone(),
            unfinished: unfinished.collect(),
        };
        let body = serde_json::to_string(&text);
        body.expect("every part of a stretch is plain JSON")
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
        let unfinished = text.unfinished.into_iter();
        let stretch = Stretch {
            since: text.since,
            epoch: text.epoch,
            base: text.base,
            unfinished: unfinished
                .map(|(region, epoch)| LogId { region, epoch })
                .collect(),
        };
        if stretch.id() != id {
            return Err(damaged("it is another stretch's".to_owned()));
        }
        Ok(stretch)
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
            logs: Vec<(u64, u64, u64)>,
            at: prop::sample::Index,
        ) {
            let logs: Vec<_> = logs.into_iter().map(|(region, epoch, seq)| {
                (LogId { region: RegionId(region), epoch: Epoch(epoch) }, Seq(seq))
            }).collect();
            let mut base = VersionVector::new();
            logs.iter().for_each(|(log, seq)| base.advance(*log, *seq));
            let unfinished = logs.into_iter().map(|(log, _)| log).collect();
            let stretch = Stretch { since: Hlc(since), epoch: Epoch(epoch), base, unfinished };
            let (id, text) = (stretch.id(), stretch.seal());
            let read = |id, bytes: &[u8]| Stretch::open(LineageId(1), id, bytes).ok();
            prop_assert_eq!(read(id, text.as_bytes()), Some(stretch));
            for other in [
                StretchId { epoch: Epoch(epoch.wrapping_add(1)), ..id },
                StretchId { content: id.content.wrapping_add(1), ..id },
            ] {
                prop_assert_eq!(read(other, text.as_bytes()), None);
            }
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            // An older version, or another form of a digit, is still read.
            prop_assert!(read(id, &changed).is_none_or(|read| read.seal() == text));
        }
    }
}
