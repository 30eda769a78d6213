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
