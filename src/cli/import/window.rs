//! Pure: the batches under way, what becomes of them, and from which row an import that breaks off goes on.
//!
//! **Invariant.** Every row up to [`acknowledged`](Window::acknowledged) is written or refused; nothing is said of the
//! rows after it.

use std::collections::BTreeMap;

use super::super::error::CliError;
use crate::client::{Error, Kind};
use crate::proto::v1;
use v1::ingest_features_response::Outcome;

/// Rows of a file, next to each other.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// How many rows of the file come before it.
    pub start: u64,
    /// How many rows of the file come before the next one.
    pub end: u64,
    /// The rows that can be written.
    pub rows: Vec<NumberedRow>,
    /// The rows that cannot.
    pub refused: Vec<Refusal>,
}

/// A row for the wire and where it comes from.
#[derive(Debug, Clone)]
pub struct NumberedRow {
    /// Its place among the rows of the file, from 1.
    pub number: u64,
    /// Its line in the file, if it has lines.
    pub line: Option<u64>,
    /// The row.
    pub row: v1::Row,
}

/// A row that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place among the rows of the file, from 1.
    pub number: u64,
    /// Its line in the file, if it has lines.
    pub line: Option<u64>,
    /// The column at fault, if one is.
    pub column: Option<String>,
    /// The machine-readable reason.
    pub reason: String,
    /// What is wrong.
    pub problem: String,
}

impl Refusal {
    /// The refusal as the reason to stop.
    #[must_use]
    pub fn into_error(self) -> CliError {
        let column = self
            .column
            .map_or(String::new(), |column| format!(", column {column:?}"));
        CliError::wrong(
            &self.reason,
            format!("row {}{column}: {}", self.number, self.problem),
        )
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows read from the file.
    pub read: u64,
    /// Rows that are now what was written.
    pub applied: u64,
    /// Rows older than what is stored.
    pub older: u64,
    /// Rows folded into another one of the same entity in the same batch.
    pub folded: u64,
    /// Rows refused.
    pub skipped: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// What every batch is sent with.
#[derive(Debug, Clone)]
pub struct Target {
    /// The view.
    pub view: String,
    /// The features that the rows give.
    pub features: Vec<String>,
    /// The commit level as the wire names it.
    pub level: i32,
    /// Leave out rows that the node refuses, and write the others of their batch.
    pub skip_refused: bool,
}

/// The batches under way.
#[derive(Debug)]
pub struct Window {
    target: Target,
    under_way: BTreeMap<u64, Batch>,
    next_sequence: u64,
    end: u64,
    totals: Totals,
}

impl Window {
    /// Nothing under way, `from` rows done before.
    #[must_use]
    pub fn new(target: Target, from: u64) -> Window {
        Window {
            target,
            under_way: BTreeMap::new(),
            next_sequence: 1,
            end: from,
            totals: Totals::default(),
        }
    }

    /// Takes a batch; returns it as to be sent, unless it has no rows.
    pub fn push(&mut self, batch: Batch) -> Option<v1::IngestFeaturesRequest> {
        self.totals.read += batch.end - batch.start;
        self.totals.skipped += count(&batch.refused);
        self.end = batch.end;
        if batch.rows.is_empty() {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let request = self.request(sequence, &batch);
        self.under_way.insert(sequence, batch);
        Some(request)
    }

    /// Takes an acknowledgement. If the node refused one row of the batch and that is to be left out, returns the rest
    /// to be sent again, and the row.
    ///
    /// # Errors
    /// If the node refused the batch, or acknowledged what was not sent.
    pub fn on_answer(
        &mut self,
        answer: v1::IngestFeaturesResponse,
    ) -> Result<Option<(Option<v1::IngestFeaturesRequest>, Refusal)>, CliError> {
        let sequence = answer.sequence;
        let stray = || {
            Error::bad_answer(format!(
                "batch {sequence} was acknowledged, but is not under way"
            ))
        };
        match answer.outcome {
            Some(Outcome::Written(written)) => {
                self.under_way.remove(&sequence).ok_or_else(stray)?;
                self.totals.applied += written.applied;
                self.totals.older += written.older;
                self.totals.folded += written.folded;
                Ok(None)
            }
            Some(Outcome::Error(error)) => {
                let batch = self.under_way.remove(&sequence).ok_or_else(stray)?;
                self.on_refusal(sequence, batch, &error).map(Some)
            }
            None => Err(stray().into()),
        }
    }

    fn on_refusal(
        &mut self,
        sequence: u64,
        mut batch: Batch,
        error: &v1::BatchError,
    ) -> Result<(Option<v1::IngestFeaturesRequest>, Refusal), CliError> {
        let cause = Error::refused(&error.reason, error.code, &error.message, &error.field);
        let at_fault = row_index(&error.field).filter(|at| *at < batch.rows.len());
        let Some(at) = at_fault.filter(|_| cause.kind == Kind::InvalidInput) else {
            let rows = format!("rows {} to {}", batch.start + 1, batch.end);
            self.under_way.insert(sequence, batch);
            return Err(CliError::from(cause).with(&rows));
        };
        let row = batch.rows.remove(at);
        let refusal = Refusal {
            number: row.number,
            line: row.line,
            column: None,
            reason: cause.reason,
            problem: cause.message,
        };
        if !self.target.skip_refused {
            self.under_way.insert(sequence, batch);
            return Err(refusal.into_error());
        }
        self.totals.skipped += 1;
        if batch.rows.is_empty() {
            return Ok((None, refusal));
        }
        let again = self.request(sequence, &batch);
        self.under_way.insert(sequence, batch);
        Ok((Some(again), refusal))
    }

    fn request(&mut self, sequence: u64, batch: &Batch) -> v1::IngestFeaturesRequest {
        let request = v1::IngestFeaturesRequest {
            sequence,
            batch: Some(v1::PutFeaturesRequest {
                writes: vec![v1::ViewRows {
                    view: self.target.view.clone(),
                    features: self.target.features.clone(),
                    rows: batch.rows.iter().map(|row| row.row.clone()).collect(),
                }],
                level: self.target.level,
                request_id: String::new(),
                override_stored: false,
                session: None,
            }),
        };
        let bytes = prost::Message::encoded_len(&request);
        self.totals.bytes += u64::try_from(bytes).unwrap_or(0);
        request
    }

    /// How many batches are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// How many rows of the file, from its beginning, are written or refused.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let first = self.under_way.values().next();
        first.map_or(self.end, |batch| batch.start)
    }

    /// What was done so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// The index in a path such as `writes[0].rows[17].values[2]`.
fn row_index(field: &str) -> Option<usize> {
    let (_, after) = field.split_once("rows[")?;
    let (index, _) = after.split_once(']')?;
    index.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(skip_refused: bool) -> Window {
        let target = Target {
            view: "v".into(),
            features: vec![],
            level: 0,
            skip_refused,
        };
        Window::new(target, 0)
    }

    fn batch(start: u64, rows: u64) -> Batch {
        let row = |number| NumberedRow {
            number,
            line: None,
            row: v1::Row::default(),
        };
        let end = start + rows;
        Batch {
            start,
            end,
            rows: (start + 1..=end).map(row).collect(),
            refused: vec![],
        }
    }

    fn written(sequence: u64) -> v1::IngestFeaturesResponse {
        let outcome = v1::WriteResponse {
            applied: 2,
            ..v1::WriteResponse::default()
        };
        v1::IngestFeaturesResponse {
            sequence,
            outcome: Some(Outcome::Written(outcome)),
        }
    }

    fn refused(sequence: u64, field: &str) -> v1::IngestFeaturesResponse {
        let error = v1::BatchError {
            code: 3,
            reason: "TOO_LATE".into(),
            message: "too late".into(),
            field: field.into(),
        };
        v1::IngestFeaturesResponse {
            sequence,
            outcome: Some(Outcome::Error(error)),
        }
    }

    #[test]
    fn rows_count_as_acknowledged_up_to_the_first_batch_under_way() {
        let mut window = window(true);
        window.push(batch(0, 2));
        window.push(batch(2, 2));
        window.on_answer(written(2)).unwrap();
        assert_eq!((window.acknowledged(), window.len()), (0, 1));
        window.on_answer(written(1)).unwrap();
        assert_eq!((window.acknowledged(), window.totals().applied), (4, 4));
    }

    #[test]
    fn a_refused_row_is_left_out_and_the_rest_of_its_batch_sent_again() {
        let mut window = window(true);
        window.push(batch(10, 3));
        let (again, refusal) = window
            .on_answer(refused(1, "writes[0].rows[1].event_time_us"))
            .unwrap()
            .unwrap();
        assert_eq!((refusal.number, refusal.reason.as_str()), (12, "TOO_LATE"));
        let again = again.unwrap();
        assert_eq!(
            (again.sequence, again.batch.unwrap().writes[0].rows.len()),
            (1, 2)
        );
        assert_eq!((window.acknowledged(), window.totals().skipped), (10, 1));
        window.on_answer(written(1)).unwrap();
        assert_eq!(window.acknowledged(), 13);
    }

    #[test]
    fn a_refusal_stops_where_nothing_is_to_be_left_out() {
        let mut window = window(false);
        window.push(batch(10, 3));
        let error = window
            .on_answer(refused(1, "writes[0].rows[1]"))
            .unwrap_err();
        assert_eq!(error.to_string(), "TOO_LATE: row 12: too late");
        assert_eq!(window.acknowledged(), 10);
    }

    #[test]
    fn a_batch_refused_as_a_whole_stops_and_is_named() {
        let mut window = window(true);
        window.push(batch(10, 3));
        let error = window
            .on_answer(refused(1, "writes[0].view"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("TOO_LATE: too late") && error.ends_with("rows 11 to 13"),
            "{error}"
        );
    }

    #[test]
    fn a_batch_without_rows_is_done_at_once() {
        let mut window = window(true);
        let refusal = Refusal {
            number: 1,
            line: None,
            column: None,
            reason: String::new(),
            problem: String::new(),
        };
        let empty = Batch {
            start: 0,
            end: 1,
            rows: vec![],
            refused: vec![refusal],
        };
        assert!(window.push(empty).is_none());
        assert_eq!((window.acknowledged(), window.totals().skipped), (1, 1));
    }

    #[test]
    fn what_was_not_sent_cannot_be_acknowledged() {
        assert!(
            window(true)
                .on_answer(written(7))
                .unwrap_err()
                .to_string()
                .contains("batch 7")
        );
    }
}
