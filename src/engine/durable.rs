//! What is durable here: how far each log, and where its records stand in the WAL.
//!
//! **Invariants.** A record counts from the moment the WAL reports its frame durable, before it is applied and whoever
//! asks first. A record that the WAL has taken is known here before anybody can hear that it is durable.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Error;
use super::log_index::LogIndex;
use crate::base::{Epoch, LogId, Lsn, Missing, RegionId, Seq, VersionVector};
use crate::wal::{self, Wal};

/// Follows what the WAL makes durable.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Guards what is known.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    vector: VersionVector,
    index: LogIndex,
    /// What the WAL has taken but was not seen to be durable yet, in its order.
    appended: VecDeque<Appended>,
}

#[derive(Debug)]
struct Appended {
    log: LogId,
    seq: Seq,
    begin: Lsn,
    end: Lsn,
}

impl Durable {
    /// Takes note of a record found in the WAL at a start.
    pub fn found(&self, wal: &Wal, log: LogId, seq: Seq, begin: Lsn) {
        self.lock()
            .index
            .note(log, seq, begin, wal.segment_of(begin));
    }

    /// Everything in `vector` is durable.
    pub fn join(&self, vector: &VersionVector) {
        self.lock().vector.join(vector);
    }

    /// Appends a record to the WAL; returns where it ends.
    pub fn append(
        &self,
        wal: &Wal,
        log: LogId,
        seq: Seq,
        bytes: bytes::Bytes,
    ) -> Result<Lsn, Error> {
        let frame_bytes = wal::frame_bytes(&bytes);
        // Held across the call, so that nobody hears of the frame who cannot know its record. If the WAL's queue is full,
        // whoever looks waits too; the WAL's thread never looks.
        let mut known = self.lock();
        let end = wal.append(bytes)?;
        known.appended.push_back(Appended {
            log,
            seq,
            begin: Lsn(end.0.saturating_sub(frame_bytes)),
            end,
        });
        known.settle(wal);
        Ok(end)
    }

    /// How far each log is durable now.
    pub fn vector(&self, wal: &Wal) -> VersionVector {
        self.settled(wal).vector.clone()
    }

    /// Where to begin to read for what is missing, as far as it is durable here; see [`LogIndex::place_of`].
    pub fn place_of(&self, missing: &[Missing]) -> Option<Lsn> {
        self.lock().index.place_of(missing)
    }

    /// The last record below the beginning of a segment of each log that has one there.
    pub fn ends_below(&self, wal: &Wal, segment: Lsn) -> Vec<(LogId, Seq)> {
        self.settled(wal).index.ends_below(segment).collect()
    }

    /// The segments below `place` are gone.
    pub fn release_below(&self, place: Lsn) {
        self.lock().index.release_below(place);
    }

    /// Declares that every log of `region` up to `through` is closed and held to its end.
    pub fn fold(&self, region: RegionId, through: Epoch) {
        self.lock().vector.fold(region, through);
    }

    fn settled(&self, wal: &Wal) -> MutexGuard<'_, Known> {
        let mut known = self.lock();
        known.settle(wal);
        known
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Counts what the WAL has made durable since.
    fn settle(&mut self, wal: &Wal) {
        let durable = wal.durable().get();
        let is_durable = |next: &mut Appended| next.end <= durable;
        while let Some(next) = self.appended.pop_front_if(is_durable) {
            let segment = wal.segment_of(next.begin);
            self.vector.advance(next.log, next.seq);
            self.index.note(next.log, next.seq, next.begin, segment);
        }
    }
}
