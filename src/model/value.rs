//! Pure: the types of features and their values.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::Micros;

/// A type without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// True or false.
    Bool,
    /// A signed 32-bit number.
    Int32,
    /// A signed 64-bit number.
    Int64,
    /// A 32-bit floating point number.
    Float,
    /// A 64-bit floating point number.
    Double,
    /// UTF-8 text.
    String,
    /// Any bytes.
    Bytes,
    /// Microseconds since the Unix epoch.
    Timestamp,
}

impl Scalar {
    /// All scalar types.
    pub const ALL: [Scalar; 8] = [
        Scalar::Bool,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Float,
        Scalar::Double,
        Scalar::String,
        Scalar::Bytes,
        Scalar::Timestamp,
    ];

    /// The name used in view files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Float => "float",
            Scalar::Double => "double",
            Scalar::String => "string",
            Scalar::Bytes => "bytes",
            Scalar::Timestamp => "timestamp",
        }
    }

    fn tag(self) -> u8 {
        match self {
            Scalar::Bool => 1,
            Scalar::Int32 => 2,
            Scalar::Int64 => 3,
            Scalar::Float => 4,
            Scalar::Double => 5,
            Scalar::String => 6,
            Scalar::Bytes => 7,
            Scalar::Timestamp => 8,
        }
    }
}

/// The type of a feature. Prints as `double` or `list<double>` and parses back from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// One value.
    Scalar(Scalar),
    /// Any number of values of one scalar type.
    List(Scalar),
}

const LIST_BIT: u8 = 0x40;

impl ValueType {
    /// The byte that names the type in stored formats; below 128.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            ValueType::Scalar(scalar) => scalar.tag(),
            ValueType::List(scalar) => LIST_BIT | scalar.tag(),
        }
    }

    /// The type with this [`tag`](Self::tag).
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<ValueType> {
        let scalar = Scalar::ALL
            .into_iter()
            .find(|scalar| scalar.tag() == tag & !LIST_BIT)?;
        Some(if tag & LIST_BIT == 0 {
            ValueType::Scalar(scalar)
        } else {
            ValueType::List(scalar)
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Scalar(scalar) => f.write_str(scalar.name()),
            ValueType::List(scalar) => write!(f, "list<{}>", scalar.name()),
        }
    }
}

/// A text that names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a type: expected bool, int32, int64, float, double, string, bytes, timestamp or list<...> of one of them"
)]
pub struct UnknownType(String);

impl FromStr for ValueType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let scalar = |name: &str| Scalar::ALL.into_iter().find(|scalar| scalar.name() == name);
        let list = text
            .strip_prefix("list<")
            .and_then(|rest| rest.strip_suffix('>'));
        let found = match list {
            Some(item) => scalar(item).map(ValueType::List),
            None => scalar(text).map(ValueType::Scalar),
        };
        found.ok_or_else(|| UnknownType(text.chars().take(64).collect()))
    }
}

impl Serialize for ValueType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ValueType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Values of one scalar type, packed.
#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// Of type bool.
    Bool(Vec<bool>),
    /// Of type int32.
    Int32(Vec<i32>),
    /// Of type int64.
    Int64(Vec<i64>),
    /// Of type float.
    Float(Vec<f32>),
    /// Of type double.
    Double(Vec<f64>),
    /// Of type string.
    String(Vec<String>),
    /// Of type bytes.
    Bytes(Vec<Bytes>),
    /// Of type timestamp.
    Timestamp(Vec<i64>),
}

impl Items {
    /// No values of the given type, with room for `capacity`.
    #[must_use]
    pub fn with_capacity(scalar: Scalar, capacity: usize) -> Items {
        match scalar {
            Scalar::Bool => Items::Bool(Vec::with_capacity(capacity)),
            Scalar::Int32 => Items::Int32(Vec::with_capacity(capacity)),
            Scalar::Int64 => Items::Int64(Vec::with_capacity(capacity)),
            Scalar::Float => Items::Float(Vec::with_capacity(capacity)),
            Scalar::Double => Items::Double(Vec::with_capacity(capacity)),
            Scalar::String => Items::String(Vec::with_capacity(capacity)),
            Scalar::Bytes => Items::Bytes(Vec::with_capacity(capacity)),
            Scalar::Timestamp => Items::Timestamp(Vec::with_capacity(capacity)),
        }
    }

    /// The type of the values.
    #[must_use]
    pub fn scalar(&self) -> Scalar {
        match self {
            Items::Bool(_) => Scalar::Bool,
            Items::Int32(_) => Scalar::Int32,
            Items::Int64(_) => Scalar::Int64,
            Items::Float(_) => Scalar::Float,
            Items::Double(_) => Scalar::Double,
            Items::String(_) => Scalar::String,
            Items::Bytes(_) => Scalar::Bytes,
            Items::Timestamp(_) => Scalar::Timestamp,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Items::Bool(items) => items.len(),
            Items::Int32(items) => items.len(),
            Items::Int64(items) | Items::Timestamp(items) => items.len(),
            Items::Float(items) => items.len(),
            Items::Double(items) => items.len(),
            Items::String(items) => items.len(),
            Items::Bytes(items) => items.len(),
        }
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value that says nothing: zero, false or empty.
    pub fn push_blank(&mut self) {
        match self {
            Items::Bool(items) => items.push(false),
            Items::Int32(items) => items.push(0),
            Items::Int64(items) | Items::Timestamp(items) => items.push(0),
            Items::Float(items) => items.push(0.0),
            Items::Double(items) => items.push(0.0),
            Items::String(items) => items.push(String::new()),
            Items::Bytes(items) => items.push(Bytes::new()),
        }
    }
}

impl Items {
    /// Appends all items of another list of the same type; does nothing if the type is another one.
    pub fn extend(&mut self, more: &Items) {
        match (self, more) {
            (Items::Bool(items), Items::Bool(more)) => items.extend_from_slice(more),
            (Items::Int32(items), Items::Int32(more)) => items.extend_from_slice(more),
            (Items::Int64(items), Items::Int64(more)) => items.extend_from_slice(more),
            (Items::Float(items), Items::Float(more)) => items.extend_from_slice(more),
            (Items::Double(items), Items::Double(more)) => items.extend_from_slice(more),
            (Items::String(items), Items::String(more)) => items.extend_from_slice(more),
            (Items::Bytes(items), Items::Bytes(more)) => items.extend_from_slice(more),
            (Items::Timestamp(items), Items::Timestamp(more)) => items.extend_from_slice(more),
            (items, more) => {
                debug_assert_eq!(items.scalar(), more.scalar(), "types were checked before")
            }
        }
    }

    /// Appends one value of the same type; does nothing if the type is another one.
    pub fn push(&mut self, value: &Value) {
        match (self, value) {
            (Items::Bool(items), Value::Bool(value)) => items.push(*value),
            (Items::Int32(items), Value::Int32(value)) => items.push(*value),
            (Items::Int64(items), Value::Int64(value)) => items.push(*value),
            (Items::Float(items), Value::Float(value)) => items.push(*value),
            (Items::Double(items), Value::Double(value)) => items.push(*value),
            (Items::String(items), Value::String(value)) => items.push(value.clone()),
            (Items::Bytes(items), Value::Bytes(value)) => items.push(value.clone()),
            (Items::Timestamp(items), Value::Timestamp(value)) => items.push(value.0),
            (items, value) => debug_assert!(
                value.is_of(ValueType::Scalar(items.scalar())),
                "types were checked before"
            ),
        }
    }

    /// The item at an index as a value of its own, if there are so many.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Value> {
        Some(match self {
            Items::Bool(items) => Value::Bool(*items.get(at)?),
            Items::Int32(items) => Value::Int32(*items.get(at)?),
            Items::Int64(items) => Value::Int64(*items.get(at)?),
            Items::Float(items) => Value::Float(*items.get(at)?),
            Items::Double(items) => Value::Double(*items.get(at)?),
            Items::String(items) => Value::String(items.get(at)?.clone()),
            Items::Bytes(items) => Value::Bytes(items.get(at)?.clone()),
            Items::Timestamp(items) => Value::Timestamp(Micros(*items.get(at)?)),
        })
    }

    /// All items as values of their own.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).map_while(|at| self.get(at))
    }

    /// The last item as a value of its own; null if there is none.
    #[must_use]
    pub fn into_single(self) -> Value {
        let last = match self {
            Items::Bool(mut items) => items.pop().map(Value::Bool),
            Items::Int32(mut items) => items.pop().map(Value::Int32),
            Items::Int64(mut items) => items.pop().map(Value::Int64),
            Items::Float(mut items) => items.pop().map(Value::Float),
            Items::Double(mut items) => items.pop().map(Value::Double),
            Items::String(mut items) => items.pop().map(Value::String),
            Items::Bytes(mut items) => items.pop().map(Value::Bytes),
            Items::Timestamp(mut items) => items.pop().map(|item| Value::Timestamp(Micros(item))),
        };
        last.unwrap_or(Value::Null)
    }
}

/// One feature value. Null is a value; absence is not (it is the lack of a cell).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Known to have no value.
    Null,
    /// Of type bool.
    Bool(bool),
    /// Of type int32.
    Int32(i32),
    /// Of type int64.
    Int64(i64),
    /// Of type float.
    Float(f32),
    /// Of type double.
    Double(f64),
    /// Of type string.
    String(String),
    /// Of type bytes.
    Bytes(Bytes),
    /// Of type timestamp.
    Timestamp(Micros),
    /// Of a list type.
    List(Items),
}

impl Value {
    /// The type of the value; `None` for null, which is of every type.
    #[must_use]
    pub fn value_type(&self) -> Option<ValueType> {
        let scalar = match self {
            Value::Null => return None,
            Value::List(items) => return Some(ValueType::List(items.scalar())),
            Value::Bool(_) => Scalar::Bool,
            Value::Int32(_) => Scalar::Int32,
            Value::Int64(_) => Scalar::Int64,
            Value::Float(_) => Scalar::Float,
            Value::Double(_) => Scalar::Double,
            Value::String(_) => Scalar::String,
            Value::Bytes(_) => Scalar::Bytes,
            Value::Timestamp(_) => Scalar::Timestamp,
        };
        Some(ValueType::Scalar(scalar))
    }

    /// May a feature of type `expected` hold this value?
    #[must_use]
    pub fn is_of(&self, expected: ValueType) -> bool {
        self.value_type().is_none_or(|own| own == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_from_its_name_and_its_tag() {
        for scalar in Scalar::ALL {
            for value_type in [ValueType::Scalar(scalar), ValueType::List(scalar)] {
                assert_eq!(value_type.to_string().parse(), Ok(value_type));
                assert_eq!(ValueType::from_tag(value_type.tag()), Some(value_type));
            }
        }
    }

    #[test]
    fn unknown_names_and_tags_are_refused() {
        for name in [
            "",
            "int",
            "list<>",
            "list<list<int32>>",
            "list<double",
            "Double",
        ] {
            assert!(name.parse::<ValueType>().is_err(), "{name}");
        }
        for tag in [0, 9, 0x40, 0x49, 0x81] {
            assert_eq!(ValueType::from_tag(tag), None, "{tag}");
        }
    }
}
