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
mod load;
mod must_fail;
mod node;
mod operation;
mod process;
mod reads;
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
    let plan = Plan::random(seed);
    let mut world = World::new(seed, plan);
    world.verbose = std::env::var_os("STEADFAST_TRACE").is_some();
    if world.verbose {
        println!("{plan:?}");
    }
    world.run_until(FAULTS);
    if world.violation.is_none() {
        world.heal();
        world.run_until(FAULTS + HEALING / 2);
        world.clients.is_stopped = true;
        world.run_until(FAULTS + HEALING);
    }
    if world.violation.is_none() {
        world.check_healed();
    }
    world.counts.seconds = world.now / 1_000_000_000;
    Run {
        counts: world.counts,
        trace: world.trace,
        violation: world.violation,
    }
}

fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("STEADFAST_SEEDS") else {
        return default;
    };
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => text.parse().unwrap()..text.parse::<u64>().unwrap() + 1,
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_all_members_converge() {
    let mut failures = Vec::new();
    for seed in seeds(0..100) {
        let outcome = run(seed);
        if let Some(violation) = outcome.violation {
            println!("seed {seed}: {violation}");
            failures.push(seed);
        }
        if seed % 100 == 0 {
            println!("{:?}", outcome.counts);
        }
    }
    assert!(failures.is_empty(), "seeds {failures:?}");
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in [1, 2] {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed}");
    }
}
