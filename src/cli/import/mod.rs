//! `steadfast import`: a file becomes writes.
//!
//! ```text
//! reader (thread): parquet | csv | jsonl -> cells -> Plan -> rows -> batches
//!                                                                     | bounded channel
//! sender (task):   Window <- acknowledgements <- ingest stream <------+
//! ```
//! **Invariants.** Only [`plan`], [`cell`] and [`window`] decide, and they are pure. Rows are written in the order of the
//! file. However an import ends, it says from which row it can go on.

mod batches;
mod cell;
mod csv;
mod jsonl;
mod parquet;
mod plan;
mod refusals;
mod sender;
mod shift;
mod source;
mod window;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use self::plan::{Mapping, Plan};
use self::refusals::Refusals;
use self::sender::{Ended, send};
use self::shift::Shift;
pub use self::source::Format;
use self::source::{Rows, Source};
use self::window::{Target, Totals};
use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, grouped, print, print_json};
use super::progress::{Position, Progress, megabytes, per_second};
use crate::base::CommitLevel;
use crate::client::{Client, commit_level_to_wire};
use crate::model::{Order, View};

/// Batches under way at a time: enough to keep a node's disk and network busy at once.
const IN_FLIGHT: usize = 16;

const EXAMPLES: &str = "\
Examples:
  steadfast import aircraft_stats aircraft_stats.parquet
  steadfast import aircraft_stats old.csv --event-time at --map flights_total=flights
  steadfast import aircraft_stats old.parquet --shift-event-time
  steadfast import aircraft_stats rows.jsonl --on-error skip --errors-file refused.jsonl
  zcat rows.jsonl.gz | steadfast import aircraft_stats - --format jsonl
  steadfast import aircraft_stats aircraft_stats.parquet --from 120000

Columns go to the join keys and features of their names. Event times come from the column --event-time, else from one \
named event_time or event_timestamp; without one, rows are as of the time of the write. They are timestamps, RFC 3339 \
texts or microseconds since 1970. In CSV an empty field is null and a list is a JSON array.

If an import breaks off, its error line says with which --from it goes on; writing a row twice does no harm.";

/// Write the rows of a parquet, CSV or JSON lines file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The view.
    view: String,
    /// The file; - is standard input.
    file: PathBuf,
    /// The format, if the file's extension does not tell it.
    #[arg(long)]
    format: Option<Format>,
    /// A join key or feature whose column has another name; repeat it for more.
    #[arg(long, value_name = "FEATURE=COLUMN", value_parser = parse_map)]
    map: Vec<(String, String)>,
    /// The column of event times.
    #[arg(long, value_name = "COLUMN")]
    event_time: Option<String>,
    /// Move all event times: so that the newest of the file becomes now, or by a span, as in
    /// --shift-event-time=4500days.
    #[arg(
        long,
        value_name = "SPAN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "now",
        value_parser = Shift::parse
    )]
    shift_event_time: Option<Shift>,
    /// Pass over columns that are neither join key, event time nor feature.
    #[arg(long)]
    ignore_extra: bool,
    /// Go on after the first N rows.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// What to do at a row that cannot be written.
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    on_error: OnError,
    /// Where --on-error skip collects such rows; FILE.errors.jsonl if not given.
    #[arg(long, value_name = "FILE")]
    errors_file: Option<PathBuf>,
    /// Rows of one batch, which is written as a whole or not at all.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_rows: u32,
    /// How many copies must be durable: async, quorum or all. The server's default if not given.
    #[arg(long)]
    level: Option<CommitLevel>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    /// Stop the import.
    Stop,
    /// Write the other rows.
    Skip,
}

fn parse_map(text: &str) -> Result<(String, String), String> {
    let (name, column) = text.split_once('=').ok_or("expected FEATURE=COLUMN")?;
    Ok((name.to_owned(), column.to_owned()))
}

/// Imports a file and prints what was done.
///
/// # Errors
/// If the file does not fit the view, a row cannot be written, or the node cannot be reached any more.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    let output = args.connection.output;
    let done = import(&client, &args, interrupted).await?;
    report(&done, output)
}

/// What an import did.
struct Done {
    totals: Totals,
    took: Duration,
    shifted_by: Option<Duration>,
    errors_file: Option<PathBuf>,
}

async fn import(
    client: &Client,
    args: &Args,
    interrupted: impl Future<Output = ()>,
) -> Result<Done, CliError> {
    let view = client.view(&args.view).await?;
    let source = Source::new(args.file.clone(), args.format)?;
    let prepared = prepare(&view, &source, args)?;
    let target = Target {
        view: view.spec.name.clone(),
        features: prepared.plan.features(),
        level: commit_level_to_wire(args.level).into(),
        skip_refused: args.on_error == OnError::Skip,
    };
    let mut progress = Progress::new(view.spec.name.clone(), prepared.position);
    let mut refusals = Refusals::new(errors_file(args));
    let batch_rows = usize::try_from(args.batch_rows).unwrap_or(usize::MAX);
    let (batches, reader) = batches::start(prepared.rows, prepared.plan, args.from, batch_rows)?;
    let in_flight = in_flight(&view, args.on_error);
    let ended = send(
        client,
        batches,
        (target, args.from),
        in_flight,
        &mut refusals,
        &mut progress,
        interrupted,
    )
    .await;
    reader
        .join()
        .map_err(|_| CliError::failed("INTERNAL", "the thread that reads the file panicked"))?;
    let errors_file = refusals.finish()?.map(PathBuf::from);
    let took = progress.elapsed();
    finish(ended, prepared.shifted_by).map(|totals| Done {
        totals,
        took,
        shifted_by: prepared.shifted_by,
        errors_file,
    })
}

/// A file that is ready to be read.
struct Prepared {
    rows: Rows,
    plan: Plan,
    position: Position,
    shifted_by: Option<Duration>,
}

fn prepare(view: &View, source: &Source, args: &Args) -> Result<Prepared, CliError> {
    let reader = source.open()?;
    let mapping = Mapping {
        map: args.map.clone(),
        event_time: args.event_time.clone(),
        ignore_extra: args.ignore_extra,
    };
    let mut plan = Plan::new(view, &reader.header(), &mapping)?;
    let shifted_by = args
        .shift_event_time
        .map(|shift| shift.span(source, &plan))
        .transpose()?;
    plan.shift(shifted_by.map_or(0, |span| {
        i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
    }));
    let wanted = plan.columns().map(str::to_owned).collect();
    let position = reader.position();
    let rows = reader.rows(wanted, args.from, args.ignore_extra)?;
    Ok(Prepared {
        rows,
        plan,
        position,
        shifted_by,
    })
}

/// A batch sent again comes after later ones; where the last write wins it must not have any.
fn in_flight(view: &View, on_error: OnError) -> usize {
    match (view.spec.order, on_error) {
        (Order::Arrival, OnError::Skip) => 1,
        (Order::Arrival, OnError::Stop) | (Order::EventTime, _) => IN_FLIGHT,
    }
}

fn errors_file(args: &Args) -> PathBuf {
    args.errors_file.clone().unwrap_or_else(|| {
        let name = args.file.file_name().filter(|name| *name != "-");
        let mut name = name.map_or_else(|| "import".into(), ToOwned::to_owned);
        name.push(".errors.jsonl");
        PathBuf::from(name)
    })
}

/// What was done, or why it broke off and how it goes on.
fn finish(ended: Ended, shifted_by: Option<Duration>) -> Result<Totals, CliError> {
    let Err(error) = ended.outcome else {
        return Ok(ended.totals);
    };
    let shift = shifted_by.map_or(String::new(), |span| {
        let span = humantime::format_duration(span)
            .to_string()
            .replace(' ', "");
        format!(" --shift-event-time={span}")
    });
    let rows = ended.acknowledged;
    Err(error.with(&format!(
        "{rows} rows are done, --from {rows}{shift} goes on"
    )))
}

fn report(done: &Done, output: Output) -> Result<(), CliError> {
    let totals = &done.totals;
    let rate = per_second(totals.read, done.took);
    let errors_file = done
        .errors_file
        .as_ref()
        .map(|path| path.display().to_string());
    if output == Output::Json {
        return print_json(&json!({
            "read": totals.read,
            "applied": totals.applied,
            "older": totals.older,
            "folded": totals.folded,
            "skipped": totals.skipped,
            "bytes": totals.bytes,
            "seconds": done.took.as_secs_f64(),
            "rows_per_second": rate,
            "shifted_by": done.shifted_by.map(|span| humantime::format_duration(span).to_string()),
            "errors_file": errors_file,
        }));
    }
    print(&format!(
        "{} rows read: applied {}, older {}, folded {}, skipped {}; {} MB in {:.1} s, {} rows/s",
        grouped(totals.read),
        grouped(totals.applied),
        grouped(totals.older),
        grouped(totals.folded),
        grouped(totals.skipped),
        megabytes(totals.bytes),
        done.took.as_secs_f64(),
        grouped(rate),
    ))?;
    match errors_file {
        Some(path) => print(&format!("the rows skipped are in {path}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_breaks_off_says_how_it_goes_on() {
        let ended = || Ended {
            totals: Totals::default(),
            acknowledged: 12_000,
            outcome: Err(CliError::failed(
                "INTERRUPTED",
                "the import was interrupted",
            )),
        };
        let message = |shift| finish(ended(), shift).unwrap_err().to_string();
        assert_eq!(
            message(None),
            "INTERRUPTED: the import was interrupted; 12000 rows are done, --from 12000 goes on"
        );
        let shifted = message(Some(Duration::from_secs(90_061)));
        assert!(
            shifted.ends_with("--from 12000 --shift-event-time=1day1h1m1s goes on"),
            "{shifted}"
        );
        assert_eq!(
            Shift::parse("1day1h1m1s"),
            Ok(Shift::By(Duration::from_secs(90_061)))
        );
    }

    #[test]
    fn a_map_names_a_feature_and_its_column() {
        assert_eq!(parse_map("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_map("a").is_err());
    }
}
