//! Pure: random values for property tests.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::cells::put_cell;
use super::definition::{Alteration, Definition};
use super::digest::Digest;
use super::key::{EntityKey, KeyType, KeyValue};
use super::record::{Body, Horizon, Marker, Opening, Record, RequestId, RowGroup, RowWrite, Rows};
use super::value::{Items, Scalar, Value, ValueType};
use super::version::{Order, Version};
use super::view::{Feature, FeatureId, JoinKey, MergeMode, ViewId, ViewSpec};
use crate::base::{
    Epoch, Hlc, IncarnationId, LogId, Micros, ReadLevel, RegionId, Seq, Stamp, VersionVector,
};

pub(crate) fn value_types() -> impl Strategy<Value = ValueType> {
    (0..Scalar::ALL.len(), any::<bool>()).prop_map(|(at, list)| {
        let scalar = Scalar::ALL[at];
        if list {
            ValueType::List(scalar)
        } else {
            ValueType::Scalar(scalar)
        }
    })
}

fn items(scalar: Scalar, max: usize) -> BoxedStrategy<Items> {
    fn many<S: Strategy + 'static, T: std::fmt::Debug + 'static>(
        one: S,
        max: usize,
        wrap: fn(Vec<S::Value>) -> T,
    ) -> BoxedStrategy<T> {
        proptest::collection::vec(one, 0..=max)
            .prop_map(wrap)
            .boxed()
    }
    match scalar {
        Scalar::Bool => many(any::<bool>(), max, Items::Bool),
        Scalar::Int32 => many(any::<i32>(), max, Items::Int32),
        Scalar::Int64 => many(any::<i64>(), max, Items::Int64),
        Scalar::Float => many(any::<f32>(), max, Items::Float),
        Scalar::Double => many(any::<f64>(), max, Items::Double),
        Scalar::String => many(any::<String>(), max, Items::String),
        Scalar::Bytes => many(any::<Vec<u8>>().prop_map(Bytes::from), max, Items::Bytes),
        Scalar::Timestamp => many(any::<i64>(), max, Items::Timestamp),
    }
}

/// A value of the type, now and then null.
pub(crate) fn values_of(value_type: ValueType) -> BoxedStrategy<Value> {
    let present = match value_type {
        ValueType::List(scalar) => items(scalar, 6).prop_map(Value::List).boxed(),
        ValueType::Scalar(scalar) => match scalar {
            Scalar::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Scalar::Int32 => any::<i32>().prop_map(Value::Int32).boxed(),
            Scalar::Int64 => any::<i64>().prop_map(Value::Int64).boxed(),
            Scalar::Float => any::<f32>().prop_map(Value::Float).boxed(),
            Scalar::Double => any::<f64>().prop_map(Value::Double).boxed(),
            Scalar::String => any::<String>().prop_map(Value::String).boxed(),
            Scalar::Bytes => any::<Vec<u8>>()
                .prop_map(|bytes| Value::Bytes(bytes.into()))
                .boxed(),
            Scalar::Timestamp => any::<i64>()
                .prop_map(|time| Value::Timestamp(Micros(time)))
                .boxed(),
        },
    };
    prop_oneof![1 => Just(Value::Null), 6 => present].boxed()
}

/// A type with a value of it.
pub(crate) fn typed_values() -> impl Strategy<Value = (ValueType, Value)> {
    value_types().prop_flat_map(|value_type| (Just(value_type), values_of(value_type)))
}

/// Versions close together, so that event times and parts of stamps are often equal.
pub(crate) fn close_versions() -> impl Strategy<Value = Version> {
    (-3..3i64, 0..4u64, 0..2u64, 1..3u64, 1..4u64).prop_map(
        |(event_time, hlc, region, epoch, seq)| Version {
            event_time: Micros(event_time),
            stamp: Stamp {
                hlc: Hlc(hlc),
                region: RegionId(region),
                epoch: Epoch(epoch),
                seq: Seq(seq),
            },
        },
    )
}

/// A merge mode with an order.
pub(crate) fn modes() -> impl Strategy<Value = (MergeMode, Order)> {
    let merge = prop_oneof![Just(MergeMode::Row), Just(MergeMode::Cell)];
    let order = prop_oneof![Just(Order::EventTime), Just(Order::Arrival)];
    (merge, order)
}

/// Encoded cells of any types.
pub(crate) fn cells() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(typed_values(), 0..4).prop_map(|values| {
        let mut out = Vec::new();
        for (at, (value_type, value)) in (0..).zip(&values) {
            put_cell(&mut out, FeatureId(at), *value_type, value);
        }
        out.into()
    })
}

/// Version vectors with and without folded logs.
pub(crate) fn version_vectors() -> impl Strategy<Value = VersionVector> {
    let bases = proptest::collection::vec((0..3u64, 1..4u64), 0..3);
    let logs = proptest::collection::vec((0..3u64, 1..8u64, any::<u64>()), 0..6);
    (bases, logs).prop_map(|(bases, logs)| {
        let mut vector = VersionVector::new();
        for (region, epoch) in bases {
            vector.fold(RegionId(region), Epoch(epoch));
        }
        for (region, epoch, seq) in logs {
            let (region, epoch) = (RegionId(region), Epoch(epoch));
            vector.advance(LogId { region, epoch }, Seq(seq));
        }
        vector
    })
}

/// Records of every kind.
pub(crate) fn records() -> impl Strategy<Value = Record> {
    let request =
        (any::<String>(), any::<String>(), any::<u128>()).prop_map(|(caller, id, hash)| {
            let body_hash = Digest(hash);
            RequestId {
                caller,
                id,
                body_hash,
            }
        });
    let head = (
        any::<[u64; 4]>(),
        any::<u128>(),
        proptest::option::of(request),
    );
    (head, bodies()).prop_map(
        |(([hlc, region, epoch, seq], chain_before, request), body)| Record {
            stamp: Stamp {
                hlc: Hlc(hlc),
                region: RegionId(region),
                epoch: Epoch(epoch),
                seq: Seq(seq),
            },
            chain_before: Digest(chain_before),
            request,
            body,
        },
    )
}

fn bodies() -> impl Strategy<Value = Body> {
    let members = proptest::collection::vec(any::<u128>().prop_map(IncarnationId), 0..4);
    let opening =
        (any::<u64>(), members, version_vectors()).prop_map(|(floor, members, recovered)| {
            let floor = Hlc(floor);
            Body::Opening(Opening {
                floor,
                members,
                recovered,
            })
        });
    let marker =
        (version_vectors(), any::<u64>(), any::<u128>()).prop_map(|(applied, swept, digest)| {
            let (swept, digest) = (Hlc(swept), Digest(digest));
            Body::Marker(Marker {
                applied,
                swept,
                digest,
            })
        });
    let horizon = (any::<u64>(), version_vectors()).prop_map(|(horizon, covered)| {
        let horizon = Hlc(horizon);
        Body::Horizon(Horizon { horizon, covered })
    });
    prop_oneof![
        opening,
        rows().prop_map(Body::Rows),
        definitions().prop_map(Body::Definition),
        marker,
        horizon
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    let row = (any::<String>(), any::<i64>(), proptest::option::of(cells())).prop_map(
        |(key, time, cells)| RowWrite {
            key: EntityKey::encode(&[KeyValue::String(key)]),
            event_time: Micros(time),
            cells,
        },
    );
    let group = (any::<u64>(), modes(), proptest::collection::vec(row, 0..4));
    let group = group.prop_map(|(view, (merge, order), rows)| RowGroup {
        view: ViewId(view),
        merge,
        order,
        rows,
    });
    (
        any::<u32>(),
        any::<u32>(),
        proptest::collection::vec(group, 0..3),
    )
        .prop_map(|(older, folded, groups)| Rows {
            older,
            folded,
            groups,
        })
}

/// Definitions of every kind. Names need not be such as a view file allows.
pub(crate) fn definitions() -> impl Strategy<Value = Definition> {
    let create = (any::<u32>(), specs())
        .prop_map(|(generation, spec)| Definition::Create { generation, spec });
    let add = (any::<u64>(), features()).prop_map(|(view, feature)| {
        let view = ViewId(view);
        Definition::AddFeature { view, feature }
    });
    let drop = any::<u64>().prop_map(|view| Definition::Drop { view: ViewId(view) });
    let alter = (any::<u64>(), alterations()).prop_map(|(view, alteration)| {
        let view = ViewId(view);
        Definition::Alter { view, alteration }
    });
    prop_oneof![create, add, alter, drop]
}

fn alterations() -> impl Strategy<Value = Alteration> {
    let spans = (proptest::option::of(spans()), proptest::option::of(spans()));
    let features = proptest::collection::vec(features(), 0..3);
    let dropped = proptest::collection::vec(any::<u32>().prop_map(FeatureId), 0..3);
    let read_level = proptest::option::of(read_levels());
    (spans, read_level, features, dropped).prop_map(
        |((ttl, max_lateness), read_level, features, dropped)| Alteration {
            ttl,
            max_lateness,
            read_level,
            features,
            dropped,
        },
    )
}

fn read_levels() -> impl Strategy<Value = Option<ReadLevel>> {
    let bounded = any::<u32>().prop_map(|ms| ReadLevel::Bounded(Duration::from_millis(ms.into())));
    let fixed = vec![ReadLevel::Local, ReadLevel::Quorum, ReadLevel::Primary];
    proptest::option::of(prop_oneof![bounded, proptest::sample::select(fixed)])
}

fn spans() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of(any::<u64>().prop_map(Duration::from_micros))
}

/// Features with and without default and `max_age`.
pub(crate) fn features() -> impl Strategy<Value = Feature> {
    (any::<String>(), typed_values(), any::<bool>(), spans()).prop_map(
        |(name, (value_type, value), with_default, max_age)| {
            let default = (with_default && value != Value::Null).then_some(value);
            Feature::new(name, value_type, default, max_age)
        },
    )
}

/// Definitions of views. Names need not be such as a view file allows.
pub(crate) fn specs() -> impl Strategy<Value = ViewSpec> {
    let join_key = (any::<String>(), 0..KeyType::ALL.len()).prop_map(|(name, at)| JoinKey {
        name,
        key_type: KeyType::ALL[at],
    });
    let entity = proptest::collection::vec(join_key, 1..4);
    let features = proptest::collection::vec(features(), 0..4);
    let settings = (spans(), spans(), modes(), read_levels());
    (any::<String>(), entity, settings, features).prop_map(
        |(name, entity, (ttl, max_lateness, (merge, order), read_level), features)| ViewSpec {
            name,
            entity,
            ttl,
            max_lateness,
            merge,
            order,
            read_level,
            features,
        },
    )
}
