//! `steadfast inspect wal`

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, plain, print, print_json};
use super::directory::{Directory, damaged};
use crate::base::{Lsn, explained};
use crate::model::describe::record_to_json;
use crate::model::{Body, Catalogue, Record};
use crate::wal::{Frame, Segment};

/// What to print of a WAL.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory.
    dir: PathBuf,
    /// Only records from this sequence number of their log on.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
    /// Only records up to this sequence number of their log.
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// At most so many records; 0 is without limit.
    #[arg(long, default_value_t = 0)]
    limit: u64,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Prints the WAL.
///
/// # Errors
/// If a node uses the directory, or its identity or store cannot be read. What is damaged in the WAL is printed.
pub fn run(args: &Args) -> Result<(), CliError> {
    let directory = Directory::open(&args.dir)?;
    let survey = directory.wal(directory.identity()?.lineage)?;
    let mut printer = Printer {
        args,
        catalogue: directory.catalogue()?,
        printed: 0,
    };
    for finding in survey.findings() {
        printer.line(&json!({ "damage": explained(finding) }))?;
    }
    for segment in survey.segments(Lsn::ZERO) {
        if printer.is_done() {
            break;
        }
        printer.segment(&segment.map_err(|error| damaged(&error))?)?;
    }
    Ok(())
}

struct Printer<'a> {
    args: &'a Args,
    catalogue: Catalogue,
    printed: u64,
}

impl Printer<'_> {
    fn is_done(&self) -> bool {
        self.args.limit != 0 && self.printed >= self.args.limit
    }

    fn segment(&mut self, segment: &Segment) -> Result<(), CliError> {
        let marks = segment.frames.iter().map(|frame| frame.durable_upto);
        self.line(&json!({
            "segment": segment.path.display().to_string(),
            "id": segment.id,
            "base": segment.base.0,
            "end": segment.end.0,
            "durable_upto": marks.max().unwrap_or(segment.base).0,
            "frames": segment.frames.len(),
            "bytes": segment.bytes,
            "sealed": !segment.is_last,
            "torn_bytes": segment.torn_bytes,
            "damage": segment.damage.as_ref().map(|damage| explained(damage)),
        }))?;
        for frame in &segment.frames {
            if self.is_done() {
                break;
            }
            self.frame(frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), CliError> {
        let Some(payload) = &frame.payload else {
            return Ok(());
        };
        let shown = Record::decode(payload).and_then(|record| {
            if let Body::Definition(definition) = &record.body {
                self.catalogue.apply(record.stamp, definition);
            }
            Ok((
                record.stamp.seq.0,
                record_to_json(&record, &self.catalogue)?,
            ))
        });
        match shown {
            Ok((seq, _)) if seq < self.args.from || seq > self.args.to => Ok(()),
            Ok((_, mut record)) => {
                self.printed += 1;
                record.insert("lsn".to_owned(), frame.begin.0.into());
                record.insert("durable_upto".to_owned(), frame.durable_upto.0.into());
                self.line(&record.into())
            }
            Err(error) => self.line(&json!({ "lsn": frame.begin.0, "damage": explained(&error) })),
        }
    }

    fn line(&self, json: &Json) -> Result<(), CliError> {
        match self.args.output {
            Output::Json => print_json(json),
            Output::Table => print(&lines_of(json)),
        }
    }
}

/// A record or segment as people read it: one line, and one for each row.
fn lines_of(json: &Json) -> String {
    let fields = json.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| !value.is_null() && *name != "body");
    let head = fields.map(|(name, value)| format!("{name} {}", plain(value)));
    let head = head.collect::<Vec<_>>().join("  ");
    let body = &json["body"];
    let Some(writes) = body["writes"].as_array() else {
        let more = if body.is_null() {
            String::new()
        } else {
            format!("\n    {body}")
        };
        return head + &more;
    };
    let writes = writes.iter().map(|write| {
        format!(
            "\n    {} {}{} {} at {} {}",
            plain(&write["change"]),
            plain(&write["view"]),
            if write["dropped"] == true {
                " (dropped)"
            } else {
                ""
            },
            plain(&write["key"]),
            plain(&write["event_time"]),
            plain(&write["values"]),
        )
    });
    head + &writes.collect::<String>()
}
