//! Pure: what a writer was told, and whether a set that nodes left and came back to still has it.
//!
//! A writer numbers its writes from 1. Write `n` puts two rows at once: entry `n` with value `n`, and entry 0, the latest,
//! with value `n`, both as of `start + n` microseconds. A writer repeats each until it is acknowledged.
//!
//! **Invariant.** Nothing acknowledged may be missing or replaced by an older value; nothing else may be there.

use crate::base::Micros;
use crate::client::Cell;
use crate::model::Value;
use crate::model::resolve::Status;

/// Entry that holds the number of the writer's latest write.
pub const LATEST: i64 = 0;

/// What one writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Event time of the writes, less their number.
    pub start: Micros,
    /// Writes 1 to this were acknowledged.
    pub acknowledged: i64,
}

/// What is wrong with a writer's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The entry at fault.
    pub entry: i64,
    /// What is wrong.
    pub problem: &'static str,
}

impl Ledger {
    /// When write `number` became true.
    #[must_use]
    pub fn event_time(&self, number: i64) -> Micros {
        Micros(self.start.0.saturating_add(number))
    }

    /// The entries to look up: the latest, all acknowledged ones, and one after them.
    #[must_use]
    pub fn entries(&self) -> std::ops::RangeInclusive<i64> {
        LATEST..=self.acknowledged + 1
    }

    /// Judges what was found for [`entries`](Self::entries), in their order.
    #[must_use]
    pub fn judge(&self, found: &[Cell]) -> Vec<Fault> {
        let at = |entry: i64| usize::try_from(entry).ok().and_then(|at| found.get(at));
        let expected = |entry| match entry {
            LATEST => self.acknowledged,
            entry => entry,
        };
        let missing = |entry: &i64| {
            expected(*entry) > 0
                && !at(*entry).is_some_and(|cell| self.holds(cell, expected(*entry)))
        };
        let mut faults: Vec<Fault> = (LATEST..=self.acknowledged)
            .filter(missing)
            .map(|entry| Fault {
                entry,
                problem: "an acknowledged write is missing",
            })
            .collect();
        let after = at(self.acknowledged + 1).is_some_and(|cell| cell.status != Status::NotFound);
        if after {
            faults.push(Fault {
                entry: self.acknowledged + 1,
                problem: "there is a write that was never sent",
            });
        }
        faults
    }

    fn holds(&self, cell: &Cell, number: i64) -> bool {
        cell.status == Status::Present
            && cell.value == Value::Int64(number)
            && cell.event_time == Some(self.event_time(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(acknowledged: i64) -> Ledger {
        Ledger {
            start: Micros(1_000),
            acknowledged,
        }
    }

    /// What is found if exactly the writes 1 to `written` were done, for a ledger of `acknowledged`.
    fn found(acknowledged: i64, written: i64) -> Vec<Cell> {
        let ledger = ledger(acknowledged);
        let present = |number| Cell {
            value: Value::Int64(number),
            status: Status::Present,
            is_default: false,
            event_time: Some(ledger.event_time(number)),
        };
        let missing = || Cell {
            value: Value::Null,
            status: Status::NotFound,
            is_default: false,
            event_time: None,
        };
        let cell = |entry| match entry {
            LATEST if written > 0 => present(written),
            entry if entry > 0 && entry <= written => present(entry),
            _ => missing(),
        };
        ledger.entries().map(cell).collect()
    }

    #[test]
    fn what_was_acknowledged_and_nothing_else_is_without_fault() {
        for acknowledged in 0..4 {
            let found = found(acknowledged, acknowledged);
            assert_eq!(ledger(acknowledged).judge(&found), []);
        }
    }

    #[test]
    fn an_acknowledged_write_that_is_missing_is_found() {
        let faults: Vec<_> = ledger(3)
            .judge(&found(3, 2))
            .into_iter()
            .map(|fault| fault.entry)
            .collect();
        assert_eq!(faults, [LATEST, 3]);
        let mut other_value = found(3, 3);
        other_value[2].value = Value::Int64(7);
        assert_eq!(ledger(3).judge(&other_value).len(), 1);
        let mut older = found(3, 3);
        older[2].event_time = Some(Micros(5));
        assert_eq!(ledger(3).judge(&older).len(), 1);
    }

    #[test]
    fn a_write_never_sent_is_found() {
        let problems = ledger(3).judge(&found(3, 4));
        assert_eq!(problems[1].problem, "there is a write that was never sent");
    }
}
