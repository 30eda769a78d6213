//! Pure: values and packed values, both ways. Vectors move, nothing is copied.

use super::invalid::Problem;
use super::v1;
use crate::base::Micros;
use crate::model::{Items, Value};
use v1::items::Kind as ItemsKind;
use v1::value::Kind;

/// The value of a message; `None` is absent. The type is the one that the message says, nothing is converted.
///
/// # Errors
/// If it is a list that does not say of what.
pub fn value_from_proto(value: v1::Value) -> Result<Option<Value>, Problem> {
    let Some(kind) = value.kind else {
        return Ok(None);
    };
    Ok(Some(match kind {
        Kind::Null(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::Int32Value(value) => Value::Int32(value),
        Kind::Int64Value(value) => Value::Int64(value),
        Kind::FloatValue(value) => Value::Float(value),
        Kind::DoubleValue(value) => Value::Double(value),
        Kind::StringValue(value) => Value::String(value),
        Kind::BytesValue(value) => Value::Bytes(value),
        Kind::TimestampUsValue(value) => Value::Timestamp(Micros(value)),
        Kind::ListValue(items) => Value::List(items_from_proto(items).ok_or(Problem::UntypedList)?),
    }))
}

/// The message of a value.
#[must_use]
pub fn value_to_proto(value: Value) -> v1::Value {
    let kind = match value {
        Value::Null => Kind::Null(true),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Int32(value) => Kind::Int32Value(value),
        Value::Int64(value) => Kind::Int64Value(value),
        Value::Float(value) => Kind::FloatValue(value),
        Value::Double(value) => Kind::DoubleValue(value),
        Value::String(value) => Kind::StringValue(value),
        Value::Bytes(value) => Kind::BytesValue(value),
        Value::Timestamp(value) => Kind::TimestampUsValue(value.0),
        Value::List(items) => Kind::ListValue(items_to_proto(items)),
    };
    v1::Value { kind: Some(kind) }
}

/// The packed values of a message; `None` if it does not say of which type.
#[must_use]
pub fn items_from_proto(items: v1::Items) -> Option<Items> {
    Some(match items.kind? {
        ItemsKind::Bools(list) => Items::Bool(list.items),
        ItemsKind::Int32s(list) => Items::Int32(list.items),
        ItemsKind::Int64s(list) => Items::Int64(list.items),
        ItemsKind::Floats(list) => Items::Float(list.items),
        ItemsKind::Doubles(list) => Items::Double(list.items),
        ItemsKind::Strings(list) => Items::String(list.items),
        ItemsKind::Bytes(list) => Items::Bytes(list.items),
        ItemsKind::TimestampsUs(list) => Items::Timestamp(list.items),
    })
}

/// The message of packed values.
#[must_use]
pub fn items_to_proto(items: Items) -> v1::Items {
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

/// The name of a value's type as errors print it.
pub(super) fn type_name(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(value) => value
            .value_type()
            .map_or_else(|| "null".to_owned(), |value_type| value_type.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::typed_values;
    use proptest::prelude::*;
    use prost::Message as _;

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_message((_, value) in typed_values()) {
            let sent = value_to_proto(value.clone()).encode_to_vec();
            let received = v1::Value::decode(sent.as_slice()).unwrap();
            // Through Debug, so that NaN equals itself.
            prop_assert_eq!(format!("{:?}", value_from_proto(received)), format!("{:?}", Ok::<_, Problem>(Some(value))));
        }
    }

    #[test]
    fn absent_is_not_null_and_a_list_names_its_type() {
        assert_eq!(value_from_proto(v1::Value { kind: None }), Ok(None));
        let untyped = v1::Value {
            kind: Some(Kind::ListValue(v1::Items { kind: None })),
        };
        assert_eq!(value_from_proto(untyped), Err(Problem::UntypedList));
    }
}
