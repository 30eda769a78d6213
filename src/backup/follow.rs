//! Pure: which of a log's archived records are taken, one after the other.
//!
//! **Invariants** (I2, I25). A prefix of the log is taken, beginning behind what is held: each record follows the chain of the one
//! before it, and none is stamped later than the moment.

use crate::base::{Hlc, LogId, Seq};
use crate::model::{Digest, Logged};

/// How far a log is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    log: LogId,
    last: Seq,
    chain: Digest,
    until: Hlc,
    is_done: bool,
}

/// A record that does not follow: the log has two histories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {seq} of log {log} follows chain {names}, but the one before it ends chain {found}: the log has two histories"
)]
pub struct Fork {
    /// The log.
    pub log: LogId,
    /// The record.
    pub seq: Seq,
    /// What it says it follows.
    pub names: Digest,
    /// What comes before it.
    pub found: Digest,
}

impl Follow {
    /// Begins behind the record `last`, up to which the log has this chain digest.
    #[must_use]
    pub fn new(log: LogId, last: Seq, chain: Digest, until: Hlc) -> Follow {
        Follow {
            log,
            last,
            chain,
            until,
            is_done: false,
        }
    }

    /// The last record taken.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Does a record lie beyond the moment, so that none behind it is taken?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Those of some records, which follow each other, that are taken. The first of them is no later than what comes next.
    ///
    /// # Errors
    /// If they are of another history than those before.
    pub fn take(&mut self, records: Vec<Logged>) -> Result<Vec<Logged>, Fork> {
        let mut taken = Vec::new();
        for record in records {
            // Those that overlap are compared, too.
            if record.seq() == self.last && record.chain_after != self.chain {
                return Err(self.fork(record.seq().next(), record.chain_after));
            }
            if record.seq() <= self.last || self.is_done {
                continue;
            }
            if record.chain_before != self.chain {
                return Err(self.fork(record.seq(), record.chain_before));
            }
            if record.stamp.hlc > self.until {
                self.is_done = true;
                continue;
            }
            self.last = record.seq();
            self.chain = record.chain_after;
            taken.push(record);
        }
        Ok(taken)
    }

    fn fork(&self, seq: Seq, names: Digest) -> Fork {
        Fork {
            log: self.log,
            seq,
            names,
            found: self.chain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, RegionId, Stamp, VersionVector};
    use crate::model::record::Horizon;
    use crate::model::{Body, Record};
    use proptest::prelude::*;

    const LOG: LogId = LogId {
        region: RegionId(3),
        epoch: Epoch(4),
    };

    fn log(stamps: &[u64], salt: u64) -> Vec<Logged> {
        let mut chain = Digest::EMPTY;
        let logged = (1u64..).zip(stamps).map(|(seq, hlc)| {
            let record = Logged::new(Record {
                stamp: Stamp {
                    hlc: Hlc(*hlc),
                    region: LOG.region,
                    epoch: LOG.epoch,
                    seq: Seq(seq),
                },
                chain_before: chain,
                request: None,
                body: Body::Horizon(Horizon {
                    horizon: Hlc(salt),
                    covered: VersionVector::new(),
                }),
            });
            chain = record.chain_after;
            record
        });
        logged.collect()
    }

    prop_compose! {
        /// A log, how much of it is held, pieces that cover it from there on, and a moment.
        fn cases()(steps in proptest::collection::vec(1..9u64, 1..20))(
            held in 0..=steps.len(),
            cuts in proptest::collection::vec((1..6usize, 0..4usize), 20),
            until in 0..100u64,
            steps in Just(steps),
        ) -> (Vec<Logged>, usize, Vec<Vec<Logged>>, u64) {
            let stamps: Vec<u64> = steps.iter().scan(0, |now, step| { *now += step; Some(*now) }).collect();
            let log = log(&stamps, 0);
            let (mut pieces, mut next) = (Vec::new(), held);
            for (more, back) in cuts {
                let end = (next + more).min(log.len());
                pieces.push(log[next.saturating_sub(back)..end].to_vec());
                next = end;
            }
            (log, held, pieces, until)
        }
    }

    fn begin(log: &[Logged], held: usize, until: u64) -> Follow {
        let last = Seq(u64::try_from(held).unwrap());
        let chain = log[..held]
            .last()
            .map_or(Digest::EMPTY, |record| record.chain_after);
        Follow::new(LOG, last, chain, Hlc(until))
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_follows_up_to_the_moment((log, held, pieces, until) in cases()) {
            let mut follow = begin(&log, held, until);
            let mut taken = Vec::new();
            for piece in pieces {
                taken.extend(follow.take(piece).unwrap());
            }
            let follows = log[held..].iter().filter(|record| record.stamp.hlc <= Hlc(until));
            let wanted: Vec<Logged> = follows.cloned().collect();
            prop_assert_eq!(follow.is_done(), held + wanted.len() < log.len());
            prop_assert_eq!(taken, wanted);
        }

        #[test]
        fn another_history_is_never_followed(stamps in proptest::collection::btree_set(1..1000u64, 2..20), at: prop::sample::Index) {
            let stamps: Vec<u64> = stamps.into_iter().collect();
            let (ours, theirs) = (log(&stamps, 0), log(&stamps, 1));
            let held = 1 + at.index(ours.len() - 1);
            let mut follow = begin(&ours, held, u64::MAX);
            prop_assert!(follow.clone().take(theirs[held..].to_vec()).is_err());
            prop_assert!(follow.take(theirs[held - 1..].to_vec()).is_err());
        }
    }
}
