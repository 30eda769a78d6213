//! `steadfast bench set`: what the members of a set of processes cost one another, all in one run on one machine.
//!
//! Ingest counts only once no member lags any more, so that nobody is paid on credit.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::Output;
use super::super::process_set::ProcessSet;
use super::closed_loop::drive;
use super::generator::{Caller, Span};
use super::grpc::{Call, Connection};
use super::load::load;
use super::measured::rounded;
use super::workload::{Keys, Requests, Shape};
use super::{report, with_processes};
use crate::base::clock::{now_monotonic, sleep};
use crate::proto::v1::CommitLevel;

const MEMBERS: u8 = 3;
const ENTITIES: u64 = 200_000;
const FEATURES: usize = 10;
/// Rows of one request.
const BATCH: u32 = 100;
const WRITERS: u64 = 32;
const READERS: u64 = 8;
/// What a member receives while it is asked.
const RECEIVED_PER_SECOND: u32 = 10_000;
/// So many connections make those writes.
const PACED_WRITERS: u32 = 4;

/// How long each figure is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    span: Span,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Forms a set and measures it.
///
/// # Errors
/// If the set does not form, or refuses something.
pub async fn run(args: Args) -> Result<(), CliError> {
    let measured = with_processes("bench-set", async |binary, scratch| {
        Box::pin(measure(binary, scratch, args.span)).await
    });
    report(args.output, &measured.await?)
}

async fn measure(binary: &Path, scratch: &Path, span: Span) -> Result<Json, CliError> {
    let mut set = ProcessSet::form(binary, scratch, MEMBERS, None).await?;
    let primary = set.whole().await?;
    let shape = Shape {
        entities: ENTITIES,
        views: 1,
        views_asked: None,
        features: FEATURES,
        batch: usize::try_from(BATCH).unwrap_or_default(),
        keys: Keys::Uniform,
    };
    load(set.client(primary.at)?, shape).await?;
    set.equal().await?;
    let weak = ingest(&set, primary.at, shape, span, CommitLevel::Async).await?;
    let strong = ingest(&set, primary.at, shape, span, CommitLevel::Quorum).await?;
    eprintln!("ingest: {weak:.0} rows/s at async, {strong:.0} at quorum");
    let member = (primary.at + 1) % usize::from(MEMBERS);
    let idle = lookups(&set, member, shape, span).await?;
    let receiving = async {
        let paced = paced_writers(&set, primary.at, shape).await?;
        let (lookups, written) =
            tokio::join!(lookups(&set, member, shape, span), drive(paced, span));
        Ok::<_, CliError>((lookups?, written?.rate() * f64::from(BATCH)))
    };
    let (beside, received) = receiving.await?;
    eprintln!(
        "lookups: {idle:.0}/s at an idle member, {beside:.0}/s while it receives {received:.0} rows/s"
    );
    let (rows, seconds) = catch_up(&mut set, primary.at, member, shape, span).await?;
    Ok(json!({
        "ingest_async_rows_per_second": rounded(weak),
        "ingest_quorum_rows_per_second": rounded(strong),
        "ratio_quorum": rounded(strong / weak),
        "lookups_idle_per_second": rounded(idle),
        "lookups_receiving_per_second": rounded(beside),
        "received_rows_per_second": rounded(received),
        "ratio_receiving": rounded(beside / idle),
        "caught_up_rows": rows,
        "catch_up_rows_per_second": rounded(rows / seconds),
    }))
}

/// Connections to one member.
async fn connections(
    set: &ProcessSet,
    at: usize,
    call: Call,
    requests: impl Iterator<Item = Requests>,
) -> Result<Vec<Connection>, CliError> {
    let endpoint = set
        .endpoints()
        .into_iter()
        .skip(at)
        .take(1)
        .collect::<Vec<_>>();
    let mut connections = Vec::new();
    for requests in requests {
        connections.push(Connection::open(&endpoint, call, requests).await?);
    }
    Ok(connections)
}

/// Rows per second that the primary takes at a level, until all members hold them.
async fn ingest(
    set: &ProcessSet,
    primary: usize,
    shape: Shape,
    span: Span,
    level: CommitLevel,
) -> Result<f64, CliError> {
    let requests = (0..WRITERS).map(|seed| Requests::new(shape, seed).at(level));
    let writers = connections(set, primary, Call::Write, requests).await?;
    let measured = drive(writers, span).await?;
    let begun = now_monotonic();
    set.equal().await?;
    let seconds = span.measured.as_secs_f64();
    let rows = measured.rate() * seconds * f64::from(BATCH);
    Ok(rows / (seconds + begun.elapsed().as_secs_f64()))
}

/// Local lookups per second at a member.
async fn lookups(set: &ProcessSet, at: usize, shape: Shape, span: Span) -> Result<f64, CliError> {
    let requests = (0..READERS).map(|seed| Requests::new(shape, seed));
    let readers = connections(set, at, Call::Lookup, requests).await?;
    Ok(drive(readers, span).await?.rate())
}

/// Writes at regular times, whatever the answers take.
struct Paced {
    connection: Connection,
    every: Duration,
    next: Instant,
}

impl Caller for Paced {
    async fn call(&mut self) -> Result<(), CliError> {
        sleep(self.next.saturating_duration_since(now_monotonic())).await;
        self.next += self.every;
        self.connection.call().await
    }
}

async fn paced_writers(
    set: &ProcessSet,
    primary: usize,
    shape: Shape,
) -> Result<Vec<Paced>, CliError> {
    let requests = (0..u64::from(PACED_WRITERS)).map(|seed| Requests::new(shape, seed));
    let writers = connections(set, primary, Call::Write, requests).await?;
    let every = Duration::from_secs(1) * BATCH * PACED_WRITERS / RECEIVED_PER_SECOND;
    let next = now_monotonic();
    let paced = |connection| Paced {
        connection,
        every,
        next,
    };
    Ok(writers.into_iter().map(paced).collect())
}

/// How many rows are written while a member is away, and how many seconds it takes from its start on until it holds them.
async fn catch_up(
    set: &mut ProcessSet,
    primary: usize,
    member: usize,
    shape: Shape,
    span: Span,
) -> Result<(f64, f64), CliError> {
    set.kill(member).await?;
    let requests = (0..WRITERS).map(|seed| Requests::new(shape, seed));
    let writers = connections(set, primary, Call::Write, requests).await?;
    let written = drive(writers, span).await?;
    let begun = now_monotonic();
    set.restart(member).await?;
    set.equal().await?;
    let rows = written.rate() * span.measured.as_secs_f64() * f64::from(BATCH);
    Ok((rows, begun.elapsed().as_secs_f64()))
}
