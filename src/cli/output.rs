//! Printing: tables for people, JSON for programs.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use serde_json::Value as Json;

use super::error::CliError;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Writes a text to standard output, ending its last line.
///
/// # Errors
/// If standard output is closed or full.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{line_end}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            if error.kind() == ErrorKind::BrokenPipe {
                CliError::reader_gone()
            } else {
                CliError::failed("OUTPUT", format!("cannot write the result: {error}"))
            }
        })
}

/// Writes one JSON document as one line.
///
/// # Errors
/// If standard output is closed or full.
pub fn print_json(json: &Json) -> Result<(), CliError> {
    print(&json.to_string())
}

/// An empty table with these headings.
#[must_use]
pub fn table<S: ToString>(headings: impl IntoIterator<Item = S>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings.into_iter().map(|heading| heading.to_string()));
    table
}

/// A JSON value as people read it: texts without quotes, null as a dash.
#[must_use]
pub fn plain(json: &Json) -> String {
    match json {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => json.to_string(),
    }
}

/// A duration in the unit that suits it, such as `1.25 ms`.
#[must_use]
pub fn readable(span: Duration) -> String {
    let micros = span.as_micros();
    if micros < 1_000 {
        format!("{micros} µs")
    } else if micros < 1_000_000 {
        format!("{:.2} ms", span.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", span.as_secs_f64())
    }
}

/// A count with its thousands set apart, such as `59,109`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 59_109, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "59,109", "1,234,567"]);
    }

    #[test]
    fn durations_take_the_unit_that_suits_them() {
        let texts = [40, 1_250, 2_500_000].map(|us| readable(Duration::from_micros(us)));
        assert_eq!(texts, ["40 µs", "1.25 ms", "2.50 s"]);
    }
}
