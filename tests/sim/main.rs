//! The replica set in simulation: the cores that production runs, over a virtual clock, network, disk and agreement.
//!
//! A seed decides everything. `STEADFAST_SEEDS=7` or `STEADFAST_SEEDS=1000..1200` runs those; `STEADFAST_TRACE=1` prints
//! what happens.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod agreement;
mod caller;
mod chance;
mod check;
mod disk;
mod faults;
#[allow(
    dead_code,
    reason = "the simulation uses a part of what a history can say"
)]
#[path = "../history/mod.rs"]
mod history;
mod hybrid;
mod load;
mod many;
mod must_fail;
mod node;
mod operation;
mod process;
mod reads;
mod scripts;
mod serve;
mod wires;
mod world;

use std::ops::Range;

use faults::Plan;
use world::{Counts, MILLI, World};

const FAULTS: u64 = 20_000 * MILLI;
const HEALING: u64 = 30_000 * MILLI;

struct Run {
    counts: Counts,
    trace: u64,
    violation: Option<String>,
}

fn run(seed: u64) -> Run {
    run_as(seed, Plan::random(seed))
}

fn run_as(seed: u64, plan: Plan) -> Run {
    let mut world = World::new(seed, plan);
    world.verbose = std::env::var_os("STEADFAST_TRACE").is_some();
    if world.verbose {
        println!("{plan:?}");
    }
    world.run_until(FAULTS);
    finish(world)
}

/// Everything is healed, and what must then hold is checked.
fn finish(mut world: World) -> Run {
    if world.violation.is_none() {
        world.heal();
        world.run_until(world.now + HEALING / 2);
        world.clients.is_stopped = true;
        world.run_until(world.now + HEALING / 2);
    }
    if world.violation.is_none() {
        world.check_healed();
    }
    world.counts.seconds = world.now / 1_000_000_000;
    world.counts.runs = 1;
    world.counts.replaced = world.seen.replaced;
    Run {
        counts: world.counts,
        trace: world.trace,
        violation: world.violation,
    }
}

/// The seeds asked for by `STEADFAST_SEEDS`, or these.
fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("STEADFAST_SEEDS") else {
        return default;
    };
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => text.parse().unwrap()..text.parse::<u64>().unwrap() + 1,
    }
}

/// Runs seeds, each 100th of them twice, and fails with those that violate something.
fn hold(seeds: Range<u64>) {
    let mut failures = Vec::new();
    for seed in seeds {
        if let Some(violation) = outcome(seed).violation {
            println!("seed {seed}: {violation}");
            failures.push(seed);
        }
    }
    assert!(failures.is_empty(), "seeds {failures:?}");
}

/// A run; every 100th seed runs twice and must do the same.
fn outcome(seed: u64) -> Run {
    let mut first = run(seed);
    if seed.is_multiple_of(100) && run(seed).trace != first.trace {
        first.violation = Some("the same seed made another run".to_owned());
    }
    first
}

// Four parts, so that a machine's cores share them.

#[test]
fn nothing_acknowledged_is_lost_and_all_members_converge_1() {
    hold(seeds(0..50));
}

#[test]
fn nothing_acknowledged_is_lost_and_all_members_converge_2() {
    hold(50..100);
}

#[test]
fn nothing_acknowledged_is_lost_and_all_members_converge_3() {
    hold(100..150);
}

#[test]
fn nothing_acknowledged_is_lost_and_all_members_converge_4() {
    hold(150..200);
}
