//! `steadfast demo`: the main job on real input, with the real binary.
//!
//! It starts a node as a child process and runs the same commands that a user would type, then kills the node in the
//! middle of a write load and proves that every acknowledged write is there.

mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join;
use serde_json::{Value as Json, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::story::{Imported, Lookups, Story};
use super::child::{Home, Node, Scratch};
use super::error::CliError;
use super::load::{Load, VIEW_FILE, Verdict};
use super::output::{grouped, print, print_json, readable};
use crate::base::CommitLevel;
use crate::base::clock::{now_monotonic, sleep};
use crate::client::Client;

/// How long the write load runs before the node is killed, and after it is back.
const LOAD_FOR: Duration = Duration::from_secs(2);
const WRITERS: i32 = 8;
const LOOKUPS: usize = 1_000;
const ENTITIES: usize = 100;
/// How long a node may take to stop when told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  steadfast demo
  steadfast demo --once --data /usr/share/steadfast/flights

The node runs as a child process on a directory of its own under the system's directory for \
temporary files, on free ports of the loopback interface.";

/// Show everything on a month of real flights
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// End instead of staying up; the last line is then one JSON object with what was done.
    #[arg(long)]
    once: bool,
    /// Where the flights are.
    #[arg(long, value_name = "DIR", default_value = "examples/flights")]
    data: PathBuf,
}

/// Runs the demonstration.
///
/// # Errors
/// If a step fails, or an acknowledged write is lost.
pub async fn run(args: Args) -> Result<(), CliError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| no_signal(&error))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| no_signal(&error))?;
    let scratch = Scratch::new("demo")?;
    let outcome = tokio::select! {
        outcome = play(&args, &scratch) => outcome,
        _ = terminated.recv() => return Err(CliError::failed("INTERRUPTED", "the demonstration was interrupted")),
        _ = interrupted.recv() => return Err(CliError::failed("INTERRUPTED", "the demonstration was interrupted")),
    };
    let (mut node, done) = outcome?;
    if !args.once {
        print(&invitation(&node, &args))?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => node.wait(STOP_LIMIT).await,
        }
    }
    drop(node);
    if args.once {
        print_json(&done.to_json())?;
    }
    match done.verdict.example {
        None => Ok(()),
        Some(example) => {
            let message = format!(
                "{} acknowledged writes are lost: {example}",
                done.verdict.lost
            );
            Err(CliError::failed("LOST_WRITES", message))
        }
    }
}

fn no_signal(error: &std::io::Error) -> CliError {
    CliError::failed("NO_SIGNAL", format!("cannot wait for signals: {error}"))
}

/// What the demonstration did.
struct Done {
    imported: Imported,
    lookups: Lookups,
    acknowledged: u64,
    restart: Duration,
    verdict: Verdict,
    took: Duration,
}

impl Done {
    fn to_json(&self) -> Json {
        json!({
            "rows_imported": self.imported.rows,
            "import_rows_per_second": self.imported.rows_per_second(),
            "lookups": self.lookups.count + self.verdict.lookups,
            "lookup_p50_us": micros(self.lookups.median),
            "lookup_p99_us": micros(self.lookups.p99),
            "acknowledged_writes": self.acknowledged,
            "lost": self.verdict.lost,
            "restart_ms": u64::try_from(self.restart.as_millis()).unwrap_or(u64::MAX),
            "seconds": self.took.as_secs_f64(),
        })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

async fn play(args: &Args, scratch: &Scratch) -> Result<(Node, Done), CliError> {
    let start = now_monotonic();
    let binary = std::env::current_exe().map_err(|error| {
        CliError::failed("NODE_FAILED", format!("cannot find this program: {error}"))
    })?;
    let home = Home::new(scratch.path().join("node"))?;

    print("1. Starting a node\n")?;
    let node = Node::start(&binary, &home, None).await?;
    print(&format!(
        "   steadfast serve --data-dir {} is ready at {}",
        home.directory().display(),
        home.client
    ))?;

    let story = Story::new(binary.clone(), args.data.clone(), node.home.client.clone());
    print("\n2. Creating views and importing January 2013 (shifted, so that it ends now)\n")?;
    let imported = story.import_month().await?;
    print("\n3. Looking features up\n")?;
    story.show_lookups().await?;
    let client = Client::connect(&[&node.home.client]).await?;
    let lookups = story.measure(&client, LOOKUPS, ENTITIES).await?;
    print(&format!(
        "   {} lookups of {ENTITIES} aircraft each: median {}, 99th percentile {}",
        grouped(u64::try_from(LOOKUPS).unwrap_or(0)),
        readable(lookups.median),
        readable(lookups.p99)
    ))?;
    print("\n4. Writing late data, which do not win, and scanning by prefix\n")?;
    story.show_late_write().await?;
    story.show_scan().await?;

    print("5. Killing the node (SIGKILL) in the middle of a write load, and starting it again\n")?;
    client.create_view(VIEW_FILE.to_owned()).await?;
    let rows_before = story.rows(&client).await?;
    let endpoints = [home.client.clone()];
    let stop = CancellationToken::new();
    let load = Load::run(&endpoints, 0..WRITERS, CommitLevel::Quorum, &stop, |_| {});
    let crash = crash(&binary, node, stop.clone().drop_guard());
    let (load, (node, restart)) = try_join(load, crash).await?;
    print(&format!(
        "   {WRITERS} connections had {} writes of 2 rows acknowledged, before and after; ready again after {}",
        grouped(load.acknowledged()),
        readable(restart)
    ))?;

    print("\n6. Looking every write up\n")?;
    let client = Client::connect(&[&node.home.client]).await?;
    let verdict = load.verify(&client).await?;
    let rows_after = story.rows(&client).await?;
    if rows_after != rows_before {
        let message =
            format!("views had {rows_before} rows before the crash and have {rows_after} after it");
        return Err(CliError::failed("LOST_ROWS", message));
    }
    print(&format!(
        "   all {} imported entities are there; of {} acknowledged writes {} are lost",
        grouped(rows_after),
        grouped(load.acknowledged()),
        verdict.lost
    ))?;
    let done = Done {
        imported,
        lookups,
        acknowledged: load.acknowledged(),
        restart,
        verdict,
        took: start.elapsed(),
    };
    Ok((node, done))
}

/// Kills the node while all writers are at it, and starts it again; says how long that took. The load stops afterwards.
async fn crash(
    binary: &Path,
    mut node: Node,
    _stop: DropGuard,
) -> Result<(Node, Duration), CliError> {
    sleep(LOAD_FOR).await;
    node.kill().await?;
    let restarting = now_monotonic();
    let node = Node::start(binary, &node.home, None).await?;
    let restart = restarting.elapsed();
    sleep(LOAD_FOR).await;
    Ok((node, restart))
}

fn invitation(node: &Node, args: &Args) -> String {
    let data = args.data.display();
    format!(
        "
7. Your turn: the node stays up until Ctrl-C

   export STEADFAST_ENDPOINT={client}
   steadfast view list
   steadfast view describe route_stats
   steadfast get aircraft_stats --key tailnum=N14228 --event-times
   steadfast get route_stats --key carrier=UA,origin=EWR,dest=IAH --output json
   steadfast put aircraft_stats --json '{{\"tailnum\":\"N1\",\"flights_total\":7}}'
   steadfast get aircraft_stats --key tailnum=N1 --defaults
   steadfast delete aircraft_stats --key tailnum=N1
   steadfast scan route_stats --prefix carrier=HA
   steadfast import airport_weather {data}/airport_weather.parquet
   steadfast status
   curl http://{http}/metrics",
        client = node.home.client,
        http = node.home.http,
    )
}
