//! Moving event times, so that old data end now.

use std::time::Duration;

use super::super::error::CliError;
use super::cell::to_time;
use super::plan::Plan;
use super::source::Source;
use crate::base::{Clock, Micros, clock::SystemClock};

/// How event times move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// So that the newest one of the file becomes now.
    ToNow,
    /// By so much.
    By(Duration),
}

impl Shift {
    /// Reads `now` or a duration.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Shift, String> {
        if text == "now" {
            return Ok(Shift::ToNow);
        }
        match humantime::parse_duration(text) {
            Ok(span) => Ok(Shift::By(span)),
            Err(error) => Err(format!("expected a duration such as 4500days: {error}")),
        }
    }

    /// By how much to move; reads the event times of the whole file if they are to end now.
    ///
    /// # Errors
    /// If there is no event time column, or the file cannot be read twice.
    pub fn span(self, source: &Source, plan: &Plan) -> Result<Duration, CliError> {
        let Some(column) = plan.event_time() else {
            return Err(CliError::usage(
                "--shift-event-time needs a column of event times: name it with --event-time",
            ));
        };
        match self {
            Shift::By(span) => Ok(span),
            Shift::ToNow if source.is_stdin() => Err(CliError::usage(
                "standard input cannot be read twice: give the span to shift by, as in --shift-event-time=4500days",
            )),
            Shift::ToNow => {
                let newest = newest(source, column)?;
                Ok(to_now(newest, SystemClock::new().wall()))
            }
        }
    }
}

/// From the newest event time to now; nothing if that is past, or if there is none.
fn to_now(newest: Option<Micros>, now: Micros) -> Duration {
    let span = newest.map_or(0, |newest| now.0.saturating_sub(newest.0));
    Duration::from_micros(u64::try_from(span).unwrap_or(0))
}

/// The newest event time of a file. Rows whose event time cannot be read do not count.
fn newest(source: &Source, column: &str) -> Result<Option<Micros>, CliError> {
    let mut newest = None;
    for row in source.open()?.rows(vec![column.to_owned()], 0, true)? {
        let cell = row?.cells.ok().and_then(|mut cells| cells.pop());
        newest = newest.max(cell.and_then(|cell| to_time(cell).ok()));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_newest_event_time_becomes_now() {
        let span = to_now(Some(Micros(5_000_000)), Micros(7_000_000));
        assert_eq!(span, Duration::from_secs(2));
        assert_eq!(to_now(Some(Micros(7)), Micros(5)), Duration::ZERO);
        assert_eq!(to_now(None, Micros(5)), Duration::ZERO);
    }

    #[test]
    fn the_newest_event_time_is_found_past_rows_without_one() {
        let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        file.write_all(b"at,x\n5,a\nnever,b\n9,c\n7,d\n").unwrap();
        let source = Source::new(file.path().to_owned(), None).unwrap();
        assert_eq!(newest(&source, "at").unwrap(), Some(Micros(9)));
    }

    #[test]
    fn a_shift_is_now_or_a_duration() {
        assert_eq!(Shift::parse("now"), Ok(Shift::ToNow));
        assert_eq!(
            Shift::parse("2days"),
            Ok(Shift::By(Duration::from_secs(172_800)))
        );
        assert!(Shift::parse("soon").is_err());
    }
}
