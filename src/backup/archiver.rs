//! Pure: archiving a set's logs: what a primary does next, from the beginning of its reign on.
//!
//! ```text
//!   Begin ─► Put, log by log ─► End, of logs that are whole ─► Tell ─► Put …
//!     ▲            │
//!     └─── Tell ◄──┘ the WAL no longer reaches back: what lies between is in no bucket
//! ```
//! **Invariants** (I25). Only what is on enough members is put, so whatever becomes of this primary, every later one holds it too
//! and goes on behind it. A stretch is begun before anything is put that is in it. That something will never be archived is agreed
//! on before the bucket says so: one who is primary no more leaves no gaps.

use std::collections::BTreeSet;

use super::layout::{Chain, End, Segment};
use super::stretch::Stretch;
use crate::base::{Epoch, Hlc, LogId, Missing, VersionVector};
use crate::control::{ArchiveClaim, ControlState, LogState};

/// After so many objects the set is told, though there is more to put: until then all members keep what is archived.
const TELL_EVERY: u32 = 16;

/// An archiver in one reign.
#[derive(Debug, Clone)]
pub struct Archiver {
    bucket: String,
    epoch: Epoch,
    /// All stamps of its log lie above it.
    floor: Hlc,
    /// What is archived, or not to be.
    position: VersionVector,
    /// To be begun.
    begin: Option<Stretch>,
    /// To be told with the next claim: a restore point must hold it.
    base: Option<VersionVector>,
    /// Logs of which the bucket knows that they end.
    ended: BTreeSet<Epoch>,
    told: VersionVector,
    /// Objects put since.
    untold: u32,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin a stretch.
    Begin(Stretch),
    /// Put records of one log.
    Put(Missing),
    /// Mark that a log ends.
    End(End),
    /// Tell the set what is archived.
    Tell(ArchiveClaim),
}

impl Archiver {
    /// The archiver of the open epoch's primary, where `durable` is durable, into the bucket of this URL. `None` if another epoch
    /// is being begun.
    #[must_use]
    pub fn new(
        control: &ControlState,
        durable: &VersionVector,
        bucket: String,
    ) -> Option<Archiver> {
        let epoch = control.open_epoch();
        let attempt = control.attempt.as_ref();
        let floor = attempt.filter(|attempt| attempt.epoch == epoch)?.floor;
        let mut archiver = Archiver {
            bucket,
            epoch,
            floor,
            position: VersionVector::new(),
            begin: None,
            base: None,
            ended: BTreeSet::new(),
            told: VersionVector::new(),
            untold: 0,
        };
        match &control.archived {
            None => archiver.begin_anew(control, durable),
            Some(archived) => {
                archiver.position = archived.through.clone();
                archiver.told = archived.through.clone();
                archiver.begin = Some(Stretch {
                    since: floor,
                    epoch,
                    base: archived.base.clone(),
                    unfinished: unfinished(control, &archived.through),
                });
            }
        }
        Some(archiver)
    }

    /// The epoch whose primary archives.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The URL of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Gives up what lies between what is archived and what is on enough members: it is in no WAL any more.
    pub fn begin_anew(&mut self, control: &ControlState, durable: &VersionVector) {
        let base = control.spread(durable);
        self.begin = Some(Stretch {
            since: self.floor,
            epoch: self.epoch,
            base: base.clone(),
            unfinished: unfinished(control, &base),
        });
        self.base = Some(base.clone());
        self.position = base;
    }

    /// What is to be done next, by what is agreed and what is durable here; `None` if nothing is, for now. A step that is not
    /// said to be done comes again.
    pub fn next(&mut self, control: &ControlState, durable: &VersionVector) -> Option<Step> {
        if self.base.is_some() || self.untold >= TELL_EVERY {
            return Some(self.tell());
        }
        if let Some(stretch) = &self.begin {
            return Some(Step::Begin(stretch.clone()));
        }
        let mut missing = control.to_be_archived(&self.position, durable).into_iter();
        if let Some(missing) = missing.next() {
            return Some(Step::Put(missing));
        }
        if let Some(end) = self.end(control) {
            return Some(Step::End(end));
        }
        self.position
            .fold(control.region, control.foldable(&self.position));
        (self.told != self.position).then(|| self.tell())
    }

    /// The stretch is begun.
    pub fn begun(&mut self) {
        self.begin = None;
    }

    /// These records are in the bucket.
    pub fn put(&mut self, segment: &Segment) {
        self.position.advance(segment.log, segment.to);
        self.untold = self.untold.saturating_add(1);
    }

    /// The bucket knows that the log ends.
    pub fn ended(&mut self, end: &End) {
        self.ended.insert(end.log.epoch);
    }

    /// The set knows what was told.
    pub fn told(&mut self, claim: &ArchiveClaim) {
        self.told = claim.through.clone();
        self.untold = 0;
        self.base = None;
    }

    fn tell(&self) -> Step {
        Step::Tell(ArchiveClaim {
            by: self.epoch,
            bucket: self.bucket.clone(),
            base: self.base.clone(),
            through: self.position.clone(),
        })
    }

    /// A log that is archived to its end, which the bucket is not known to know.
    fn end(&self, control: &ControlState) -> Option<End> {
        let mut logs = control.logs.iter();
        logs.find_map(|(epoch, state)| {
            let log = control.log(*epoch);
            let LogState::Closed { last, digest } = *state else {
                return None;
            };
            let archived = self.position.last(log)?;
            // That an empty one ends is told, too: a restore point may know it as one that may grow.
            (archived == last && !self.ended.contains(epoch)).then_some(End {
                log,
                last,
                chain: Chain(digest),
            })
        })
    }
}

/// The logs of which there may be more than is in `archived`.
fn unfinished(control: &ControlState, archived: &VersionVector) -> BTreeSet<LogId> {
    let logs = control.logs.iter();
    let unfinished = logs.filter(|(epoch, state)| match state {
        LogState::Active => true,
        LogState::Closed { last, .. } => !archived.contains(control.log(**epoch), *last),
    });
    unfinished.map(|(epoch, _)| control.log(*epoch)).collect()
}

#[cfg(test)]
#[path = "archiver_test.rs"]
mod tests;
