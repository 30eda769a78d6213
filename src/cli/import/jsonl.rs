//! JSON lines: one object per line; blank lines are passed over. A field that a line lacks is absent.

use std::io::{BufRead, BufReader, Cursor, Read};

use serde_json::{Map, Value as Json};

use super::super::error::CliError;
use super::super::progress::Position;
use super::cell::Cell;
use super::plan::Header;
use super::source::{RawRow, Rows, Text};

/// Longer lines are refused rather than gathered in memory.
const LINE_BYTES: u64 = 64 << 20;

/// An opened file of JSON lines.
pub struct JsonlReader {
    lines: Box<dyn BufRead + Send>,
    header: Vec<String>,
    position: Position,
}

impl JsonlReader {
    /// Looks at the first line for the names of its fields.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(text: Text) -> Result<JsonlReader, CliError> {
        let position = text.position();
        let mut rest = BufReader::with_capacity(1 << 16, text);
        let first = read_line(&mut rest)?.unwrap_or_default();
        let object: Map<String, Json> = serde_json::from_slice(&first).unwrap_or_default();
        Ok(JsonlReader {
            lines: Box::new(Cursor::new(first).chain(rest)),
            header: object.keys().cloned().collect(),
            position,
        })
    }

    /// The fields of the first line; later ones may have others.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            columns: self.header.clone(),
            complete: false,
        }
    }

    /// How far it is read, in bytes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// All rows.
    #[must_use]
    pub fn rows(self, wanted: Vec<String>, ignore_extra: bool) -> Rows {
        let mut lines = self.lines;
        let lines = std::iter::from_fn(move || read_line(&mut lines).transpose());
        let filled = (1..)
            .zip(lines)
            .filter(|(_, line)| !matches!(line, Ok(line) if line.trim_ascii().is_empty()));
        let rows = (1..).zip(filled).map(move |(number, (line, text))| {
            Ok(RawRow {
                number,
                line: Some(line),
                cells: cells(&text?, &wanted, ignore_extra),
            })
        });
        Box::new(rows)
    }
}

/// The next line with its end; `None` at the end of the file.
fn read_line(lines: &mut impl BufRead) -> Result<Option<Vec<u8>>, CliError> {
    let mut line = Vec::new();
    let read = lines.take(LINE_BYTES).read_until(b'\n', &mut line);
    match read {
        Ok(0) => Ok(None),
        Ok(count) if u64::try_from(count).unwrap_or(u64::MAX) >= LINE_BYTES => {
            Err(CliError::wrong(
                "TOO_LARGE",
                format!("a line is longer than {LINE_BYTES} bytes"),
            ))
        }
        Ok(_) => Ok(Some(line)),
        Err(error) => Err(CliError::wrong(
            "FILE",
            format!("cannot read JSON lines: {error}"),
        )),
    }
}

fn cells(line: &[u8], wanted: &[String], ignore_extra: bool) -> Result<Vec<Cell>, String> {
    let mut object: Map<String, Json> =
        serde_json::from_slice(line).map_err(|error| format!("no JSON object: {error}"))?;
    let unknown = object.keys().find(|name| !wanted.contains(name));
    if let Some(name) = unknown.filter(|_| !ignore_extra) {
        return Err(format!(
            "field {name:?} is neither join key, event time nor feature"
        ));
    }
    let cell = |name: &String| object.remove(name).map_or(Cell::Absent, Cell::Json);
    Ok(wanted.iter().map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn open(text: &'static str) -> JsonlReader {
        JsonlReader::open(Text::new(Box::new(text.as_bytes()), None)).unwrap()
    }

    fn rows(text: &'static str, ignore_extra: bool) -> Vec<RawRow> {
        let wanted = vec!["a".to_owned(), "b".to_owned()];
        open(text)
            .rows(wanted, ignore_extra)
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn rows_have_numbers_lines_and_the_wanted_cells() {
        let text = "{\"b\":1,\"a\":null}\n\n{\"a\":2}";
        assert_eq!(open(text).header().columns, ["b", "a"]);
        let rows = rows(text, false);
        assert_eq!((rows[1].number, rows[1].line), (2, Some(3)));
        assert_eq!(
            rows[0].cells,
            Ok(vec![Cell::Json(Json::Null), Cell::Json(json!(1))])
        );
        assert_eq!(rows[1].cells, Ok(vec![Cell::Json(json!(2)), Cell::Absent]));
    }

    #[test]
    fn a_line_that_is_no_object_or_has_other_fields_is_wrong_by_itself() {
        let text = "{\"a\":1}\n[1]\n{\"a\":1,\"c\":2}\n{\"a\":3}\n";
        let found = rows(text, false);
        assert!(
            found[1]
                .cells
                .as_ref()
                .unwrap_err()
                .starts_with("no JSON object")
        );
        assert!(
            found[2]
                .cells
                .as_ref()
                .unwrap_err()
                .contains("field \"c\" is neither")
        );
        assert!(found[3].cells.is_ok());
        assert!(rows(text, true)[2].cells.is_ok());
    }
}
