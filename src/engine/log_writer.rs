//! Writing one epoch's log: the next sequence number, the chain, the stamp.
//!
//! **Invariants** (I1, I7, I9). One writer exists per epoch. Stamps rise with the sequence number, lie above the floor
//! it was opened with and below the ceiling given with each record.

use crate::base::{Epoch, Hlc, LogId, RegionId, Seq, Stamp};
use crate::model::{Body, Digest, Record, RequestId};

/// The end of an epoch's log.
#[derive(Debug, Clone)]
pub struct LogWriter {
    log: LogId,
    last: Seq,
    newest: Hlc,
    chain: Digest,
}

/// A record that has its place in the log.
#[derive(Debug)]
pub struct NextRecord {
    /// The record.
    pub record: Record,
    /// Its bytes.
    pub encoded: Vec<u8>,
    /// The chain digest of its log with it.
    pub chain: Digest,
}

impl LogWriter {
    /// The beginning of a new log. All its stamps will lie above `above`, which is at least the epoch's floor and every
    /// stamp applied here (M2).
    #[must_use]
    pub fn new(region: RegionId, epoch: Epoch, above: Hlc) -> LogWriter {
        LogWriter {
            log: LogId { region, epoch },
            last: Seq::NONE,
            newest: above,
            chain: Digest::EMPTY,
        }
    }

    /// Which log this is.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The last record written.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The greatest stamp time given out, or the bound it began with.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        self.newest
    }

    /// The chain digest up to the last record.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.chain
    }

    /// Makes the next record, with a stamp of time `hlc`, and moves on.
    ///
    /// # Panics
    /// If `hlc` is not above every stamp before; the window arithmetic that chose it sees to that.
    #[must_use]
    pub fn next(&mut self, hlc: Hlc, request: Option<RequestId>, body: Body) -> NextRecord {
        assert!(hlc > self.newest, "stamps rise within a log");
        let seq = self.last.next();
        let stamp = Stamp {
            hlc,
            region: self.log.region,
            epoch: self.log.epoch,
            seq,
        };
        let record = Record {
            stamp,
            chain_before: self.chain,
            request,
            body,
        };
        let encoded = record.encode();
        let chain = Record::chain_after(&encoded);
        (self.last, self.newest, self.chain) = (seq, hlc, chain);
        NextRecord {
            record,
            encoded,
            chain,
        }
    }
}
