//! Comma-separated values. The first line names the columns; an empty field is null.

use super::super::error::CliError;
use super::super::progress::Position;
use super::cell::Cell;
use super::plan::Header;
use super::source::{RawRow, Rows, Text};

/// An opened CSV file.
pub struct CsvReader {
    reader: csv::Reader<Text>,
    header: Vec<String>,
    position: Position,
}

impl CsvReader {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// If the first line cannot be read.
    pub fn open(text: Text) -> Result<CsvReader, CliError> {
        let position = text.position();
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
        let header = reader.headers().map_err(|error| damaged(&error))?;
        let header = header.iter().map(str::to_owned).collect();
        Ok(CsvReader {
            reader,
            header,
            position,
        })
    }

    /// The columns.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            columns: self.header.clone(),
            complete: true,
        }
    }

    /// How far it is read, in bytes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// All rows.
    #[must_use]
    pub fn rows(self, wanted: Vec<String>) -> Rows {
        let indexes: Vec<Option<usize>> = wanted
            .iter()
            .map(|name| self.header.iter().position(|column| column == name))
            .collect();
        let width = self.header.len();
        let rows = (1..).zip(self.reader.into_records());
        Box::new(rows.map(move |(number, record)| row(number, record, &indexes, width)))
    }
}

fn row(
    number: u64,
    record: Result<csv::StringRecord, csv::Error>,
    indexes: &[Option<usize>],
    width: usize,
) -> Result<RawRow, CliError> {
    let record = match record {
        Ok(record) => record,
        Err(error) => return not_utf8(number, &error).ok_or_else(|| damaged(&error)),
    };
    let cell =
        |at: &Option<usize>| Cell::Text(at.and_then(|at| record.get(at)).unwrap_or("").to_owned());
    let cells = if record.len() == width {
        Ok(indexes.iter().map(cell).collect())
    } else {
        Err(format!("{} fields instead of {width}", record.len()))
    };
    let line = record.position().map(csv::Position::line);
    Ok(RawRow {
        number,
        line,
        cells,
    })
}

/// A row that is no UTF-8 is wrong by itself; the rows after it can be read.
fn not_utf8(number: u64, error: &csv::Error) -> Option<RawRow> {
    let csv::ErrorKind::Utf8 { pos, err } = error.kind() else {
        return None;
    };
    Some(RawRow {
        number,
        line: pos.as_ref().map(csv::Position::line),
        cells: Err(format!("field {} is not UTF-8", err.field() + 1)),
    })
}

fn damaged(error: &csv::Error) -> CliError {
    CliError::wrong("FILE", format!("cannot read CSV: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &'static [u8], wanted: &[&str]) -> Vec<RawRow> {
        let reader = CsvReader::open(Text::new(Box::new(text), None)).unwrap();
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        reader.rows(wanted).map(Result::unwrap).collect()
    }

    #[test]
    fn rows_have_numbers_lines_and_the_wanted_cells() {
        let rows = rows(b"a,b\n\"x\ny\",1\nz,2\n", &["b", "a"]);
        assert_eq!((rows[1].number, rows[1].line), (2, Some(4)));
        let cells = |b: &str, a: &str| Ok(vec![Cell::Text(b.into()), Cell::Text(a.into())]);
        assert_eq!(
            [&rows[0].cells, &rows[1].cells],
            [&cells("1", "x\ny"), &cells("2", "z")]
        );
    }

    #[test]
    fn a_row_of_another_width_or_without_utf8_is_wrong_by_itself() {
        let rows = rows(b"a,b\n1\n\xff,2\n3,4\n", &["a"]);
        assert_eq!(rows[0].cells, Err("1 fields instead of 2".into()));
        assert_eq!(
            (rows[1].line, &rows[1].cells),
            (Some(3), &Err("field 1 is not UTF-8".into()))
        );
        assert!(rows[2].cells.is_ok());
    }
}
