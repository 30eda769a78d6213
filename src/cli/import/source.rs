//! Opens a file in one of the formats and yields its rows.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::CliError;
use super::super::progress::Position;
use super::cell::Cell;
use super::plan::Header;
use super::{csv::CsvReader, jsonl::JsonlReader, parquet::ParquetReader};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values, the first line names the columns.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl Format {
    /// The format given or, without one, as the file's extension tells it.
    ///
    /// # Errors
    /// If nothing tells it.
    pub fn of(path: &Path, given: Option<Format>) -> Result<Format, CliError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let told = match extension {
            Some("parquet") => Some(Format::Parquet),
            Some("csv") => Some(Format::Csv),
            Some("jsonl" | "ndjson") => Some(Format::Jsonl),
            Some(_) | None => None,
        };
        given.or(told).ok_or_else(|| {
            CliError::usage(format!(
                "{} does not tell its format: add --format parquet, csv or jsonl",
                path.display()
            ))
        })
    }
}

/// Where rows come from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    format: Format,
}

/// One row of a file.
#[derive(Debug, PartialEq)]
pub struct RawRow {
    /// Its place among the rows, from 1.
    pub number: u64,
    /// Its line, if the file has lines, from 1.
    pub line: Option<u64>,
    /// The cells of the wanted columns, in their order; or what is wrong with the row as a whole.
    pub cells: Result<Vec<Cell>, String>,
}

/// The rows of a file, in order. An error is the end: the rest of the file cannot be read.
pub type Rows = Box<dyn Iterator<Item = Result<RawRow, CliError>> + Send>;

/// An opened file: its columns are known, its rows are not read yet.
pub enum Reader {
    /// Apache Parquet.
    Parquet(ParquetReader),
    /// Comma-separated values.
    Csv(CsvReader),
    /// JSON lines.
    Jsonl(JsonlReader),
}

impl Source {
    /// A file or, as `-`, standard input. Without a format the file's extension tells it.
    ///
    /// # Errors
    /// If nothing tells the format.
    pub fn new(path: PathBuf, format: Option<Format>) -> Result<Source, CliError> {
        let format = Format::of(&path, format)?;
        Ok(Source { path, format })
    }

    /// Is it standard input, which can be read only once?
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be read or is not of the format.
    pub fn open(&self) -> Result<Reader, CliError> {
        Ok(match self.format {
            Format::Parquet if self.is_stdin() => {
                Reader::Parquet(ParquetReader::of_bytes(self.read_all()?)?)
            }
            Format::Parquet => Reader::Parquet(ParquetReader::of_file(self.file()?, &self.path)?),
            Format::Csv => Reader::Csv(CsvReader::open(self.text()?)?),
            Format::Jsonl => Reader::Jsonl(JsonlReader::open(self.text()?)?),
        })
    }

    fn file(&self) -> Result<File, CliError> {
        File::open(&self.path).map_err(|error| CliError::file("open", &self.path, &error))
    }

    fn read_all(&self) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        match std::io::stdin().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(CliError::file("read", &self.path, &error)),
        }
    }

    fn text(&self) -> Result<Text, CliError> {
        if self.is_stdin() {
            return Ok(Text::new(Box::new(std::io::stdin()), None));
        }
        let file = self.file()?;
        let length = file
            .metadata()
            .map_err(|error| CliError::file("open", &self.path, &error))?
            .len();
        Ok(Text::new(Box::new(file), Some(length)))
    }
}

impl Reader {
    /// The columns.
    #[must_use]
    pub fn header(&self) -> Header {
        match self {
            Reader::Parquet(reader) => reader.header(),
            Reader::Csv(reader) => reader.header(),
            Reader::Jsonl(reader) => reader.header(),
        }
    }

    /// How far it is read; stays valid while the rows are read.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Reader::Parquet(reader) => reader.position(),
            Reader::Csv(reader) => reader.position(),
            Reader::Jsonl(reader) => reader.position(),
        }
    }

    /// The rows after the first `from`, with the cells of the columns `wanted`. Columns not wanted are passed over if
    /// `ignore_extra`; else a row that has one is wrong.
    ///
    /// # Errors
    /// If a wanted column is of a type that no feature has.
    pub fn rows(
        self,
        wanted: Vec<String>,
        from: u64,
        ignore_extra: bool,
    ) -> Result<Rows, CliError> {
        Ok(match self {
            Reader::Parquet(reader) => reader.rows(wanted, from)?,
            Reader::Csv(reader) => past(reader.rows(wanted), from),
            Reader::Jsonl(reader) => past(reader.rows(wanted, ignore_extra), from),
        })
    }
}

/// The rows after the first `from`.
fn past(rows: Rows, from: u64) -> Rows {
    Box::new(rows.filter(move |row| !matches!(row, Ok(row) if row.number <= from)))
}

/// A text being read, that counts the bytes taken out of it.
pub struct Text {
    inner: Box<dyn Read + Send>,
    position: Position,
}

impl Text {
    /// A text of `length` bytes, if that is known.
    #[must_use]
    pub fn new(inner: Box<dyn Read + Send>, length: Option<u64>) -> Text {
        Text {
            inner,
            position: Position::of(length),
        }
    }

    /// How far it is read.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position.advance(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_format_unless_it_is_given() {
        let format =
            |path: &str, format| Source::new(path.into(), format).map(|source| source.format);
        assert_eq!(format("a.parquet", None), Ok(Format::Parquet));
        assert_eq!(format("a.ndjson", None), Ok(Format::Jsonl));
        assert_eq!(format("a.txt", Some(Format::Csv)), Ok(Format::Csv));
        assert!(
            format("-", None)
                .unwrap_err()
                .to_string()
                .starts_with("USAGE: - does not tell")
        );
    }
}
