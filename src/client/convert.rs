//! Pure: between the wire's messages and the model, as a client needs it.

use std::time::Duration;

use crate::base::{CommitLevel, Micros, ReadLevel};
use crate::model::view::ViewSpec;
use crate::model::{
    Feature, Items, JoinKey, KeyType, KeyValue, MergeMode, Order, Value, ValueType, View,
};
use crate::proto::{
    commit_level_to_proto, items_from_proto, items_to_proto, read_level_to_proto, v1,
    value_from_proto, value_to_proto,
};

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
        read_level: match view.read_level.as_str() {
            "" => None,
            level => Some(level.parse().map_err(|error| bad(format!("{error}")))?),
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
    let default = feature
        .default
        .clone()
        .map(|default| match value_from_proto(default) {
            Ok(Some(value)) if value.is_of(value_type) => Ok(value),
            _ => Err(format!(
                "default of feature {:?} is no {value_type}",
                feature.name
            )),
        })
        .transpose()?;
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
    value.map(value_to_proto).unwrap_or_default()
}

/// A join key's value as a message.
#[must_use]
pub fn key_to_wire(key: KeyValue) -> v1::Value {
    value_to_proto(key.to_value())
}

/// The entities of a lookup, join key by join key. Every key holds the values of `entity`, in its order.
#[must_use]
pub fn key_columns(entity: &[JoinKey], keys: &[Vec<KeyValue>]) -> Vec<v1::KeyColumn> {
    let column = |(at, join_key): (usize, &JoinKey)| {
        let mut items = Items::with_capacity(join_key.key_type.scalar(), keys.len());
        for value in keys.iter().filter_map(|key| key.get(at)) {
            items.push(&value.to_value());
        }
        v1::KeyColumn {
            join_key: join_key.name.clone(),
            values: Some(items_to_proto(items)),
        }
    };
    entity.iter().enumerate().map(column).collect()
}

/// One join key of many entities, from a scan's answer; `None` if the column is of no key type.
#[must_use]
pub fn keys_from_wire(column: v1::KeyColumn) -> Option<Vec<KeyValue>> {
    Some(match items_from_proto(column.values?)? {
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
    level.map_or(v1::CommitLevel::Unspecified, commit_level_to_proto)
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
    let bound_ms = match level {
        Some(ReadLevel::Bounded(bound)) => u32::try_from(bound.as_millis()).unwrap_or(u32::MAX),
        Some(ReadLevel::Local | ReadLevel::Quorum | ReadLevel::Primary) | None => 0,
    };
    let level = level.map_or(v1::ReadLevel::Unspecified, read_level_to_proto);
    (level, bound_ms)
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
    use crate::proto::view_to_proto;

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
    fn a_view_comes_back_from_its_message() {
        let view = view_from_wire(&wire_view()).unwrap();
        assert_eq!(view_from_wire(&view_to_proto(&view, 7)), Ok(view));
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
