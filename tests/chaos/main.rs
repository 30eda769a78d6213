//! Chaos: real processes of a replica set, a random nemesis, and the judges of histories.
//!
//! `make chaos SECONDS=600` gives each process a network namespace of its own and a disk that can be slow;
//! `CHAOS_SEED=7` decides what comes when, though not what the processes make of it. What is left of a run that finds
//! something is kept: timeline, histories as lines of JSON, directories and logs of the nodes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod ground;
mod heal;
#[allow(
    dead_code,
    reason = "clients here do not use all that a history can say"
)]
#[path = "../history/mod.rs"]
mod history;
mod kept;
mod load;
mod nemesis;
mod network;
mod plan;
mod recorded;
mod round;
mod summary;
mod timeline;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ground::Ground;
use kept::Kept;
use load::Shared;
use nemesis::{LEAST_MEMBERS, Nemesis};
use plan::Means;
use round::Rounds;
use steadfast::cli::process_set::ProcessSet;
use summary::Summary;
use timeline::Timeline;

/// For so long a round brings faults.
const SPAN: Duration = Duration::from_secs(40);

struct Options {
    seed: u64,
    means: Means,
    span: Duration,
    /// No round begins later.
    limit: Duration,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().expect("it is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long, and in network namespaces; make chaos"]
async fn a_hurt_set_loses_nothing_and_lies_to_nobody() {
    hold(Options {
        seed: number("CHAOS_SEED").unwrap_or_else(rand::random),
        means: Means { is_rooted: true },
        span: SPAN,
        limit: Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(600)),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_of_kills_pauses_and_changes_of_members_is_without_fault() {
    hold(Options {
        seed: rand::random(),
        means: Means { is_rooted: false },
        span: Duration::from_secs(6),
        limit: Duration::ZERO,
    })
    .await;
}

async fn hold(options: Options) {
    let seed = options.seed;
    println!("seed {seed}");
    let scratch = tempfile::Builder::new()
        .prefix("steadfast-chaos-")
        .tempdir();
    let scratch = scratch.unwrap().keep();
    match run(options, &scratch).await {
        Ok(summary) => {
            println!("{summary}");
            std::fs::remove_dir_all(&scratch).unwrap();
        }
        Err(cause) => panic!(
            "seed {seed}: {cause:#}\neverything is kept in {}",
            scratch.display()
        ),
    }
}

async fn run(options: Options, scratch: &Path) -> anyhow::Result<Summary> {
    let shared = Arc::new(Shared::new(options.seed));
    let ground = if options.means.is_rooted {
        Ground::of_namespaces(scratch)?
    } else {
        Ground::shared(scratch)?
    };
    let mut set = ProcessSet::new(Path::new(env!("CARGO_BIN_EXE_steadfast")), None);
    for home in ground.homes().iter().take(LEAST_MEMBERS) {
        set.add(home.clone()).await?;
    }
    load::define(set.client(0)?).await?;
    let kept = Kept::begin(set.client(0)?, scratch).await?;
    let mut nemesis = Nemesis::new(set, ground, Timeline::new(scratch, &shared)?);
    let mut rounds = Rounds {
        shared: Arc::clone(&shared),
        seed: options.seed,
        means: options.means,
        span: options.span,
        scratch,
        kept,
        before: round::Held::new(),
        late: std::collections::BTreeMap::new(),
        summary: Summary::default(),
    };
    for round in 0.. {
        let result = rounds.run(&mut nemesis, round).await;
        let summary = &mut rounds.summary;
        summary.seconds = shared.begun.elapsed().as_secs();
        summary.faults.clone_from(&nemesis.counts);
        result.with_context(|| format!("in round {round}, after {summary}"))?;
        if shared.begun.elapsed() >= options.limit {
            break;
        }
    }
    Ok(rounds.summary)
}
