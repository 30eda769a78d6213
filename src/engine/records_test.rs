//! What others are given out of the WAL, and what the WAL lets go of, against all that was ever appended.
#![allow(
    clippy::cast_possible_truncation,
    reason = "places in small tests fit everything"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::base::disk::RealDisk;
use crate::base::{Epoch, Hlc, LineageId, LogId, Lsn, RegionId, Seq, VersionVector};
use crate::engine::testing::left_by_crash;
use crate::engine::{Engine, LogWriter, Need, Options, Recovered, ReplayProgress};
use crate::model::record::{Body, RequestId, Rows};
use crate::model::{Digest, Record};
use crate::storage;

const REGION: RegionId = RegionId(3);
const LOGS: u64 = 4;
const RETAIN_BYTES: u64 = 40 << 10;

fn log(epoch: u64) -> LogId {
    LogId {
        region: REGION,
        epoch: Epoch(epoch),
    }
}

/// Where what belongs to an epoch's log stands in a list.
fn index(epoch: u64) -> usize {
    usize::try_from(epoch).unwrap() - 1
}

fn recover(dir: &Path) -> Recovered {
    let wal_options = wal::Options {
        segment_bytes: 16 << 10,
        retain_bytes: RETAIN_BYTES,
        ..wal::Options::default()
    };
    let mut recovered = Recovered::open(
        Arc::new(RealDisk),
        dir,
        LineageId(9),
        &Options::default(),
        wal_options,
        &storage::Options::default(),
    )
    .unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    recovered
}

/// A body of about so many bytes more than nothing.
fn padding(bytes: usize) -> Option<RequestId> {
    Some(RequestId {
        caller: "c".repeat(bytes),
        id: "id".to_owned(),
        body_hash: Digest(1),
    })
}

fn next(writer: &mut LogWriter, bytes: usize) -> Logged {
    let hlc = writer.newest().next();
    let record = writer.next(hlc, padding(bytes), Body::Rows(Rows::default()));
    writer.advance(record.stamp, record.chain_after);
    record
}

/// An engine, and all records ever given to it.
struct Fixture {
    engine: Engine,
    dir: TempDir,
    writers: Vec<LogWriter>,
    appended: Vec<Logged>,
    end: Lsn,
    folded: u64,
}

/// A record as it stands in the WAL.
struct Standing {
    segment: Lsn,
    record: Logged,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let writer = |epoch| LogWriter::new(REGION, Epoch(epoch), Hlc::ZERO);
        Fixture {
            engine: recover(dir.path()).start().unwrap(),
            dir,
            writers: (1..=LOGS).map(writer).collect(),
            appended: Vec::new(),
            end: Lsn::ZERO,
            folded: 0,
        }
    }

    fn append(&mut self, epoch: u64, bytes: usize) {
        let epoch = epoch.max(self.folded + 1);
        let record = next(&mut self.writers[index(epoch)], bytes);
        self.appended.push(record.clone());
        self.end = self.engine.append(record, None).unwrap();
    }

    fn catch_up(&self) {
        self.engine.applied().reached_blocking(self.end).unwrap();
    }

    fn fold(&mut self, through: u64) {
        self.folded = self.folded.max(through);
        self.engine.fold(REGION, Epoch(self.folded)).unwrap();
        assert_eq!(self.engine.durable().base(REGION), Epoch(self.folded));
    }

    /// Starts anew in what a crash leaves, or after a stop.
    fn restart(&mut self, crash: bool) {
        self.catch_up();
        let before = self.engine.durable();
        if crash {
            self.dir = left_by_crash(self.dir.path());
        } else {
            self.engine.stop().unwrap();
            // What is stopped keeps its store open.
            let elsewhere = tempfile::tempdir().unwrap();
            self.engine = recover(elsewhere.path()).start().unwrap();
        }
        let recovered = recover(self.dir.path());
        let heads = recovered.state().heads();
        assert_eq!(*heads.vector(), before);
        for (log, seq) in before.logs() {
            let last = |record: &&Logged| record.log() == log && record.seq() == seq;
            let last = self.appended.iter().find(last).unwrap();
            assert_eq!(heads.chain(log), Some(last.chain_after));
        }
        self.engine = recovered.start().unwrap();
        assert_eq!(self.engine.durable(), before);
    }

    /// What the WAL holds.
    fn wal(&self) -> Vec<Standing> {
        let wal = self.engine.wal();
        let segments = wal.segments();
        let standing = |entry: wal::Entry| Standing {
            segment: *segments.iter().rfind(|base| **base <= entry.begin).unwrap(),
            record: Logged::read(entry.payload).unwrap(),
        };
        let entries = wal.read_from(wal.first()).unwrap();
        entries.map(|entry| standing(entry.unwrap())).collect()
    }

    fn last(&self, log: LogId) -> Seq {
        let of_log = self.appended.iter().filter(|record| record.log() == log);
        of_log.last().map_or(Seq::NONE, Logged::seq)
    }

    fn check_read(&self, wanted: &[Missing], max_bytes: usize) {
        let wal = self.wal();
        let wants = |record: &Logged| {
            let is_of = |missing: &&Missing| missing.log == record.log();
            let spans = wanted.iter().filter(is_of);
            let mut within =
                spans.filter(|span| span.after < record.seq() && record.seq() <= span.through);
            within.next().is_some()
        };
        let reaches = wanted.iter().all(|missing| {
            let first = missing.after.next();
            let is_first =
                |one: &Standing| one.record.log() == missing.log && one.record.seq() == first;
            first > missing.through.min(self.last(missing.log)) || wal.iter().any(is_first)
        });
        let mut bytes = 0;
        let expected: Vec<Logged> = wal
            .into_iter()
            .map(|one| one.record)
            .filter(wants)
            .take_while(|record| {
                let fits = bytes == 0 || bytes < max_bytes;
                bytes += record.bytes.len();
                fits
            })
            .collect();
        let found = self.engine.records(wanted, max_bytes).unwrap();
        assert_eq!(found, reaches.then_some(expected), "{wanted:?}");
    }

    /// Flushes while members lack what comes after `spread` and after `taken`, by log.
    fn check_release(&self, spread: &[u64], taken: &[u64]) {
        self.catch_up();
        let need = |log: LogId, Seq(seq): Seq| {
            let of = |seqs: &[u64]| seqs[index(log.epoch.0)];
            match seq {
                _ if seq > of(spread) => Need::OnlyCopy,
                _ if seq > of(taken) => Need::Laggard,
                _ => Need::Nobody,
            }
        };
        let (before, segments) = (self.wal(), self.engine.wal().segments());
        let (durable, flushed) = (self.engine.wal().durable().get(), self.engine.state().lsn);
        let mut first = segments[0];
        for pair in segments.windows(2) {
            let inside = before.iter().filter(|one| one.segment < pair[1]);
            let needed = inside.map(|one| need(one.record.log(), one.record.seq()));
            let may = match needed.max().unwrap_or(Need::Nobody) {
                Need::OnlyCopy => false,
                Need::Laggard => durable.bytes_since(first) > RETAIN_BYTES,
                Need::Nobody => true,
            };
            if !may || pair[1] > flushed {
                break;
            }
            first = pair[1];
        }
        self.engine.flush_keeping(need).unwrap();
        assert_eq!(self.engine.wal().first(), first);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64, usize),
    Read(Vec<(u64, u64, u64)>, usize),
    Release(Vec<u64>, Vec<u64>),
    Restart(bool),
    Fold(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (1..=LOGS, 0..5_000usize).prop_map(|(log, bytes)| Step::Append(log, bytes));
    let spans = proptest::collection::btree_map(1..=LOGS, (0..20u64, 0..25u64), 0..4);
    let read = (spans, prop_oneof![Just(1usize), 1..40_000usize]).prop_map(|(spans, bytes)| {
        let spans = spans.into_iter();
        let spans = spans.map(|(log, (after, through))| (log, after, through));
        Step::Read(spans.collect(), bytes)
    });
    let seqs = || proptest::collection::vec(0..40u64, index(LOGS) + 1);
    let release = (seqs(), seqs()).prop_map(|(spread, taken)| Step::Release(spread, taken));
    let step = prop_oneof![
        30 => append,
        10 => read,
        3 => release,
        1 => any::<bool>().prop_map(Step::Restart),
        1 => (1..LOGS).prop_map(Step::Fold),
    ];
    proptest::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_the_wal_holds_is_found_and_it_lets_go_of_what_nobody_needs(steps in steps()) {
        let mut fixture = Fixture::new();
        for step in steps {
            match step {
                Step::Append(log, bytes) => fixture.append(log, bytes),
                Step::Read(spans, max_bytes) => {
                    fixture.catch_up();
                    let missing = |(epoch, after, through)| Missing {
                        log: log(epoch),
                        after: Seq(after),
                        // The ends of folded logs are known to who asks.
                        through: if epoch <= fixture.folded {
                            fixture.last(log(epoch)).min(Seq(through))
                        } else {
                            Seq(through)
                        },
                    };
                    let wanted: Vec<Missing> = spans.into_iter().map(missing).collect();
                    fixture.check_read(&wanted, max_bytes);
                }
                Step::Release(spread, taken) => fixture.check_release(&spread, &taken),
                Step::Restart(crash) => fixture.restart(crash),
                Step::Fold(through) => fixture.fold(through),
            }
        }
    }
}

#[test]
fn who_follows_gets_every_record_once_in_order_while_more_are_appended_and_what_was_taken_goes() {
    const RECORDS: usize = 4_000;
    let mut fixture = Fixture::new();
    let mut held = VersionVector::new();
    let is_done = AtomicBool::new(false);
    let mut writers: Vec<LogWriter> = fixture.writers.drain(..).collect();
    let engine = &fixture.engine;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0..RECORDS {
                let writer = &mut writers[at / 7 % index(LOGS)];
                let record = next(writer, at * 37 % 900);
                engine.append(record, None).unwrap();
            }
            is_done.store(true, Ordering::Release);
        });
        loop {
            let was_done = is_done.load(Ordering::Acquire);
            let durable = engine.durable();
            let missing: Vec<Missing> = durable
                .logs()
                .map(|(log, through)| Missing {
                    log,
                    after: held.last(log).unwrap(),
                    through,
                })
                .collect();
            let records = engine.records(&missing, 64 << 10).unwrap().unwrap();
            assert!(!records.is_empty() || durable == held);
            for record in records {
                assert_eq!(held.last(record.log()).unwrap().next(), record.seq());
                held.advance(record.log(), record.seq());
            }
            let lacks = |log, seq| {
                if held.contains(log, seq) {
                    Need::Nobody
                } else {
                    Need::OnlyCopy
                }
            };
            engine.flush_keeping(lacks).unwrap();
            let taken: u64 = held.logs().map(|(_, Seq(seq))| seq).sum();
            if was_done && usize::try_from(taken).unwrap() == RECORDS {
                break;
            }
        }
    });
    assert!(engine.wal().first() > Lsn::ZERO);
}

#[test]
fn a_record_is_known_to_be_durable_when_the_wal_says_so_and_not_before() {
    const RECORDS: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let opened = Wal::open(
        Arc::new(RealDisk),
        dir.path(),
        LineageId(9),
        wal::Options::default(),
        Lsn::ZERO,
    );
    let (wal, durable) = (opened.unwrap().wal, Durable::default());
    let (moved, moves) = std::sync::mpsc::channel();
    wal.durable().watch(move || {
        let _gone = moved.send(());
    });
    let ends = std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            let mut writer = LogWriter::new(REGION, Epoch(1), Hlc::ZERO);
            let mut append = |_| {
                let record = next(&mut writer, 50);
                let (log, seq) = (record.log(), record.seq());
                durable.append(&wal, log, seq, record.bytes).unwrap()
            };
            (0..RECORDS).map(&mut append).collect::<Vec<Lsn>>()
        });
        let mut seen = Vec::new();
        // No more is looked at than what is told.
        while seen.last().is_none_or(|(_, Seq(seq), _)| *seq < RECORDS) {
            moves.recv().unwrap();
            let before = wal.durable().get();
            let vector = durable.vector(&wal);
            let known = vector.last(log(1)).unwrap();
            seen.push((before, known, wal.durable().get()));
        }
        (appending.join().unwrap(), seen)
    });
    let (ends, seen) = ends;
    for (before, Seq(known), after) in seen {
        let behind = |place| ends.partition_point(|end| *end <= place) as u64;
        assert!(behind(before) <= known && known <= behind(after));
    }
}

#[test]
fn only_the_head_of_a_record_is_read_for_others_and_it_is_the_same_record() {
    let mut fixture = Fixture::new();
    fixture.append(1, 10);
    fixture.catch_up();
    let missing = Missing {
        log: log(1),
        after: Seq::NONE,
        through: Seq(1),
    };
    let found = fixture.engine.records(&[missing], 1).unwrap().unwrap();
    let whole = Logged::read(found[0].bytes.clone()).unwrap();
    let parts = |record: &Logged| (record.stamp, record.chain_before, record.chain_after);
    assert_eq!(parts(&found[0]), parts(&whole));
    let record: Arc<Record> = found[0].record().unwrap();
    assert_eq!(record, whole.record().unwrap());
}

#[test]
fn ends_of_logs_that_are_gone_are_told_apart_from_logs_that_never_were() {
    let mut fixture = Fixture::new();
    (0..40).for_each(|_| fixture.append(1, 2_000));
    (0..40).for_each(|_| fixture.append(2, 2_000));
    fixture.catch_up();
    fixture.engine.flush().unwrap();
    let ask = |epoch, after, through| {
        let wanted = Missing {
            log: log(epoch),
            after: Seq(after),
            through: Seq(through),
        };
        let found = fixture.engine.records(&[wanted], 1 << 20).unwrap();
        found.map(|records| records.len())
    };
    assert_eq!(ask(1, 39, 40), None, "released");
    assert_eq!(ask(1, 40, 40), Some(0), "held");
    assert_eq!(ask(2, 39, 40), Some(1));
    assert_eq!(ask(3, 0, 5), Some(0), "never was");
    let mut found = BTreeMap::new();
    for after in 0..40 {
        *found.entry(ask(2, after, 40).is_some()).or_insert(0) += 1;
    }
    assert!(found[&true] > 0 && found[&false] > 0);
}
