//! What was done to a log, and what must therefore be in it.

use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use steadfast::base::{LineageId, Lsn};
use steadfast::wal::{Entry, Error, Log, Recovery};

use super::disk::SimDisk;

/// Where the log lies.
pub const DIR: &str = "/wal";
pub const LINEAGE: LineageId = LineageId(0x5eed);
/// Bytes of a frame besides its payload.
pub const FRAME_HEADER_BYTES: u64 = 25;
/// Bytes of a segment before its first frame.
pub const SEGMENT_HEADER_BYTES: usize = 56;

/// One thing to do with a log.
#[derive(Debug, Clone)]
pub enum Step {
    Append(Vec<u8>),
    Sync,
    Mark,
    Prepare,
    Seal,
    /// Release what lies below this fraction, in percent, of what is durable.
    Release(u64),
}

/// Random steps whose payloads are mostly a small part of a segment and sometimes longer than one.
pub fn random_steps(rng: &mut StdRng, count: usize, segment_bytes: u64) -> Vec<Step> {
    let segment = usize::try_from(segment_bytes).unwrap();
    (0..count)
        .map(|_| match rng.random_range(0..20) {
            0..10 => Step::Append(random_payload(rng, segment / 3)),
            10 => Step::Append(random_payload(rng, segment * 2)),
            11..16 => Step::Sync,
            16 => Step::Mark,
            17 => Step::Prepare,
            18 => Step::Seal,
            _ => Step::Release(rng.random_range(0..=100)),
        })
        .collect()
}

/// Often ends in zeros, as reserved space does.
fn random_payload(rng: &mut StdRng, limit: usize) -> Vec<u8> {
    let mut payload = vec![0; rng.random_range(0..=limit)];
    let filled = rng.random_range(0..=payload.len());
    rng.fill(&mut payload[..filled]);
    payload
}

/// What was appended, and how much of it was reported durable.
#[derive(Debug, Clone)]
pub struct History {
    sent: Vec<Entry>,
    durable: Lsn,
    released: Lsn,
}

impl History {
    /// Nothing has been done yet.
    pub fn new() -> History {
        History {
            sent: Vec::new(),
            durable: Lsn::ZERO,
            released: Lsn::ZERO,
        }
    }

    /// Does the steps up to the first error.
    pub fn play(&mut self, log: &mut Log, steps: &[Step]) -> Result<(), Error> {
        for step in steps {
            let outcome = self.take(log, step);
            self.durable = log.durable().get();
            outcome?;
        }
        Ok(())
    }

    fn take(&mut self, log: &mut Log, step: &Step) -> Result<(), Error> {
        match step {
            Step::Append(payload) => {
                let end = log.append(payload)?;
                self.sent.push(entry(payload, end));
                Ok(())
            }
            Step::Sync => log.sync(),
            Step::Mark => log.mark(),
            Step::Prepare => log.prepare(),
            Step::Seal => {
                let base = log.seal()?;
                assert_eq!(log.durable().get(), base, "sealed before it was durable");
                Ok(())
            }
            Step::Release(percent) => {
                let place = Lsn(log.durable().get().0 * percent / 100);
                self.released = place.max(self.released);
                log.release_below(place)
            }
        }
    }

    /// Opens the log and compares what is there with what must be. Everything there counts as durable from then on.
    pub fn reopen(&mut self, disk: &SimDisk, segment_bytes: u64) -> Result<Log, Error> {
        let (log, recovery) = open_known(disk, segment_bytes, self.durable)?;
        self.check(&log, recovery);
        Ok(log)
    }

    /// Everything reported durable, and not released, is there in order; what else is there was appended next.
    pub fn check(&mut self, log: &Log, recovery: Recovery) {
        assert!(recovery.first <= self.released, "released too much");
        assert!(recovery.end >= self.durable, "lost what was durable");
        let there = read_all(log, recovery.first).expect("everything recovered can be read");
        let released = self
            .sent
            .iter()
            .filter(|e| e.begin < recovery.first)
            .count();
        let expected = self.sent.get(released..).unwrap_or_default();
        assert!(there.len() <= expected.len(), "more than was appended");
        assert_eq!(there, expected[..there.len()], "not what was appended");
        let must = expected.iter().filter(|e| e.end <= self.durable).count();
        assert!(there.len() >= must, "{} of {must} are there", there.len());
        self.sent.truncate(released + there.len());
        self.durable = recovery.end;
        assert_eq!(log.durable().get(), recovery.end);
    }

    /// The entries from `first` on that were reported durable.
    pub fn durable_from(&self, first: Lsn) -> Vec<Entry> {
        let there = |entry: &&Entry| entry.begin >= first && entry.end <= self.durable;
        self.sent.iter().filter(there).cloned().collect()
    }
}

fn entry(payload: &[u8], end: Lsn) -> Entry {
    let bytes = FRAME_HEADER_BYTES + payload.len() as u64;
    Entry {
        begin: Lsn(end.0 - bytes),
        end,
        payload: payload.to_vec().into(),
    }
}

pub fn open(disk: &SimDisk, segment_bytes: u64) -> Result<(Log, Recovery), Error> {
    open_known(disk, segment_bytes, Lsn::ZERO)
}

/// Opens the log of which `known` was reported durable.
pub fn open_known(
    disk: &SimDisk,
    segment_bytes: u64,
    known: Lsn,
) -> Result<(Log, Recovery), Error> {
    let disk = Arc::new(disk.clone());
    Log::open(disk, Path::new(DIR), LINEAGE, segment_bytes, known)
}

pub fn read_all(log: &Log, from: Lsn) -> Result<Vec<Entry>, Error> {
    log.read_from(from)?.collect()
}
