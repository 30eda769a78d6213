//! `steadfast bench`: how fast a node is, and how fast it could be.
//!
//! A closed loop finds the most that a node does, an open one how long requests take that arrive at a rate of their own. The
//! generator runs on the machine it measures, so its own cost is part of every figure, ours and those it is compared with.

mod arrivals;
mod backup;
mod bare;
mod case;
mod closed_loop;
mod compare;
mod copying;
mod empty;
mod failover;
mod generator;
mod grid;
mod grpc;
mod load;
mod measured;
mod open_loop;
mod redis;
mod set;
mod unloaded;
mod workload;
mod zipf;

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use self::case::Case;
use self::closed_loop::drive;
use self::compare::{Comparison, connect};
use self::generator::Span;
use self::grpc::Call;
use self::open_loop::drive_at;
use self::workload::{Shape, VIEW};
use super::child::{Scratch, interruptible, this_program};
use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, plain, print, print_json, table};

const EXAMPLES: &str = "\
Examples:
  steadfast bench load --entities 10000000
  steadfast bench lookup --entities 10000000 --keys uniform --connections 64
  steadfast bench lookup --entities 10000000 --rate 2000
  steadfast bench ingest --entities 10000000 --seconds 30
  steadfast bench compare --output json
  steadfast bench grid --entities 10000 --seconds 2
  steadfast bench failover --kills 50 --fault pause
  steadfast bench set --output json
  steadfast bench backup --entities 10000000 --output json

Lookups and writes are for the entities that `load` wrote: give the same --entities, --views and --features.";

/// Measure a node, or compare one with what bounds it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the view `bench`, or as many as asked for, and write their entities
    Load(AgainstNode),
    /// Look features up
    Lookup(LookupArgs),
    /// Write batches, acknowledged at level async
    Ingest(AgainstNode),
    /// Form a set of three nodes of its own, let its primary fail under load, and count what is lost
    Failover(failover::Args),
    /// Form a set of three nodes of its own, and measure what the members cost one another
    Set(set::Args),
    /// Measure what backups, the archive and a restore take, at a node of its own, and copies of the same files
    Backup(backup::Args),
    /// Measure a node of its own, an empty gRPC server, bare RocksDB and, if installed, Redis in one run
    Compare(CompareArgs),
    Grid(grid::Args),
    #[command(hide = true)]
    EmptyServer(empty::Args),
}

#[derive(Debug, clap::Args)]
struct AgainstNode {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    span: Span,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: u64,
}

#[derive(Debug, clap::Args)]
struct LookupArgs {
    #[command(flatten)]
    node: AgainstNode,
    /// Requests that arrive per second, at random times, whatever their answers take. Latencies count from a request's
    /// arrival, also where it waits for a connection. Without a rate, each connection asks again as soon as it is answered
    #[arg(long, value_name = "R", value_parser = some_rate)]
    rate: Option<f64>,
}

fn some_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_some = rate.is_finite() && rate > 0.0;
    is_some
        .then_some(rate)
        .ok_or_else(|| "not greater than 0".to_owned())
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    /// How to print the result: a table at the end, or one JSON object a line as cases are done.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// Entities in the view
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    entities: u64,
    #[command(flatten)]
    span: Span,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: u64,
}

/// Runs a benchmark.
///
/// # Errors
/// If something that is measured fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Load(args) => load(args).await,
        Command::Lookup(args) => measure(args.node, Call::Lookup, args.rate).await,
        Command::Ingest(args) => measure(args, Call::Write, None).await,
        Command::Compare(args) => Box::pin(compare(args)).await,
        Command::Grid(args) => Box::pin(grid::run(args)).await,
        Command::Failover(args) => Box::pin(failover::run(args)).await,
        Command::Set(args) => Box::pin(set::run(args)).await,
        Command::Backup(args) => Box::pin(backup::run(args)).await,
        Command::EmptyServer(args) => empty::run(args).await,
    }
}

/// Measures processes of this program, in a directory of their own that is kept if it fails.
async fn with_processes<T>(
    command: &str,
    measure: impl AsyncFnOnce(&Path, &Path) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let binary = this_program()?;
    let scratch = Scratch::new(command)?;
    let measured = interruptible(measure(&binary, scratch.path())).await;
    measured.map_err(|error| {
        let kept = scratch.keep();
        error.with(&format!("what the nodes logged is in {}", kept.display()))
    })
}

async fn load(args: AgainstNode) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let begun = crate::base::clock::now_monotonic();
    load::load(&client, args.shape).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let rows = args.shape.rows();
    let rate = measured::rounded(rows as f64 / seconds);
    report(
        args.connection.output,
        &json!({"view": VIEW, "views": args.shape.views, "rows": rows, "rows_per_second": rate}),
    )
}

async fn measure(args: AgainstNode, call: Call, rate: Option<f64>) -> Result<(), CliError> {
    let endpoints = args.connection.endpoints();
    // Other requests in each run, or caches would hold the answers of the one before.
    let seed = u64::from(rand::random::<u32>());
    let seeds = seed..seed + args.connections;
    let callers = connect(endpoints, call, args.shape, seeds).await?;
    let measured = match rate {
        Some(rate) => drive_at(rate, callers, args.span).await?,
        None => drive(callers, args.span).await?,
    };
    let rows = match call {
        Call::Lookup => args.shape.rows_asked(),
        Call::Write => args.shape.batch * args.shape.views,
    };
    report(args.connection.output, &measured.to_json(rows))
}

async fn compare(args: CompareArgs) -> Result<(), CliError> {
    let comparison = Comparison::prepare(args.entities, args.connections, args.span).await?;
    let mut cases = Vec::new();
    let keep = |case: &Case| {
        cases.push(case.to_json());
        match args.output {
            Output::Json => print_json(&case.to_json()),
            Output::Table => Ok(()),
        }
    };
    comparison.run(keep).await?;
    match args.output {
        Output::Json => Ok(()),
        Output::Table => print(&table_of(&cases)),
    }
}

fn table_of(cases: &[Json]) -> String {
    let mut table = table(["case", "unit", "ours", "others", "times theirs"]);
    for case in cases {
        let fields = || case.as_object().into_iter().flatten();
        let of = |name: &str| plain(case.get(name).unwrap_or(&Json::Null));
        let rest = |are_ratios: bool| {
            let chosen = fields()
                .skip(3)
                .filter(|(name, _)| name.starts_with("ratio_") == are_ratios);
            let texts = chosen.map(|(name, value)| {
                format!("{}: {}", name.trim_start_matches("ratio_"), plain(value))
            });
            texts.collect::<Vec<_>>().join(", ")
        };
        table.add_row([of("case"), of("unit"), of("ours"), rest(false), rest(true)]);
    }
    table.to_string()
}

fn report(output: Output, result: &Json) -> Result<(), CliError> {
    match output {
        Output::Json => print_json(result),
        Output::Table => print(&table_of_objects(std::slice::from_ref(result))),
    }
}

/// Objects that all have the names of the first.
fn table_of_objects(objects: &[Json]) -> String {
    let fields = |object: &Json| object.as_object().cloned().unwrap_or_default();
    let names = objects.first().map(fields).unwrap_or_default();
    let mut table = table(names.keys());
    for object in objects {
        table.add_row(fields(object).values().map(plain));
    }
    table.to_string()
}
