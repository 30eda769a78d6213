//! Pure: what may be read after a crash, given what was written before it.
//!
//! Rows are written in two ways. *Twin* rows are put into two views by one batch without event times, so the last write
//! wins and both views must agree. *Timed* rows have event times of their own, so the greatest of these wins.
//!
//! A write without an answer is a *maybe*: it may be in the log or not, and where it is, its stamp is not known. Reading
//! everything after a restart, before anything else is written, turns each maybe into a fact.

use std::collections::{BTreeMap, BTreeSet};

use steadfast::base::Stamp;
use steadfast::proto::v1::CommitLevel;

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Into both twin views at the time of the write.
    Twin,
    /// Into the view of explicit event times.
    Timed,
}

/// A row of either kind.
pub type RowId = (Kind, i64);

/// A batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Its name at the node.
    pub request_id: String,
    /// How its rows are written.
    pub kind: Kind,
    /// Whose rows.
    pub keys: Vec<i64>,
    /// What all of them hold then, never written before; `None` deletes them.
    pub value: Option<i64>,
    /// The event time of timed rows; 0 for twins.
    pub event_time: i64,
    /// The level it asks for.
    pub level: CommitLevel,
}

/// What was read of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Its value, if it has one.
    pub value: Option<i64>,
    /// The event time of a timed row; 0 for twins.
    pub event_time: i64,
}

/// What happened since everything was read last.
#[derive(Debug, Clone, Default)]
pub struct History {
    base: BTreeMap<RowId, Seen>,
    acknowledged: Vec<(Stamp, Write)>,
    maybe: Vec<Write>,
}

impl History {
    /// A write was acknowledged with this stamp.
    pub fn acknowledge(&mut self, stamp: Stamp, write: Write) {
        self.acknowledged.push((stamp, write));
    }

    /// A write has no answer.
    pub fn give_up(&mut self, write: Write) {
        self.maybe.push(write);
    }

    /// Compares all rows read after a restart with what may be there, and takes them for facts.
    ///
    /// Returns the writes without an answer and whether any row shows them.
    pub fn settle(&mut self, seen: BTreeMap<RowId, Seen>) -> Result<Vec<(Write, bool)>, String> {
        let rows: BTreeSet<RowId> = self
            .base
            .keys()
            .chain(seen.keys())
            .copied()
            .chain(self.written())
            .collect();
        for row in rows {
            let found = seen.get(&row).copied().unwrap_or_default();
            self.check(row, found)?;
        }
        let maybe = std::mem::take(&mut self.maybe);
        let shown = maybe
            .iter()
            .map(|write| shows(&seen, write))
            .collect::<Vec<_>>();
        for (write, _) in maybe.iter().zip(&shown).filter(|(_, shown)| **shown) {
            self.check_whole(write, &seen)?;
        }
        self.acknowledged.clear();
        self.base = seen;
        Ok(maybe.into_iter().zip(shown).collect())
    }

    fn written(&self) -> impl Iterator<Item = RowId> + '_ {
        let acknowledged = self.acknowledged.iter().map(|(_, write)| write);
        let writes = acknowledged.chain(&self.maybe);
        writes.flat_map(|write| write.keys.iter().map(|key| (write.kind, *key)))
    }

    /// The row as it is if no maybe was logged.
    fn least(&self, row: RowId) -> Seen {
        let base = self.base.get(&row).copied().unwrap_or_default();
        let writes = self
            .acknowledged
            .iter()
            .filter(|(_, write)| write.names(row));
        let newest = writes.max_by_key(|(stamp, write)| (write.event_time, *stamp));
        match newest {
            Some((_, write)) if write.event_time >= base.event_time => write.leaves(),
            _ => base,
        }
    }

    fn check(&self, row: RowId, found: Seen) -> Result<(), String> {
        let least = self.least(row);
        let mut newer = self
            .maybe
            .iter()
            .filter(|write| write.names(row) && write.event_time >= least.event_time);
        if found == least || newer.any(|write| write.leaves() == found) {
            return Ok(());
        }
        Err(format!(
            "{row:?} is {found:?} where the last acknowledged write left {least:?}"
        ))
    }

    /// A batch that shows anywhere shows everywhere, unless something newer took its place.
    fn check_whole(&self, write: &Write, seen: &BTreeMap<RowId, Seen>) -> Result<(), String> {
        for row in write.keys.iter().map(|key| (write.kind, *key)) {
            let base = self.base.get(&row).copied().unwrap_or_default();
            let found = seen.get(&row).copied().unwrap_or_default();
            if found == base && write.event_time >= base.event_time && found.value.is_some() {
                return Err(format!(
                    "{write:?} is there in part: {row:?} is still {found:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Write {
    fn names(&self, row: RowId) -> bool {
        self.kind == row.0 && self.keys.contains(&row.1)
    }

    fn leaves(&self) -> Seen {
        Seen {
            value: self.value,
            event_time: self.event_time,
        }
    }
}

fn shows(seen: &BTreeMap<RowId, Seen>, write: &Write) -> bool {
    let mut rows = write.keys.iter().map(|key| seen.get(&(write.kind, *key)));
    rows.any(|found| write.value.is_some() && found == Some(&write.leaves()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast::base::{Epoch, Hlc, RegionId, Seq};

    fn stamp(seq: u64) -> Stamp {
        Stamp {
            hlc: Hlc(seq),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        }
    }

    fn write(kind: Kind, keys: &[i64], value: i64, event_time: i64) -> Write {
        Write {
            request_id: value.to_string(),
            kind,
            keys: keys.into(),
            value: Some(value),
            event_time,
            level: CommitLevel::Async,
        }
    }

    fn twin(keys: &[i64], value: i64) -> Write {
        write(Kind::Twin, keys, value, 0)
    }

    fn seen(rows: &[(RowId, i64, i64)]) -> BTreeMap<RowId, Seen> {
        let seen = |(row, value, event_time): &(RowId, i64, i64)| {
            let value = Some(*value);
            let event_time = *event_time;
            (*row, Seen { value, event_time })
        };
        rows.iter().map(seen).collect()
    }

    const ONE: RowId = (Kind::Twin, 1);
    const TWO: RowId = (Kind::Twin, 2);
    const TIMED: RowId = (Kind::Timed, 1);

    #[test]
    fn a_lost_or_older_row_is_noticed() {
        for (rows, is_right) in [
            (&[][..], false),
            (&[(ONE, 10, 0)], false),
            (&[(ONE, 11, 0)], true),
            (&[(ONE, 12, 0)], false),
            (&[(ONE, 11, 0), (TWO, 11, 0)], false),
        ] {
            let mut history = History::default();
            history.acknowledge(stamp(1), twin(&[1], 10));
            history.acknowledge(stamp(2), twin(&[1], 11));
            assert_eq!(history.settle(seen(rows)).is_ok(), is_right, "{rows:?}");
        }
    }

    #[test]
    fn a_maybe_may_be_there_or_not_but_not_come_and_go() {
        let mut history = History::default();
        history.acknowledge(stamp(1), twin(&[1], 10));
        history.give_up(twin(&[1], 11));
        assert_eq!(
            history.settle(seen(&[(ONE, 10, 0)])),
            Ok(vec![(twin(&[1], 11), false)])
        );
        assert!(history.settle(seen(&[(ONE, 11, 0)])).is_err());

        history.give_up(twin(&[1], 12));
        assert_eq!(
            history.settle(seen(&[(ONE, 12, 0)])),
            Ok(vec![(twin(&[1], 12), true)])
        );
        assert!(history.settle(seen(&[(ONE, 10, 0)])).is_err());
    }

    #[test]
    fn a_batch_that_is_there_in_part_is_noticed() {
        let mut history = History::default();
        history.acknowledge(stamp(1), twin(&[1, 2], 10));
        history.settle(seen(&[(ONE, 10, 0), (TWO, 10, 0)])).unwrap();
        history.give_up(twin(&[1, 2], 11));
        assert!(history.settle(seen(&[(ONE, 11, 0), (TWO, 10, 0)])).is_err());
    }

    #[test]
    fn the_greater_event_time_wins_over_the_later_write() {
        let mut history = History::default();
        history.acknowledge(stamp(1), write(Kind::Timed, &[1], 10, 5));
        history.acknowledge(stamp(2), write(Kind::Timed, &[1], 11, 4));
        history.give_up(write(Kind::Timed, &[1], 12, 4));
        history.settle(seen(&[(TIMED, 10, 5)])).unwrap();
        history.acknowledge(stamp(3), write(Kind::Timed, &[1], 13, 4));
        assert!(history.settle(seen(&[(TIMED, 13, 4)])).is_err());
    }
}
