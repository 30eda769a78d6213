//! Pure: values as JSON, in definitions, on the command line and in imported files.
//!
//! Numbers are numbers, timestamps RFC 3339 texts (beyond the calendar, microseconds as a number), bytes base64 texts; floating point
//! numbers that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`, as in the JSON mapping of protocol buffers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value as Json;

use super::key::{KeyType, KeyValue};
use super::value::{Items, Value, ValueType};
use crate::base::Micros;

/// A JSON value that is no value of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not of type {expected}")]
pub struct WrongJson {
    /// The wanted type.
    pub expected: String,
    /// What was found, shortened.
    pub found: String,
}

fn wrong(expected: impl ToString, found: &Json) -> WrongJson {
    let text = found.to_string();
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    WrongJson {
        expected: expected.to_string(),
        found: short,
    }
}

/// The value of type `value_type` that `json` writes.
///
/// # Errors
/// If it is none, or a number out of range.
pub fn value_from_json(json: &Json, value_type: ValueType) -> Result<Value, WrongJson> {
    if json.is_null() {
        return Ok(Value::Null);
    }
    match value_type {
        ValueType::Scalar(scalar) => {
            let mut items = Items::with_capacity(scalar, 1);
            push_json(&mut items, json)?;
            Ok(items.into_single())
        }
        ValueType::List(scalar) => {
            let elements = json.as_array().ok_or_else(|| wrong(value_type, json))?;
            let mut items = Items::with_capacity(scalar, elements.len());
            elements
                .iter()
                .try_for_each(|element| push_json(&mut items, element))?;
            Ok(Value::List(items))
        }
    }
}

fn push_json(items: &mut Items, json: &Json) -> Result<(), WrongJson> {
    let expected = items.scalar().name();
    let fail = || wrong(expected, json);
    match items {
        Items::Bool(items) => items.push(json.as_bool().ok_or_else(fail)?),
        Items::Int32(items) => {
            items.push(
                json.as_i64()
                    .and_then(|number| i32::try_from(number).ok())
                    .ok_or_else(fail)?,
            );
        }
        Items::Int64(items) => items.push(json.as_i64().ok_or_else(fail)?),
        Items::Float(items) => items.push(float_from_json(json).and_then(narrow).ok_or_else(fail)?),
        Items::Double(items) => items.push(float_from_json(json).ok_or_else(fail)?),
        Items::String(items) => items.push(json.as_str().ok_or_else(fail)?.to_owned()),
        Items::Bytes(items) => items.push(bytes_from_json(json).ok_or_else(fail)?),
        Items::Timestamp(items) => items.push(time_from_json(json).ok_or_else(fail)?.0),
    }
    Ok(())
}

/// A double as a float: rounded, but not made infinite.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the nearest float is what is wanted"
)]
fn narrow(number: f64) -> Option<f32> {
    let narrow = number as f32;
    (narrow.is_infinite() == number.is_infinite()).then_some(narrow)
}

fn float_from_json(json: &Json) -> Option<f64> {
    match json.as_str() {
        None => json.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
    }
}

fn bytes_from_json(json: &Json) -> Option<Bytes> {
    BASE64.decode(json.as_str()?).ok().map(Bytes::from)
}

/// The time that an RFC 3339 text or a number of microseconds writes.
#[must_use]
pub fn time_from_json(json: &Json) -> Option<Micros> {
    match json.as_str() {
        Some(text) => time_from_text(text),
        None => json.as_i64().map(Micros),
    }
}

/// The time that an RFC 3339 text writes.
#[must_use]
pub fn time_from_text(text: &str) -> Option<Micros> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|time| Micros(time.as_microsecond()))
}

/// A time as an RFC 3339 text, or as a number of microseconds where the calendar does not reach.
#[must_use]
pub fn time_to_json(time: Micros) -> Json {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(time) => time.to_string().into(),
        Err(_) => time.0.into(),
    }
}

/// A value as JSON.
#[must_use]
pub fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int32(value) => (*value).into(),
        Value::Int64(value) => (*value).into(),
        Value::Float(value) => float_to_json(f64::from(*value), || float_number(*value)),
        Value::Double(value) => float_to_json(*value, || (*value).into()),
        Value::String(value) => value.as_str().into(),
        Value::Bytes(value) => BASE64.encode(value).into(),
        Value::Timestamp(value) => time_to_json(*value),
        Value::List(items) => (0..items.len()).map(|at| item_to_json(items, at)).collect(),
    }
}

/// The item at `at` as JSON; null beyond the end.
#[must_use]
pub fn item_to_json(items: &Items, at: usize) -> Json {
    value_to_json(&items.get(at).unwrap_or(Value::Null))
}

fn float_to_json(wide: f64, number: impl FnOnce() -> Json) -> Json {
    if wide.is_nan() {
        "NaN".into()
    } else if wide.is_infinite() {
        if wide > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        }
    } else {
        number()
    }
}

/// A float by its own shortest digits, not by those of the double nearest to it.
fn float_number(value: f32) -> Json {
    value
        .to_string()
        .parse::<f64>()
        .map_or(Json::Null, Json::from)
}

/// The join key value of type `key_type` that `json` writes.
///
/// # Errors
/// If it is none, or a number out of range.
pub fn key_from_json(json: &Json, key_type: KeyType) -> Result<KeyValue, WrongJson> {
    let found = match key_type {
        KeyType::String => json.as_str().map(|text| KeyValue::String(text.to_owned())),
        KeyType::Bytes => bytes_from_json(json).map(KeyValue::Bytes),
        KeyType::Int32 => json
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .map(KeyValue::Int32),
        KeyType::Int64 => json.as_i64().map(KeyValue::Int64),
        KeyType::Timestamp => time_from_json(json).map(KeyValue::Timestamp),
        KeyType::Bool => json.as_bool().map(KeyValue::Bool),
    };
    found.ok_or_else(|| wrong(key_type, json))
}

/// The join key value of type `key_type` that a plain text writes, as in a CSV field or on the command line.
///
/// # Errors
/// If it is none, or a number out of range.
pub fn key_from_text(text: &str, key_type: KeyType) -> Result<KeyValue, WrongJson> {
    let json = Json::from(text);
    let found = match key_type {
        KeyType::String | KeyType::Bytes => return key_from_json(&json, key_type),
        KeyType::Int32 => text.parse().ok().map(KeyValue::Int32),
        KeyType::Int64 => text.parse().ok().map(KeyValue::Int64),
        KeyType::Timestamp => time_from_text(text)
            .or_else(|| text.parse().ok().map(Micros))
            .map(KeyValue::Timestamp),
        KeyType::Bool => text.parse().ok().map(KeyValue::Bool),
    };
    found.ok_or_else(|| wrong(key_type, &json))
}

/// A join key value as JSON.
#[must_use]
pub fn key_to_json(value: &KeyValue) -> Json {
    match value {
        KeyValue::String(value) => value.as_str().into(),
        KeyValue::Bytes(value) => BASE64.encode(value).into(),
        KeyValue::Int32(value) => (*value).into(),
        KeyValue::Int64(value) => (*value).into(),
        KeyValue::Timestamp(value) => time_to_json(*value),
        KeyValue::Bool(value) => (*value).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scalar;
    use crate::model::testing::typed_values;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_json((value_type, value) in typed_values()) {
            let json = serde_json::to_string(&value_to_json(&value)).unwrap();
            let back = value_from_json(&serde_json::from_str(&json).unwrap(), value_type).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }

    #[test]
    fn numbers_out_of_range_and_other_types_are_refused() {
        let scalar = |scalar, json: &str| {
            value_from_json(
                &serde_json::from_str(json).unwrap(),
                ValueType::Scalar(scalar),
            )
        };
        for (expected, json) in [
            (Scalar::Int32, "3000000000"),
            (Scalar::Int64, "1.5"),
            (Scalar::Float, "1e300"),
            (Scalar::Bool, "1"),
            (Scalar::String, "1"),
            (Scalar::Bytes, "\"*\""),
            (Scalar::Timestamp, "\"yesterday\""),
        ] {
            let error = scalar(expected, json).unwrap_err();
            assert_eq!(error.expected, expected.name());
            assert!(error.to_string().contains("is not of type"), "{error}");
        }
        assert_eq!(
            scalar(Scalar::Timestamp, "\"2013-01-01T00:00:00Z\"").unwrap(),
            Value::Timestamp(Micros(1_356_998_400_000_000))
        );
    }
}
