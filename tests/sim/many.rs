//! `make sim`: many seeds on all cores, with progress and a summary.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use steadfast::base::clock::now_monotonic;

use crate::outcome;
use crate::world::Counts;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[ignore = "long; make sim"]
fn many_seeds() {
    let from = number("STEADFAST_FROM", 0);
    let to = from + number("STEADFAST_MOST", 2_000);
    let next = AtomicU64::new(from);
    let total = Mutex::new((Counts::default(), Vec::new()));
    let begun = now_monotonic();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return;
            }
            let run = outcome(seed);
            let mut total = total.lock().unwrap();
            total.0.add(&run.counts);
            if let Some(violation) = run.violation {
                println!("seed {seed}: {violation}");
                total.1.push(seed);
            }
            if total.0.runs.is_multiple_of(500) {
                let seconds = begun.elapsed().as_secs();
                println!("{} of {} seeds, {seconds} s", total.0.runs, to - from);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let (counts, failures) = total.into_inner().unwrap();
    println!("{counts}");
    println!("seeds {from}..{to} in {} s", begun.elapsed().as_secs());
    assert!(failures.is_empty(), "seeds {failures:?}");
}
