//! `steadfast demo`: the main job on real input, with the real binary.
//!
//! It starts a set of nodes as child processes and runs the same commands that a user would type, then kills the primary in
//! the middle of a write load and proves that every acknowledged write is there. At last all nodes are lost with their
//! directories, and a set made of what is in a bucket proves to be what they were at an earlier moment.

mod failure;
mod loss;
mod moment;
mod story;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::signal::unix::{SignalKind, signal};

use self::failure::Failure;
use self::loss::{Loss, Restored};
use self::story::{Imported, Lookups, Story};
use super::child::{Scratch, interruptible, this_program};
use super::error::CliError;
use super::load::Verdict;
use super::output::{grouped, print, print_json, readable};
use super::process_set::ProcessSet;
use crate::base::clock::now_monotonic;

const LOOKUPS: usize = 1_000;
const ENTITIES: usize = 100;
/// How long a node may take to stop when told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  steadfast demo
  steadfast demo --nodes 1
  steadfast demo --once --data /usr/share/steadfast/flights

The nodes run as child processes on directories of their own under the system's directory for \
temporary files, on free ports of the loopback interface.";

/// Show everything on a month of real flights
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// End instead of staying up; the last line is then one JSON object with what was done.
    #[arg(long)]
    once: bool,
    /// How many nodes form the set, 1 or 3 to 5: with one, a killed node is only started again.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = parse_nodes)]
    nodes: u8,
    /// Where the flights are.
    #[arg(long, value_name = "DIR", default_value = "examples/flights")]
    data: PathBuf,
}

fn parse_nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3..=5)) => Ok(nodes),
        Ok(2) => Err("of two nodes none can take over from the other".to_owned()),
        _ => Err("it is 1, 3, 4 or 5".to_owned()),
    }
}

/// Runs the demonstration.
///
/// # Errors
/// If a step fails, or an acknowledged write is lost.
pub async fn run(args: Args) -> Result<(), CliError> {
    let scratch = Scratch::new("demo")?;
    let (mut set, done) = interruptible(Box::pin(play(&args, &scratch))).await?;
    if args.once {
        print_json(&done.to_json())?;
    } else {
        print(&invitation(&set, &args)?)?;
        stay(&mut set).await?;
    }
    match &done.verdict.example {
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

/// Waits until somebody wants it to end. Ctrl-C at a terminal reaches the nodes, too.
async fn stay(set: &mut ProcessSet) -> Result<(), CliError> {
    let listen = |kind| signal(kind).map_err(|error| no_signal(&error));
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => set.wait(STOP_LIMIT).await,
    }
    Ok(())
}

fn no_signal(error: &std::io::Error) -> CliError {
    CliError::failed("NO_SIGNALS", format!("cannot listen for signals: {error}"))
}

/// What the demonstration did.
struct Done {
    nodes: u8,
    imported: Imported,
    lookups: Lookups,
    failure: Failure,
    /// Of all writes.
    verdict: Verdict,
    /// How long no write was acknowledged while the primary handed over; `None` with one node.
    pause: Option<Duration>,
    restored: Restored,
    took: Duration,
}

impl Done {
    fn to_json(&self) -> Json {
        let steps = self.failure.steps.iter();
        let steps: serde_json::Map<String, Json> = steps
            .map(|(name, after)| (format!("{}_ms", name.replace(' ', "_")), millis(*after)))
            .collect();
        json!({
            "nodes": self.nodes,
            "rows_imported": self.imported.rows,
            "import_rows_per_second": self.imported.rows_per_second(),
            "lookups": self.lookups.count + self.verdict.lookups,
            "lookup_p50_us": micros(self.lookups.median),
            "lookup_p99_us": micros(self.lookups.p99),
            "failover": steps,
            "restart_ms": millis(self.failure.restart),
            "acknowledged_writes": self.failure.acknowledged.iter().sum::<u64>(),
            "lost": self.verdict.lost,
            "returned_records": self.failure.returned,
            "digest": self.failure.digest,
            "switchover_pause_ms": self.pause.map(millis),
            "restored_to": self.restored.moment.time().to_string(),
            "restored_records": self.restored.records,
            "restored_digest": self.restored.moment.digest,
            "answered_after_loss_ms": millis(self.restored.answered),
            "seconds": self.took.as_secs_f64(),
        })
    }
}

fn millis(span: Duration) -> Json {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).into()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

async fn play(args: &Args, scratch: &Scratch) -> Result<(ProcessSet, Done), CliError> {
    let start = now_monotonic();
    let binary = this_program()?;
    let heading = match args.nodes {
        1 => "Starting a node",
        _ => "Starting nodes that form a replica set",
    };
    print(&format!("1. {heading}\n"))?;
    let mut set = ProcessSet::form(&binary, scratch.path(), args.nodes, None).await?;
    for home in set.homes() {
        let directory = home.directory().display();
        print(&format!(
            "   steadfast serve --data-dir {directory} is ready at {}",
            home.client
        ))?;
    }
    let endpoints = set.endpoints().join(",");
    let mut story = Story::new(binary.clone(), args.data.clone(), endpoints);
    if args.nodes > 1 {
        print("")?;
        story.show_set().await?;
    }
    let (imported, lookups) = import_and_look_up(&set, &story).await?;
    let failure = fail(&mut set, &story).await?;
    let (pause, later) = match args.nodes {
        1 => (None, Verdict::default()),
        _ => hand_over(&set, &story).await?,
    };
    let mut verdict = failure.verdict.clone();
    verdict.join(later);
    let loss = Loss::new(&binary, scratch)?;
    let (set, restored) = lose_and_restore(&loss, set, &mut story).await?;
    let done = Done {
        nodes: args.nodes,
        imported,
        lookups,
        failure,
        verdict,
        pause,
        restored,
        took: start.elapsed(),
    };
    Ok((set, done))
}

async fn import_and_look_up(
    set: &ProcessSet,
    story: &Story,
) -> Result<(Imported, Lookups), CliError> {
    print("\n2. Creating views and importing January 2013 (shifted, so that it ends now)\n")?;
    let imported = story.import_month().await?;
    print("\n3. Looking features up\n")?;
    story.show_lookups().await?;
    let primary = set.equal().await?;
    let lookups = story
        .measure(set.client(primary.at)?, LOOKUPS, ENTITIES)
        .await?;
    print(&format!(
        "   {} lookups of {ENTITIES} aircraft each: median {}, 99th percentile {}",
        grouped(u64::try_from(LOOKUPS).unwrap_or(0)),
        readable(lookups.median),
        readable(lookups.p99)
    ))?;
    print("\n4. Writing late data, which do not win, and scanning by prefix\n")?;
    story.show_late_write().await?;
    story.show_scan().await?;
    Ok((imported, lookups))
}

/// Kills the primary and tells what came of it.
async fn fail(set: &mut ProcessSet, story: &Story) -> Result<Failure, CliError> {
    print(
        "5. Killing the primary (SIGKILL) in the middle of a write load, and starting it again\n",
    )?;
    let rows_before = story.rows(set.client(0)?).await?;
    let failure = failure::kill_primary(set).await?;
    let (before, after) = (failure.before, failure.after);
    print(&format!(
        "   member {} of epoch {} was killed; epoch {} is that of member {}. After the kill:",
        before.at + 1,
        before.epoch,
        after.epoch,
        after.at + 1
    ))?;
    for (name, span) in &failure.steps {
        print(&format!("   {:>6} ms  {name}", span.as_millis()))?;
    }
    let ready = readable(failure.restart);
    print(&match set.homes().count() {
        1 => format!("\n   the node was ready {ready} after its start"),
        _ => format!(
            "\n   the killed node was ready {ready} after its start; records that only it held, and that came back: {}",
            grouped(failure.returned)
        ),
    })?;

    print("\n6. Looking every write up\n")?;
    let rows_after = story.rows(set.client(0)?).await?;
    if rows_after != rows_before {
        let message =
            format!("views had {rows_before} rows before the crash and have {rows_after} after it");
        return Err(CliError::failed("LOST_ROWS", message));
    }
    let [strong, weak] = failure.acknowledged.map(grouped);
    print(&format!(
        "   all {} imported entities are there\n   of {strong} writes acknowledged at quorum and {weak} acknowledged \
         async, {} are lost\n   every member holds the same rows: digest {}",
        grouped(rows_after),
        failure.verdict.lost,
        failure.digest
    ))?;
    Ok(failure)
}

async fn hand_over(
    set: &ProcessSet,
    story: &Story,
) -> Result<(Option<Duration>, Verdict), CliError> {
    print("\n7. Making another member primary, as before maintenance, under load\n")?;
    let (pause, verdict) = failure::switch_over(set).await?;
    print(&format!(
        "   no write was acknowledged for {}; {} are lost\n",
        readable(pause),
        verdict.lost
    ))?;
    story.show_set().await?;
    Ok((Some(pause), verdict))
}

/// Loses everything but a bucket, and has the set made anew of that.
async fn lose_and_restore(
    loss: &Loss<'_>,
    set: ProcessSet,
    story: &mut Story,
) -> Result<(ProcessSet, Restored), CliError> {
    let size = u8::try_from(set.homes().count()).unwrap_or(u8::MAX);
    let first = first_after_failures(size);
    print(&format!(
        "\n{first}. Having the set keep itself in a bucket, and writing on\n"
    ))?;
    let moment = loss.archive(&set, story).await?;
    print(&format!(
        "\n{}. A bad write; then every node is killed, and its directory removed\n",
        first + 1
    ))?;
    let lost = loss.lose(set, story, &moment).await?;
    print(&format!(
        "\n{}. Restoring the moment before the bad write into a new directory\n",
        first + 2
    ))?;
    loss.restore(size, story, moment, lost).await
}

/// The number of the step that follows the failures: one node has no other to hand over to.
fn first_after_failures(nodes: u8) -> u8 {
    if nodes > 1 { 8 } else { 7 }
}

fn invitation(set: &ProcessSet, args: &Args) -> Result<String, CliError> {
    let data = args.data.display();
    let first = set
        .homes()
        .next()
        .ok_or_else(|| CliError::failed("NODE_FAILED", "there is no node"))?;
    Ok(format!(
        "
{step}. Your turn: {who} until Ctrl-C

   export STEADFAST_ENDPOINT={endpoints}
   steadfast view list
   steadfast view describe route_stats
   steadfast get aircraft_stats --key tailnum=N14228 --event-times
   steadfast get route_stats --key carrier=UA,origin=EWR,dest=IAH --output json
   steadfast put aircraft_stats --json '{{\"tailnum\":\"N1\",\"flights_total\":7}}'
   steadfast get aircraft_stats --key tailnum=N1 --defaults
   steadfast delete aircraft_stats --key tailnum=N1
   steadfast scan route_stats --prefix carrier=HA
   steadfast import airport_weather {data}/airport_weather.parquet
   steadfast rs status
   curl http://{http}/metrics",
        step = first_after_failures(args.nodes) + 3,
        who = if args.nodes > 1 {
            "the nodes stay up"
        } else {
            "the node stays up"
        },
        endpoints = set.endpoints().join(","),
        http = first.http,
    ))
}
