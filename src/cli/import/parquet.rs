//! Apache Parquet, by way of Arrow.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use super::super::error::CliError;
use super::super::progress::Position;
use super::cell::Cell;
use super::plan::Header;
use super::source::{RawRow, Rows};
use crate::base::Micros;
use crate::model::{Items, Scalar, Value};

/// Rows decoded at a time.
const DECODED_ROWS: usize = 4096;
const DAY_US: i64 = 86_400_000_000;

/// An opened Parquet file.
pub struct ParquetReader {
    file: Input,
    position: Position,
}

enum Input {
    File(ParquetRecordBatchReaderBuilder<File>),
    Bytes(ParquetRecordBatchReaderBuilder<Bytes>),
}

impl ParquetReader {
    /// Reads the schema of a file.
    ///
    /// # Errors
    /// If it is no Parquet.
    pub fn of_file(file: File, path: &Path) -> Result<ParquetReader, CliError> {
        let opened = open(file).map_err(|error| {
            CliError::wrong(
                "FILE",
                format!("cannot read {} as Parquet: {error}", path.display()),
            )
        })?;
        let position =
            Position::of(u64::try_from(opened.metadata().file_metadata().num_rows()).ok());
        Ok(ParquetReader {
            file: Input::File(opened),
            position,
        })
    }

    /// Reads the schema of a whole file in memory, for standard input cannot be read from the end.
    ///
    /// # Errors
    /// If it is no Parquet.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<ParquetReader, CliError> {
        let opened = open(Bytes::from(bytes)).map_err(|error| {
            CliError::wrong(
                "FILE",
                format!("cannot read standard input as Parquet: {error}"),
            )
        })?;
        let position =
            Position::of(u64::try_from(opened.metadata().file_metadata().num_rows()).ok());
        Ok(ParquetReader {
            file: Input::Bytes(opened),
            position,
        })
    }

    /// The columns.
    #[must_use]
    pub fn header(&self) -> Header {
        let columns = self
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone());
        Header {
            columns: columns.collect(),
            complete: true,
        }
    }

    fn schema(&self) -> &SchemaRef {
        match &self.file {
            Input::File(opened) => opened.schema(),
            Input::Bytes(opened) => opened.schema(),
        }
    }

    /// How far it is read, in rows.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// The rows after the first `from`.
    ///
    /// # Errors
    /// If a wanted column is of a type that no feature has.
    pub fn rows(self, wanted: Vec<String>, from: u64) -> Result<Rows, CliError> {
        for field in self
            .schema()
            .fields()
            .iter()
            .filter(|field| wanted.contains(field.name()))
        {
            if !is_supported(field.data_type()) {
                let message = format!(
                    "column {:?} is of type {}, which no feature has",
                    field.name(),
                    field.data_type()
                );
                return Err(CliError::wrong("WRONG_TYPE", message));
            }
        }
        let position = self.position.clone();
        position.advance(from.min(position.total.unwrap_or(0)));
        match self.file {
            Input::File(opened) => read(opened, wanted, from, position),
            Input::Bytes(opened) => read(opened, wanted, from, position),
        }
    }
}

/// Without Arrow's own notes on the schema, which would bring back dictionaries and other spellings of the same types.
fn open<T: ChunkReader + 'static>(
    file: T,
) -> parquet::errors::Result<ParquetRecordBatchReaderBuilder<T>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
}

fn read<T: ChunkReader + 'static>(
    opened: ParquetRecordBatchReaderBuilder<T>,
    wanted: Vec<String>,
    from: u64,
    position: Position,
) -> Result<Rows, CliError> {
    let roots = opened.schema().fields().iter().enumerate();
    let roots = roots
        .filter(|(_, field)| wanted.contains(field.name()))
        .map(|(at, _)| at);
    let mask = ProjectionMask::roots(opened.parquet_schema(), roots.collect::<Vec<_>>());
    let batches = opened
        .with_projection(mask)
        .with_batch_size(DECODED_ROWS)
        .with_offset(usize::try_from(from).unwrap_or(usize::MAX))
        .build()
        .map_err(damaged)?;
    let cells = batches.flat_map(move |batch| match batch {
        Ok(batch) => rows_of(&batch, &wanted).into_iter().map(Ok).collect(),
        Err(error) => vec![Err(damaged(error))],
    });
    Ok(Box::new((from + 1..).zip(cells).map(
        move |(number, cells)| {
            position.advance(1);
            Ok(RawRow {
                number,
                line: None,
                cells: cells?,
            })
        },
    )))
}

fn damaged(error: impl ToString) -> CliError {
    CliError::wrong("FILE", format!("damaged Parquet: {}", error.to_string()))
}

/// The cells of each row, or what is wrong with it.
fn rows_of(batch: &RecordBatch, wanted: &[String]) -> Vec<Result<Vec<Cell>, String>> {
    let columns: Vec<Option<&ArrayRef>> = wanted
        .iter()
        .map(|name| batch.column_by_name(name))
        .collect();
    let cell = |column: &Option<&ArrayRef>, name: &String, row| match column {
        None => Ok(Cell::Absent),
        Some(array) => value_at(array, row)
            .map(Cell::Typed)
            .map_err(|problem| format!("column {name:?}: {problem}")),
    };
    let row = |row| {
        let columns = columns.iter().zip(wanted);
        columns
            .map(|(column, name)| cell(column, name, row))
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn is_supported(data_type: &DataType) -> bool {
    let item = item_type(data_type).unwrap_or(data_type);
    scalar_of(item).is_some()
}

/// Of a list, the type of its items.
fn item_type(data_type: &DataType) -> Option<&DataType> {
    if let DataType::List(item) = data_type {
        Some(item.data_type())
    } else {
        None
    }
}

/// The type that holds values of an Arrow type without loss.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types that features do not have"
)]
fn scalar_of(data_type: &DataType) -> Option<Scalar> {
    Some(match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            Scalar::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Scalar::Int64,
        DataType::Float32 => Scalar::Float,
        DataType::Float64 => Scalar::Double,
        DataType::Utf8 => Scalar::String,
        DataType::Binary | DataType::FixedSizeBinary(_) => Scalar::Bytes,
        DataType::Timestamp(_, _) | DataType::Date32 => Scalar::Timestamp,
        _ => return None,
    })
}

fn value_at(array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let Some(item) = item_type(array.data_type()) else {
        return scalar_at(array, row);
    };
    let scalar = scalar_of(item).ok_or("a list of a type that no feature has")?;
    let elements = array.as_list::<i32>().value(row);
    if elements.null_count() > 0 {
        return Err("a list holds a null".to_owned());
    }
    let mut items = Items::with_capacity(scalar, elements.len());
    for at in 0..elements.len() {
        items.push(&scalar_at(&elements, at)?);
    }
    Ok(Value::List(items))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow has many types that features do not have"
)]
fn scalar_at(array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Value::Int32(number::<Int8Type>(array, row).into()),
        DataType::Int16 => Value::Int32(number::<Int16Type>(array, row).into()),
        DataType::Int32 => Value::Int32(number::<Int32Type>(array, row)),
        DataType::Int64 => Value::Int64(number::<Int64Type>(array, row)),
        DataType::UInt8 => Value::Int32(number::<UInt8Type>(array, row).into()),
        DataType::UInt16 => Value::Int32(number::<UInt16Type>(array, row).into()),
        DataType::UInt32 => Value::Int64(number::<UInt32Type>(array, row).into()),
        DataType::UInt64 => {
            let wide = number::<UInt64Type>(array, row);
            Value::Int64(i64::try_from(wide).map_err(|_| format!("{wide} is not of type int64"))?)
        }
        DataType::Float32 => Value::Float(number::<Float32Type>(array, row)),
        DataType::Float64 => Value::Double(number::<Float64Type>(array, row)),
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => {
            Value::Bytes(Bytes::copy_from_slice(array.as_binary::<i32>().value(row)))
        }
        DataType::FixedSizeBinary(_) => Value::Bytes(Bytes::copy_from_slice(
            array.as_fixed_size_binary().value(row),
        )),
        DataType::Timestamp(unit, _) => Value::Timestamp(Micros(micros_at(array, row, *unit)?)),
        DataType::Date32 => {
            Value::Timestamp(Micros(i64::from(number::<Date32Type>(array, row)) * DAY_US))
        }
        other => return Err(format!("type {other}, which no feature has")),
    })
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn micros_at(array: &ArrayRef, row: usize, unit: TimeUnit) -> Result<i64, String> {
    let micros = match unit {
        TimeUnit::Second => number::<TimestampSecondType>(array, row).checked_mul(1_000_000),
        TimeUnit::Millisecond => number::<TimestampMillisecondType>(array, row).checked_mul(1_000),
        TimeUnit::Microsecond => Some(number::<TimestampMicrosecondType>(array, row)),
        TimeUnit::Nanosecond => {
            Some(number::<TimestampNanosecondType>(array, row).div_euclid(1_000))
        }
    };
    micros.ok_or_else(|| "a time beyond what microseconds can count".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::builder::{Int32Builder, ListBuilder};
    use arrow_array::{Int64Array, StringArray, TimestampNanosecondArray};
    use parquet::arrow::ArrowWriter;
    use std::sync::Arc;

    /// Columns `name`, `at` and `list` of three rows.
    fn file() -> Vec<u8> {
        let mut list = ListBuilder::new(Int32Builder::new());
        list.append_value([Some(1), Some(2)]);
        list.append_null();
        list.append_value([None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "name",
                Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])),
            ),
            (
                "at",
                Arc::new(TimestampNanosecondArray::from(vec![5_000, -1, 7_999])),
            ),
            ("list", Arc::new(list.finish())),
            ("other", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn rows(wanted: &[&str], from: u64) -> Vec<RawRow> {
        let reader = ParquetReader::of_bytes(file()).unwrap();
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        reader
            .rows(wanted, from)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn cells_come_in_the_order_wanted_with_types_and_nulls() {
        let rows = rows(&["list", "at", "name"], 0);
        let cells = |row: usize| rows[row].cells.clone().unwrap();
        let typed = |values: [Value; 3]| values.map(Cell::Typed).to_vec();
        let time = |micros| Value::Timestamp(Micros(micros));
        let list = Value::List(Items::Int32(vec![1, 2]));
        assert_eq!(cells(0), typed([list, time(5), Value::String("a".into())]));
        assert_eq!(cells(1), typed([Value::Null, time(-1), Value::Null]));
        assert_eq!(
            rows[2].cells,
            Err("column \"list\": a list holds a null".into())
        );
    }

    #[test]
    fn rows_before_the_start_are_passed_over_but_counted() {
        let rows = rows(&["other"], 2);
        assert_eq!(
            rows,
            [RawRow {
                number: 3,
                line: None,
                cells: Ok(vec![Cell::Typed(Value::Int64(3))])
            }]
        );
    }

    #[test]
    fn what_is_no_parquet_is_refused() {
        let error = ParquetReader::of_bytes(b"a,b\n1,2\n".to_vec())
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("FILE: cannot read standard input as Parquet"),
            "{error}"
        );
    }
}
