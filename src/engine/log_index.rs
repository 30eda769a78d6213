//! Pure: where in the WAL the records of each log stand, so that they are found without reading all of it.
//!
//! ```text
//! WAL     |a1 a2 b1 a3 a4 │ b2 a5 a6 a7 b3|      │ a segment ends
//! index    a1    b1         b2 a5               a record at the front of each segment, and one every few KiB
//! ```
//! **Invariants.** The records of one log stand in the WAL in their order and without gaps (I3). So the first place noted
//! of a log is that of its first record there, and a record that is not noted stands behind the last noted before it.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{LogId, Lsn, Missing, Seq};

/// How far apart noted records of one log stand at the least: what is read in vain to find a record. One GiB of WAL is
/// then some MiB of index at the most.
const STRIDE_BYTES: u64 = 16 << 10;

/// Which records the WAL holds, and where.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    logs: BTreeMap<LogId, Noted>,
}

/// What is noted of a log that has records in the WAL.
#[derive(Debug)]
struct Noted {
    places: VecDeque<(Seq, Lsn)>,
    last: Seq,
}

impl LogIndex {
    /// Takes note of the next record of a log, which stands at `place` in the segment that begins at `segment`.
    pub fn note(&mut self, log: LogId, seq: Seq, place: Lsn, segment: Lsn) {
        let noted = self.logs.entry(log).or_insert_with(|| Noted {
            places: VecDeque::new(),
            last: seq,
        });
        noted.last = seq;
        let is_near = |(_, before): &(Seq, Lsn)| {
            *before >= segment && place.bytes_since(*before) < STRIDE_BYTES
        };
        if !noted.places.back().is_some_and(is_near) {
            noted.places.push_back((seq, place));
        }
    }

    /// Where to begin to read for the first record of each that is missing: the least of their places. `None` if the WAL
    /// no longer reaches back to one of them.
    pub fn place_of(&self, missing: &[Missing]) -> Option<Lsn> {
        let places = missing.iter().map(|missing| {
            let places = &self.logs.get(&missing.log)?.places;
            let behind = places.partition_point(|(seq, _)| *seq <= missing.after.next());
            let (_, place) = places.get(behind.checked_sub(1)?)?;
            Some(*place)
        });
        places.collect::<Option<Vec<Lsn>>>()?.into_iter().min()
    }

    /// The last record below `place` of each log that has one there; `place` is where a segment begins.
    pub fn ends_below(&self, place: Lsn) -> impl Iterator<Item = (LogId, Seq)> {
        self.logs.iter().filter_map(move |(log, noted)| {
            let behind = noted.places.partition_point(|(_, at)| *at < place);
            let next = noted.places.get(behind).map(|(seq, _)| *seq);
            let last = next.map_or(noted.last, |Seq(next)| Seq(next - 1));
            (behind > 0).then_some((*log, last))
        })
    }

    /// The segments below `place` are gone.
    pub fn release_below(&mut self, place: Lsn) {
        for noted in self.logs.values_mut() {
            let behind = noted.places.partition_point(|(_, at)| *at < place);
            noted.places.drain(..behind);
        }
        self.logs.retain(|_, noted| !noted.places.is_empty());
    }
}
