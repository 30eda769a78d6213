//! Pure: what is remembered of the latest epochs, for people. Nothing is decided by it.
//!
//! **Invariants.** An epoch is noted when it opens, and what is noted of it changes only from not known to known. No more
//! than [`KEPT`] epochs are remembered, the latest ones.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::command::Effect;
use super::rejection::Rejection;
use super::state::{Attempt, ControlState};
use crate::base::{Epoch, IncarnationId, NodeNumber, Seq};

/// The state is kept as a whole, so it has to stay small.
const KEPT: usize = 100;

/// Why an epoch was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was begun before causes were noted.
    #[default]
    Unrecorded,
    /// No epoch was open.
    First,
    /// The primary's process has started again.
    Restart,
    /// The primary was silent for L.
    Silence,
    /// The primary's process was seen to be gone.
    Gone,
    /// An attempt stayed unopened for L, or the primary found a later promise.
    Unopened,
    /// An operator had the primary replaced, however it was.
    Forced,
    /// The primary asked for it: it hands over, or changes the members.
    Planned,
}

/// What is remembered of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochNote {
    /// Its primary.
    pub primary: NodeNumber,
    /// Its data members.
    pub members: BTreeSet<NodeNumber>,
    /// Why it was begun.
    pub cause: Cause,
    /// How it came to take writes; `None` if it never did.
    pub served: Option<Served>,
    /// Its last record, once its log is closed.
    pub last: Option<Seq>,
}

/// How an epoch came to take writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Served {
    /// Since when, in milliseconds of its primary's wall time.
    pub at: u64,
    /// For how many milliseconds no writes were taken before, if its primary knows.
    pub unavailable_ms: Option<u64>,
    /// The latest log before its own of which it recovered something, and up to which record.
    pub recovered: Option<(Epoch, Seq)>,
}

impl ControlState {
    /// Notes an attempt that opens.
    pub(super) fn note_opened(&mut self, attempt: &Attempt) {
        let number = |who: &IncarnationId| self.members.get(who).map(|member| member.number);
        let Some(primary) = number(&attempt.candidate) else {
            return;
        };
        let note = EpochNote {
            primary,
            members: attempt.members.iter().filter_map(number).collect(),
            cause: attempt.cause,
            served: None,
            last: None,
        };
        self.history.entry(attempt.epoch).or_insert(note);
        while self.history.len() > KEPT {
            self.history.pop_first();
        }
    }

    /// Notes how an epoch came to take writes. Of one that is forgotten nothing is noted.
    pub(super) fn note_served(
        &mut self,
        epoch: Epoch,
        served: Served,
    ) -> Result<Effect, Rejection> {
        if let Some(note) = self.history.get_mut(&epoch) {
            note.served.get_or_insert(served);
        }
        Ok(Effect::Done)
    }

    /// Notes where an epoch's log ends.
    pub(super) fn note_closed(&mut self, epoch: Epoch, last: Seq) {
        if let Some(note) = self.history.get_mut(&epoch) {
            note.last = Some(last);
        }
    }
}

#[cfg(test)]
#[path = "history_test.rs"]
mod tests;
