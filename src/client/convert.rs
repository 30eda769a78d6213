//! Pure: between the wire's messages and the model, as a client needs it.

use std::time::Duration;

use crate::base::Micros;
use crate::model::view::ViewSpec;
use crate::model::{
    CommitLevel, Feature, Items, JoinKey, KeyType, KeyValue, MergeMode, Order, ReadLevel, Scalar,
    Value, ValueType, View,
};
use crate::proto::v1;
use v1::items::Kind as ItemsKind;
use v1::value::Kind as ValueKind;

/// A view on the wire that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("view {view:?} as the node describes it: {problem}")]
pub struct BadView {
    /// The name of the view.
    view: String,
    /// What is wrong.
    problem: String,
}

/// The definition of a view as a node describes it.
///
/// # Errors
/// If it has a type, merge mode, order or default that this version does not know.
pub fn view_from_wire(view: &v1::View) -> Result<View, BadView> {
    let bad = |problem: String| BadView {
        view: view.name.clone(),
        problem,
    };
    let entity = view.entity.iter().map(join_key_from_wire);
    let features = view.features.iter().map(feature_from_wire);
    let spec = ViewSpec {
        name: view.name.clone(),
        entity: entity.collect::<Result<_, _>>().map_err(bad)?,
        ttl: span(view.ttl_us),
        max_lateness: span(view.max_lateness_us),
        merge: match view.merge.as_str() {
            "row" => MergeMode::Row,
            "cell" => MergeMode::Cell,
            other => return Err(bad(format!("merge mode {other:?}"))),
        },
        order: match view.order.as_str() {
            "event_time" => Order::EventTime,
            "arrival" => Order::Arrival,
            other => return Err(bad(format!("order {other:?}"))),
        },
        features: features.collect::<Result<_, _>>().map_err(bad)?,
    };
    Ok(View::new(spec, view.generation))
}

fn join_key_from_wire(key: &v1::JoinKey) -> Result<JoinKey, String> {
    let key_type: KeyType = key
        .r#type
        .parse()
        .map_err(|error| format!("join key {:?}: {error}", key.name))?;
    Ok(JoinKey {
        name: key.name.clone(),
        key_type,
    })
}

fn feature_from_wire(feature: &v1::Feature) -> Result<Feature, String> {
    let value_type: ValueType = feature
        .r#type
        .parse()
        .map_err(|error| format!("feature {:?}: {error}", feature.name))?;
    let default = match &feature.default {
        None => None,
        Some(default) => Some(
            value_from_wire(default)
                .filter(|value| value.is_of(value_type))
                .ok_or_else(|| {
                    format!("default of feature {:?} is no {value_type}", feature.name)
                })?,
        ),
    };
    let max_age = span(feature.max_age_us);
    Ok(Feature::new(
        feature.name.clone(),
        value_type,
        default,
        max_age,
    ))
}

fn span(micros: u64) -> Option<Duration> {
    (micros != 0).then(|| Duration::from_micros(micros))
}

/// A value as a message; `None` (absent) is a message without a kind.
#[must_use]
pub fn value_to_wire(value: Option<Value>) -> v1::Value {
    let kind = value.map(|value| match value {
        Value::Null => ValueKind::Null(true),
        Value::Bool(value) => ValueKind::BoolValue(value),
        Value::Int32(value) => ValueKind::Int32Value(value),
        Value::Int64(value) => ValueKind::Int64Value(value),
        Value::Float(value) => ValueKind::FloatValue(value),
        Value::Double(value) => ValueKind::DoubleValue(value),
        Value::String(value) => ValueKind::StringValue(value),
        Value::Bytes(value) => ValueKind::BytesValue(value),
        Value::Timestamp(Micros(value)) => ValueKind::TimestampUsValue(value),
        Value::List(items) => ValueKind::ListValue(items_to_wire(items)),
    });
    v1::Value { kind }
}

fn value_from_wire(value: &v1::Value) -> Option<Value> {
    Some(match value.kind.clone()? {
        ValueKind::Null(_) => Value::Null,
        ValueKind::BoolValue(value) => Value::Bool(value),
        ValueKind::Int32Value(value) => Value::Int32(value),
        ValueKind::Int64Value(value) => Value::Int64(value),
        ValueKind::FloatValue(value) => Value::Float(value),
        ValueKind::DoubleValue(value) => Value::Double(value),
        ValueKind::StringValue(value) => Value::String(value),
        ValueKind::BytesValue(value) => Value::Bytes(value),
        ValueKind::TimestampUsValue(value) => Value::Timestamp(Micros(value)),
        ValueKind::ListValue(items) => Value::List(items_from_wire(items)?),
    })
}

/// A join key's value as a message.
#[must_use]
pub fn key_to_wire(key: KeyValue) -> v1::Value {
    value_to_wire(Some(match key {
        KeyValue::String(value) => Value::String(value),
        KeyValue::Bytes(value) => Value::Bytes(value),
        KeyValue::Int32(value) => Value::Int32(value),
        KeyValue::Int64(value) => Value::Int64(value),
        KeyValue::Timestamp(value) => Value::Timestamp(value),
        KeyValue::Bool(value) => Value::Bool(value),
    }))
}

/// Packed values as a message.
#[must_use]
pub fn items_to_wire(items: Items) -> v1::Items {
    let kind = match items {
        Items::Bool(items) => ItemsKind::Bools(v1::BoolItems { items }),
        Items::Int32(items) => ItemsKind::Int32s(v1::Int32Items { items }),
        Items::Int64(items) => ItemsKind::Int64s(v1::Int64Items { items }),
        Items::Float(items) => ItemsKind::Floats(v1::FloatItems { items }),
        Items::Double(items) => ItemsKind::Doubles(v1::DoubleItems { items }),
        Items::String(items) => ItemsKind::Strings(v1::StringItems { items }),
        Items::Bytes(items) => ItemsKind::Bytes(v1::BytesItems { items }),
        Items::Timestamp(items) => ItemsKind::TimestampsUs(v1::Int64Items { items }),
    };
    v1::Items { kind: Some(kind) }
}

/// Packed values from a message; `None` if it holds none.
#[must_use]
pub fn items_from_wire(items: v1::Items) -> Option<Items> {
    Some(match items.kind? {
        ItemsKind::Bools(items) => Items::Bool(items.items),
        ItemsKind::Int32s(items) => Items::Int32(items.items),
        ItemsKind::Int64s(items) => Items::Int64(items.items),
        ItemsKind::Floats(items) => Items::Float(items.items),
        ItemsKind::Doubles(items) => Items::Double(items.items),
        ItemsKind::Strings(items) => Items::String(items.items),
        ItemsKind::Bytes(items) => Items::Bytes(items.items),
        ItemsKind::TimestampsUs(items) => Items::Timestamp(items.items),
    })
}

/// The entities of a lookup, join key by join key. Every key holds the values of `entity`, in its order.
#[must_use]
pub fn key_columns(entity: &[JoinKey], keys: &[Vec<KeyValue>]) -> Vec<v1::KeyColumn> {
    let column = |(at, join_key): (usize, &JoinKey)| {
        let mut items = Items::with_capacity(scalar_of(join_key.key_type), keys.len());
        for value in keys.iter().filter_map(|key| key.get(at)) {
            push_key(&mut items, value);
        }
        v1::KeyColumn {
            join_key: join_key.name.clone(),
            values: Some(items_to_wire(items)),
        }
    };
    entity.iter().enumerate().map(column).collect()
}

fn scalar_of(key_type: KeyType) -> Scalar {
    match key_type {
        KeyType::String => Scalar::String,
        KeyType::Bytes => Scalar::Bytes,
        KeyType::Int32 => Scalar::Int32,
        KeyType::Int64 => Scalar::Int64,
        KeyType::Timestamp => Scalar::Timestamp,
        KeyType::Bool => Scalar::Bool,
    }
}

fn push_key(items: &mut Items, key: &KeyValue) {
    items.push(&match key {
        KeyValue::String(value) => Value::String(value.clone()),
        KeyValue::Bytes(value) => Value::Bytes(value.clone()),
        KeyValue::Int32(value) => Value::Int32(*value),
        KeyValue::Int64(value) => Value::Int64(*value),
        KeyValue::Timestamp(value) => Value::Timestamp(*value),
        KeyValue::Bool(value) => Value::Bool(*value),
    });
}

/// One join key of many entities, from a scan's answer; `None` if the column is of no key type.
#[must_use]
pub fn keys_from_wire(column: v1::KeyColumn) -> Option<Vec<KeyValue>> {
    Some(match items_from_wire(column.values?)? {
        Items::Bool(items) => items.into_iter().map(KeyValue::Bool).collect(),
        Items::Int32(items) => items.into_iter().map(KeyValue::Int32).collect(),
        Items::Int64(items) => items.into_iter().map(KeyValue::Int64).collect(),
        Items::String(items) => items.into_iter().map(KeyValue::String).collect(),
        Items::Bytes(items) => items.into_iter().map(KeyValue::Bytes).collect(),
        Items::Timestamp(items) => {
            let time = |item| KeyValue::Timestamp(Micros(item));
            items.into_iter().map(time).collect()
        }
        Items::Float(_) | Items::Double(_) => return None,
    })
}

/// A commit level as the wire names it; `None` leaves it to the server.
#[must_use]
pub fn commit_level_to_wire(level: Option<CommitLevel>) -> v1::CommitLevel {
    match level {
        None => v1::CommitLevel::Unspecified,
        Some(CommitLevel::Async) => v1::CommitLevel::Async,
        Some(CommitLevel::Quorum) => v1::CommitLevel::Quorum,
        Some(CommitLevel::All) => v1::CommitLevel::All,
    }
}

/// The name people read of the level of a write's answer.
#[must_use]
pub fn commit_level_name(level: v1::CommitLevel) -> &'static str {
    match level {
        v1::CommitLevel::Unspecified => "unknown",
        v1::CommitLevel::Async => "async",
        v1::CommitLevel::Quorum => "quorum",
        v1::CommitLevel::All => "all",
    }
}

/// A read level as the wire names it, with the bound in milliseconds; `None` leaves it to the server.
#[must_use]
pub fn read_level_to_wire(level: Option<ReadLevel>) -> (v1::ReadLevel, u32) {
    match level {
        None => (v1::ReadLevel::Unspecified, 0),
        Some(ReadLevel::Local) => (v1::ReadLevel::Local, 0),
        Some(ReadLevel::Quorum) => (v1::ReadLevel::Quorum, 0),
        Some(ReadLevel::Primary) => (v1::ReadLevel::Primary, 0),
        Some(ReadLevel::Bounded(bound)) => {
            let bound_ms = u32::try_from(bound.as_millis()).unwrap_or(u32::MAX);
            (v1::ReadLevel::Bounded, bound_ms)
        }
    }
}

/// The name people read of the level of a lookup's answer.
#[must_use]
pub fn read_level_name(level: v1::ReadLevel) -> &'static str {
    match level {
        v1::ReadLevel::Unspecified => "unknown",
        v1::ReadLevel::Local => "local",
        v1::ReadLevel::Bounded => "bounded",
        v1::ReadLevel::Quorum => "quorum",
        v1::ReadLevel::Primary => "primary",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::typed_values;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_message((_, value) in typed_values()) {
            let back = value_from_wire(&value_to_wire(Some(value.clone())));
            prop_assert_eq!(format!("{back:?}"), format!("{:?}", Some(value)));
        }
    }

    fn wire_view() -> v1::View {
        v1::View {
            name: "routes".into(),
            entity: vec![v1::JoinKey {
                name: "carrier".into(),
                r#type: "string".into(),
            }],
            features: vec![v1::Feature {
                name: "delay".into(),
                r#type: "list<float>".into(),
                default: Some(value_to_wire(Some(Value::List(Items::Float(vec![1.0]))))),
                max_age_us: 5,
                id: String::new(),
            }],
            merge: "cell".into(),
            order: "arrival".into(),
            ttl_us: 7,
            generation: 2,
            ..v1::View::default()
        }
    }

    #[test]
    fn a_view_comes_with_types_defaults_and_spans() {
        let view = view_from_wire(&wire_view()).unwrap();
        assert_eq!((view.generation, view.spec.merge), (2, MergeMode::Cell));
        assert_eq!(view.spec.ttl, Some(Duration::from_micros(7)));
        let feature = view.feature("delay").unwrap();
        assert_eq!(feature.default, Some(Value::List(Items::Float(vec![1.0]))));
        assert_eq!(feature.max_age, Some(Duration::from_micros(5)));
    }

    #[test]
    fn a_view_of_a_type_not_known_is_named() {
        let mut view = wire_view();
        view.features[0].r#type = "tensor".into();
        let error = view_from_wire(&view).unwrap_err().to_string();
        assert!(
            error.contains("view \"routes\"") && error.contains("\"tensor\" is not a type"),
            "{error}"
        );
    }

    #[test]
    fn keys_of_many_entities_become_columns_and_come_back() {
        let entity = view_from_wire(&wire_view()).unwrap().spec.entity;
        let keys = [
            vec![KeyValue::String("UA".into())],
            vec![KeyValue::String("B6".into())],
        ];
        let columns = key_columns(&entity, &keys);
        assert_eq!(columns.len(), 1);
        let back = keys_from_wire(columns[0].clone()).unwrap();
        assert_eq!(back, [keys[0][0].clone(), keys[1][0].clone()]);
    }
}
