//! Apache Parquet, by way of Arrow.

use std::io;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder,
    Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::lines::{Columns, Line};
use super::target::Target;
use crate::model::{Items, KeyValue, Scalar, Value, ValueType};

/// Bytes of a row group, which is held in memory until it is complete.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Writes lines as rows of a table.
pub struct ParquetWriter {
    writer: ArrowWriter<Target>,
    schema: SchemaRef,
}

impl ParquetWriter {
    /// Begins a file with these columns.
    ///
    /// # Errors
    /// If its beginning cannot be written.
    pub fn new(columns: &Columns, target: Target) -> io::Result<ParquetWriter> {
        let arrays = arrays(columns, &[]);
        let fields = columns.names().zip(&arrays).enumerate();
        let fields = fields.map(|(at, (name, array))| {
            let is_feature = at >= columns.entity.len() && at + 1 < arrays.len();
            Field::new(name, array.data_type().clone(), is_feature)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .build();
        let writer = ArrowWriter::try_new(target, Arc::clone(&schema), Some(properties))?;
        Ok(ParquetWriter { writer, schema })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, columns: &Columns, lines: &[Line]) -> io::Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays(columns, lines));
        Ok(self.writer.write(&batch.map_err(io::Error::other)?)?)
    }

    /// Bytes written so far, without the row group in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.inner().bytes()
    }

    /// Writes the end of the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn into_target(self) -> io::Result<Target> {
        Ok(self.writer.into_inner()?)
    }
}

/// One array for each column.
fn arrays(columns: &Columns, lines: &[Line]) -> Vec<ArrayRef> {
    let keys = columns.entity.iter().enumerate().map(|(at, join_key)| {
        let values = lines
            .iter()
            .map(|line| line.key.get(at).map(KeyValue::to_value));
        array(ValueType::Scalar(join_key.key_type.scalar()), values)
    });
    let features = columns.features.iter().enumerate().map(|(at, feature)| {
        let values = lines
            .iter()
            .map(|line| line.values.get(at).cloned().flatten());
        array(feature.value_type, values)
    });
    let times = lines
        .iter()
        .map(|line| Some(Value::Timestamp(line.event_time)));
    let times = array(ValueType::Scalar(Scalar::Timestamp), times);
    keys.chain(features).chain([times]).collect()
}

/// Values as an array; what is absent is null.
fn array(value_type: ValueType, values: impl Iterator<Item = Option<Value>>) -> ArrayRef {
    let (ValueType::Scalar(scalar) | ValueType::List(scalar)) = value_type;
    let list = matches!(value_type, ValueType::List(_));
    match scalar {
        Scalar::Bool => build(BooleanBuilder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Bool(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Int32 => build(Int32Builder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Int32(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Int64 => build(Int64Builder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Int64(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Float => build(Float32Builder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Float(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Double => build(Float64Builder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Double(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::String => build(StringBuilder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::String(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Bytes => build(BinaryBuilder::new(), list, values, |builder, value| {
            builder.append_option(if let Value::Bytes(value) = value {
                Some(value)
            } else {
                None
            })
        }),
        Scalar::Timestamp => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            build(builder, list, values, |builder, value| {
                let time = if let Value::Timestamp(time) = value {
                    Some(time.0)
                } else {
                    None
                };
                builder.append_option(time)
            })
        }
    }
}

/// Gives values, or the items of lists, to a builder. `append` makes null of what is not of the builder's type.
fn build<B: ArrayBuilder>(
    mut builder: B,
    is_list: bool,
    values: impl Iterator<Item = Option<Value>>,
    append: impl Fn(&mut B, Value),
) -> ArrayRef {
    if !is_list {
        values.for_each(|value| append(&mut builder, value.unwrap_or(Value::Null)));
        return builder.finish();
    }
    let mut lists = ListBuilder::new(builder);
    for value in values {
        let items = if let Some(Value::List(items)) = value {
            Some(items)
        } else {
            None
        };
        let items = items.as_ref();
        items
            .into_iter()
            .flat_map(Items::iter)
            .for_each(|item| append(lists.values(), item));
        lists.append(items.is_some());
    }
    ArrayBuilder::finish(&mut lists)
}
