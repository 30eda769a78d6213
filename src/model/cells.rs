//! Pure: cells, the encoded features of a row.
//!
//! ```text
//! cell     := feature id u32 | tag u8 | payload
//! tag      := value type (below 128), plus 128 for null, which has no payload
//! payload  := bool u8 | int32, float 4 bytes | int64, double, timestamp 8 bytes
//!           | string, bytes: length u32, bytes
//!           | list: bytes that follow u32, count u32, item payloads
//! ```
//! All little-endian. A list of cells is sorted by feature id, each id once. Cells carry their type (M1), because a row
//! may arrive before the record that defines its view.

use bytes::{BufMut, Bytes};

use super::value::{Items, Scalar, Value, ValueType};
use super::view::FeatureId;
use crate::base::Micros;
use crate::base::codec::{DecodeError, Reader, put_blob, put_count};

const NULL_BIT: u8 = 0x80;

/// One cell, its payload still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRef<'a> {
    /// Which feature.
    pub feature: FeatureId,
    /// Of which type.
    pub value_type: ValueType,
    /// The payload; `None` is null.
    pub payload: Option<&'a [u8]>,
}

/// Appends one cell. The value must be of the given type or null.
pub fn put_cell(out: &mut Vec<u8>, feature: FeatureId, value_type: ValueType, value: &Value) {
    debug_assert!(
        value.is_of(value_type),
        "the edge checks types before encoding"
    );
    out.put_u32_le(feature.0);
    put_value(out, value_type, value);
}

/// Appends tag and payload of a value, which must be of the given type or null.
pub fn put_value(out: &mut Vec<u8>, value_type: ValueType, value: &Value) {
    if *value == Value::Null {
        out.put_u8(value_type.tag() | NULL_BIT);
    } else {
        out.put_u8(value_type.tag());
        put_payload(out, value);
    }
}

/// Appends one cell whose payload is already encoded.
pub fn put_cell_ref(out: &mut Vec<u8>, cell: &CellRef<'_>) {
    out.put_u32_le(cell.feature.0);
    out.put_u8(cell.value_type.tag() | if cell.payload.is_none() { NULL_BIT } else { 0 });
    out.extend_from_slice(cell.payload.unwrap_or_default());
}

fn put_payload(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.put_u8(u8::from(*value)),
        Value::Int32(value) => out.put_i32_le(*value),
        Value::Int64(value) | Value::Timestamp(Micros(value)) => out.put_i64_le(*value),
        Value::Float(value) => out.put_f32_le(*value),
        Value::Double(value) => out.put_f64_le(*value),
        Value::String(value) => put_blob(out, value.as_bytes()),
        Value::Bytes(value) => put_blob(out, value),
        Value::List(items) => put_list(out, items),
    }
}

fn put_list(out: &mut Vec<u8>, items: &Items) {
    let mut body = Vec::new();
    match items {
        Items::Bool(items) => items.iter().for_each(|item| body.put_u8(u8::from(*item))),
        Items::Int32(items) => items.iter().for_each(|item| body.put_i32_le(*item)),
        Items::Int64(items) | Items::Timestamp(items) => {
            items.iter().for_each(|item| body.put_i64_le(*item))
        }
        Items::Float(items) => items.iter().for_each(|item| body.put_f32_le(*item)),
        Items::Double(items) => items.iter().for_each(|item| body.put_f64_le(*item)),
        Items::String(items) => items
            .iter()
            .for_each(|item| put_blob(&mut body, item.as_bytes())),
        Items::Bytes(items) => items.iter().for_each(|item| put_blob(&mut body, item)),
    }
    put_count(out, body.len() + 4);
    put_count(out, items.len());
    out.extend_from_slice(&body);
}

/// What a cell of a feature looks like if it is of the feature's type and not null: reading it needs no decisions then.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Which feature.
    pub feature: FeatureId,
    /// Of which type.
    pub value_type: ValueType,
    head: [u8; 5],
    /// `None` if the type does not fix it.
    payload_bytes: Option<usize>,
}

impl Expected {
    /// For the cells of a feature of this type.
    #[must_use]
    pub fn new(feature: FeatureId, value_type: ValueType) -> Expected {
        let [a, b, c, d] = feature.0.to_le_bytes();
        Expected {
            feature,
            value_type,
            head: [a, b, c, d, value_type.tag()],
            payload_bytes: fixed_bytes(value_type),
        }
    }

    /// Takes the payload of the cell at the front of `reader` if that is as expected; otherwise nothing.
    #[inline]
    pub fn take<'a>(&self, reader: &mut Reader<'a>) -> Option<&'a [u8]> {
        let length = self.payload_bytes?;
        let (head, rest) = reader.rest().split_first_chunk()?;
        if *head != self.head {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        *reader = Reader::new(rest);
        Some(payload)
    }
}

/// Reads one cell from the front of `reader`.
///
/// # Errors
/// If the bytes are cut off or the tag names no type. Payloads are checked for their length only; see [`check`].
pub fn read_cell<'a>(reader: &mut Reader<'a>) -> Result<CellRef<'a>, DecodeError> {
    let feature = FeatureId(reader.u32("feature id")?);
    let tag = reader.u8("value tag")?;
    let value_type = ValueType::from_tag(tag & !NULL_BIT).ok_or(DecodeError::Invalid {
        field: "value tag",
        value: u64::from(tag),
    })?;
    let payload = if tag & NULL_BIT == 0 {
        Some(read_payload(reader, value_type)?)
    } else {
        None
    };
    Ok(CellRef {
        feature,
        value_type,
        payload,
    })
}

fn read_payload<'a>(
    reader: &mut Reader<'a>,
    value_type: ValueType,
) -> Result<&'a [u8], DecodeError> {
    let length = match fixed_bytes(value_type) {
        Some(length) => length,
        None => {
            let length = reader.clone().u32("value length")?;
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_add(4)
        }
    };
    reader.bytes("value", length)
}

/// The length of a payload, if the type fixes it.
fn fixed_bytes(value_type: ValueType) -> Option<usize> {
    match value_type {
        ValueType::Scalar(Scalar::Bool) => Some(1),
        ValueType::Scalar(Scalar::Int32 | Scalar::Float) => Some(4),
        ValueType::Scalar(Scalar::Int64 | Scalar::Double | Scalar::Timestamp) => Some(8),
        ValueType::Scalar(Scalar::String | Scalar::Bytes) | ValueType::List(_) => None,
    }
}

/// The cells of an encoded list, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    reader: Option<Reader<'a>>,
}

impl<'a> Cells<'a> {
    /// Reads from an encoded list of cells.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Cells<'a> {
        Cells {
            reader: Some(Reader::new(bytes)),
        }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<CellRef<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take().filter(|reader| !reader.is_empty())?;
        let cell = read_cell(&mut reader);
        if cell.is_ok() {
            self.reader = Some(reader);
        }
        Some(cell)
    }
}

/// Checks an encoded list of cells: sorted, each feature once, every payload decodable.
///
/// # Errors
/// What is wrong first.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut last = None;
    for cell in Cells::new(bytes) {
        let cell = cell?;
        if last.is_some_and(|last| last >= cell.feature) {
            return Err(DecodeError::Invalid {
                field: "feature order",
                value: u64::from(cell.feature.0),
            });
        }
        last = Some(cell.feature);
        decode_value(&cell)?;
    }
    Ok(())
}

/// The value of a cell.
///
/// # Errors
/// If the payload is not of the cell's type.
pub fn decode_value(cell: &CellRef<'_>) -> Result<Value, DecodeError> {
    let Some(payload) = cell.payload else {
        return Ok(Value::Null);
    };
    let mut reader = Reader::new(payload);
    let value = match cell.value_type {
        ValueType::Scalar(scalar) => {
            let mut items = Items::with_capacity(scalar, 1);
            push_item(&mut items, &mut reader)?;
            items.into_single()
        }
        ValueType::List(scalar) => {
            let mut items = Items::with_capacity(scalar, 0);
            push_list(&mut items, payload)?;
            return Ok(Value::List(items));
        }
    };
    reader.finish("value")?;
    Ok(value)
}

/// Appends one item of the type of `items`, read from the front of `reader`.
///
/// # Errors
/// If the bytes are cut off or are no such item.
#[inline]
pub fn push_item(items: &mut Items, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match items {
        Items::Bool(items) => items.push(match reader.u8("bool")? {
            0 => false,
            1 => true,
            other => {
                return Err(DecodeError::Invalid {
                    field: "bool",
                    value: u64::from(other),
                });
            }
        }),
        Items::Int32(items) => items.push(i32::from_le_bytes(reader.array("int32")?)),
        Items::Int64(items) | Items::Timestamp(items) => {
            items.push(i64::from_le_bytes(reader.array("int64")?))
        }
        Items::Float(items) => items.push(f32::from_le_bytes(reader.array("float")?)),
        Items::Double(items) => items.push(f64::from_le_bytes(reader.array("double")?)),
        Items::String(items) => items.push(reader.text("string")?.to_owned()),
        Items::Bytes(items) => items.push(Bytes::copy_from_slice(reader.blob("bytes")?)),
    }
    Ok(())
}

/// Appends all items of an encoded list payload to `items`; returns how many.
///
/// # Errors
/// If the payload is no list of that type.
pub fn push_list(items: &mut Items, payload: &[u8]) -> Result<u32, DecodeError> {
    let mut reader = Reader::new(payload);
    let mut body = Reader::new(reader.blob("list")?);
    reader.finish("list")?;
    let count = body.count("list items", 1)?;
    for _ in 0..count {
        push_item(items, &mut body)?;
    }
    body.finish("list items")?;
    u32::try_from(count).map_err(|_| DecodeError::Invalid {
        field: "list items",
        value: u64::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::typed_values;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_reads_back(values in proptest::collection::vec(typed_values(), 0..12)) {
            let mut out = Vec::new();
            for (at, (value_type, value)) in (0..).zip(&values) {
                put_cell(&mut out, FeatureId(at), *value_type, value);
            }
            prop_assert_eq!(check(&out), Ok(()));
            let read: Vec<_> = Cells::new(&out).map(|cell| {
                let cell = cell.unwrap();
                (cell.value_type, decode_value(&cell).unwrap())
            }).collect();
            // Through Debug, so that NaN equals itself.
            prop_assert_eq!(format!("{read:?}"), format!("{values:?}"));
        }

        #[test]
        fn no_bytes_make_the_check_panic(bytes: Vec<u8>) {
            let _checked = check(&bytes);
        }

        #[test]
        fn a_shortened_list_of_cells_is_refused_or_whole(values in proptest::collection::vec(typed_values(), 1..5), cut in 1..64usize) {
            let mut out = Vec::new();
            let mut ends = vec![0];
            for (at, (value_type, value)) in (0..).zip(&values) {
                put_cell(&mut out, FeatureId(at), *value_type, value);
                ends.push(out.len());
            }
            let left = out.len().saturating_sub(cut);
            prop_assert_eq!(check(&out[..left]).is_ok(), ends.contains(&left));
        }
    }
}
