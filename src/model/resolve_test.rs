//! Answers compared with those of an oracle that builds every row.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, Hlc, RegionId, Seq, Stamp};
use crate::model::cells::{Cells, decode_value, put_cell};
use crate::model::key::KeyType;
use crate::model::row::{self, Content, Row};
use crate::model::testing::{modes, typed_values, values_of};
use crate::model::value::Scalar;
use crate::model::version::{Order, Version};
use crate::model::view::{FeatureId, JoinKey, MergeMode, ViewSpec};
use crate::model::{Catalogue, Purge};

const NOW: Micros = Micros(1_000);

/// What an answer says of one value: status, whether a default filled it, the value, the event time.
type Said = (Status, bool, Value, i64);

/// What the oracle says of one feature of one stored row.
fn oracle(view: &View, feature: &Feature, row: Option<&[u8]>, wanted: Wanted) -> Said {
    let row = row.map(|bytes| Row::decode(bytes).unwrap());
    let cell = row.and_then(|row| cell_of(&row, feature.id));
    let cell = cell.filter(|(value_type, ..)| *value_type == feature.value_type);
    let lives = |span: Option<Duration>, event_time: i64| {
        span.is_none_or(|span| event_time + i64::try_from(span.as_micros()).unwrap() > NOW.0)
    };
    let (status, value, event_time) = match cell {
        None => (Status::NotFound, Value::Null, 0),
        Some((_, value, time)) if !lives(view.spec.ttl, time) || !lives(feature.max_age, time) => {
            drop(value);
            (Status::Expired, Value::Null, time)
        }
        Some((_, Value::Null, time)) => (Status::Null, Value::Null, time),
        Some((_, value, time)) => (Status::Present, value, time),
    };
    let default = feature.default.clone().filter(|_| wanted.defaults);
    let event_time = if wanted.event_times { event_time } else { 0 };
    match default {
        Some(default) if status != Status::Present => (status, true, default, event_time),
        _ => (status, false, value, event_time),
    }
}

fn cell_of(row: &Row, feature: FeatureId) -> Option<(ValueType, Value, i64)> {
    let (encoded, version) = match &row.content {
        Content::Whole { version, cells } => (cells.clone()?, *version),
        Content::Cells { cells, .. } => {
            let cell = cells.get(&feature)?;
            (cell.encoded.clone(), cell.version)
        }
    };
    let mut cells = Cells::new(&encoded).map(Result::unwrap);
    let cell = cells.find(|cell| cell.feature == feature)?;
    let value = decode_value(&cell).unwrap();
    Some((cell.value_type, value, version.event_time.0))
}

/// What a column says of each entity.
fn said(column: &Column) -> Vec<Said> {
    let mut lists = 0;
    (0..column.statuses.len())
        .map(|at| {
            let code = column.statuses[at];
            let status = Status::from_code(code).unwrap();
            let filled = code & DEFAULTED != 0;
            let value = match column.feature.value_type {
                ValueType::Scalar(_) => slice(&column.values, at, 1).into_single(),
                ValueType::List(_) => {
                    let length = usize::try_from(column.list_lengths[at]).unwrap();
                    lists += length;
                    Value::List(slice(&column.values, lists - length, length))
                }
            };
            let event_time = column.event_times.get(at).copied().unwrap_or(0);
            let shown = status == Status::Present || filled;
            (
                status,
                filled,
                if shown { value } else { Value::Null },
                event_time,
            )
        })
        .collect()
}

fn slice(items: &Items, from: usize, length: usize) -> Items {
    let to = from + length;
    match items {
        Items::Bool(items) => Items::Bool(items[from..to].to_vec()),
        Items::Int32(items) => Items::Int32(items[from..to].to_vec()),
        Items::Int64(items) => Items::Int64(items[from..to].to_vec()),
        Items::Float(items) => Items::Float(items[from..to].to_vec()),
        Items::Double(items) => Items::Double(items[from..to].to_vec()),
        Items::String(items) => Items::String(items[from..to].to_vec()),
        Items::Bytes(items) => Items::Bytes(items[from..to].to_vec()),
        Items::Timestamp(items) => Items::Timestamp(items[from..to].to_vec()),
    }
}

fn view(features: Vec<Feature>, ttl: Option<Duration>, merge: MergeMode, order: Order) -> View {
    let entity = vec![JoinKey {
        name: "id".into(),
        key_type: KeyType::Int64,
    }];
    let spec = ViewSpec {
        name: "v".into(),
        entity,
        ttl,
        max_lateness: None,
        merge,
        order,
        read_level: None,
        features,
    };
    View::new(spec, 0)
}

fn version(event_time: i64, seq: u64) -> Version {
    Version {
        event_time: Micros(event_time),
        stamp: Stamp {
            hlc: Hlc(1),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        },
    }
}

/// Short spans, so that event times just before now lie around them.
fn spans() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((1..6u64).prop_map(Duration::from_micros))
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    let feature = (typed_values(), any::<bool>(), spans());
    proptest::collection::vec(feature, 1..5).prop_map(|features| {
        let named = features.into_iter().enumerate();
        named
            .map(|(at, ((value_type, value), with_default, max_age))| {
                let default = (with_default && value != Value::Null).then_some(value);
                Feature::new(format!("f{at}"), value_type, default, max_age)
            })
            .collect()
    })
}

/// A write: its event time, and for each feature whether and which value; `None` is a deletion. Now and then a feature
/// has another type than in the definition.
type Write = (i64, Option<Vec<Option<(ValueType, Value)>>>);

fn writes(features: &[Feature]) -> impl Strategy<Value = Vec<Write>> + use<> {
    let cells: Vec<_> = features
        .iter()
        .map(|feature| {
            let own = Just(feature.value_type);
            let own = (own, values_of(feature.value_type)).boxed();
            let typed = prop_oneof![5 => own, 1 => typed_values().boxed()];
            proptest::option::weighted(0.8, typed)
        })
        .collect();
    let write = (NOW.0 - 7..NOW.0 + 2, proptest::option::weighted(0.9, cells));
    proptest::collection::vec(write, 0..4)
}

fn stored(
    merge: MergeMode,
    order: Order,
    features: &[Feature],
    writes: Vec<Write>,
) -> Option<Vec<u8>> {
    let rows = (1..).zip(writes).map(|(seq, (event_time, cells))| {
        let cells = cells.map(|cells| encode(features, cells));
        row::Write {
            merge,
            order,
            version: version(event_time, seq),
            cells: cells.as_deref(),
        }
        .row()
        .unwrap()
    });
    Some(rows.reduce(Row::merge)?.encode())
}

fn encode(features: &[Feature], cells: Vec<Option<(ValueType, Value)>>) -> Bytes {
    let mut named: Vec<_> = features
        .iter()
        .map(|feature| feature.id)
        .zip(cells)
        .collect();
    named.sort_by_key(|(id, _)| *id);
    let mut out = Vec::new();
    for (id, cell) in named {
        if let Some((value_type, value)) = cell {
            put_cell(&mut out, id, value_type, &value);
        }
    }
    out.into()
}

proptest! {
    #[test]
    fn every_answer_is_the_oracles(
        (features, entities) in features().prop_flat_map(|features| {
            let entities = proptest::collection::vec(writes(&features), 1..5);
            (Just(features), entities)
        }),
        (merge, order) in modes(),
        ttl in spans(),
        (defaults, event_times) in any::<(bool, bool)>(),
        asked in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
        ranked in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let rows: Vec<_> = entities.into_iter().map(|writes| stored(merge, order, &features, writes)).collect();
        let view = Arc::new(view(features.clone(), ttl, merge, order));
        let wanted = Wanted { defaults, event_times };
        // Features and entities are asked for in any order, some twice, some not at all.
        let asked: Vec<_> = asked.iter().map(|at| at.get(&features).clone()).collect();
        let ranked: Vec<_> = ranked.iter().map(|at| at.get(&rows).as_deref()).collect();
        let mut resolver = Resolver::new(Arc::clone(&view), asked.clone(), ranked.len(), wanted, NOW);
        for row in &ranked {
            resolver.push(*row).unwrap();
        }
        let columns = resolver.finish();
        prop_assert_eq!(columns.len(), asked.len());
        for (column, feature) in columns.iter().zip(&asked) {
            let expected: Vec<_> = ranked.iter().map(|row| oracle(&view, feature, *row, wanted)).collect();
            // Through Debug, so that NaN equals itself.
            prop_assert_eq!(&column.feature.name, &feature.name);
            prop_assert_eq!(format!("{:?}", said(column)), format!("{expected:?}"));
            prop_assert_eq!(column.event_times.len(), if event_times { ranked.len() } else { 0 });
            let lists = matches!(feature.value_type, ValueType::List(_));
            prop_assert_eq!(column.list_lengths.len(), if lists { ranked.len() } else { 0 });
            let items: usize = column.list_lengths.iter().map(|length| usize::try_from(*length).unwrap()).sum();
            prop_assert_eq!(column.values.len(), if lists { items } else { ranked.len() });
        }
    }

    #[test]
    fn no_stored_bytes_make_an_answer_panic(features in features(), (merge, order) in modes(), bytes: Vec<u8>, flags in 0..8u8) {
        let mut row = vec![1, flags];
        row.extend(bytes);
        let view = Arc::new(view(features.clone(), None, merge, order));
        let mut resolver = Resolver::new(view, features, 1, Wanted::default(), NOW);
        let _damaged = resolver.push(Some(&row));
    }
}

/// The status of a value written at `event_time`.
fn status_of(ttl: Option<u64>, max_age: Option<u64>, event_time: i64) -> Status {
    let double = ValueType::Scalar(Scalar::Double);
    let max_age = max_age.map(Duration::from_micros);
    let feature = Feature::new("f".into(), double, None, max_age);
    let ttl = ttl.map(Duration::from_micros);
    let view = view(vec![feature.clone()], ttl, MergeMode::Row, Order::EventTime);
    let mut cells = Vec::new();
    put_cell(&mut cells, feature.id, double, &Value::Double(1.0));
    let row = row::Write {
        merge: MergeMode::Row,
        order: Order::EventTime,
        version: version(event_time, 1),
        cells: Some(&cells),
    }
    .row();
    let mut resolver = Resolver::new(view.into(), vec![feature], 1, Wanted::default(), NOW);
    resolver.push(Some(&row.unwrap().encode())).unwrap();
    Status::from_code(resolver.finish()[0].statuses[0]).unwrap()
}

#[test]
fn a_value_expires_in_the_very_microsecond_its_age_reaches_the_shorter_of_ttl_and_max_age() {
    for (ttl, max_age, limit) in [
        (Some(10), None, 10),
        (None, Some(10), 10),
        (Some(10), Some(4), 4),
    ] {
        assert_eq!(status_of(ttl, max_age, NOW.0 - limit + 1), Status::Present);
        assert_eq!(status_of(ttl, max_age, NOW.0 - limit), Status::Expired);
    }
    assert_eq!(status_of(None, None, i64::MIN), Status::Present);
}

#[test]
fn what_may_go_at_the_horizon_is_not_found_and_not_expired() {
    let double = ValueType::Scalar(Scalar::Double);
    let features = ["a", "b"].map(|name| Feature::new(name.into(), double, None, None));
    for merge in [MergeMode::Row, MergeMode::Cell] {
        let ttl = Some(Duration::from_millis(1));
        let spec = view(features.to_vec(), ttl, merge, Order::EventTime).spec;
        let mut catalogue = Catalogue::new();
        let create = catalogue.create(spec).unwrap();
        catalogue.apply(version(0, 1).stamp, &create);
        let view = Arc::clone(catalogue.views().next().unwrap());
        // Both have expired; the horizon has passed the first only.
        let horizon = Hlc::from_millis(10);
        let write = |feature: &Feature, event_time, stamp| {
            let mut cells = Vec::new();
            put_cell(&mut cells, feature.id, double, &Value::Double(1.0));
            let write = row::Write {
                merge,
                order: Order::EventTime,
                version: version(event_time, stamp),
                cells: Some(&cells),
            };
            write.row().unwrap()
        };
        let old = write(&features[0], 9_000, 1);
        let rows = [old.clone(), old.merge(write(&features[1], 9_001, 2))];
        let mut resolver = Resolver::new(
            Arc::clone(&view),
            features.to_vec(),
            2,
            Wanted::default(),
            Micros(50_000),
        )
        .leaving_out(Purge::new(horizon, catalogue).of(view.id));
        for row in &rows {
            resolver.push(Some(&row.encode())).unwrap();
        }
        let columns = resolver.finish();
        let (gone, expired) = (Status::NotFound.code(), Status::Expired.code());
        assert_eq!(columns[0].statuses, [gone, gone], "{merge:?}");
        assert_eq!(columns[1].statuses, [gone, expired], "{merge:?}");
    }
}

#[test]
fn a_status_byte_says_its_status_with_and_without_the_mark_of_a_default() {
    for status in [
        Status::Present,
        Status::Null,
        Status::NotFound,
        Status::Expired,
    ] {
        assert_eq!(Status::from_code(status.code()), Some(status));
        assert_eq!(Status::from_code(status.code() | DEFAULTED), Some(status));
    }
    assert_eq!(Status::from_code(0), None);
    assert_eq!(Status::from_code(5), None);
}
