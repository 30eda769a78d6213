//! The file in which refused rows are collected, one JSON object per line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::error::CliError;
use super::window::Refusal;

/// Collects refused rows; the file comes into being with the first one.
#[derive(Debug)]
pub struct Refusals {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Refusals {
    /// None so far.
    #[must_use]
    pub fn new(path: PathBuf) -> Refusals {
        Refusals { path, file: None }
    }

    /// Adds one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, refusal: &Refusal) -> Result<(), CliError> {
        let line = json!({
            "row": refusal.number,
            "line": refusal.line,
            "column": refusal.column,
            "reason": refusal.reason,
            "error": refusal.problem,
        });
        let written = match &mut self.file {
            Some(file) => writeln!(file, "{line}"),
            none => File::create(&self.path).and_then(|file| {
                let file = none.insert(BufWriter::new(file));
                writeln!(file, "{line}")
            }),
        };
        written.map_err(|error| CliError::file("write", &self.path, &error))
    }

    /// Ends the file, if there is one, and says where it is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> Result<Option<&Path>, CliError> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        file.flush()
            .map_err(|error| CliError::file("write", &self.path, &error))?;
        Ok(Some(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_row_is_one_line_and_no_file_comes_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("errors.jsonl");
        let mut refusals = Refusals::new(path.clone());
        assert_eq!(refusals.finish().unwrap(), None);
        assert!(!path.exists());
        let refusal = Refusal {
            number: 17,
            line: Some(18),
            column: Some("seats".into()),
            reason: "WRONG_TYPE".into(),
            problem: "\"x\" is not of type int32".into(),
        };
        refusals.push(&refusal).unwrap();
        assert_eq!(refusals.finish().unwrap(), Some(path.as_path()));
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "{\"row\":17,\"line\":18,\"column\":\"seats\",\"reason\":\"WRONG_TYPE\",\"error\":\"\\\"x\\\" is not of type int32\"}\n"
        );
    }
}
