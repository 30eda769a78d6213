//! Reads a file on a thread of its own and gathers its rows into batches.

use std::thread::JoinHandle;

use prost::Message;
use tokio::sync::mpsc;

use super::super::error::CliError;
use super::plan::Plan;
use super::source::{RawRow, Rows};
use super::window::{Batch, NumberedRow, Refusal};
use crate::base::task::thread;

/// Batches are cut here whatever the number of their rows, well below what a node takes.
const BATCH_BYTES: usize = 4 << 20;
/// Batches read ahead.
const AHEAD: usize = 4;

/// Batches as they are read. An error is the end. Dropping the receiver ends the thread.
pub type Batches = mpsc::Receiver<Result<Batch, CliError>>;

/// Starts reading.
///
/// # Errors
/// If there is no thread for it.
pub fn start(
    rows: Rows,
    plan: Plan,
    from: u64,
    batch_rows: usize,
) -> Result<(Batches, JoinHandle<()>), CliError> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut gather = Gather {
        plan,
        batch_rows,
        batch: Batch::default(),
        bytes: 0,
    };
    gather.batch = Batch {
        start: from,
        end: from,
        ..Batch::default()
    };
    let handle = thread("import-reader", move || gather.run(rows, &sender)).map_err(|error| {
        CliError::failed("NO_THREAD", format!("cannot start a thread: {error}"))
    })?;
    Ok((receiver, handle))
}

struct Gather {
    plan: Plan,
    batch_rows: usize,
    batch: Batch,
    bytes: usize,
}

impl Gather {
    fn run(mut self, rows: Rows, sender: &mpsc::Sender<Result<Batch, CliError>>) {
        for row in rows {
            let next = match row {
                Ok(row) => self.push(row).map(Ok),
                Err(error) => {
                    let _gone = sender.blocking_send(Ok(self.cut()));
                    Some(Err(error))
                }
            };
            if let Some(next) = next {
                let is_end = next.is_err();
                if sender.blocking_send(next).is_err() || is_end {
                    return;
                }
            }
        }
        let _gone = sender.blocking_send(Ok(self.cut()));
    }

    /// Takes a row; returns the batch that it fills.
    fn push(&mut self, raw: RawRow) -> Option<Batch> {
        let (number, line) = (raw.number, raw.line);
        match convert(&self.plan, raw) {
            Ok(row) => {
                self.bytes += row.encoded_len();
                self.batch.rows.push(NumberedRow { number, line, row });
            }
            Err(refusal) => self.batch.refused.push(refusal),
        }
        self.batch.end = number;
        let length = self.batch.rows.len() + self.batch.refused.len();
        (length >= self.batch_rows || self.bytes >= BATCH_BYTES).then(|| self.cut())
    }

    fn cut(&mut self) -> Batch {
        let end = self.batch.end;
        self.bytes = 0;
        std::mem::replace(
            &mut self.batch,
            Batch {
                start: end,
                end,
                ..Batch::default()
            },
        )
    }
}

fn convert(plan: &Plan, raw: RawRow) -> Result<crate::proto::v1::Row, Refusal> {
    let refusal = |column, problem| Refusal {
        number: raw.number,
        line: raw.line,
        column,
        reason: "WRONG_TYPE".to_owned(),
        problem,
    };
    match raw.cells {
        Ok(cells) => plan
            .row(cells)
            .map_err(|problem| refusal(problem.column, problem.problem)),
        Err(problem) => Err(Refusal {
            reason: "BAD_ROW".to_owned(),
            ..refusal(None, problem)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::super::plan::{Header, Mapping};
    use super::*;
    use crate::model::View;
    use crate::model::view_file::parse_view;

    fn plan() -> Plan {
        let text = "name = \"v\"\nentity = [{ name = \"k\", type = \"int32\" }]\nfeature = [{ name = \"f\", type = \"int32\" }]";
        let header = Header {
            columns: vec!["k".into(), "f".into()],
            complete: true,
        };
        Plan::new(
            &View::new(parse_view(text).unwrap(), 0),
            &header,
            &Mapping::default(),
        )
        .unwrap()
    }

    fn row(number: u64, value: &str) -> Result<RawRow, CliError> {
        let cells = vec![Cell::Text(number.to_string()), Cell::Text(value.into())];
        Ok(RawRow {
            number,
            line: None,
            cells: Ok(cells),
        })
    }

    #[tokio::test]
    async fn rows_are_gathered_and_those_that_cannot_be_written_set_aside() {
        let rows = [
            row(3, "1"),
            row(4, "x"),
            row(5, "2"),
            Err(CliError::failed("FILE", "damaged")),
        ];
        let (mut batches, handle) = start(Box::new(rows.into_iter()), plan(), 2, 2).unwrap();
        let first = batches.recv().await.unwrap().unwrap();
        assert_eq!((first.start, first.end, first.rows.len()), (2, 4, 1));
        let [refusal] = &first.refused[..] else {
            panic!("one row is wrong")
        };
        assert_eq!((refusal.number, refusal.column.as_deref()), (4, Some("f")));
        let second = batches.recv().await.unwrap().unwrap();
        assert_eq!((second.start, second.end), (4, 5));
        assert!(batches.recv().await.unwrap().is_err());
        assert!(batches.recv().await.is_none());
        handle.join().unwrap();
    }
}
