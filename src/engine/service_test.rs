//! What the engine promises, on real files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::base::disk::RealDisk;
use crate::base::{Epoch, Hlc, IncarnationId, LineageId, Micros, Seq};
use crate::engine::testing::left_by_crash;
use crate::engine::{LogWriter, ReplayProgress};
use crate::model::cells::put_cell;
use crate::model::record::{Body, Horizon, Marker, Opening, RequestId, RowGroup, RowWrite, Rows};
use crate::model::row::Row;
use crate::model::{Digest, FeatureId, KeyValue, MergeMode, Order, Scalar, Value, ValueType};
use crate::storage::{self, RowKey};
use crate::wal;

const LINEAGE: LineageId = LineageId(9);
const REGION: RegionId = RegionId(3);
const VIEW: ViewId = ViewId(77);

struct Fixture {
    engine: Engine,
    log: LogWriter,
    dir: PathBuf,
}

fn recover(dir: &Path) -> Result<Recovered, Error> {
    Recovered::open(
        Arc::new(RealDisk),
        dir,
        LINEAGE,
        &Options {
            row_cache_bytes: 1 << 20,
            flush_after_wal_bytes: 1 << 20,
            ..Options::default()
        },
        wal::Options {
            segment_bytes: 16 << 10,
            ..wal::Options::default()
        },
        &storage::Options::default(),
    )
}

fn start(dir: &Path, epoch: u64) -> Fixture {
    let mut recovered = recover(dir).unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    let log = LogWriter::new(REGION, Epoch(epoch), recovered.state().newest);
    Fixture {
        engine: recovered.start().unwrap(),
        log,
        dir: dir.to_owned(),
    }
}

fn entity(at: i64) -> EntityKey {
    EntityKey::encode([&KeyValue::Int64(at)])
}

fn put(key: i64, event_time: i64, value: i64) -> Body {
    let mut cells = Vec::new();
    put_cell(
        &mut cells,
        FeatureId(1),
        ValueType::Scalar(Scalar::Int64),
        &Value::Int64(value),
    );
    let write = RowWrite {
        key: entity(key),
        event_time: Micros(event_time),
        cells: Some(cells.into()),
    };
    let group = RowGroup {
        view: VIEW,
        merge: MergeMode::Row,
        order: Order::EventTime,
        rows: vec![write],
    };
    Body::Rows(Rows {
        older: 0,
        folded: 0,
        groups: vec![group],
    })
}

impl Fixture {
    fn send(
        &mut self,
        request: Option<RequestId>,
        body: Body,
    ) -> oneshot::Receiver<Result<super::super::Outcome, Error>> {
        let (fate, told) = oneshot::channel();
        let hlc = self.log.newest().next();
        let fate = Some(Fate::new(fate));
        self.engine
            .append_next(&mut self.log, hlc, request, body, fate)
            .unwrap();
        told
    }

    fn write(&mut self, body: Body) -> super::super::Outcome {
        self.send(None, body).blocking_recv().unwrap().unwrap()
    }

    /// The value and event time of each of the first keys.
    fn rows(&self) -> BTreeMap<i64, Vec<u8>> {
        let row = |at| self.engine.row(VIEW, &entity(at)).unwrap();
        (0..20)
            .filter_map(|at| row(at).row().map(|row| (at, row.to_vec())))
            .collect()
    }

    /// What a crash at this moment would leave.
    fn crash(&self) -> tempfile::TempDir {
        left_by_crash(&self.dir)
    }
}

#[test]
fn what_was_applied_is_there_after_a_crash_with_equal_digest_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = start(dir.path(), 1);
    for at in 0..200 {
        before.write(put(at % 20, at, at));
        if at == 90 {
            before.engine.flush().unwrap();
        }
    }
    let copy = before.crash();
    let after = start(copy.path(), 2);
    assert_eq!(after.rows(), before.rows());
    let (a, b) = (after.engine.state(), before.engine.state());
    assert_eq!(
        (a.digest, &a.rows, &a.applied, a.newest),
        (b.digest, &b.rows, &b.applied, b.newest)
    );
    assert_eq!(b.rows[&VIEW], 20);
}

#[test]
fn an_older_version_loses_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    assert_eq!(fixture.write(put(1, 10, 1)).applied, 1);
    let late = fixture.write(put(1, 9, 2));
    assert_eq!((late.applied, late.older), (0, 1));
    let tie = fixture.write(put(1, 10, 3));
    assert_eq!(
        (tie.applied, tie.older),
        (1, 0),
        "of equal event times the later stamp wins"
    );
}

#[test]
fn segments_below_the_flushed_position_are_released_and_reads_go_on_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    for at in 0..600 {
        fixture.write(put(at % 20, at, at));
    }
    let full = fixture.engine.wal().size().segments;
    fixture.engine.flush().unwrap();
    assert!(fixture.engine.wal().size().segments < full);
    assert_eq!(
        fixture.engine.places().flushed.0,
        fixture.engine.places().applied.0
    );
    let copy = fixture.crash();
    assert_eq!(start(copy.path(), 2).rows(), fixture.rows());
}

#[test]
fn a_named_write_keeps_its_result_across_a_crash_until_the_horizon_has_passed_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    let request = RequestId {
        caller: "me".into(),
        id: "r".into(),
        body_hash: Digest(4),
    };
    let told = fixture.send(Some(request), put(1, 5, 5));
    let outcome = told.blocking_recv().unwrap().unwrap();
    let copy = fixture.crash();
    let mut after = start(copy.path(), 2);
    let entry = after.engine.request("me", "r").unwrap().unwrap();
    assert_eq!(
        (entry.stamp, entry.applied, entry.body_hash),
        (outcome.stamp, 1, Digest(4))
    );
    for (behind, kept) in [(0, true), (3_599_999, true), (3_600_001, false)] {
        let horizon = entry.stamp.hlc.plus_millis(behind);
        let covered = after.engine.state().applied.0.clone();
        after.write(Body::Horizon(Horizon { horizon, covered }));
        assert_eq!(after.engine.request("me", "r").unwrap().is_some(), kept);
    }
}

#[test]
fn of_two_records_of_a_named_write_the_later_one_keeps_the_result_in_whatever_order_they_come() {
    for (tail_is_last, at_once) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut fixture = start(dir.path(), 1);
        let mut next = LogWriter::new(REGION, Epoch(2), Hlc(1_000));
        if !tail_is_last {
            std::mem::swap(&mut fixture.log, &mut next);
        }
        let request = RequestId {
            caller: "me".into(),
            id: "r".into(),
            body_hash: Digest(4),
        };
        let mut told = Vec::new();
        for _ in 0..2 {
            std::mem::swap(&mut fixture.log, &mut next);
            let answer = fixture.send(Some(request.clone()), put(1, 5, 5));
            if at_once {
                told.push(answer);
            } else {
                answer.blocking_recv().unwrap().unwrap();
            }
        }
        for answer in told {
            answer.blocking_recv().unwrap().unwrap();
        }
        let entry = fixture.engine.request("me", "r").unwrap().unwrap();
        assert_eq!(entry.stamp.epoch, Epoch(2), "{tail_is_last} {at_once}");
    }
}

#[test]
fn a_marker_that_contradicts_the_rows_is_an_alarm_and_applying_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.write(put(1, 5, 5));
    let state = fixture.engine.state();
    let marker = |digest| {
        Body::Marker(Marker {
            applied: fixture.engine.state().applied.0.clone(),
            swept: Hlc::ZERO,
            digest,
        })
    };
    let (sound, wrong) = (marker(state.digest), marker(Digest(1)));
    let mut elsewhere = state.applied.0.clone();
    elsewhere.advance(
        LogId {
            region: RegionId(99),
            epoch: Epoch(1),
        },
        Seq(1),
    );
    fixture.write(sound);
    assert_eq!(fixture.engine.metrics.markers_equal.get(), 1);
    assert_eq!(fixture.engine.quarantined(), None);
    // Elsewhere is not here: nothing to compare.
    fixture.write(Body::Marker(Marker {
        applied: elsewhere,
        swept: Hlc::ZERO,
        digest: Digest(1),
    }));
    assert_eq!(fixture.engine.metrics.markers_skipped.get(), 1);
    let applied = fixture.engine.state().applied.0.clone();
    let Body::Marker(wrong) = wrong else {
        unreachable!()
    };
    let told = fixture.send(None, Body::Marker(Marker { applied, ..wrong }));
    told.blocking_recv().unwrap().unwrap();
    let mismatch = fixture.engine.quarantined().unwrap();
    let (computed, marked) = (mismatch.computed, mismatch.marked);
    assert_eq!((computed, marked), (state.digest, Digest(1)));
    assert_eq!((mismatch.log, mismatch.seq), (fixture.log.log(), Seq(4)));
    assert_eq!(fixture.engine.metrics.markers_different.get(), 1);
    fixture.write(put(2, 5, 5));
    assert_eq!(fixture.rows().len(), 2);
}

#[test]
fn what_a_record_holds_is_given_back_before_its_fate_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    let (fate, told) = oneshot::channel();
    let held = Arc::new(());
    let fate = Some(Fate::new(fate).holding(Arc::clone(&held)));
    let Fixture { engine, log, .. } = &mut fixture;
    let hlc = log.newest().next();
    engine
        .append_next(log, hlc, None, put(1, 1, 1), fate)
        .unwrap();
    told.blocking_recv().unwrap().unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_record_that_the_wal_refuses_leaves_no_gap_in_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    let Body::Rows(mut rows) = put(1, 1, 1) else {
        unreachable!()
    };
    rows.groups[0].rows[0].cells = Some(vec![0; wal::MAX_PAYLOAD_BYTES].into());
    let Fixture { engine, log, .. } = &mut fixture;
    let hlc = log.newest().next();
    let refused = engine.append_next(log, hlc, None, Body::Rows(rows), None);
    assert!(matches!(refused, Err(Error::Wal(_))), "{refused:?}");
    assert_eq!(fixture.write(put(1, 1, 1)).stamp.seq, Seq(1));
}

#[test]
fn a_record_that_does_not_follow_its_log_is_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.write(put(1, 1, 1));
    let mut other = LogWriter::new(REGION, Epoch(1), fixture.log.newest());
    let (fate, told) = oneshot::channel();
    let hlc = other.newest().next();
    let fate = Some(Fate::new(fate));
    fixture
        .engine
        .append_next(&mut other, hlc, None, put(1, 2, 2), fate)
        .unwrap();
    assert!(matches!(
        told.blocking_recv().unwrap(),
        Err(Error::Fork { .. })
    ));
}

#[test]
fn a_store_that_applied_more_than_the_wal_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.write(put(1, 1, 1));
    fixture.engine.flush().unwrap();
    let copy = fixture.crash();
    std::fs::remove_dir_all(copy.path().join("wal")).unwrap();
    let outcome =
        recover(copy.path()).and_then(|mut recovered| recovered.replay(&ReplayProgress::default()));
    let refused = outcome.unwrap_err();
    assert!(matches!(refused, Error::Wal(_)), "{refused}");
}

#[test]
fn a_store_that_fails_ends_writing_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    for at in 0..5 {
        fixture.write(put(at, 1, at));
    }
    let acknowledged = fixture.rows();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let cause = fixture.engine.flush().unwrap_err();
    let path = dir.path().join("store");
    assert!(
        matches!(&cause, Error::Store(storage::Error::Engine { path: named, .. }) if *named == path),
        "{cause}"
    );
    let told = fixture.send(None, put(9, 1, 9)).blocking_recv().unwrap();
    assert!(matches!(told, Err(Error::Store(_))), "{told:?}");
    assert!(fixture.engine.applied().closed().is_some());
    assert_eq!(fixture.rows(), acknowledged, "reads go on");

    let copy = fixture.crash();
    let mut recovered = recover(copy.path()).unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    let engine = recovered.start().unwrap();
    for (at, row) in acknowledged {
        let found = engine.row(VIEW, &entity(at)).unwrap();
        assert_eq!(found.row(), Some(row.as_slice()));
    }
}

#[test]
fn large_rows_are_read_a_few_at_a_time_and_all_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    let large = |at: i64| {
        let mut body = put(at, 1, at);
        let Body::Rows(rows) = &mut body else {
            unreachable!()
        };
        let mut cells = Vec::new();
        let value = Value::Bytes(vec![1; 1 << 20].into());
        let value_type = ValueType::Scalar(Scalar::Bytes);
        put_cell(&mut cells, FeatureId(1), value_type, &value);
        rows.groups[0].rows[0].cells = Some(cells.into());
        body
    };
    // Small ones, large ones, none.
    for at in 0..100 {
        let body = if at % 4 == 0 {
            put(at, 1, at)
        } else {
            large(at)
        };
        fixture.write(body);
        if at == 60 {
            fixture.engine.flush().unwrap();
        }
    }
    let entities: Vec<_> = (0..110).rev().map(entity).collect();
    let engine = &fixture.engine;
    let mut read = 0;
    while read < entities.len() {
        let mut keys = RowKeys::default();
        for entity in &entities[read..] {
            keys.push(VIEW, entity.as_bytes());
        }
        let in_memory = engine.rows_in_memory(&keys).unwrap();
        let rows = engine.complete(&keys, in_memory).unwrap();
        let bytes: usize = rows.iter().flatten().map(KeyedRow::memory_bytes).sum();
        // What is in memory, and what is in files.
        let most = 2 * LOOKUP_BYTES + (*FILE_ROWS.end() << 20);
        assert!(!rows.is_empty() && bytes < most, "{bytes}");
        for (entity, row) in entities[read..].iter().zip(&rows) {
            let stored = engine.row(VIEW, entity).unwrap();
            assert_eq!(row.as_ref().unwrap().row(), stored.row());
        }
        read += rows.len();
    }
}

#[test]
fn a_log_that_fails_ends_writing_with_its_cause_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.write(put(1, 1, 1));
    let acknowledged = fixture.rows();
    // The log goes on in the segments it has open until it needs another one.
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let cause = (0..).find_map(|at| {
        let (fate, told) = oneshot::channel();
        let Fixture { engine, log, .. } = &mut fixture;
        let (hlc, fate) = (log.newest().next(), Some(Fate::new(fate)));
        let appended = engine.append_next(log, hlc, None, put(at % 20, 2, at), fate);
        appended
            .err()
            .or_else(|| told.blocking_recv().unwrap().err())
    });
    let is_io = |error: &Error| matches!(error, Error::Poisoned(wal::Poisoned::Io(_)));
    assert!(cause.as_ref().is_some_and(is_io), "{cause:?}");
    let Fixture { engine, log, .. } = &mut fixture;
    let refused = engine.append_next(log, log.newest().next(), None, put(1, 3, 3), None);
    assert!(refused.as_ref().err().is_some_and(is_io), "{refused:?}");
    let held = fixture.rows();
    assert!(acknowledged.keys().all(|key| held.contains_key(key)));
}

#[test]
fn a_log_that_was_closed_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.engine.wal().close().unwrap();
    let Fixture { engine, log, .. } = &mut fixture;
    let hlc = log.newest().next();
    let refused = engine.append_next(log, hlc, None, put(1, 1, 1), None);
    let is_closed = matches!(&refused, Err(Error::Poisoned(wal::Poisoned::Closed)));
    assert!(is_closed, "{refused:?}");
}

#[test]
fn a_frame_that_is_no_record_stops_replay_and_is_named_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let (mut log, _) = wal::Log::open(Arc::new(RealDisk), &path, LINEAGE, 4096, Lsn::ZERO).unwrap();
    log.append(b"no record").unwrap();
    log.sync().unwrap();
    drop(log);
    let mut recovered = recover(dir.path()).unwrap();
    let refused = recovered.replay(&ReplayProgress::default()).unwrap_err();
    assert!(
        matches!(refused, Error::BadRecord { lsn: Lsn(0), .. }),
        "{refused}"
    );
}

#[test]
fn a_stored_row_that_is_none_stops_the_applier_and_is_named_by_its_view() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path, LINEAGE, &storage::Options::default()).unwrap();
    let mut changes = store.changes();
    changes.put_row(RowKey::new(VIEW, &entity(1)).as_bytes(), b"no row");
    changes.commit(&State::default()).unwrap();
    store.flush().unwrap();
    drop(store);
    let mut fixture = start(dir.path(), 1);
    let told = fixture.send(None, put(1, 1, 1)).blocking_recv().unwrap();
    assert!(
        matches!(told, Err(Error::BadRow { view: VIEW, .. })),
        "{told:?}"
    );
    assert!(fixture.engine.applied().closed().is_some());
}

#[test]
fn an_engine_that_has_been_stopped_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 1);
    fixture.engine.stop().unwrap();
    let Fixture { engine, log, .. } = &mut fixture;
    let hlc = log.newest().next();
    let refused = engine.append_next(log, hlc, None, put(1, 1, 1), None);
    assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
}

#[test]
fn stopping_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path(), 1);
    let told: Vec<_> = (0..50)
        .map(|at| first.send(None, put(at % 20, at, at)))
        .collect();
    first.engine.stop().unwrap();
    assert!(
        told.into_iter()
            .all(|fate| fate.blocking_recv().unwrap().is_ok())
    );
    let rows = first.rows();
    drop(first);
    let mut recovered = recover(dir.path()).unwrap();
    let progress = ReplayProgress::default();
    recovered.replay(&progress).unwrap();
    assert_eq!(
        progress.records.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    drop(recovered);
    assert_eq!(start(dir.path(), 2).rows(), rows);
}

#[test]
fn folding_shortens_the_position_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path(), 4);
    first.write(put(1, 1, 1));
    first.engine.stop().unwrap();
    drop(first);
    let mut recovered = recover(dir.path()).unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    recovered.fold(REGION, Epoch(6)).unwrap();
    drop(recovered);
    let state = recover(dir.path()).unwrap().state();
    assert_eq!(state.applied.base(REGION), Epoch(6));
    assert!(state.chains.is_empty() && state.applied.logs().next().is_none());
}

#[test]
fn folding_while_running_comes_behind_what_was_appended_and_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 4);
    let told: Vec<_> = (0..300)
        .map(|at| fixture.send(None, put(at % 20, at, at)))
        .collect();
    fixture.engine.fold(REGION, Epoch(4)).unwrap();
    for mut fate in told {
        fate.try_recv().unwrap().unwrap();
    }
    assert_eq!(fixture.engine.durable().base(REGION), Epoch(4));
    let copy = fixture.crash();
    let state = recover(copy.path()).unwrap().state();
    assert_eq!(state.applied.base(REGION), Epoch(4));
    assert!(state.chains.is_empty() && state.applied.logs().next().is_none());
    assert_eq!(start(copy.path(), 5).rows(), fixture.rows());
    // Another record of a log that is closed follows nothing.
    let late = fixture.send(None, put(1, 1, 1)).blocking_recv().unwrap();
    assert!(matches!(late, Err(Error::Fork { .. })), "{late:?}");
    let folded = fixture.engine.fold(REGION, Epoch(5));
    assert!(matches!(folded, Err(Error::Fork { .. })), "{folded:?}");
}

#[test]
fn the_opening_of_the_greatest_epoch_is_kept_with_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = start(dir.path(), 7);
    let opening = |member| {
        Body::Opening(Opening {
            floor: Hlc::ZERO,
            members: vec![IncarnationId(member), IncarnationId(1)],
            recovered: fixture.engine.durable(),
        })
    };
    let (greater, lesser) = (opening(7), opening(6));
    fixture.write(greater);
    fixture.log = LogWriter::new(REGION, Epoch(6), fixture.log.newest());
    fixture.write(lesser);
    let copy = fixture.crash();
    let held = start(copy.path(), 8)
        .engine
        .state()
        .opening
        .clone()
        .unwrap();
    assert_eq!(held.log.epoch, Epoch(7));
    assert_eq!(held.members, [1, 7].map(IncarnationId).into());
}

#[test]
fn a_horizon_that_folding_covers_is_acted_upon() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path(), 4);
    first.write(put(1, 1, 1));
    let horizon = first.engine.state().newest;
    let mut covered = VersionVector::new();
    covered.fold(REGION, Epoch(6));
    first.write(Body::Horizon(Horizon { horizon, covered }));
    first.engine.stop().unwrap();
    drop(first);
    let mut recovered = recover(dir.path()).unwrap();
    recovered.replay(&ReplayProgress::default()).unwrap();
    assert_eq!(recovered.state().purge_horizon(), Hlc::ZERO);
    recovered.fold(REGION, Epoch(6)).unwrap();
    assert_eq!(recovered.state().purge_horizon(), horizon);
    assert_eq!(recovered.applier.published.purge.load().horizon(), horizon);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn rows_are_the_merge_of_the_records_whenever_the_store_was_flushed_or_the_process_crashed(
        writes in proptest::collection::vec((0..20i64, 0..30i64, 0..8u8), 1..120),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut current = start(dir.path(), 1);
        let mut dirs = vec![dir];
        let mut expected: BTreeMap<i64, Row> = BTreeMap::new();
        for (at, (key, event_time, then)) in writes.into_iter().enumerate() {
            let body = put(key, event_time, i64::try_from(at).unwrap());
            let Body::Rows(rows) = &body else { unreachable!() };
            let (group, write) = (rows.groups[0].clone(), rows.groups[0].rows[0].clone());
            let outcome = current.write(body);
            let row = group.write(&write, outcome.stamp).row().unwrap();
            let merged = expected.remove(&key).map_or(row.clone(), |held| held.merge(row));
            expected.insert(key, merged);
            if then == 0 {
                current.engine.flush().unwrap();
            }
            if then == 1 {
                let copy = current.crash();
                let epoch = current.log.log().epoch.0 + 1;
                current = start(copy.path(), epoch);
                dirs.push(copy);
            }
        }
        let expected: BTreeMap<i64, Vec<u8>> = expected.into_iter().map(|(key, row)| (key, row.encode())).collect();
        prop_assert_eq!(current.rows(), expected.clone());
        let digests = expected.iter().map(|(key, row)| Digest::of_row(RowKey::new(VIEW, &entity(*key)).as_bytes(), row));
        prop_assert_eq!(current.engine.state().digest, digests.fold(Digest::EMPTY, Digest::plus));
    }
}
