//! Pure: records that come faster than they are applied wait here, in front of the core; what is said besides is heard at
//! once.
//!
//! ```text
//!   Append ──┬── room for its records ─────────────────────────────► heard
//!            └── none ──► waits, until the applier has room for it ─► heard
//!                 └────── the ping in it ───────────────────────────► heard, under the number before
//! ```
//! **Invariants.** Records are heard in the order in which they came. While some wait, no number is heard that is not below
//! theirs: to their sender that would mean that they were lost. So what it has on its way bounds what waits here; whoever
//! sends more than that loses it, as on any wire.

use std::collections::VecDeque;

use crate::base::IncarnationId;
use crate::replication::Append;

/// Bytes of records that may wait: twice what a sender has on its way.
const MOST_BYTES: usize = 16 << 20;
/// Fewer records than that are not taken from a larger message: room for more comes soon.
const FEW: usize = 64;

/// What waits, from whom.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<(IncarnationId, Append)>,
    bytes: usize,
}

fn bytes(append: &Append) -> usize {
    append.records.iter().map(|record| record.bytes.len()).sum()
}

impl Backlog {
    /// Takes what a member says, with room for so many records. Returns what of it is heard at once: all, or its ping.
    pub fn push(&mut self, from: IncarnationId, mut append: Append, room: usize) -> Append {
        let is_whole = self.waiting.is_empty() && append.records.len() <= room;
        if is_whole || append.records.is_empty() {
            append.number = self.below_waiting(from, &append);
            return append;
        }
        let records = std::mem::take(&mut append.records);
        let mut ping = append.clone();
        append.records = records;
        let added = bytes(&append);
        if self.bytes + added <= MOST_BYTES {
            self.bytes += added;
            self.waiting.push_back((from, append));
        }
        ping.number = self.below_waiting(from, &ping);
        ping
    }

    fn below_waiting(&self, from: IncarnationId, append: &Append) -> u64 {
        let is_same =
            |(sender, first): &&(_, Append)| *sender == from && first.epoch == append.epoch;
        let first = self.waiting.iter().find(is_same);
        first.map_or(append.number, |(_, first)| {
            append.number.min(first.number.saturating_sub(1))
        })
    }

    /// The next that is heard, if there is room for so many records.
    pub fn next(&mut self, room: usize) -> Option<(IncarnationId, Append)> {
        let (from, first) = self.waiting.front_mut()?;
        let from = *from;
        if first.records.len() <= room {
            let (_, whole) = self.waiting.pop_front()?;
            self.bytes -= bytes(&whole);
            return Some((from, whole));
        }
        if room < FEW {
            return None;
        }
        let rest = first.records.split_off(room);
        let part = Append {
            records: std::mem::replace(&mut first.records, rest),
            number: first.number.saturating_sub(1),
            vector: first.vector.clone(),
            epoch: first.epoch,
            round: first.round,
        };
        self.bytes -= bytes(&part);
        Some((from, part))
    }
}

#[cfg(test)]
#[path = "backlog_test.rs"]
mod tests;
