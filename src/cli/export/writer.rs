//! Lines in one of the formats, written so that import reads the same values without being told anything.

use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::lines::{Columns, Line};
use super::parquet::ParquetWriter;
use super::target::Target;
use crate::cli::import::Format;
use crate::model::Value;
use crate::model::json::{key_to_json, time_to_json, value_to_json};

/// Writes lines to a target.
pub enum Writer {
    /// One JSON object per line; what is absent is left out.
    Jsonl(Target),
    /// Comma-separated values; absent and null are empty fields.
    Csv {
        /// Quotes what needs it.
        writer: Box<csv::Writer<Target>>,
        /// Empty texts and bytes, which import reads as null.
        blank: u64,
    },
    /// Apache Parquet; absent is null.
    Parquet(Box<ParquetWriter>),
}

impl Writer {
    /// Begins a file with these columns.
    ///
    /// # Errors
    /// If its beginning cannot be written.
    pub fn new(format: Format, columns: &Columns, target: Target) -> io::Result<Writer> {
        Ok(match format {
            Format::Jsonl => Writer::Jsonl(target),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(target);
                writer.write_record(columns.names())?;
                let writer = Box::new(writer);
                Writer::Csv { writer, blank: 0 }
            }
            Format::Parquet => Writer::Parquet(Box::new(ParquetWriter::new(columns, target)?)),
        })
    }

    /// Adds lines.
    ///
    /// # Errors
    /// If they cannot be written or the format cannot hold them.
    pub fn write(&mut self, columns: &Columns, lines: &[Line]) -> io::Result<()> {
        match self {
            Writer::Jsonl(target) => lines
                .iter()
                .try_for_each(|line| writeln!(target, "{}", json_of(columns, line))),
            Writer::Csv { writer, blank } => lines.iter().try_for_each(|line| {
                let fields = csv_of(columns, line)?;
                *blank += blanks(line);
                Ok(writer.write_record(fields)?)
            }),
            Writer::Parquet(writer) => writer.write(columns, lines),
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Writer::Jsonl(target) => target.bytes(),
            Writer::Csv { writer, .. } => writer.get_ref().bytes(),
            Writer::Parquet(writer) => writer.bytes(),
        }
    }

    /// Empty texts and bytes that import will read as null.
    #[must_use]
    pub fn blank(&self) -> u64 {
        match self {
            Writer::Csv { blank, .. } => *blank,
            Writer::Jsonl(_) | Writer::Parquet(_) => 0,
        }
    }

    /// Writes what comes last.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn into_target(self) -> io::Result<Target> {
        match self {
            Writer::Jsonl(target) => Ok(target),
            Writer::Csv { writer, .. } => {
                writer.into_inner().map_err(csv::IntoInnerError::into_error)
            }
            Writer::Parquet(writer) => writer.into_target(),
        }
    }
}

fn json_of(columns: &Columns, line: &Line) -> Json {
    let keys = columns.entity.iter().zip(&line.key);
    let values = columns.features.iter().zip(&line.values);
    let mut object: Map<String, Json> = keys
        .map(|(join_key, value)| (join_key.name.clone(), key_to_json(value)))
        .collect();
    object.extend(values.filter_map(|(feature, value)| {
        let value = value.as_ref()?;
        Some((feature.name.clone(), value_to_json(value)))
    }));
    object.insert(columns.event_time.to_owned(), time_to_json(line.event_time));
    object.into()
}

fn csv_of(columns: &Columns, line: &Line) -> io::Result<Vec<String>> {
    let mut fields = Vec::with_capacity(line.key.len() + line.values.len() + 1);
    for (join_key, value) in columns.entity.iter().zip(&line.key) {
        let field = text_of(&key_to_json(value));
        if field.is_empty() {
            return Err(io::Error::other(format!(
                "join key {:?} is empty, which CSV cannot tell from null: take jsonl or parquet",
                join_key.name
            )));
        }
        fields.push(field);
    }
    let field = |value: &Option<Value>| value.as_ref().map(|value| text_of(&value_to_json(value)));
    fields.extend(
        line.values
            .iter()
            .map(|value| field(value).unwrap_or_default()),
    );
    fields.push(text_of(&time_to_json(line.event_time)));
    Ok(fields)
}

/// Texts as they are, null as nothing, everything else as JSON writes it.
fn text_of(json: &Json) -> String {
    match json {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => json.to_string(),
    }
}

fn blanks(line: &Line) -> u64 {
    let is_blank = |value: &&Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Null
        | Value::Bool(_)
        | Value::Int32(_)
        | Value::Int64(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Timestamp(_)
        | Value::List(_) => false,
    };
    let blank = line.values.iter().flatten().filter(is_blank);
    u64::try_from(blank.count()).unwrap_or(u64::MAX)
}
