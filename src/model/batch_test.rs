//! What is decided of a batch before it is logged.

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, Hlc, RegionId, Seq, Stamp};
use crate::model::key::{KeyType, KeyValue};
use crate::model::row::{Content, Row};
use crate::model::testing::modes;
use crate::model::value::{Scalar, Value, ValueType};
use crate::model::view::{Feature, JoinKey, ViewSpec};

/// The time of the write, in microseconds; a whole millisecond, as those of stamps are.
const NOW: Micros = Micros(1_000_000);
const BOUND: Duration = Duration::from_micros(5);
const INT64: ValueType = ValueType::Scalar(Scalar::Int64);

fn moment() -> Moment {
    Moment {
        at: NOW,
        bound_ahead: BOUND,
    }
}

fn view(name: &str, merge: MergeMode, order: Order) -> ViewSpec {
    let features = ["a", "b", "c"].map(|name| Feature::new(name.into(), INT64, None, None));
    ViewSpec {
        name: name.into(),
        entity: vec![JoinKey {
            name: "id".into(),
            key_type: KeyType::Int64,
        }],
        ttl: None,
        max_lateness: None,
        merge,
        order,
        read_level: None,
        features: features.into(),
    }
}

fn key(id: i64) -> EntityKey {
    EntityKey::encode(&[KeyValue::Int64(id)])
}

/// Cells of the features whose bits are set.
fn cells(features: u32, value: i64) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..3).filter(|at| features & (1 << at) != 0) {
        cells::put_cell(&mut out, FeatureId(feature), INT64, &Value::Int64(value));
    }
    out.into()
}

fn put(id: i64, event_time: Option<Micros>) -> RowChange {
    RowChange {
        key: key(id),
        event_time,
        change: Change::Put(cells(0b111, 1)),
    }
}

fn delete(id: i64, event_time: Option<Micros>) -> RowChange {
    RowChange {
        change: Change::Delete,
        ..put(id, event_time)
    }
}

fn batch(spec: &ViewSpec, rows: Vec<RowChange>) -> Batch {
    let view = Arc::new(View::new(spec.clone(), 0));
    Batch {
        groups: vec![ViewRows { view, rows }],
        is_override: false,
    }
}

/// Decides a batch where no rows are stored.
fn decide(batch: Batch) -> Result<Rows, Refusal> {
    let nothing = |_: ViewId, _: &EntityKey| Ok::<_, DecodeError>(None);
    batch.decide(moment(), nothing).unwrap()
}

/// Event times around the write's time and the bound ahead of it.
fn event_times() -> impl Strategy<Value = Option<Micros>> {
    proptest::option::of((-3..=5i64).prop_map(|at| Micros(NOW.0 + at)))
}

fn changes(max: usize) -> impl Strategy<Value = Vec<RowChange>> {
    let change = prop_oneof![
        1 => Just(Change::Delete),
        3 => (0..8u32, 0..100i64).prop_map(|(features, value)| Change::Put(cells(features, value))),
    ];
    let row = (0..2i64, event_times(), change).prop_map(|(id, event_time, change)| RowChange {
        key: key(id),
        event_time,
        change,
    });
    proptest::collection::vec(row, 0..max)
}

/// A store of the rows of one view that applies writes by `Row::merge` alone.
#[derive(Debug, Clone, Default)]
struct Rowstore(BTreeMap<EntityKey, Row>);

impl Rowstore {
    /// The value of a feature of entity 1.
    fn value(&self, feature: u32) -> Option<i64> {
        let encoded = self.0.get(&key(1))?.encode();
        let row = crate::model::row::RowRef::parse(&encoded).unwrap();
        let mut cells = row.cells().map(Result::unwrap);
        let (cell, _) = cells.find(|(cell, _)| cell.feature == FeatureId(feature))?;
        let payload = cell.payload.unwrap().try_into().unwrap();
        Some(i64::from_le_bytes(payload))
    }

    fn write(&mut self, batch: Batch, seq: u64) -> Rows {
        self.write_at(moment(), batch, seq)
    }

    fn write_at(&mut self, moment: Moment, batch: Batch, seq: u64) -> Rows {
        let stored = |_: ViewId, key: &EntityKey| {
            let row = self.0.get(key);
            Ok::<_, DecodeError>(row.and_then(Row::max_event_time))
        };
        let decided = batch.decide(moment, stored).unwrap().unwrap();
        let stamp = Stamp {
            hlc: Hlc::from_millis(1_000),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        };
        for group in &decided.groups {
            for write in &group.rows {
                let row = group.write(write, stamp).row().unwrap();
                let merged = match self.0.remove(&write.key) {
                    Some(held) => held.merge(row),
                    None => row,
                };
                self.0.insert(write.key.clone(), merged);
            }
        }
        decided
    }

    /// The rows as if all records from `first` on were one.
    fn into_one_record(self, first: u64) -> BTreeMap<EntityKey, Row> {
        let one = |version: &mut crate::model::Version| {
            version.stamp.seq = version.stamp.seq.min(Seq(first));
        };
        let mut rows = self.0;
        for row in rows.values_mut() {
            match &mut row.content {
                Content::Whole { version, .. } => one(version),
                Content::Cells { tombstone, cells } => {
                    tombstone.iter_mut().for_each(one);
                    cells.values_mut().for_each(|cell| one(&mut cell.version));
                }
            }
        }
        rows
    }
}

proptest! {
    #[test]
    fn a_batch_has_the_effect_of_its_rows_written_one_after_another(
        (merge, order) in modes(),
        ttl in proptest::option::of(1..4u64),
        mut before in changes(4),
        mut rows in changes(8),
    ) {
        if merge == MergeMode::Cell {
            // In a cell view a put that names no feature says nothing; whether it leaves an empty row does not matter.
            before.retain(|row| row.change != Change::Put(Bytes::new()));
            rows.retain(|row| row.change != Change::Put(Bytes::new()));
        }
        let ttl = ttl.map(Duration::from_micros);
        let spec = ViewSpec { ttl, ..view("v", merge, order) };
        let mut folded = Rowstore::default();
        for (seq, row) in (1..).zip(before) {
            folded.write(batch(&spec, vec![row]), seq);
        }
        let mut single = folded.clone();
        let total = u32::try_from(rows.len()).unwrap();
        let mut older = 0;
        for (seq, row) in (10..).zip(rows.clone()) {
            older += single.write(batch(&spec, vec![row]), seq).older;
        }
        let decided = folded.write(batch(&spec, rows), 10);
        prop_assert_eq!(folded.into_one_record(10), single.into_one_record(10));
        let logged: usize = decided.groups.iter().map(|group| group.rows.len()).sum();
        prop_assert_eq!(decided.older, older);
        prop_assert_eq!(decided.older + decided.folded + u32::try_from(logged).unwrap(), total);
    }

    #[test]
    fn a_record_names_no_row_and_no_cell_twice((merge, order) in modes(), rows in changes(8)) {
        let decided = decide(batch(&view("v", merge, order), rows)).unwrap();
        let mut seen = BTreeSet::new();
        for write in decided.groups.iter().flat_map(|group| &group.rows) {
            match merge {
                MergeMode::Row => prop_assert!(seen.insert((write.key.clone(), None))),
                MergeMode::Cell => for cell in named(write).unwrap() {
                    prop_assert!(seen.insert((write.key.clone(), cell)));
                }
            }
        }
    }

    #[test]
    fn groups_of_one_view_are_decided_as_one_group((merge, order) in modes(), rows in changes(8), cut: prop::sample::Index) {
        let spec = view("v", merge, order);
        let whole = batch(&spec, rows.clone());
        let (first, second) = rows.split_at(cut.index(rows.len() + 1));
        let mut parts = batch(&spec, first.to_vec());
        parts.groups.extend(batch(&spec, second.to_vec()).groups);
        prop_assert_eq!(decide(parts), decide(whole));
    }

    #[test]
    fn the_first_row_that_is_not_admitted_is_named_by_its_place(
        good in proptest::collection::vec(changes(4), 1..4),
        bad: prop::sample::Index,
        far in any::<bool>(),
    ) {
        let spec = ViewSpec { max_lateness: Some(Duration::from_micros(3)), ..view("v", MergeMode::Row, Order::EventTime) };
        let mut groups: Vec<_> = good.into_iter().flat_map(|rows| batch(&spec, rows).groups).collect();
        let group = bad.index(groups.len());
        let row = groups[group].rows.len();
        let event_time = if far { Micros(NOW.0 + 6) } else { Micros(NOW.0 - 4) };
        groups[group].rows.push(put(0, Some(event_time)));
        groups[group].rows.push(put(0, Some(Micros(0))));
        let floor = Micros(NOW.0 - 3);
        let refusal = if far {
            Refusal::TooFarAhead { group, row, event_time, at: NOW, bound: BOUND }
        } else {
            Refusal::TooLate { group, row, event_time, floor, view: "v".into() }
        };
        prop_assert_eq!(decide(Batch { groups, is_override: false }), Err(refusal));
    }

    #[test]
    fn batches_have_equal_digests_exactly_if_they_ask_for_the_same(
        a in changes(3), b in changes(3), names in (0..2usize, 0..2usize), cuts: (prop::sample::Index, prop::sample::Index),
    ) {
        let grouped = |rows: &[RowChange], name: usize, cut: prop::sample::Index| {
            let spec = view(["v", "w"][name], MergeMode::Row, Order::EventTime);
            let (first, second) = rows.split_at(cut.index(rows.len() + 1));
            let mut whole = batch(&spec, first.to_vec());
            whole.groups.extend(batch(&spec, second.to_vec()).groups);
            whole
        };
        let (a, b) = (grouped(&a, names.0, cuts.0), grouped(&b, names.1, cuts.1));
        prop_assert_eq!(a.digest(), a.clone().digest());
        prop_assert_eq!(a.digest() == b.digest(), format!("{a:?}") == format!("{b:?}"));
    }
}

#[test]
fn an_event_time_is_admitted_up_to_the_bound_ahead_and_no_further() {
    let spec = view("v", MergeMode::Row, Order::EventTime);
    let at = |ahead| Some(Micros(NOW.0 + ahead));
    for change in [put, delete] {
        assert!(decide(batch(&spec, vec![change(1, at(5))])).is_ok());
        let refused = decide(batch(&spec, vec![change(1, at(6))]));
        assert!(matches!(refused, Err(Refusal::TooFarAhead { .. })));
    }
}

#[test]
fn an_event_time_is_admitted_down_to_the_lateness_floor_and_no_lower() {
    let max_lateness = Some(Duration::from_micros(10));
    let spec = ViewSpec {
        max_lateness,
        ..view("v", MergeMode::Row, Order::EventTime)
    };
    for change in [put, delete] {
        let at = |late| decide(batch(&spec, vec![change(1, Some(Micros(NOW.0 - late)))]));
        assert!(at(10).is_ok());
        assert!(matches!(at(11), Err(Refusal::TooLate { .. })));
    }
}

#[test]
fn a_put_counts_as_older_from_the_expiry_floor_down_but_a_delete_is_logged() {
    let ttl = Some(Duration::from_micros(10));
    let spec = ViewSpec {
        ttl,
        ..view("v", MergeMode::Row, Order::EventTime)
    };
    let logged = |change: RowChange| {
        let decided = decide(batch(&spec, vec![change])).unwrap();
        (decided.older, decided.groups.len())
    };
    assert_eq!(logged(put(1, Some(Micros(NOW.0 - 9)))), (0, 1));
    assert_eq!(logged(put(1, Some(Micros(NOW.0 - 10)))), (1, 0));
    assert_eq!(logged(delete(1, Some(Micros(NOW.0 - 10)))), (0, 1));
}

#[test]
fn a_delete_takes_the_greatest_stored_event_time_if_that_is_ahead_of_the_write() {
    let spec = view("v", MergeMode::Cell, Order::EventTime);
    let time_of = |change: RowChange, stored: Option<i64>| {
        let stored = |_: ViewId, _: &EntityKey| Ok::<_, DecodeError>(stored.map(Micros));
        let decided = batch(&spec, vec![change]).decide(moment(), stored);
        decided.unwrap().unwrap().groups[0].rows[0].event_time
    };
    assert_eq!(time_of(delete(1, None), None), NOW);
    assert_eq!(time_of(delete(1, None), Some(NOW.0 - 1)), NOW);
    // However far ahead that is: the bound is for what a client gives.
    assert_eq!(time_of(delete(1, None), Some(NOW.0 * 9)), Micros(NOW.0 * 9));
    let own = Some(Micros(NOW.0 - 2));
    assert_eq!(time_of(delete(1, own), Some(NOW.0 * 9)), Micros(NOW.0 - 2));
    assert_eq!(time_of(put(1, None), Some(NOW.0 * 9)), NOW);
}

#[test]
fn an_override_takes_its_event_time_as_a_delete_does_and_wins() {
    for merge in [MergeMode::Row, MergeMode::Cell] {
        let spec = view("v", merge, Order::EventTime);
        let far = Micros(NOW.0 * 9);
        let mut store = Rowstore::default();
        let pinned = RowChange {
            change: Change::Put(cells(0b111, 1)),
            ..put(1, Some(far))
        };
        let roomy = Moment {
            bound_ahead: Duration::MAX,
            ..moment()
        };
        store.write_at(roomy, batch(&spec, vec![pinned]), 1);
        let values = |features, value| RowChange {
            change: Change::Put(cells(features, value)),
            ..put(1, None)
        };
        store.write(batch(&spec, vec![values(0b1, 2)]), 2);
        assert_eq!(store.value(0), Some(1), "an ordinary put loses");
        let overriding = |rows| Batch {
            is_override: true,
            ..batch(&spec, rows)
        };
        // The second of one batch hides the first, whatever its place.
        let decided = store.write(overriding(vec![values(0b1, 3), values(0b1, 4)]), 3);
        assert_eq!(decided.groups[0].rows[0].event_time, far);
        assert_eq!(store.value(0), Some(4));
        store.write(batch(&spec, vec![values(0b1, 5)]), 4);
        assert_eq!(store.value(0), Some(4), "the row stays pinned");
        store.write(batch(&spec, vec![delete(1, None)]), 5);
        assert_eq!(store.value(0), None);
        store.write(overriding(vec![values(0b1, 6)]), 6);
        assert_eq!(
            store.value(0),
            Some(6),
            "an override wins against a tombstone"
        );
    }
}

#[test]
fn an_override_is_another_request_than_the_put() {
    let spec = view("v", MergeMode::Row, Order::EventTime);
    let plain = batch(&spec, vec![put(1, None)]);
    let overriding = Batch {
        is_override: true,
        ..plain.clone()
    };
    assert_ne!(plain.digest(), overriding.digest());
}

#[test]
fn only_deletes_and_overrides_by_event_time_without_their_own_read_stored_rows() {
    for (order, change, is_override, reads) in [
        (Order::EventTime, delete(1, None), false, true),
        (Order::EventTime, delete(1, Some(NOW)), false, false),
        (Order::EventTime, put(1, None), false, false),
        (Order::EventTime, put(1, None), true, true),
        (Order::Arrival, delete(1, None), false, false),
        (Order::Arrival, put(1, None), true, false),
    ] {
        let batch = Batch {
            is_override,
            ..batch(&view("v", MergeMode::Row, order), vec![change])
        };
        assert_eq!(batch.reads_stored_rows(), reads, "{batch:?}");
        let asked = batch.decide(moment(), |_, _| {
            Err(DecodeError::NotUtf8 { field: "asked" })
        });
        assert_eq!(asked.is_err(), reads);
    }
}

#[test]
fn a_batch_of_which_nothing_is_left_is_a_record_without_rows() {
    assert_eq!(decide(Batch::default()), Ok(Rows::default()));
}
