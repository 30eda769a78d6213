//! Writing one epoch's log: the next sequence number, the chain, the stamp.
//!
//! **Invariants** (I1, I7, I9). One writer exists per epoch. Stamps rise with the sequence number, lie above the floor
//! it was opened with and below the ceiling given with each record.

use crate::base::{Epoch, Hlc, LogId, RegionId, Seq, Stamp};
use crate::model::{Body, Digest, Logged, Record, RequestId};

/// The end of an epoch's log.
#[derive(Debug, Clone)]
pub struct LogWriter {
    log: LogId,
    last: Seq,
    newest: Hlc,
    chain: Digest,
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

    /// The greatest stamp time given out or given up, or the bound it began with.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        self.newest
    }

    /// Gives up all stamps up to `hlc`: the log's closed mark (P1).
    pub fn close_up_to(&mut self, hlc: Hlc) {
        self.newest = self.newest.max(hlc);
    }

    /// Makes the record that comes next, with a stamp of time `hlc`. It has its place once the log is
    /// [advanced](Self::advance) by it.
    ///
    /// # Panics
    /// If `hlc` is not above every stamp before; the window arithmetic that chose it sees to that.
    pub(super) fn next(&self, hlc: Hlc, request: Option<RequestId>, body: Body) -> Logged {
        assert!(hlc > self.newest, "stamps rise within a log");
        let stamp = Stamp {
            hlc,
            region: self.log.region,
            epoch: self.log.epoch,
            seq: self.last.next(),
        };
        Logged::new(Record {
            stamp,
            chain_before: self.chain,
            request,
            body,
        })
    }

    /// Moves the end of the log behind a record that the WAL has taken.
    pub(super) fn advance(&mut self, stamp: Stamp, chain: Digest) {
        (self.last, self.newest, self.chain) = (stamp.seq, stamp.hlc, chain);
    }
}
