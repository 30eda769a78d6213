//! Pure: how old this node's rows can be.
//!
//! ```text
//!  this node     probe n sent at t ─────────────────────────────► answer: position p ──► p applied: nothing acknowledged
//!  primary             └──► p := all appended ── ping round confirmed by W ──┘           before t is missing here
//! ```
//! The staleness is the time since t, of the newest probe whose position is applied. Whatever was acknowledged at `quorum`
//! by the primary's epoch or an earlier one before t is within p, and a later epoch had acknowledged nothing before t, or
//! the round begun after t would not have found W members. So evidence, once true, stays true, whatever becomes of the
//! primary and its epoch; only its age grows. Without answers the claim grows with the clock. The primary probes itself.
//!
//! **Invariant.** What is claimed is at least the true staleness, whichever answers are lost, late or repeated.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::VersionVector;
use crate::control::ControlState;

/// Which probe an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeNumber(pub u64);

/// The evidence of one node. Times are monotonic, since any fixed moment.
#[derive(Debug)]
pub struct Staleness {
    next: u64,
    /// In the order sent; all of them after `fresh_at`.
    probes: VecDeque<Probe>,
    /// All that was acknowledged before this moment is applied.
    fresh_at: Option<Duration>,
}

#[derive(Debug)]
struct Probe {
    number: ProbeNumber,
    sent: Duration,
    /// What must be applied, once it is answered.
    position: Option<VersionVector>,
}

/// So many probes are remembered.
const REMEMBERED: usize = 32;

impl Staleness {
    /// No evidence yet. `first` numbers the first probe and is random, so that no answer to the process before is taken
    /// for one to this.
    #[must_use]
    pub fn new(first: ProbeNumber) -> Staleness {
        Staleness {
            next: first.0,
            probes: VecDeque::new(),
            fresh_at: None,
        }
    }

    /// Begins a probe, to be sent to the primary now or later, not earlier.
    pub fn probe(&mut self, now: Duration) -> ProbeNumber {
        if self.probes.len() >= REMEMBERED {
            self.thin_out();
        }
        let number = ProbeNumber(self.next);
        self.next = self.next.wrapping_add(1);
        self.probes.push_back(Probe {
            number,
            sent: now,
            position: None,
        });
        number
    }

    /// Forgets every second probe, but never the oldest: a node that lags for longer than it takes to fill the memory
    /// would otherwise never see the position of one that is still remembered.
    fn thin_out(&mut self) {
        let mut is_kept = false;
        self.probes.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
    }

    /// The primary's answer to a probe. One that is not remembered, or is answered already, changes nothing.
    pub fn on_answer(&mut self, number: ProbeNumber, position: VersionVector) {
        let mut probes = self.probes.iter_mut();
        if let Some(probe) = probes.find(|probe| probe.number == number) {
            probe.position.get_or_insert(position);
        }
    }

    /// This much is applied here. To be called when an answer came, and when more is applied.
    pub fn on_applied(&mut self, control: &ControlState, applied: &VersionVector) {
        let is_applied = |probe: &Probe| {
            let position = probe.position.as_ref();
            position.is_some_and(|position| control.covers(applied, position))
        };
        let Some(newest) = self.probes.iter().rposition(is_applied) else {
            return;
        };
        let mut passed = self.probes.drain(..=newest);
        self.fresh_at = passed.next_back().map(|probe| probe.sent);
    }

    /// All that was acknowledged before this moment is applied.
    #[must_use]
    pub fn fresh_at(&self) -> Option<Duration> {
        self.fresh_at
    }

    /// How old the rows can be that are read after this question; `None` if nothing is known.
    #[must_use]
    pub fn staleness(&self, now: Duration) -> Option<Duration> {
        self.fresh_at.map(|fresh_at| now.saturating_sub(fresh_at))
    }
}

#[cfg(test)]
#[path = "staleness_test.rs"]
mod tests;
