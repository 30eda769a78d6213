//! Pure: one field of a file, and the value it is for a feature or join key of some type.
//!
//! Numbers are widened, and narrowed as long as nothing is lost (doubles are rounded to floats). Texts of CSV files are
//! read as what the type asks for; nothing else turns into another kind of value.

use serde_json::Value as Json;

use crate::base::Micros;
use crate::model::json::{
    WrongJson, key_from_json, key_from_text, time_from_json, time_from_text, value_from_json,
    value_to_json,
};
use crate::model::{Items, KeyType, KeyValue, Scalar, Value, ValueType};

/// One field of a row as a file gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// The row does not have the field.
    Absent,
    /// A text without a type of its own.
    Text(String),
    /// A JSON value.
    Json(Json),
    /// A value with a type of its own; null is one.
    Typed(Value),
}

/// The value of a feature of type `value_type`; `None` if the row does not have it.
///
/// # Errors
/// What is wrong with it.
pub fn to_value(cell: Cell, value_type: ValueType) -> Result<Option<Value>, String> {
    let value = match cell {
        Cell::Absent => return Ok(None),
        Cell::Text(text) => value_from_text(text, value_type)?,
        Cell::Json(json) => value_from_json(&json, value_type).map_err(text_of)?,
        Cell::Typed(value) => match value_type {
            ValueType::Scalar(scalar) => coerce(value, scalar)?,
            ValueType::List(scalar) => coerce_list(value, scalar)?,
        },
    };
    Ok(Some(value))
}

/// The value of a join key of type `key_type`.
///
/// # Errors
/// What is wrong with it.
pub fn to_key(cell: Cell, key_type: KeyType) -> Result<KeyValue, String> {
    match cell {
        Cell::Absent | Cell::Typed(Value::Null) | Cell::Json(Json::Null) => {
            Err("a join key must not be null".to_owned())
        }
        Cell::Text(text) if text.is_empty() => Err("a join key must not be empty".to_owned()),
        Cell::Text(text) => key_from_text(&text, key_type).map_err(text_of),
        Cell::Json(json) => key_from_json(&json, key_type).map_err(text_of),
        Cell::Typed(value) => typed_key(value, key_type),
    }
}

/// An event time: a timestamp, an RFC 3339 text or microseconds since the Unix epoch.
///
/// # Errors
/// What is wrong with it.
pub fn to_time(cell: Cell) -> Result<Micros, String> {
    let found = match &cell {
        Cell::Absent | Cell::Typed(Value::Null) | Cell::Json(Json::Null) => {
            return Err("an event time must not be null".to_owned());
        }
        Cell::Text(text) | Cell::Typed(Value::String(text)) => {
            time_from_text(text).or_else(|| text.parse().ok().map(Micros))
        }
        Cell::Json(json) => time_from_json(json),
        Cell::Typed(Value::Timestamp(time)) => Some(*time),
        Cell::Typed(Value::Int64(micros)) => Some(Micros(*micros)),
        Cell::Typed(_) => None,
    };
    found.ok_or_else(|| {
        let found = shown(&cell);
        format!("{found} is no time: expected RFC 3339 or microseconds since the Unix epoch")
    })
}

fn shown(cell: &Cell) -> String {
    let text = match cell {
        Cell::Absent => String::new(),
        Cell::Text(text) => Json::from(text.as_str()).to_string(),
        Cell::Json(json) => json.to_string(),
        Cell::Typed(value) => value_to_json(value).to_string(),
    };
    text.chars().take(60).collect()
}

fn text_of(error: WrongJson) -> String {
    error.to_string()
}

/// An empty text is null, whatever the type; lists are JSON arrays.
fn value_from_text(text: String, value_type: ValueType) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let wrong = |text: &str| format!("{} is not of type {value_type}", Json::from(text));
    let scalar = match value_type {
        ValueType::Scalar(scalar) => scalar,
        ValueType::List(_) => {
            let json: Json = serde_json::from_str(&text).map_err(|_| wrong(&text))?;
            return value_from_json(&json, value_type).map_err(text_of);
        }
    };
    let parsed = match scalar {
        Scalar::String => return Ok(Value::String(text)),
        Scalar::Bytes => return value_from_json(&Json::from(text), value_type).map_err(text_of),
        Scalar::Bool => text.to_ascii_lowercase().parse().ok().map(Value::Bool),
        Scalar::Int32 => text.parse().ok().map(Value::Int32),
        Scalar::Int64 => text.parse().ok().map(Value::Int64),
        Scalar::Float => text
            .parse()
            .ok()
            .and_then(|wide| coerce(Value::Double(wide), scalar).ok()),
        Scalar::Double => text.parse().ok().map(Value::Double),
        Scalar::Timestamp => {
            let time = time_from_text(&text).or_else(|| text.parse().ok().map(Micros));
            time.map(Value::Timestamp)
        }
    };
    parsed.ok_or_else(|| wrong(&text))
}

/// A typed value as one of type `wanted`.
fn coerce(value: Value, wanted: Scalar) -> Result<Value, String> {
    let fits = match (&value, wanted) {
        (Value::Null, _) => Some(Value::Null),
        (value, wanted) if value.is_of(ValueType::Scalar(wanted)) => Some(value.clone()),
        (Value::Int32(number), Scalar::Int64) => Some(Value::Int64(i64::from(*number))),
        (Value::Int64(number), Scalar::Int32) => i32::try_from(*number).ok().map(Value::Int32),
        (Value::Int32(number), Scalar::Double) => Some(Value::Double(f64::from(*number))),
        (Value::Int64(number), Scalar::Double) => exact_double(*number).map(Value::Double),
        (Value::Int32(number), Scalar::Float) => exact_float(i64::from(*number)),
        (Value::Int64(number), Scalar::Float) => exact_float(*number),
        (Value::Float(number), Scalar::Double) => Some(Value::Double(f64::from(*number))),
        (Value::Double(number), Scalar::Float) => rounded(*number).map(Value::Float),
        (Value::Double(number), Scalar::Int64) => whole(*number).map(Value::Int64),
        (Value::Double(number), Scalar::Int32) => whole(*number)
            .and_then(|number| i32::try_from(number).ok())
            .map(Value::Int32),
        _ => None,
    };
    fits.ok_or_else(|| {
        let shown = shown(&Cell::Typed(value));
        format!("{shown} is not of type {}", wanted.name())
    })
}

fn coerce_list(value: Value, wanted: Scalar) -> Result<Value, String> {
    if value.is_of(ValueType::List(wanted)) {
        return Ok(value);
    }
    let Value::List(items) = value else {
        let shown = shown(&Cell::Typed(value));
        return Err(format!("{shown} is not of type list<{}>", wanted.name()));
    };
    let mut out = Items::with_capacity(wanted, items.len());
    for item in singles(items) {
        out.push(&coerce(item, wanted)?);
    }
    Ok(Value::List(out))
}

fn singles(items: Items) -> Vec<Value> {
    match items {
        Items::Bool(items) => items.into_iter().map(Value::Bool).collect(),
        Items::Int32(items) => items.into_iter().map(Value::Int32).collect(),
        Items::Int64(items) => items.into_iter().map(Value::Int64).collect(),
        Items::Float(items) => items.into_iter().map(Value::Float).collect(),
        Items::Double(items) => items.into_iter().map(Value::Double).collect(),
        Items::String(items) => items.into_iter().map(Value::String).collect(),
        Items::Bytes(items) => items.into_iter().map(Value::Bytes).collect(),
        Items::Timestamp(items) => items
            .into_iter()
            .map(|item| Value::Timestamp(Micros(item)))
            .collect(),
    }
}

fn typed_key(value: Value, key_type: KeyType) -> Result<KeyValue, String> {
    let whole_number = !matches!(value, Value::Float(_) | Value::Double(_));
    let shown = shown(&Cell::Typed(value.clone()));
    let wrong = || format!("{shown} is not of type {key_type}");
    match coerce(value, key_type.scalar())
        .ok()
        .filter(|_| whole_number)
        .ok_or_else(wrong)?
    {
        Value::String(value) => Ok(KeyValue::String(value)),
        Value::Bytes(value) => Ok(KeyValue::Bytes(value)),
        Value::Int32(value) => Ok(KeyValue::Int32(value)),
        Value::Int64(value) => Ok(KeyValue::Int64(value)),
        Value::Timestamp(value) => Ok(KeyValue::Timestamp(value)),
        Value::Bool(value) => Ok(KeyValue::Bool(value)),
        Value::Null | Value::Float(_) | Value::Double(_) | Value::List(_) => Err(wrong()),
    }
}

/// Whole numbers up to here are doubles without loss.
const EXACT_IN_DOUBLE: u64 = 1 << 53;
/// Whole numbers up to here are floats without loss.
const EXACT_IN_FLOAT: u64 = 1 << 24;

#[expect(clippy::cast_precision_loss, reason = "the range was checked")]
fn exact_double(number: i64) -> Option<f64> {
    (number.unsigned_abs() <= EXACT_IN_DOUBLE).then_some(number as f64)
}

fn exact_float(number: i64) -> Option<Value> {
    let fits = number.unsigned_abs() <= EXACT_IN_FLOAT;
    let float = exact_double(number).filter(|_| fits).and_then(rounded);
    float.map(Value::Float)
}

/// A double as the nearest float, unless that is infinite though the double is not.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is what is wanted"
)]
fn rounded(number: f64) -> Option<f32> {
    let float = number as f32;
    (float.is_infinite() == number.is_infinite()).then_some(float)
}

/// A double that is a whole number, as such: tables hold whole numbers as doubles when some are null.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT32: ValueType = ValueType::Scalar(Scalar::Int32);
    const INT64: ValueType = ValueType::Scalar(Scalar::Int64);
    const FLOAT: ValueType = ValueType::Scalar(Scalar::Float);
    const DOUBLE: ValueType = ValueType::Scalar(Scalar::Double);

    fn typed(value: Value, value_type: ValueType) -> Result<Value, String> {
        to_value(Cell::Typed(value), value_type).map(|value| value.expect("present"))
    }

    #[test]
    fn numbers_are_widened() {
        assert_eq!(typed(Value::Int32(7), INT64), Ok(Value::Int64(7)));
        assert_eq!(typed(Value::Float(1.5), DOUBLE), Ok(Value::Double(1.5)));
        assert_eq!(typed(Value::Int64(7), DOUBLE), Ok(Value::Double(7.0)));
        let list = typed(
            Value::List(Items::Float(vec![1.5])),
            ValueType::List(Scalar::Double),
        );
        assert_eq!(list, Ok(Value::List(Items::Double(vec![1.5]))));
    }

    #[test]
    fn numbers_are_narrowed_only_if_they_fit() {
        assert_eq!(typed(Value::Int64(7), INT32), Ok(Value::Int32(7)));
        assert_eq!(typed(Value::Double(7.0), INT32), Ok(Value::Int32(7)));
        assert_eq!(typed(Value::Double(0.1), FLOAT), Ok(Value::Float(0.1)));
        for (value, value_type, problem) in [
            (
                Value::Int64(3_000_000_000),
                INT32,
                "3000000000 is not of type int32",
            ),
            (Value::Double(1.5), INT64, "1.5 is not of type int64"),
            (Value::Double(1e300), FLOAT, "1e+300 is not of type float"),
            (
                Value::Int64(i64::MAX),
                DOUBLE,
                "9223372036854775807 is not of type double",
            ),
            (
                Value::String("7".into()),
                INT32,
                "\"7\" is not of type int32",
            ),
            (Value::Bool(true), INT32, "true is not of type int32"),
            (
                Value::Int32(1),
                ValueType::List(Scalar::Int32),
                "1 is not of type list<int32>",
            ),
        ] {
            assert_eq!(typed(value, value_type), Err(problem.to_owned()));
        }
    }

    #[test]
    fn texts_are_read_as_the_type_asks() {
        let text = |text: &str, value_type| {
            to_value(Cell::Text(text.into()), value_type).map(|value| value.expect("present"))
        };
        let scalar = ValueType::Scalar;
        assert_eq!(text("", INT32), Ok(Value::Null));
        assert_eq!(
            text("7", scalar(Scalar::String)),
            Ok(Value::String("7".into()))
        );
        assert_eq!(text("TRUE", scalar(Scalar::Bool)), Ok(Value::Bool(true)));
        assert_eq!(
            text("[1,2]", ValueType::List(Scalar::Int32)),
            Ok(Value::List(Items::Int32(vec![1, 2])))
        );
        assert_eq!(
            text("1970-01-01T00:00:01Z", scalar(Scalar::Timestamp)),
            Ok(Value::Timestamp(Micros(1_000_000)))
        );
        assert_eq!(text("x", INT32), Err("\"x\" is not of type int32".into()));
        assert_eq!(
            text("3000000000", INT32),
            Err("\"3000000000\" is not of type int32".into())
        );
    }

    #[test]
    fn event_times_are_timestamps_texts_or_microseconds() {
        let second = Ok(Micros(1_000_000));
        assert_eq!(to_time(Cell::Text("1970-01-01T00:00:01Z".into())), second);
        assert_eq!(to_time(Cell::Text("1000000".into())), second);
        assert_eq!(to_time(Cell::Json(serde_json::json!(1_000_000))), second);
        assert_eq!(
            to_time(Cell::Typed(Value::Timestamp(Micros(1_000_000)))),
            second
        );
        assert!(
            to_time(Cell::Text("noon".into()))
                .unwrap_err()
                .contains("\"noon\" is no time")
        );
        assert!(
            to_time(Cell::Typed(Value::Null))
                .unwrap_err()
                .contains("must not be null")
        );
    }

    #[test]
    fn keys_are_never_null_and_never_made_of_floats() {
        assert!(
            to_key(Cell::Absent, KeyType::Int32)
                .unwrap_err()
                .contains("null")
        );
        assert!(to_key(Cell::Text(String::new()), KeyType::String).is_err());
        assert!(to_key(Cell::Typed(Value::Double(1.0)), KeyType::Int64).is_err());
        assert_eq!(
            to_key(Cell::Typed(Value::Int32(1)), KeyType::Int64),
            Ok(KeyValue::Int64(1))
        );
    }
}
