//! Pure: entity keys, encoded so that bytes sort as values do.
//!
//! ```text
//! bool             u8
//! int32, int64     big-endian, sign bit flipped        timestamp as int64
//! string, bytes    each 00 as 00 ff, then 00 00
//! ```
//! The parts follow one another without tags: the view fixes how many there are and of which types. The key of a prefix
//! of the parts is a prefix of the bytes, which is what scans use.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::value::{Items, Scalar, Value};
use crate::base::Micros;
use crate::base::codec::{DecodeError, Reader};

/// The type of a join key. Floating point numbers are left out: NaN and signed zeros make poor identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// UTF-8 text.
    String,
    /// Any bytes.
    Bytes,
    /// A signed 32-bit number.
    Int32,
    /// A signed 64-bit number.
    Int64,
    /// Microseconds since the Unix epoch.
    Timestamp,
    /// True or false.
    Bool,
}

impl KeyType {
    /// All key types.
    pub const ALL: [KeyType; 6] = [
        KeyType::String,
        KeyType::Bytes,
        KeyType::Int32,
        KeyType::Int64,
        KeyType::Timestamp,
        KeyType::Bool,
    ];

    /// The name used in view files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyType::String => "string",
            KeyType::Bytes => "bytes",
            KeyType::Int32 => "int32",
            KeyType::Int64 => "int64",
            KeyType::Timestamp => "timestamp",
            KeyType::Bool => "bool",
        }
    }

    /// The type of features that has the same values.
    #[must_use]
    pub fn scalar(self) -> Scalar {
        match self {
            KeyType::String => Scalar::String,
            KeyType::Bytes => Scalar::Bytes,
            KeyType::Int32 => Scalar::Int32,
            KeyType::Int64 => Scalar::Int64,
            KeyType::Timestamp => Scalar::Timestamp,
            KeyType::Bool => Scalar::Bool,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no key type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key type: expected string, bytes, int32, int64, timestamp or bool")]
pub struct UnknownKeyType(String);

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        let found = KeyType::ALL
            .into_iter()
            .find(|key_type| key_type.name() == text);
        found.ok_or_else(|| UnknownKeyType(text.chars().take(64).collect()))
    }
}

/// The value of one join key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// Of type string.
    String(String),
    /// Of type bytes.
    Bytes(Bytes),
    /// Of type int32.
    Int32(i32),
    /// Of type int64.
    Int64(i64),
    /// Of type timestamp.
    Timestamp(Micros),
    /// Of type bool.
    Bool(bool),
}

impl KeyValue {
    /// The type of the value.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            KeyValue::String(_) => KeyType::String,
            KeyValue::Bytes(_) => KeyType::Bytes,
            KeyValue::Int32(_) => KeyType::Int32,
            KeyValue::Int64(_) => KeyType::Int64,
            KeyValue::Timestamp(_) => KeyType::Timestamp,
            KeyValue::Bool(_) => KeyType::Bool,
        }
    }

    /// The same as a feature would hold it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            KeyValue::String(value) => Value::String(value.clone()),
            KeyValue::Bytes(value) => Value::Bytes(value.clone()),
            KeyValue::Int32(value) => Value::Int32(*value),
            KeyValue::Int64(value) => Value::Int64(*value),
            KeyValue::Timestamp(value) => Value::Timestamp(*value),
            KeyValue::Bool(value) => Value::Bool(*value),
        }
    }
}

/// An encoded entity key. Orders as its values do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(Bytes);

impl EntityKey {
    /// Encodes the values of all join keys, or of the first few for a prefix.
    #[must_use]
    pub fn encode<'a>(values: impl IntoIterator<Item = &'a KeyValue>) -> EntityKey {
        let mut out = Vec::new();
        values
            .into_iter()
            .for_each(|value| put_key_value(&mut out, value));
        EntityKey(out.into())
    }

    /// Takes bytes that were encoded before, as a record or a resume token holds them.
    ///
    /// # Errors
    /// If they are not the encoding of values of these types.
    pub fn from_bytes(bytes: Bytes, types: &[KeyType]) -> Result<EntityKey, DecodeError> {
        let key = EntityKey(bytes);
        key.decode(types)?;
        Ok(key)
    }

    /// Takes bytes from a checked record, where the types are not at hand.
    #[must_use]
    pub(crate) fn from_checked(bytes: Bytes) -> EntityKey {
        EntityKey(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The values, given their types.
    ///
    /// # Errors
    /// If the bytes are not the encoding of values of these types.
    pub fn decode(&self, types: &[KeyType]) -> Result<Vec<KeyValue>, DecodeError> {
        let mut reader = Reader::new(&self.0);
        let values = types
            .iter()
            .map(|key_type| read_key_value(&mut reader, *key_type))
            .collect::<Result<_, _>>()?;
        reader.finish("entity key")?;
        Ok(values)
    }
}

/// Appends the encoded key of one of many entities, whose join keys are columns: the items at `at`. `None` if a column
/// ends before, or is of a type that is no [`KeyType`]; what was appended is then to be thrown away.
pub fn put_key_of_columns(out: &mut Vec<u8>, columns: &[&Items], at: usize) -> Option<()> {
    for column in columns {
        match column {
            Items::Bool(items) => put_key_value(out, &KeyValue::Bool(*items.get(at)?)),
            Items::Int32(items) => put_key_value(out, &KeyValue::Int32(*items.get(at)?)),
            Items::Int64(items) | Items::Timestamp(items) => {
                put_key_value(out, &KeyValue::Int64(*items.get(at)?));
            }
            Items::String(items) => put_escaped(out, items.get(at)?.as_bytes()),
            Items::Bytes(items) => put_escaped(out, items.get(at)?),
            Items::Float(_) | Items::Double(_) => return None,
        }
    }
    Some(())
}

const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

/// Appends the encoding of one join key value.
pub fn put_key_value(out: &mut Vec<u8>, value: &KeyValue) {
    match value {
        KeyValue::Bool(value) => out.put_u8(u8::from(*value)),
        KeyValue::Int32(value) => out.put_u32(value.cast_unsigned() ^ SIGN_32),
        KeyValue::Int64(value) | KeyValue::Timestamp(Micros(value)) => {
            out.put_u64(value.cast_unsigned() ^ SIGN_64)
        }
        KeyValue::String(value) => put_escaped(out, value.as_bytes()),
        KeyValue::Bytes(value) => put_escaped(out, value),
    }
}

fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.put_u8(*byte);
        if *byte == 0 {
            out.put_u8(0xff);
        }
    }
    out.put_u16(0);
}

fn read_key_value(reader: &mut Reader<'_>, key_type: KeyType) -> Result<KeyValue, DecodeError> {
    let signed = |raw: [u8; 8]| (u64::from_be_bytes(raw) ^ SIGN_64).cast_signed();
    Ok(match key_type {
        KeyType::Bool => match reader.u8("bool key")? {
            0 => KeyValue::Bool(false),
            1 => KeyValue::Bool(true),
            other => {
                return Err(DecodeError::Invalid {
                    field: "bool key",
                    value: u64::from(other),
                });
            }
        },
        KeyType::Int32 => KeyValue::Int32(
            (u32::from_be_bytes(reader.array("int32 key")?) ^ SIGN_32).cast_signed(),
        ),
        KeyType::Int64 => KeyValue::Int64(signed(reader.array("int64 key")?)),
        KeyType::Timestamp => KeyValue::Timestamp(Micros(signed(reader.array("timestamp key")?))),
        KeyType::Bytes => KeyValue::Bytes(read_escaped(reader)?.into()),
        KeyType::String => {
            let text = String::from_utf8(read_escaped(reader)?);
            KeyValue::String(text.map_err(|_| DecodeError::NotUtf8 {
                field: "string key",
            })?)
        }
    })
}

fn read_escaped(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    loop {
        match reader.u8("key text")? {
            0 => match reader.u8("key text")? {
                0 => return Ok(out),
                0xff => out.push(0),
                other => {
                    return Err(DecodeError::Invalid {
                        field: "key escape",
                        value: u64::from(other),
                    });
                }
            },
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values_of(key_type: KeyType) -> BoxedStrategy<KeyValue> {
        match key_type {
            KeyType::String => "[\\x00\\x01a-c\u{ff}]{0,4}"
                .prop_map(KeyValue::String)
                .boxed(),
            KeyType::Bytes => {
                let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()];
                proptest::collection::vec(byte, 0..4)
                    .prop_map(|bytes| KeyValue::Bytes(bytes.into()))
                    .boxed()
            }
            KeyType::Int32 => any::<i32>().prop_map(KeyValue::Int32).boxed(),
            KeyType::Int64 => any::<i64>().prop_map(KeyValue::Int64).boxed(),
            KeyType::Timestamp => any::<i64>()
                .prop_map(|time| KeyValue::Timestamp(Micros(time)))
                .boxed(),
            KeyType::Bool => any::<bool>().prop_map(KeyValue::Bool).boxed(),
        }
    }

    /// The types of a key, and two keys of them.
    fn two_keys() -> impl Strategy<Value = (Vec<KeyType>, Vec<KeyValue>, Vec<KeyValue>)> {
        let types = proptest::collection::vec(
            (0..KeyType::ALL.len()).prop_map(|at| KeyType::ALL[at]),
            1..4,
        );
        types.prop_flat_map(|types| {
            let one: Vec<_> = types.iter().map(|key_type| values_of(*key_type)).collect();
            (Just(types), one.clone(), one)
        })
    }

    proptest! {
        #[test]
        fn bytes_sort_as_values_do((types, a, b) in two_keys()) {
            let (key_a, key_b) = (EntityKey::encode(&a), EntityKey::encode(&b));
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
            prop_assert_eq!(key_a.decode(&types).unwrap(), a);
        }

        #[test]
        fn the_key_of_a_prefix_is_a_prefix_of_exactly_the_keys_that_begin_with_it((_, a, b) in two_keys(), parts in 1..4usize) {
            let parts = parts.min(a.len());
            let prefix = EntityKey::encode(&a[..parts]);
            let inside = EntityKey::encode(&b).as_bytes().starts_with(prefix.as_bytes());
            prop_assert_eq!(inside, a[..parts] == b[..parts]);
            prop_assert!(EntityKey::encode(&a).as_bytes().starts_with(prefix.as_bytes()));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>, (types, ..) in two_keys()) {
            if let Ok(key) = EntityKey::from_bytes(bytes.clone().into(), &types) {
                let again = EntityKey::encode(&key.decode(&types).unwrap());
                prop_assert_eq!(again.as_bytes(), bytes.as_slice());
            }
        }
    }
}
