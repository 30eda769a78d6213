//! Pure: do the records of a WAL follow one another, and the state of the store?

use std::collections::BTreeMap;

use crate::base::{LogId, Lsn, Seq};
use crate::model::{Digest, Record};
use crate::storage::State;

/// The ends of all logs so far.
pub struct Chains<'a> {
    state: &'a State,
    ends: BTreeMap<LogId, (Seq, Digest)>,
    /// Records may be missing before the next one of a log, as at the front of a WAL whose oldest segments have gone.
    gap: bool,
}

impl<'a> Chains<'a> {
    /// Before the first record of a WAL that begins at `first`.
    pub fn new(state: &'a State, first: Lsn) -> Chains<'a> {
        Chains {
            state,
            ends: BTreeMap::new(),
            gap: first > Lsn::ZERO,
        }
    }

    /// Passes over records that are lost, which is told elsewhere.
    pub fn skip(&mut self) {
        self.ends.clear();
        self.gap = true;
    }

    /// Takes the next record, which stands at `begin` and after which its log has the chain digest `after`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn take(&mut self, begin: Lsn, record: &Record, after: Digest) -> Result<(), String> {
        let (log, seq) = (record.stamp.log(), record.stamp.seq);
        let before = self.ends.insert(log, (seq, after));
        self.check_place(begin, log, seq)?;
        let before = match before {
            Some(before) => before,
            None if seq == Seq::NONE.next() => (Seq::NONE, Digest::EMPTY),
            None if self.gap => return self.check_end(log, seq, after),
            None => {
                return Err(format!(
                    "log {log} begins with record {seq}, expected record 1"
                ));
            }
        };
        let (last, chain) = before;
        if last.next() != seq {
            return Err(format!("record {seq} of log {log} follows record {last}"));
        }
        if chain != record.chain_before {
            let found = record.chain_before;
            return Err(format!(
                "record {seq} of log {log} follows chain digest {found}, expected {chain}"
            ));
        }
        self.check_end(log, seq, after)
    }

    /// The store has applied exactly what stands below its place.
    fn check_place(&self, begin: Lsn, log: LogId, seq: Seq) -> Result<(), String> {
        let is_applied = self.state.applied.0.contains(log, seq);
        let lsn = self.state.lsn;
        match (begin < lsn, is_applied) {
            (true, false) => Err(format!(
                "record {seq} of log {log} stands below position {lsn} of the store, which has not applied it"
            )),
            (false, true) => Err(format!(
                "record {seq} of log {log} stands behind position {lsn} of the store, which has applied it"
            )),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Logs that are closed and held whole have no chain digest in the state any more.
    fn check_end(&self, log: LogId, seq: Seq, after: Digest) -> Result<(), String> {
        let Some(expected) = self.state.chains.get(&log) else {
            return Ok(());
        };
        if self.state.applied.0.last(log) == Some(seq) && *expected != after {
            return Err(format!(
                "log {log} has chain digest {after} after record {seq}, the store expects {expected}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, Hlc, RegionId, Stamp};
    use crate::model::Body;
    use crate::model::record::Rows;

    const LOG: LogId = LogId {
        region: RegionId(1),
        epoch: Epoch(2),
    };

    /// The first records of a log with the chain digest after each; `salt` tells one log from another.
    fn log(salt: u32, count: u64) -> Vec<(Record, Digest)> {
        let mut chain = Digest::EMPTY;
        let next = |seq| {
            let record = Record {
                stamp: Stamp {
                    hlc: Hlc(seq),
                    region: LOG.region,
                    epoch: LOG.epoch,
                    seq: Seq(seq),
                },
                chain_before: chain,
                request: None,
                body: Body::Rows(Rows {
                    older: salt,
                    ..Rows::default()
                }),
            };
            chain = Record::chain_after(&record.encode());
            (record, chain)
        };
        (1..=count).map(next).collect()
    }

    /// The state of a store at a place, with so many records applied.
    fn applied(place: u64, records: &[(Record, Digest)]) -> State {
        let mut state = State {
            lsn: Lsn(place),
            ..State::default()
        };
        for (record, chain) in records {
            state.applied.0.advance(LOG, record.stamp.seq);
            state.chains.insert(LOG, *chain);
        }
        state
    }

    /// Takes records that stand one after another at ten bytes each; returns what does not fit, by place.
    fn take<'a>(
        chains: &mut Chains<'_>,
        first: u64,
        records: impl IntoIterator<Item = &'a (Record, Digest)>,
    ) -> Vec<(u64, String)> {
        let places = (first..).step_by(10);
        let taken = places.zip(records).map(|(place, (record, after))| {
            let taken = chains.take(Lsn(place), record, *after);
            taken.err().map(|problem| (place, problem))
        });
        taken.flatten().collect()
    }

    fn assert_one(found: &[(u64, String)], place: u64, problem: &str) {
        let [(at, text)] = found else {
            panic!("one finding: {found:?}")
        };
        assert!(*at == place && text.contains(problem), "{at}: {text}");
    }

    #[test]
    fn records_that_follow_one_another_have_no_findings_wherever_the_wal_begins_and_the_store_is() {
        let all = log(7, 9);
        for first in 0..9u64 {
            for held in first..=9 {
                let at = usize::try_from(held).unwrap();
                let state = applied(held * 10, &all[..at]);
                let mut chains = Chains::new(&state, Lsn(first * 10));
                let from = usize::try_from(first).unwrap();
                let found = take(&mut chains, first * 10, &all[from..]);
                assert_eq!(found, [], "from {first}, {held} applied");
            }
        }
    }

    #[test]
    fn a_missing_record_is_a_gap_where_the_next_one_stands() {
        let all = log(7, 5);
        let state = State::default();
        let mut gap = all.clone();
        gap.remove(2);
        let found = take(&mut Chains::new(&state, Lsn::ZERO), 0, &gap);
        assert_one(&found, 20, "record 4 of log");
        assert!(found[0].1.contains("follows record 2"), "{found:?}");
        let found = take(&mut Chains::new(&state, Lsn::ZERO), 0, &all[1..]);
        assert_one(&found, 0, "begins with record 2, expected record 1");
        let twice = [&all[0], &all[0], &all[1]];
        let found = take(&mut Chains::new(&state, Lsn::ZERO), 0, twice);
        assert_one(&found, 10, "record 1 of log");
    }

    #[test]
    fn a_record_of_another_history_is_a_fork() {
        let (one, other) = (log(7, 5), log(8, 5));
        let state = State::default();
        let forked = one[..2].iter().chain(&other[2..]);
        let found = take(&mut Chains::new(&state, Lsn::ZERO), 0, forked);
        assert_one(&found, 20, "record 3 of log");
        let (found_chain, expected) = (other[1].1.to_string(), one[1].1.to_string());
        let text = format!("follows chain digest {found_chain}, expected {expected}");
        assert_one(&found, 20, &text);
    }

    #[test]
    fn a_log_that_forked_before_the_wal_begins_is_found_at_the_end_the_store_knows() {
        let (one, other) = (log(7, 5), log(8, 5));
        let state = applied(40, &one[..4]);
        let found = take(&mut Chains::new(&state, Lsn(20)), 20, &other[2..]);
        let expected = one[3].1;
        assert_one(&found, 30, &format!("the store expects {expected}"));
        assert!(found[0].1.contains("after record 4"), "{found:?}");
    }

    #[test]
    fn the_store_has_applied_what_stands_below_its_place_and_nothing_else() {
        let all = log(7, 5);
        let found = take(
            &mut Chains::new(&applied(40, &all[..3]), Lsn::ZERO),
            0,
            &all,
        );
        assert_one(&found, 30, "which has not applied it");
        let found = take(
            &mut Chains::new(&applied(20, &all[..3]), Lsn::ZERO),
            0,
            &all,
        );
        assert_one(&found, 20, "which has applied it");
    }

    #[test]
    fn what_is_lost_to_damage_is_no_gap_of_its_own() {
        let all = log(7, 5);
        let state = State::default();
        let mut chains = Chains::new(&state, Lsn::ZERO);
        assert_eq!(take(&mut chains, 0, &all[..2]), []);
        chains.skip();
        assert_eq!(take(&mut chains, 30, &all[3..]), []);
    }
}
