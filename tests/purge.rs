//! Replicas that purge, each when it likes, never, or half: equal version vectors mean equal answers, with an equal swept
//! horizon equal rows, and nothing goes but what P5 and P6 let go, by a reading of the rules that is written down here
//! once more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use steadfast::base::codec::DecodeError;
use steadfast::base::{Epoch, Hlc, LogId, Micros, RegionId, Seq, Stamp, VersionVector};
use steadfast::model::batch::Moment;
use steadfast::model::cells::put_cell;
use steadfast::model::definition::{AlterationSpec, Definition};
use steadfast::model::purge::Left;
use steadfast::model::record::Horizon;
use steadfast::model::row::Content;
use steadfast::model::view_file::parse_view;
use steadfast::model::{
    Batch, Body, Catalogue, Change, Digest, EntityKey, FeatureId, KeyValue, Order, Purge, Record,
    Row, RowChange, Scalar, Value, ValueType, Version, View, ViewId, ViewRows, ViewSpec,
};

const BOUND: Duration = Duration::from_millis(4);
const REPLICAS: usize = 3;
const VIEWS: [(&str, &str); 4] = [
    ("row", "event_time"),
    ("cell", "event_time"),
    ("row", "arrival"),
    ("cell", "arrival"),
];

fn spec(view: usize) -> ViewSpec {
    let (merge, order) = VIEWS[view];
    let text = format!(
        r#"
        name = "v{view}"
        entity = [{{ name = "id", type = "int64" }}]
        merge = "{merge}"
        order = "{order}"
        ttl = "9ms"
        max_lateness = "4ms"
        feature = [{{ name = "f", type = "int64" }}]
        "#
    );
    parse_view(&text).unwrap()
}

type Key = (ViewId, EntityKey);
type Rows = BTreeMap<Key, Row>;

#[derive(Debug, Clone, Default)]
struct Replica {
    rows: Rows,
    /// What the rows were if nothing ever went.
    ideal: Rows,
    definitions: BTreeMap<Stamp, Definition>,
    applied: VersionVector,
    newest: Hlc,
    horizons: Vec<Horizon>,
    swept: Hlc,
    sweeping: Option<Hlc>,
}

fn log(replica: usize) -> LogId {
    LogId {
        region: RegionId(u64::try_from(replica).unwrap()),
        epoch: Epoch(1),
    }
}

fn merge_into(rows: &mut Rows, key: Key, row: Row) {
    let held = rows.remove(&key);
    let merged = held.map_or(row.clone(), |held| held.merge(row));
    rows.insert(key, merged);
}

impl Replica {
    fn catalogue_until(&self, last: Hlc) -> Catalogue {
        let mut catalogue = Catalogue::new();
        for (stamp, definition) in &self.definitions {
            if stamp.hlc <= last {
                catalogue.apply(*stamp, definition);
            }
        }
        catalogue
    }

    fn catalogue(&self) -> Catalogue {
        self.catalogue_until(Hlc(u64::MAX))
    }

    /// P2, P3: the greatest horizon of which all that it covers is applied.
    fn acts_on(&self) -> Hlc {
        let horizons = self.horizons.iter();
        let covered = horizons.filter(|horizon| self.applied.covers(&horizon.covered));
        covered
            .map(|covered| covered.horizon)
            .max()
            .unwrap_or_default()
    }

    fn apply(&mut self, record: &Record) {
        let stamp = record.stamp;
        match &record.body {
            Body::Rows(rows) => {
                let target = self.sweeping.unwrap_or(self.swept);
                let purge = Purge::new(target, self.catalogue_until(target));
                for group in &rows.groups {
                    let purge = purge.of(group.view);
                    for write in &group.rows {
                        let key = (group.view, write.key.clone());
                        let write = group.write(write, stamp);
                        let row = write.row().unwrap();
                        merge_into(&mut self.ideal, key.clone(), row.clone());
                        if !purge.lets_go(write.order, &write.version, write.cells.is_none()) {
                            merge_into(&mut self.rows, key, row);
                        }
                    }
                }
            }
            Body::Definition(definition) => {
                self.definitions.insert(stamp, definition.clone());
            }
            Body::Horizon(horizon) => self.horizons.push(horizon.clone()),
            Body::Opening(_) | Body::Marker(_) => {}
        }
        self.applied.advance(stamp.log(), stamp.seq);
        self.newest = self.newest.max(stamp.hlc);
    }

    /// Sweeps the first rows, or all to the end.
    fn sweep(&mut self, rows: usize) {
        let acts_on = self.acts_on();
        let begun = || (acts_on > self.swept).then_some(acts_on);
        let Some(target) = self.sweeping.or_else(begun) else {
            return;
        };
        let purge = Purge::new(target, self.catalogue_until(target));
        let is_whole = rows >= self.rows.len();
        let keys: Vec<Key> = self.rows.keys().take(rows).cloned().collect();
        for key in keys {
            match purge.of(key.0).left_of(&self.rows[&key].encode()).unwrap() {
                Left::All => {}
                Left::Part(left, _) => {
                    self.rows.insert(key, Row::decode(&left).unwrap());
                }
                Left::Nothing => {
                    self.rows.remove(&key);
                }
            }
        }
        self.sweeping = (!is_whole).then_some(target);
        if is_whole {
            self.swept = target;
        }
    }

    fn digest(&self) -> Digest {
        let element = |((view, key), row): (&Key, &Row)| {
            let store_key = [&view.0.to_be_bytes(), key.as_bytes()].concat();
            Digest::of_row(&store_key, &row.encode())
        };
        self.rows
            .iter()
            .map(element)
            .fold(Digest::EMPTY, Digest::plus)
    }

    /// P4: whatever was swept, what is left at the horizon is what is left of the ideal rows.
    fn assert_honest(&self) {
        let acts_on = self.acts_on();
        let keys: BTreeSet<&Key> = self.rows.keys().chain(self.ideal.keys()).collect();
        let mut rules = BTreeMap::new();
        for key in keys {
            let rules = rules
                .entry(key.0)
                .or_insert_with(|| Rules::of(key.0, acts_on, &self.definitions));
            let (held, ideal) = (self.rows.get(key), self.ideal.get(key));
            assert_eq!(rules.left(held), rules.left(ideal), "{key:?} at {acts_on}");
        }
    }
}

/// What goes of one view, as P5, P6, M7 and M8 say.
struct Rules {
    horizon: Hlc,
    is_dropped: bool,
    /// X and Y at the horizon.
    expiry: Option<i64>,
    lateness: Option<i64>,
}

type Setting = Option<Duration>;

impl Rules {
    fn of(view: ViewId, horizon: Hlc, definitions: &BTreeMap<Stamp, Definition>) -> Rules {
        let (mut created, mut is_dropped) = (None, false);
        let (mut ttls, mut latenesses) = (Vec::new(), Vec::new());
        for (stamp, definition) in definitions.iter().filter(|(at, _)| at.hlc <= horizon) {
            let at = stamp.hlc.millis();
            match definition {
                Definition::Create { generation, spec } => {
                    if View::new(spec.clone(), *generation).id == view {
                        created = Some(spec);
                    }
                }
                Definition::Alter {
                    view: altered,
                    alteration,
                } if *altered == view => {
                    ttls.extend(alteration.ttl.map(|ttl| (at, ttl)));
                    latenesses.extend(alteration.max_lateness.map(|late| (at, late)));
                }
                Definition::Drop { view: dropped } => is_dropped |= *dropped == view,
                Definition::Alter { .. } | Definition::AddFeature { .. } => {}
            }
        }
        let mut longest = created.and_then(|spec| spec.max_lateness);
        for (_, lateness) in &mut latenesses {
            longest = longest.zip(*lateness).map(|(held, new)| held.max(new));
            *lateness = longest;
        }
        let floor = |first: Option<Setting>, later| {
            first.and_then(|first| floor(first, later, horizon.millis()))
        };
        Rules {
            horizon,
            is_dropped,
            expiry: floor(created.map(|spec| spec.ttl), &ttls),
            lateness: floor(created.map(|spec| spec.max_lateness), &latenesses),
        }
    }

    fn goes(&self, order: Order, version: &Version, is_tombstone: bool) -> bool {
        let event_time = version.event_time.0;
        let is_expired = self.expiry.is_some_and(|floor| event_time <= floor);
        let is_superfluous = is_tombstone && self.lateness.is_some_and(|floor| event_time < floor);
        let is_below = version.stamp.hlc <= self.horizon;
        match order {
            _ if self.is_dropped => true,
            Order::Arrival => is_below && (is_tombstone || is_expired),
            Order::EventTime => is_expired || is_superfluous,
        }
    }

    fn left(&self, row: Option<&Row>) -> Option<Row> {
        let Row { order, content } = row?.clone();
        let content = match content {
            Content::Whole { version, cells } => {
                if self.goes(order, &version, cells.is_none()) {
                    return None;
                }
                Content::Whole { version, cells }
            }
            Content::Cells {
                tombstone,
                mut cells,
            } => {
                let tombstone = tombstone.filter(|dead| !self.goes(order, dead, true));
                cells.retain(|_, cell| !self.goes(order, &cell.version, false));
                if tombstone.is_none() && cells.is_empty() {
                    return None;
                }
                Content::Cells { tombstone, cells }
            }
        };
        Some(Row { order, content })
    }
}

/// The greatest `s - span(s)` up to `at`, in microseconds, by looking at every millisecond.
fn floor(first: Setting, later: &[(u64, Setting)], at: u64) -> Option<i64> {
    let mut best = None;
    for s in 0..=at {
        // At the moment of a change both settings touch.
        let mut spans = vec![first];
        for (change, next) in later {
            if *change == s {
                spans.push(*next);
            } else if *change < s {
                spans = vec![*next];
            }
        }
        for span in spans.into_iter().flatten() {
            let (s, span) = (i64::try_from(s * 1_000), i64::try_from(span.as_micros()));
            best = best.max(Some(s.unwrap() - span.unwrap()));
        }
    }
    best
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Write {
        at: usize,
        view: usize,
        id: i64,
        ahead: Option<i64>,
        features: u8,
        is_override: bool,
    },
    Alter {
        at: usize,
        view: usize,
        ttl: Option<u64>,
        max_lateness: Option<u64>,
    },
    Drop {
        at: usize,
        view: usize,
    },
    Create {
        at: usize,
        view: usize,
    },
    Pull {
        at: usize,
        from: usize,
        records: usize,
    },
    RaiseHorizon {
        behind: u64,
    },
    Sweep {
        at: usize,
        rows: usize,
    },
    FallBack {
        at: usize,
        to: Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..REPLICAS;
    let view = || 0..VIEWS.len();
    let ahead = proptest::option::of(-7..=3i64);
    let write = (
        at(),
        view(),
        0..2i64,
        ahead,
        0..4u8,
        proptest::bool::weighted(0.1),
    );
    let write = write.prop_map(|(at, view, id, ahead, features, is_override)| Step::Write {
        at,
        view,
        id,
        ahead: ahead.filter(|_| !is_override),
        features,
        is_override,
    });
    let millis = || proptest::option::of(1..20u64);
    let alter =
        (at(), view(), millis(), millis()).prop_map(|(at, view, ttl, max_lateness)| Step::Alter {
            at,
            view,
            ttl,
            max_lateness,
        });
    let pull =
        (at(), at(), 1..5usize).prop_map(|(at, from, records)| Step::Pull { at, from, records });
    let step = prop_oneof![
        4 => (1..5u64).prop_map(Step::Wait),
        16 => write,
        2 => alter,
        1 => (at(), view()).prop_map(|(at, view)| Step::Drop { at, view }),
        1 => (at(), view()).prop_map(|(at, view)| Step::Create { at, view }),
        10 => pull,
        3 => (0..6u64).prop_map(|behind| Step::RaiseHorizon { behind }),
        5 => (at(), 0..12usize).prop_map(|(at, rows)| Step::Sweep { at, rows }),
        1 => (at(), any::<Index>()).prop_map(|(at, to)| Step::FallBack { at, to }),
    ];
    proptest::collection::vec(step, 1..100)
}

struct Cluster {
    replicas: Vec<Replica>,
    logs: Vec<Vec<Record>>,
    /// What each replica has been.
    flushed: Vec<Vec<Replica>>,
    now: u64,
    /// Every log has promised to stamp only above it.
    closed: Hlc,
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster = Cluster {
            replicas: vec![Replica::default(); REPLICAS],
            logs: vec![Vec::new(); REPLICAS],
            flushed: vec![Vec::new(); REPLICAS],
            now: 1,
            closed: Hlc::ZERO,
        };
        (0..VIEWS.len()).for_each(|view| cluster.create(0, view));
        cluster.note();
        cluster
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(millis) => self.now += millis,
            Step::Write {
                at,
                view,
                id,
                ahead,
                features,
                is_override,
            } => self.write(at, view, id, ahead, features, is_override),
            Step::Alter {
                at,
                view,
                ttl,
                max_lateness,
            } => self.alter(at, view, ttl, max_lateness),
            Step::Drop { at, view } => {
                self.pull(at, at, usize::MAX);
                let drop = self.replicas[at].catalogue().drop_view(&format!("v{view}"));
                drop.into_iter().for_each(|drop| self.define(at, drop));
            }
            Step::Create { at, view } => self.create(at, view),
            Step::Pull { at, from, records } => self.pull(at, from, records),
            Step::RaiseHorizon { behind } => self.raise_horizon(behind),
            Step::Sweep { at, rows } => self.replicas[at].sweep(rows),
            Step::FallBack { at, to } => self.replicas[at] = to.get(&self.flushed[at]).clone(),
        }
        self.note();
    }

    fn note(&mut self) {
        for (replica, flushed) in self.replicas.iter().zip(&mut self.flushed) {
            flushed.push(replica.clone());
        }
    }

    /// M2, I7: above all that is applied, and above what the log has promised.
    fn hlc(&self, at: usize) -> Hlc {
        let clock = Hlc::from_millis(self.now + u64::try_from(at).unwrap());
        let own = self.logs[at]
            .last()
            .map_or(Hlc::ZERO, |last| last.stamp.hlc);
        let above = self.replicas[at].newest.max(self.closed).max(own);
        clock.max(above.next())
    }

    fn append(&mut self, at: usize, body: Body) {
        let log = log(at);
        let stamp = Stamp {
            hlc: self.hlc(at),
            region: log.region,
            epoch: log.epoch,
            seq: Seq(u64::try_from(self.logs[at].len()).unwrap() + 1),
        };
        let record = Record {
            stamp,
            chain_before: Digest::EMPTY,
            request: None,
            body,
        };
        self.replicas[at].apply(&record);
        self.logs[at].push(record);
    }

    fn pull(&mut self, at: usize, from: usize, records: usize) {
        let held = self.replicas[at].applied.last(log(from)).unwrap();
        let held = usize::try_from(held.0).unwrap();
        for record in self.logs[from].iter().skip(held).take(records) {
            self.replicas[at].apply(record);
        }
    }

    fn define(&mut self, at: usize, definition: Definition) {
        self.append(at, Body::Definition(definition));
    }

    fn create(&mut self, at: usize, view: usize) {
        self.pull(at, at, usize::MAX);
        let create = self.replicas[at].catalogue().create(spec(view));
        create
            .into_iter()
            .for_each(|create| self.define(at, create));
    }

    fn alter(&mut self, at: usize, view: usize, ttl: Option<u64>, max_lateness: Option<u64>) {
        self.pull(at, at, usize::MAX);
        let millis = |millis: Option<u64>| millis.map(|millis| Some(Duration::from_millis(millis)));
        let spec = AlterationSpec {
            ttl: millis(ttl),
            max_lateness: millis(max_lateness),
            ..AlterationSpec::default()
        };
        let alter = self.replicas[at]
            .catalogue()
            .alter(&format!("v{view}"), spec);
        alter.into_iter().for_each(|alter| self.define(at, alter));
    }

    fn write(
        &mut self,
        at: usize,
        view: usize,
        id: i64,
        ahead: Option<i64>,
        features: u8,
        is_override: bool,
    ) {
        // Everything of the own log is applied before the next record of it is decided.
        self.pull(at, at, usize::MAX);
        let replica = &self.replicas[at];
        let catalogue = replica.catalogue();
        let Some(view) = catalogue.view(&format!("v{view}")) else {
            return;
        };
        let hlc = self.hlc(at);
        let millis = i64::try_from(hlc.millis()).unwrap();
        let row = RowChange {
            key: EntityKey::encode(&[KeyValue::Int64(id)]),
            event_time: ahead.map(|ahead| Micros((millis + ahead) * 1_000)),
            change: if features == 0 {
                Change::Delete
            } else {
                Change::Put(cells(features, millis))
            },
        };
        let batch = Batch {
            groups: vec![ViewRows {
                view: Arc::clone(view),
                rows: vec![row],
            }],
            is_override,
        };
        let moment = Moment {
            at: hlc.micros(),
            bound_ahead: BOUND,
        };
        let stored = |view: ViewId, key: &EntityKey| {
            let row = replica.rows.get(&(view, key.clone()));
            Ok::<_, DecodeError>(row.and_then(Row::max_event_time))
        };
        if let Ok(rows) = batch.decide(moment, stored).unwrap() {
            self.append(at, Body::Rows(rows));
        }
    }

    /// P1: everybody applies everything and promises to stamp above; any earlier time will do as well.
    fn raise_horizon(&mut self, behind: u64) {
        self.pull_all();
        let newest = self.replicas.iter().map(|replica| replica.newest).max();
        self.closed = self.closed.max(newest.unwrap());
        let horizon = self.closed.minus_millis(behind);
        let mut covered = VersionVector::new();
        for record in self.logs.iter().flatten() {
            if record.stamp.hlc <= horizon {
                covered.advance(record.stamp.log(), record.stamp.seq);
            }
        }
        self.append(0, Body::Horizon(Horizon { horizon, covered }));
    }

    fn pull_all(&mut self) {
        for at in 0..REPLICAS {
            (0..REPLICAS).for_each(|from| self.pull(at, from, usize::MAX));
        }
    }

    fn check(&self) {
        for (at, one) in self.replicas.iter().enumerate() {
            one.assert_honest();
            for other in &self.replicas[..at] {
                let (a, b) = (one, other);
                let is_comparable = a.sweeping.is_none() && b.sweeping.is_none();
                if a.applied == b.applied && a.swept == b.swept && is_comparable {
                    assert_eq!(a.rows, b.rows, "I22 at {}", a.swept);
                    assert_eq!(a.digest(), b.digest());
                }
            }
        }
    }
}

fn cells(features: u8, value: i64) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..2).filter(|at| features & (1 << at) != 0) {
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(&mut out, FeatureId(feature), int64, &Value::Int64(value));
    }
    out.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn replicas_that_purge_as_they_like_converge_and_lose_nothing_that_must_stay(steps in steps()) {
        let mut cluster = Cluster::new();
        for step in steps {
            cluster.step(step);
            cluster.check();
        }
        cluster.pull_all();
        cluster.check();
        for replica in &mut cluster.replicas {
            // The sweep under way, and one more to the horizon.
            (0..2).for_each(|_| replica.sweep(usize::MAX));
        }
        cluster.check();
        let digests: Vec<Digest> = cluster.replicas.iter().map(Replica::digest).collect();
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
    }
}
