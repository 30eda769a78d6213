//! `steadfast export`: the rows of a view become a file that import reads.
//!
//! ```text
//! pages of a scan -> Tally: lines, content digest -> Writer: parquet | csv | jsonl -> Target: file or standard output
//! ```
//! **Invariants.** [`lines`] decides what is written, and it is pure. A file has its name only once it is complete and
//! durable. A view that is written meanwhile is exported as a scan sees it: each row as of some time during the export.

mod lines;
mod parquet;
mod target;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use self::lines::{Columns, Tally};
use self::target::{Target, failure};
use self::writer::Writer;
use super::connection::Connection;
use super::error::CliError;
use super::import::Format;
use super::keys::prefix_of;
use super::output::{Output, grouped, print};
use super::progress::{Position, Progress, megabytes};
use super::scan::unpack;
use crate::client::{Client, Error, Pages, key_to_wire, view_from_wire};
use crate::model::View;
use crate::proto::v1;

const EXAMPLES: &str = "\
Examples:
  steadfast export aircraft_stats aircraft_stats.parquet
  steadfast export route_stats ua.csv --prefix carrier=UA --feature flights_total
  steadfast export aircraft_stats - --format jsonl | gzip > rows.jsonl.gz
  steadfast export aircraft_stats --digest-only

Import reads what is written without further options. Each line has the event time of its values, in the column \
event_time, or event_timestamp if the view has a column of that name; the values of a merge = \"cell\" row make a line \
for each of their event times. Values that have expired are not written.

Only JSON lines tell absent values from null; CSV and parquet write both as null, which import then writes as null, \
and CSV cannot tell empty texts from null. The summary says how many values that concerns. Take JSON lines for views \
with merge = \"cell\".

The content digest is over keys, features, values and event times: equal digests, equal contents, whatever the node or \
the name of the view.";

/// Write the rows of a view to a parquet, CSV or JSON lines file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    /// The file; - is standard output, for CSV and JSON lines.
    #[arg(required_unless_present = "digest_only")]
    file: Option<PathBuf>,
    /// The format, if the file's extension does not tell it.
    #[arg(long)]
    format: Option<Format>,
    /// A feature to write; repeat it for more. All of the view if not given.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// Only entities whose first join keys have these values.
    #[arg(long, value_name = "NAME=VALUE,…")]
    prefix: Option<String>,
    /// Write nothing, print the content digest.
    #[arg(long, conflicts_with = "file")]
    digest_only: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Exports a view and prints what was done.
///
/// # Errors
/// If the file cannot be written, does not fit the view, or the scan breaks off.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let wire = client.describe_view(&args.view).await?;
    let view = view_from_wire(&wire).map_err(Error::bad_answer)?;
    let columns = Columns::new(&view, &args.features)?;
    let pages = scan(&client, &view, &columns, args.prefix.as_deref()).await?;
    let total = args.prefix.is_none().then_some(wire.rows);
    let mut export = Export {
        writer: args.writer(&columns)?,
        columns,
        tally: Tally::default(),
        position: Position::of(total),
        path: args.file.clone().unwrap_or_default(),
    };
    let mut progress = Progress::new(args.view.clone(), export.position.clone());
    let outcome = export.take_all(pages, &mut progress).await;
    progress.finish();
    outcome?;
    let took = progress.elapsed();
    report(export.finish()?, took, &args)
}

impl Args {
    /// Where lines go; `None` if they are only added up.
    fn writer(&self, columns: &Columns) -> Result<Option<Writer>, CliError> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let format = Format::of(path, self.format)?;
        if format == Format::Parquet && is_stdout(path) {
            return Err(CliError::usage(
                "parquet goes to a file, not to standard output",
            ));
        }
        let target = Target::create(path)?;
        let writer = Writer::new(format, columns, target).map_err(|error| failure(path, &error))?;
        Ok(Some(writer))
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

async fn scan(
    client: &Client,
    view: &View,
    columns: &Columns,
    prefix: Option<&str>,
) -> Result<Pages, CliError> {
    let prefix = prefix.map(|text| prefix_of(text, view)).transpose()?;
    let features = columns.features.iter().map(|feature| feature.name.clone());
    let request = v1::ScanFeaturesRequest {
        view: view.spec.name.clone(),
        features: features.collect(),
        prefix: prefix
            .unwrap_or_default()
            .into_iter()
            .map(key_to_wire)
            .collect(),
        include_event_times: true,
        ..v1::ScanFeaturesRequest::default()
    };
    Ok(client.scan(request).await?)
}

/// An export under way.
struct Export {
    columns: Columns,
    writer: Option<Writer>,
    tally: Tally,
    position: Position,
    path: PathBuf,
}

/// What an export did.
struct Done {
    tally: Tally,
    bytes: u64,
    /// Absent values and empty texts that were written as null.
    made_null: u64,
}

impl Export {
    async fn take_all(
        &mut self,
        mut pages: Pages,
        progress: &mut Progress,
    ) -> Result<(), CliError> {
        while let Some(page) = pages.next().await? {
            self.take(page)?;
            progress.update(self.tally.lines, self.bytes());
        }
        Ok(())
    }

    fn take(&mut self, page: v1::ScanFeaturesResponse) -> Result<(), CliError> {
        let (keys, features) = unpack(page)?;
        let mut lines = Vec::with_capacity(keys.len());
        for (at, key) in keys.into_iter().enumerate() {
            lines.extend(self.tally.lines(&self.columns, key, &features, at));
            self.position.advance(1);
        }
        match &mut self.writer {
            Some(writer) => {
                let written = writer.write(&self.columns, &lines);
                written.map_err(|error| failure(&self.path, &error))
            }
            None => Ok(()),
        }
    }

    fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::bytes)
    }

    fn finish(self) -> Result<Done, CliError> {
        let Export {
            writer,
            tally,
            path,
            ..
        } = self;
        let Some(writer) = writer else {
            return Ok(Done {
                tally,
                bytes: 0,
                made_null: 0,
            });
        };
        let absent = if matches!(writer, Writer::Jsonl(_)) {
            0
        } else {
            tally.absent
        };
        let made_null = writer.blank() + absent;
        let target = writer
            .into_target()
            .map_err(|error| failure(&path, &error))?;
        let bytes = target.finish()?;
        Ok(Done {
            tally,
            bytes,
            made_null,
        })
    }
}

/// Says what was done: on standard error if the rows went to standard output.
fn report(done: Done, took: Duration, args: &Args) -> Result<(), CliError> {
    let Done {
        tally,
        bytes,
        made_null,
    } = done;
    let text = match args.connection.output {
        Output::Json => json!({
            "rows": tally.rows,
            "lines": tally.lines,
            "bytes": bytes,
            "content_digest": tally.content.to_string(),
            "expired": tally.expired,
            "empty": tally.empty,
            "made_null": made_null,
            "seconds": took.as_secs_f64(),
        })
        .to_string(),
        Output::Table => {
            let lost = format!(
                "not written: {} expired values, {} rows without values; absent or empty, written as null: {}",
                grouped(tally.expired),
                grouped(tally.empty),
                grouped(made_null),
            );
            let lost = if tally.expired + tally.empty + made_null > 0 {
                lost + "\n"
            } else {
                String::new()
            };
            format!(
                "{} rows in {} lines, {} MB in {:.1} s\n{lost}content digest {}",
                grouped(tally.rows),
                grouped(tally.lines),
                megabytes(bytes),
                took.as_secs_f64(),
                tally.content,
            )
        }
    };
    if args.file.as_deref().is_some_and(is_stdout) {
        eprintln!("{text}");
        return Ok(());
    }
    print(&text)
}
