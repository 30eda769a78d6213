use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::facts::Reading;
use super::*;
use crate::base::{Epoch, Hlc, RegionId, Seq, Stamp};
use crate::model::batch::{self, Batch, Moment, RowChange, ViewRows};
use crate::model::cells::put_cell;
use crate::model::row::{Merged, Write, merge_write};
use crate::model::testing::{modes, value_types, values_of};
use crate::model::{EntityKey, Feature, Row, Version, View, ViewSpec};

/// The time at which everything is read and undone.
const NOW: Micros = Micros(1_000);

/// One entity of a set, which is written as sets write.
#[derive(Debug, Clone)]
struct Entity {
    view: Arc<View>,
    row: Option<Vec<u8>>,
    writes: u64,
}

impl Entity {
    fn new(view: &Arc<View>) -> Entity {
        Entity {
            view: Arc::clone(view),
            row: None,
            writes: 0,
        }
    }

    fn put(&mut self, at: Option<Micros>, values: &[Option<Value>], is_override: bool) {
        let change = self.cells(values);
        self.write([(at, change)], is_override);
    }

    fn delete(&mut self, at: Option<Micros>) {
        self.write([(at, batch::Change::Delete)], false);
    }

    fn cells(&self, values: &[Option<Value>]) -> batch::Change {
        // By their names: the restored view may lack some.
        let value = |feature: &Feature| values[feature.name[1..].parse::<usize>().unwrap()].clone();
        let features = self.view.spec.features.iter();
        let mut named: Vec<_> = features
            .filter_map(|feature| Some((feature, value(feature)?)))
            .collect();
        named.sort_by_key(|(feature, _)| feature.id);
        let mut cells = Vec::new();
        for (feature, value) in named {
            put_cell(&mut cells, feature.id, feature.value_type, &value);
        }
        batch::Change::Put(cells.into())
    }

    /// A batch, as the primary takes it; nothing if it refuses it.
    fn write(
        &mut self,
        rows: impl IntoIterator<Item = (Option<Micros>, batch::Change)>,
        is_override: bool,
    ) {
        let rows = rows.into_iter().map(|(event_time, change)| RowChange {
            key: EntityKey::encode([]),
            event_time,
            change,
        });
        let group = ViewRows {
            view: Arc::clone(&self.view),
            rows: rows.collect(),
        };
        let batch = Batch {
            groups: vec![group],
            is_override,
        };
        let moment = Moment {
            at: NOW,
            bound_ahead: Duration::from_micros(300),
        };
        let stored = self.row.as_deref().map(|row| Row::decode(row).unwrap());
        let stored = stored.and_then(|row| row.max_event_time());
        let decided = batch.decide(moment, |_, _| {
            Ok::<_, crate::base::codec::DecodeError>(stored)
        });
        let Ok(decided) = decided.unwrap() else {
            return;
        };
        self.writes += 1;
        let stamp = Stamp {
            hlc: Hlc::from_millis(self.writes),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(self.writes),
        };
        for row in decided.groups.into_iter().flat_map(|group| group.rows) {
            let write = Write {
                merge: self.view.spec.merge,
                order: self.view.spec.order,
                version: Version {
                    event_time: row.event_time,
                    stamp,
                },
                cells: row.cells.as_deref(),
            };
            if let Merged::Applied(row) = merge_write(self.row.as_deref(), &write).unwrap() {
                self.row = Some(row);
            }
        }
    }

    fn facts(&self, for_live: &View) -> Facts {
        let reading = Reading::new(&self.view, for_live, NOW);
        let nothing = vec![Fact::Absent; for_live.spec.features.len()];
        let row = self.row.as_deref();
        row.map_or(nothing, |row| reading.facts(row).unwrap())
    }

    /// As the command does: deletions, then puts with event times, then the others.
    fn change(&mut self, changes: &Changes) {
        match changes.delete {
            Some(When::At(at)) => self.delete(Some(at)),
            Some(When::Now) => self.delete(None),
            None => {}
        }
        for is_override in [false, true] {
            let puts = changes.puts.iter();
            let puts = puts.filter(|put| (put.at == When::Now) == is_override);
            let rows: Vec<_> = puts
                .map(|put| (time(put), self.cells(&put.values)))
                .collect();
            if !rows.is_empty() {
                self.write(rows, is_override);
            }
        }
    }
}

fn time(put: &Put) -> Option<Micros> {
    match put.at {
        When::At(at) => Some(at),
        When::Now => None,
    }
}

fn view(modes: (MergeMode, Order), features: Vec<Feature>, spans: [Option<u64>; 2]) -> Arc<View> {
    let [ttl, max_lateness] = spans.map(|span| span.map(Duration::from_micros));
    let (merge, order) = modes;
    let spec = ViewSpec {
        name: "v".into(),
        entity: Vec::new(),
        ttl,
        max_lateness,
        merge,
        order,
        read_level: None,
        features,
    };
    Arc::new(View::new(spec, 0))
}

fn terms(restored: &View, live: &View, knows_floor: bool) -> Terms {
    let features = live.spec.features.iter().map(|feature| Sought {
        value_type: feature.value_type,
        is_restored: restored.feature(&feature.name).is_some(),
    });
    Terms {
        merge: live.spec.merge,
        order: live.spec.order,
        floor: live.lateness_floor(NOW).filter(|_| knows_floor),
        features: features.collect(),
    }
}

/// What happened to an entity.
#[derive(Debug, Clone)]
enum Happened {
    Put(Option<i64>, Vec<Option<Value>>),
    Override(Vec<Option<Value>>),
    Delete(Option<i64>),
}

fn history(types: &[ValueType]) -> impl Strategy<Value = Vec<Happened>> + use<> {
    let time = || proptest::option::of(0..1_300i64);
    let values: Vec<_> = types
        .iter()
        .map(|of| proptest::option::of(values_of(*of)))
        .collect();
    let happened = prop_oneof![
        6 => (time(), values.clone()).prop_map(|(at, values)| Happened::Put(at, values)),
        1 => values.prop_map(Happened::Override),
        2 => time().prop_map(Happened::Delete),
    ];
    proptest::collection::vec(happened, 0..8)
}

impl Entity {
    fn live_through(mut self, history: &[Happened]) -> Entity {
        for happened in history {
            match happened {
                Happened::Put(at, values) => self.put(at.map(Micros), values, false),
                Happened::Override(values) => self.put(None, values, true),
                Happened::Delete(at) => self.delete(at.map(Micros)),
            }
        }
        self
    }
}

/// A live view that has some features which the restored one lacks, and what happened on both sides.
#[derive(Debug, Clone)]
struct Case {
    restored: Entity,
    live: Entity,
    knows_floor: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let types = proptest::collection::vec(value_types(), 1..4);
    let histories = types.prop_flat_map(|types| {
        let (one, other) = (history(&types), history(&types));
        (Just(types), one, other)
    });
    let spans = || {
        [
            proptest::option::weighted(0.3, 100..900u64),
            proptest::option::weighted(0.3, 100..900u64),
        ]
    };
    let is_known = proptest::collection::vec(prop::bool::weighted(0.8), 3);
    let is_other_set = any::<bool>();
    let settings = (modes(), modes(), spans(), spans(), is_known, is_other_set);
    (histories, settings, any::<bool>()).prop_map(
        |((types, before, since), settings, knows_floor)| {
            let (modes, other_modes, spans, other_spans, is_known, is_other_set) = settings;
            let features = types.iter().enumerate();
            let features: Vec<_> = features
                .map(|(at, of)| Feature::new(format!("f{at}"), *of, None, None))
                .collect();
            let live = view(modes, features.clone(), spans);
            let (restored, live) = if is_other_set {
                let known = features.into_iter().zip(is_known);
                let known = known.filter_map(|(feature, is_known)| is_known.then_some(feature));
                let restored = view(other_modes, known.collect(), other_spans);
                let restored = Entity::new(&restored).live_through(&before);
                (restored, Entity::new(&live).live_through(&since))
            } else {
                let restored = Entity::new(&live).live_through(&before);
                let live = restored.clone().live_through(&since);
                (restored, live)
            };
            Case {
                restored,
                live,
                knows_floor,
            }
        },
    )
}

/// What readers get, to the last bit.
fn read(view: &View, facts: &[Fact]) -> Vec<Option<Vec<u8>>> {
    let features = view.spec.features.iter().zip(facts);
    let value = |(feature, fact): (&Feature, &Fact)| {
        fact.value().map(|value| encoded(feature.value_type, value))
    };
    features.map(value).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn readers_get_what_they_got_and_of_new_features_what_they_have(case in cases()) {
        let Case { restored, mut live, knows_floor } = case;
        let view = Arc::clone(&live.view);
        let terms = terms(&restored.view, &view, knows_floor);
        let then = restored.facts(&view);
        let before = live.facts(&view);
        let (then_read, before_read) = (read(&view, &then), read(&view, &before));
        let both = then_read.into_iter().zip(before_read).zip(&terms.features);
        let expected = both.map(|((then, before), of)| if of.is_restored { then } else { before });
        let expected: Vec<_> = expected.collect();

        let wanted = terms.wanted(&then, &before);
        let changes = terms.decide(&wanted, &before);
        let is_read = |facts: &[Fact]| read(&view, facts) == expected;
        prop_assert_eq!(changes.are_none(), is_read(&before));
        live.change(&changes);
        let after = live.facts(&view);
        prop_assert!(terms.explain(&wanted, &before, &changes, &after), "nobody else has written");
        let rest = terms.decide(&wanted, &after).now();
        live.change(&rest);
        let last = live.facts(&view);
        prop_assert!(is_read(&last), "{:?} {:?} {:?}", changes, rest, last);
        let again = terms.wanted(&then, &last);
        prop_assert!(terms.decide(&again, &last).are_none());
        prop_assert_eq!(changes.only_delete(), !changes.are_none() && expected.iter().all(Option::is_none));
    }

    /// Other times to live are their owners' to choose.
    #[test]
    fn what_nobody_has_written_since_is_left_alone(case in cases(), ttl in proptest::option::of(1..2_000u64)) {
        let Case { restored, .. } = case;
        let mut spec = restored.view.spec.clone();
        spec.ttl = ttl.map(Duration::from_micros);
        let view = Arc::new(View::new(spec, 0));
        let live = Entity { view: Arc::clone(&view), ..restored.clone() };
        let terms = terms(&restored.view, &view, true);
        let (then, now) = (restored.facts(&view), live.facts(&view));
        let wanted = terms.wanted(&then, &now);
        prop_assert!(terms.decide(&wanted, &now).are_none());
    }

    /// Where nothing was deleted, nothing is hidden: one write each is enough, for the least event time that wins.
    #[test]
    fn event_times_are_the_least_that_win(case in cases()) {
        let Case { restored, mut live, .. } = case;
        let view = Arc::clone(&live.view);
        let terms = terms(&restored.view, &view, true);
        let (then, before) = (restored.facts(&view), live.facts(&view));
        let hides = live.row.as_deref().is_some_and(|row| has_tombstone(&Row::decode(row).unwrap()));
        let is_cleared = live.row.is_some() && before.iter().all(|fact| fact.time().is_none());
        if hides || is_cleared || view.spec.max_lateness.is_some() {
            return Ok(());
        }
        let wanted = terms.wanted(&then, &before);
        let changes = terms.decide(&wanted, &before);
        let newest = before.iter().filter_map(Fact::time).max();
        for put in &changes.puts {
            let When::At(at) = put.at else { panic!("{put:?}") };
            let named = put.values.iter().zip(&then).zip(&before);
            let named = named.filter(|((value, _), _)| value.is_some());
            let mut own = named.flat_map(|((_, then), before)| [then.time(), before.time()]);
            let is_least = own.any(|time| time == Some(at)) || newest == Some(at);
            prop_assert!(is_least, "{:?}", changes);
        }
        // What is as far ahead as nothing may be is refused at first.
        if changes.puts.iter().any(|put| time(put) > Some(Micros(1_300))) {
            return Ok(());
        }
        live.change(&changes);
        prop_assert!(terms.decide(&wanted, &live.facts(&view)).are_none(), "{:?}", changes);
    }
}

fn has_tombstone(row: &Row) -> bool {
    use crate::model::row::Content;
    match &row.content {
        Content::Whole { cells, .. } => cells.is_none(),
        Content::Cells { tombstone, .. } => tombstone.is_some(),
    }
}

const INT: ValueType = ValueType::Scalar(crate::model::Scalar::Int64);

fn simple(merge: MergeMode, order: Order) -> Arc<View> {
    let features = ["f0", "f1"].map(|name| Feature::new(name.into(), INT, None, None));
    view((merge, order), features.into(), [None, None])
}

fn ints<const N: usize>(values: [Option<i64>; N]) -> Vec<Option<Value>> {
    values
        .into_iter()
        .map(|value| value.map(Value::Int64))
        .collect()
}

#[test]
fn what_others_write_meanwhile_for_a_later_time_wins_and_is_told() {
    for merge in [MergeMode::Row, MergeMode::Cell] {
        let view = simple(merge, Order::EventTime);
        let terms = terms(&view, &view, true);
        let mut restored = Entity::new(&view);
        restored.put(Some(Micros(5)), &ints([Some(1), Some(1)]), false);
        let mut live = restored.clone();
        live.put(Some(Micros(7)), &ints([Some(2), Some(2)]), false);
        let (then, before) = (restored.facts(&view), live.facts(&view));
        let changes = terms.decide(&then, &before);
        let put = Put {
            at: When::At(Micros(7)),
            values: ints([Some(1), Some(1)]),
        };
        assert_eq!(changes.puts, [put]);

        live.put(Some(Micros(8)), &ints([Some(3), Some(3)]), false);
        let theirs = live.facts(&view);
        assert!(!terms.are_same(&before, &theirs));
        live.change(&changes);
        let after = live.facts(&view);
        assert!(terms.are_same(&theirs, &after), "{after:?}");
        assert!(!terms.explain(&then, &before, &changes, &after));
    }
}

#[test]
fn a_cell_that_was_not_there_goes_and_those_that_stay_come_back() {
    let view = simple(MergeMode::Cell, Order::EventTime);
    let terms = terms(&view, &view, true);
    let mut restored = Entity::new(&view);
    restored.put(Some(Micros(5)), &ints([Some(1), None]), false);
    let mut live = restored.clone();
    live.put(Some(Micros(7)), &ints([None, Some(2)]), false);
    let changes = terms.decide(&restored.facts(&view), &live.facts(&view));
    let put = Put {
        at: When::At(Micros(7)),
        values: ints([Some(1), None]),
    };
    let expected = Changes {
        delete: Some(When::At(Micros(7))),
        puts: vec![put],
    };
    assert_eq!(changes, expected);
}

#[test]
fn a_cell_that_did_not_change_is_not_put() {
    let view = simple(MergeMode::Cell, Order::Arrival);
    let terms = terms(&view, &view, true);
    let mut restored = Entity::new(&view);
    restored.put(Some(Micros(5)), &ints([Some(1), Some(2)]), false);
    let mut live = restored.clone();
    live.put(Some(Micros(7)), &ints([Some(9), None]), false);
    let changes = terms.decide(&restored.facts(&view), &live.facts(&view));
    let put = Put {
        at: When::At(Micros(5)),
        values: ints([Some(1), None]),
    };
    assert_eq!((changes.delete, changes.puts), (None, vec![put]));
}

#[test]
fn a_restored_row_that_has_expired_by_the_clock_of_the_set_is_not_there() {
    let view = simple(MergeMode::Row, Order::EventTime);
    let terms = terms(&view, &view, true);
    let then = [Fact::Present(Value::Int64(1), Micros(5)), Fact::Absent];
    let live = [Fact::Expired(Micros(5)), Fact::Absent];
    let wanted = terms.wanted(&then, &live);
    assert!(terms.decide(&wanted, &live).are_none());
    assert!(has_expired(&live) && !has_expired(&then) && !has_expired(&[Fact::Absent]));
}
