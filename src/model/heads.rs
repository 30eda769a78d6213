//! Pure: how far each log is held, and the chain digest up to there.
//!
//! **Invariant** (I2, I3). A record is taken only directly behind what is held of its log, and only if it is chained to it.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::logged::Logged;
use crate::base::{Epoch, LogId, RegionId, Seq, VersionVector};

/// A version vector with the chain digest of each log in it that is not folded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heads {
    vector: VersionVector,
    chains: BTreeMap<LogId, Digest>,
}

/// Where a record stands in relation to what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Directly behind it.
    Next,
    /// It is held already.
    Held,
    /// Something before it is not held.
    Ahead,
}

/// Two different records under one name: somebody's log was altered, or written by two (I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("log {log} forks at {seq}: the chain digest is {found} where {expected} is held")]
pub struct Fork {
    /// The log.
    pub log: LogId,
    /// Where.
    pub seq: Seq,
    /// The digest that is held.
    pub expected: Digest,
    /// The digest that was found.
    pub found: Digest,
}

impl Heads {
    /// What is held, with the chain digest of every log that is not folded.
    #[must_use]
    pub fn new(vector: VersionVector, chains: BTreeMap<LogId, Digest>) -> Heads {
        Heads { vector, chains }
    }

    /// What is held.
    #[must_use]
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// The chain digests that are kept, by log.
    #[must_use]
    pub fn chains(&self) -> &BTreeMap<LogId, Digest> {
        &self.chains
    }

    /// The chain digest of a log up to what is held; `None` if it is folded.
    #[must_use]
    pub fn chain(&self, log: LogId) -> Option<Digest> {
        self.vector.last(log)?;
        Some(self.chains.get(&log).copied().unwrap_or(Digest::EMPTY))
    }

    /// Where a record stands.
    ///
    /// # Errors
    /// If it is not chained to what is held.
    pub fn place(&self, record: &Logged) -> Result<Place, Fork> {
        let log = record.log();
        let Some(last) = self.vector.last(log) else {
            return Ok(Place::Held);
        };
        let held = self.chain(log).unwrap_or(Digest::EMPTY);
        let fork = |expected, found| {
            let seq = record.seq();
            Err(Fork {
                log,
                seq,
                expected,
                found,
            })
        };
        if record.seq() == last && record.chain_after != held {
            return fork(held, record.chain_after);
        }
        if record.seq() <= last {
            return Ok(Place::Held);
        }
        if record.seq() != last.next() {
            return Ok(Place::Ahead);
        }
        if record.chain_before != held {
            return fork(held, record.chain_before);
        }
        Ok(Place::Next)
    }

    /// Adds a record that stands directly behind what is held.
    pub fn advance(&mut self, record: &Logged) {
        self.vector.advance(record.log(), record.seq());
        self.chains.insert(record.log(), record.chain_after);
    }

    /// Declares that every log of `region` up to `epoch` is closed and held to its end.
    pub fn fold(&mut self, region: RegionId, epoch: Epoch) {
        self.vector.fold(region, epoch);
        self.chains
            .retain(|log, _| log.region != region || log.epoch > epoch);
    }

    /// Looks for a log held by both to the same record with different chains.
    ///
    /// # Errors
    /// The first such log.
    pub fn compare(&self, other: &Heads) -> Result<(), Fork> {
        for (log, seq) in other.vector.logs() {
            let (Some(expected), Some(found)) = (self.chain(log), other.chain(log)) else {
                continue;
            };
            if self.vector.last(log) == Some(seq) && expected != found {
                return Err(Fork {
                    log,
                    seq,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}
