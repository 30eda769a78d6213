//! Sweeping is invisible: whenever it happens, whatever is written meanwhile, and wherever a crash cuts it off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::applier::Item;
use super::*;
use crate::base::codec::DecodeError;
use crate::base::{Epoch, Hlc, LineageId, Lsn, Micros, RegionId, Stamp};
use crate::engine::comparison::look_at;
use crate::engine::testing::left_by_crash;
use crate::engine::{LogWriter, Span};
use crate::model::batch::Moment;
use crate::model::cells::put_cell;
use crate::model::definition::{AlterationSpec, Definition};
use crate::model::record::{Horizon, Marker};
use crate::model::view_file::parse_view;
use crate::model::{
    Batch, Body, Catalogue, Change, Digest, EntityKey, FeatureId, KeyValue, Record, Row, RowChange,
    Scalar, Value, ValueType, ViewRows,
};
use crate::storage::{Options, RowKey, Store};

const VIEWS: [(&str, &str, &str); 6] = [
    ("a", "row", "event_time"),
    ("b", "cell", "event_time"),
    ("c", "row", "arrival"),
    ("d", "cell", "arrival"),
    ("e", "row", "event_time"),
    ("f", "cell", "event_time"),
];
const IDS: i64 = 3;

/// A store under one log, and beside it what it would hold if nothing had ever been swept.
struct Fixture {
    dir: TempDir,
    applier: Applier,
    log: LogWriter,
    records: Vec<(Vec<u8>, Lsn)>,
    clock: u64,
    never_swept: BTreeMap<Vec<u8>, Row>,
    definitions: Vec<(Stamp, Definition)>,
}

fn open(dir: &Path) -> Applier {
    let store = Store::open(dir, LineageId(1), &Options::default()).unwrap();
    Applier::new(Arc::new(store), 1 << 20).unwrap()
}

fn item((encoded, end): &(Vec<u8>, Lsn)) -> Item {
    Item {
        record: Arc::new(Record::decode(encoded).unwrap()),
        chain: Record::chain_after(encoded),
        end: *end,
        fate: None,
    }
}

fn row_key(view: ViewId, entity: &EntityKey) -> Vec<u8> {
    RowKey::new(view, entity).as_bytes().to_vec()
}

fn apply(applier: &Applier, items: &[Item]) {
    let prepared = applier.prepare(items).unwrap();
    applier.commit(prepared).unwrap();
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let mut fixture = Fixture {
            applier: open(dir.path()),
            dir,
            log: LogWriter::new(RegionId(1), Epoch(1), Hlc::from_millis(1)),
            records: Vec::new(),
            clock: 2,
            never_swept: BTreeMap::new(),
            definitions: Vec::new(),
        };
        (0..VIEWS.len()).for_each(|view| fixture.create(view));
        fixture
    }

    fn state(&self) -> Arc<State> {
        self.applier.published.state.load_full()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.applier.published.catalogue.load_full()
    }

    fn hlc(&self) -> Hlc {
        Hlc::from_millis(self.clock).max(self.log.newest().next())
    }

    fn apply(&mut self, body: Body) {
        let next = self.log.next(self.hlc(), None, body);
        self.log.advance(next.stamp, next.chain_after);
        let end = Lsn(u64::try_from(self.records.len()).unwrap() + 1);
        self.take_in(&next.record().unwrap());
        self.records.push((next.bytes.to_vec(), end));
        let item = item(self.records.last().unwrap());
        apply(&self.applier, &[item]);
    }

    fn take_in(&mut self, record: &Record) {
        match &record.body {
            Body::Rows(rows) => {
                for group in &rows.groups {
                    for write in &group.rows {
                        let key = row_key(group.view, &write.key);
                        let row = group.write(write, record.stamp).row().unwrap();
                        let held = self.never_swept.remove(&key);
                        let merged = held.map_or(row.clone(), |held| held.merge(row));
                        self.never_swept.insert(key, merged);
                    }
                }
            }
            Body::Definition(definition) => {
                self.definitions.push((record.stamp, definition.clone()))
            }
            Body::Opening(_) | Body::Marker(_) | Body::Horizon(_) => {}
        }
    }

    fn create(&mut self, view: usize) {
        let (name, merge, order) = VIEWS[view];
        let settings = match name {
            "e" | "f" => "ttl = \"12ms\"\nmax_lateness = \"6ms\"",
            _ => "ttl = \"9ms\"",
        };
        let text = format!(
            r#"
            name = "{name}"
            entity = [{{ name = "id", type = "int64" }}]
            merge = "{merge}"
            order = "{order}"
            {settings}
            feature = [{{ name = "f", type = "int64" }}]
            "#
        );
        let spec = parse_view(&text).unwrap();
        if let Ok(definition) = self.catalogue().create(spec) {
            self.apply(Body::Definition(definition));
        }
    }

    fn alter(&mut self, view: usize, ttl: Option<u64>, max_lateness: Option<u64>) {
        let spec = AlterationSpec {
            ttl: ttl.map(|millis| Some(Duration::from_millis(millis))),
            max_lateness: max_lateness.map(|millis| Some(Duration::from_millis(millis))),
            ..AlterationSpec::default()
        };
        if let Ok(definition) = self.catalogue().alter(VIEWS[view].0, spec) {
            self.apply(Body::Definition(definition));
        }
    }

    fn drop_view(&mut self, view: usize) {
        if let Ok(definition) = self.catalogue().drop_view(VIEWS[view].0) {
            self.apply(Body::Definition(definition));
        }
    }

    fn write(&mut self, view: usize, id: i64, ahead: Option<i64>, features: u8) {
        let catalogue = self.catalogue();
        let Some(view) = catalogue.view(VIEWS[view].0) else {
            return;
        };
        let hlc = self.hlc();
        let clock = i64::try_from(hlc.millis()).unwrap();
        let row = RowChange {
            key: EntityKey::encode([&KeyValue::Int64(id)]),
            event_time: ahead.map(|ahead| Micros((clock + ahead) * 1_000)),
            change: if features == 0 {
                Change::Delete
            } else {
                Change::Put(cells(features, clock))
            },
        };
        let batch = Batch {
            groups: vec![ViewRows {
                view: Arc::clone(view),
                rows: vec![row],
            }],
            ..Batch::default()
        };
        let moment = Moment {
            at: hlc.micros(),
            bound_ahead: Duration::from_millis(5),
        };
        let stored = |view, key: &EntityKey| {
            let row = self.stored(&row_key(view, key));
            Ok::<_, DecodeError>(row.and_then(|row| row.max_event_time()))
        };
        if let Ok(rows) = batch.decide(moment, stored).unwrap() {
            self.apply(Body::Rows(rows));
        }
    }

    fn raise_horizon(&mut self, behind: u64) {
        let horizon = self.log.newest();
        let lagging = horizon.minus_millis(behind);
        let covered = self.state().applied.0.clone();
        // Whatever lies at or below the lagging time lies at or below all that is applied.
        self.apply(Body::Horizon(Horizon {
            horizon: lagging,
            covered,
        }));
    }

    fn mark(&mut self) {
        let state = self.state();
        if state.sweep.is_none() {
            self.apply(Body::Marker(Marker {
                applied: state.applied.0.clone(),
                swept: state.swept,
                digest: state.digest,
            }));
        }
    }

    /// The process dies and another one replays what the store lacks.
    fn crash(&mut self) {
        let copy = left_by_crash(self.dir.path());
        self.applier = open(copy.path());
        self.dir = copy;
        let held = self.state().lsn;
        for group in self.records.chunks(3) {
            let missing = group.iter().filter(|(_, end)| *end > held);
            apply(&self.applier, &missing.map(item).collect::<Vec<_>>());
        }
    }

    fn sweep_to_the_end(&mut self) {
        while next_sweep(&self.state()).is_some() {
            self.applier.sweep_page(4).unwrap();
        }
    }

    fn stored(&self, key: &[u8]) -> Option<Row> {
        let rows = self.applier.store.rows([key]).unwrap();
        rows[0].as_ref().map(|row| Row::decode(row).unwrap())
    }

    fn purge_at(&self, horizon: Hlc) -> Purge {
        let mut catalogue = Catalogue::new();
        for (stamp, definition) in &self.definitions {
            if stamp.hlc <= horizon {
                catalogue.apply(*stamp, definition);
            }
        }
        Purge::new(horizon, catalogue)
    }

    fn check(&self) {
        let state = self.state();
        let horizons = (
            self.applier.published.purge.load().horizon(),
            self.applier.purge.horizon(),
        );
        let expected = (state.purge_horizon(), state.sweep_horizon());
        assert_eq!(horizons, expected, "of reads and of writes");
        let (reads, swept) = (
            self.purge_at(state.purge_horizon()),
            self.purge_at(state.swept),
        );
        let mut stored = BTreeMap::new();
        let visit = |key: &[u8], row: &[u8]| {
            stored.insert(key.to_vec(), Row::decode(row).unwrap());
            ControlFlow::<()>::Continue(())
        };
        self.applier.store.walk(&[], None, visit).unwrap();
        let mut digest = Digest::EMPTY;
        let mut counts: BTreeMap<ViewId, u64> = state.rows.keys().map(|view| (*view, 0)).collect();
        for (key, row) in &stored {
            let encoded = row.encode();
            digest = digest.plus(Digest::of_row(key, &encoded));
            if RowRef::parse(&encoded).unwrap().is_live() {
                *counts.entry(view_of(key)).or_insert(0) += 1;
            }
        }
        assert_eq!((state.digest, &state.rows), (digest, &counts));
        self.check_seen(&reads);
        let keys: BTreeSet<&Vec<u8>> = stored.keys().chain(self.never_swept.keys()).collect();
        for key in keys {
            let (held, ideal) = (stored.get(key), self.never_swept.get(key));
            assert_eq!(left(&reads, key, held), left(&reads, key, ideal), "P4");
            if state.sweep.is_none() {
                assert_eq!(held, left(&swept, key, ideal).as_ref(), "P6, I22");
            }
            let cached = self.applier.cache.get_all([key.as_slice()].into_iter());
            if let Some(cached) = &cached[0] {
                let cached = cached.row().map(|row| Row::decode(row).unwrap());
                assert_eq!(cached.as_ref(), held);
            }
            // Rows are in the cache for as long as somebody looks them up.
            let ticket = self.applier.cache.ticket(key);
            let encoded = held.map(Row::encode);
            let row = KeyedRow::new(key, encoded.as_deref());
            self.applier.cache.fill(row, ticket);
        }
    }
}

impl Fixture {
    /// What another member is shown of these rows, whole or in parts, is not touched by sweeping.
    fn check_seen(&self, reads: &Purge) {
        let mut expected = BTreeMap::new();
        for (key, row) in &self.never_swept {
            if let Some(row) = left(reads, key, Some(row)) {
                expected.insert(key.clone(), Digest::of_row(key, &row.encode()));
            }
        }
        let sum = expected
            .values()
            .fold(Digest::EMPTY, |sum, digest| sum.plus(*digest));
        let mut span = Span {
            from: Vec::new(),
            until: None,
            max_rows: 5,
            each: true,
        };
        let (mut digest, mut each) = (Digest::EMPTY, BTreeMap::new());
        loop {
            let purge = self.applier.published.purge.load_full();
            let seen = look_at(&self.applier.store, purge, span.clone()).unwrap();
            assert_eq!(seen.rows, seen.each.len() as u64);
            digest = digest.plus(seen.digest);
            each.extend(seen.each.into_iter().map(|(key, row)| (key, row.digest)));
            let Some(next) = seen.next else { break };
            span.from = next;
        }
        assert_eq!((digest, each), (sum, expected), "P4 when compared");
    }
}

fn left(purge: &Purge, key: &[u8], row: Option<&Row>) -> Option<Row> {
    match purge.of(view_of(key)).left_of(&row?.encode()).unwrap() {
        Left::All => row.cloned(),
        Left::Part(encoded, _) => Some(Row::decode(&encoded).unwrap()),
        Left::Nothing => None,
    }
}

fn cells(features: u8, value: i64) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..3).filter(|at| features & (1 << at) != 0) {
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(&mut out, FeatureId(feature), int64, &Value::Int64(value));
    }
    out.into()
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        view: usize,
        id: i64,
        ahead: Option<i64>,
        features: u8,
    },
    Wait(u64),
    Alter {
        view: usize,
        ttl: Option<u64>,
        max_lateness: Option<u64>,
    },
    Drop(usize),
    Create(usize),
    RaiseHorizon {
        behind: u64,
    },
    Sweep {
        rows: u32,
    },
    Mark,
    Flush,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let view = || 0..VIEWS.len();
    let ahead = proptest::option::of(-8..5i64);
    let write =
        (view(), 0..IDS, ahead, 0..8u8).prop_map(|(view, id, ahead, features)| Step::Write {
            view,
            id,
            ahead,
            features,
        });
    let millis = || proptest::option::of(1..30u64);
    let alter = (view(), millis(), millis()).prop_map(|(view, ttl, max_lateness)| Step::Alter {
        view,
        ttl,
        max_lateness,
    });
    let step = prop_oneof![
        24 => write,
        4 => (1..6u64).prop_map(Step::Wait),
        2 => alter,
        1 => view().prop_map(Step::Drop),
        1 => view().prop_map(Step::Create),
        3 => (0..6u64).prop_map(|behind| Step::RaiseHorizon { behind }),
        8 => (1..6u32).prop_map(|rows| Step::Sweep { rows }),
        1 => Just(Step::Mark),
        1 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..120)
}

fn run(steps: Vec<Step>) -> Fixture {
    let mut fixture = Fixture::new();
    for step in steps {
        match step {
            Step::Write {
                view,
                id,
                ahead,
                features,
            } => fixture.write(view, id, ahead, features),
            Step::Wait(millis) => fixture.clock += millis,
            Step::Alter {
                view,
                ttl,
                max_lateness,
            } => fixture.alter(view, ttl, max_lateness),
            Step::Drop(view) => fixture.drop_view(view),
            Step::Create(view) => fixture.create(view),
            Step::RaiseHorizon { behind } => fixture.raise_horizon(behind),
            Step::Sweep { rows } => fixture.applier.sweep_page(rows).unwrap(),
            Step::Mark => fixture.mark(),
            Step::Flush => fixture.applier.store.flush().unwrap(),
            Step::Crash => fixture.crash(),
        }
        fixture.check();
    }
    fixture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nobody_can_tell_when_a_row_was_swept(steps in steps()) {
        let mut swept = run(steps);
        swept.sweep_to_the_end();
        swept.check();
        prop_assert_eq!(swept.state().swept, swept.state().purge_horizon());
        let before = swept.state();
        swept.crash();
        swept.sweep_to_the_end();
        swept.check();
        prop_assert_eq!(swept.state().digest, before.digest);
    }
}

/// Twelve rows of a view without ttl and as many of each of two with one, all expired below the horizon.
fn expired() -> Fixture {
    let mut fixture = Fixture::new();
    for view in 0..3 {
        (0..12).for_each(|id| fixture.write(view, id, None, 1));
    }
    fixture.clock += 100;
    fixture.write(0, 99, None, 1);
    fixture
}

#[test]
fn a_sweep_goes_on_after_a_crash_where_the_rows_say_it_was() {
    let mut fixture = expired();
    fixture.raise_horizon(0);
    fixture.applier.sweep_page(5).unwrap();
    fixture.applier.sweep_page(5).unwrap();
    let sweep = fixture.state().sweep.clone().unwrap();
    fixture.applier.store.flush().unwrap();
    fixture.applier.sweep_page(5).unwrap();
    fixture.crash();
    assert_eq!(fixture.state().sweep, Some(sweep));
    assert_eq!(
        fixture.applier.purge.horizon(),
        fixture.state().sweep_horizon()
    );
    fixture.check();
    fixture.sweep_to_the_end();
    fixture.check();
    assert_eq!(
        fixture.state().rows.values().sum::<u64>(),
        1,
        "the one that lives"
    );
}

/// Deletes the first row of the view without `max_lateness`, as of a time that may go at the horizon.
fn late_delete(fixture: &mut Fixture) -> u64 {
    let older = fixture.applier.metrics.rows_older.get();
    fixture.write(0, 0, Some(-90), 0);
    fixture.check();
    fixture.applier.metrics.rows_older.get() - older
}

#[test]
fn writes_leave_out_what_may_go_from_the_first_page_of_a_sweep_on_and_not_before() {
    let mut fixture = expired();
    fixture.raise_horizon(0);
    let digest = fixture.state().digest;
    assert_eq!(late_delete(&mut fixture), 0, "it is newer than the row");
    assert_ne!(fixture.state().digest, digest, "which is not swept");
    fixture.applier.sweep_page(1).unwrap();
    assert_eq!(late_delete(&mut fixture), 1, "while it is swept");
    fixture.sweep_to_the_end();
    assert_eq!(late_delete(&mut fixture), 1, "after it was swept");
    fixture.applier.store.flush().unwrap();
    fixture.raise_horizon(0);
    fixture.crash();
    fixture.check();
    assert_eq!(late_delete(&mut fixture), 1, "after a restart");
}

#[test]
fn a_marker_of_another_swept_horizon_is_not_compared() {
    let mut fixture = expired();
    fixture.raise_horizon(0);
    let before = fixture.state();
    fixture.sweep_to_the_end();
    let state = fixture.state();
    assert_ne!((before.digest, before.swept), (state.digest, state.swept));
    fixture.apply(Body::Marker(Marker {
        applied: state.applied.0.clone(),
        swept: before.swept,
        digest: before.digest,
    }));
    assert_eq!(fixture.applier.metrics.markers_skipped.get(), 1);
}

#[test]
fn markers_are_not_compared_while_a_sweep_is_half_done() {
    let mut fixture = expired();
    fixture.raise_horizon(0);
    fixture.applier.sweep_page(5).unwrap();
    let state = fixture.state();
    fixture.apply(Body::Marker(Marker {
        applied: state.applied.0.clone(),
        swept: state.swept,
        digest: Digest(1),
    }));
    assert_eq!(fixture.applier.metrics.markers_skipped.get(), 1);
    fixture.sweep_to_the_end();
    fixture.mark();
    assert_eq!(fixture.applier.metrics.markers_equal.get(), 1);
}

#[test]
fn a_horizon_is_not_acted_upon_before_everything_below_it_is_applied() {
    let mut fixture = expired();
    let mut covered = fixture.state().applied.0.clone();
    covered.advance(
        crate::base::LogId {
            region: RegionId(2),
            epoch: Epoch(1),
        },
        crate::base::Seq(1),
    );
    let horizon = fixture.log.newest();
    fixture.apply(Body::Horizon(Horizon { horizon, covered }));
    assert_eq!(fixture.state().purge_horizon(), Hlc::ZERO);
    assert_eq!(fixture.applier.published.purge.load().horizon(), Hlc::ZERO);
    fixture.applier.sweep_page(100).unwrap();
    assert_eq!(fixture.applier.metrics.rows_swept.get(), 0);

    // The missing record comes, in a log of its own.
    fixture.log = LogWriter::new(RegionId(2), Epoch(1), fixture.log.newest());
    fixture.apply(Body::Rows(crate::model::record::Rows::default()));
    assert_eq!(fixture.state().purge_horizon(), horizon);
    assert_eq!(fixture.applier.published.purge.load().horizon(), horizon);
    fixture.sweep_to_the_end();
    assert_eq!(fixture.state().rows.values().sum::<u64>(), 1);
}

#[test]
fn views_of_which_nothing_can_go_are_passed_over() {
    let mut fixture = Fixture::new();
    let text = r#"
        name = "for ever"
        entity = [{ name = "id", type = "int64" }]
        feature = [{ name = "f", type = "int64" }]
    "#
    .replace("for ever", "for_ever");
    let create = fixture.catalogue().create(parse_view(&text).unwrap());
    fixture.apply(Body::Definition(create.unwrap()));
    let view = Arc::clone(fixture.catalogue().view("for_ever").unwrap());
    for id in 0..50 {
        let row = RowChange {
            key: EntityKey::encode([&KeyValue::Int64(id)]),
            event_time: None,
            change: Change::Put(cells(1, 1)),
        };
        let groups = vec![ViewRows {
            view: Arc::clone(&view),
            rows: vec![row],
        }];
        let moment = Moment {
            at: fixture.hlc().micros(),
            bound_ahead: Duration::ZERO,
        };
        let stored = |_, _: &EntityKey| Ok::<_, DecodeError>(None);
        let batch = Batch {
            groups,
            ..Batch::default()
        };
        let rows = batch.decide(moment, stored).unwrap().unwrap();
        fixture.apply(Body::Rows(rows));
    }
    fixture.raise_horizon(0);
    fixture.sweep_to_the_end();
    assert_eq!(fixture.applier.metrics.rows_swept.get(), 1);
    fixture.check();
}

#[test]
fn a_damaged_row_stays_and_ends_nothing() {
    let mut fixture = expired();
    let key = row_key(
        fixture.catalogue().view("a").unwrap().id,
        &EntityKey::encode([&KeyValue::Int64(1_000)]),
    );
    let mut changes = fixture.applier.store.changes();
    changes.put_row(&key, b"no row");
    changes.commit(&fixture.state()).unwrap();
    fixture.raise_horizon(0);
    fixture.sweep_to_the_end();
    assert_eq!(fixture.applier.metrics.rows_purged.get(), 36);
    assert!(fixture.applier.store.rows([key.as_slice()]).unwrap()[0].is_some());
}
