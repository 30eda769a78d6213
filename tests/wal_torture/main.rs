//! The log on a disk that crashes, fails and rots: nothing that was reported durable is ever lost, nothing that was
//! never appended is ever read, and damage is named.
//!
//! `STEADFAST_SEEDS` sets how many random sequences are tried, in place of a number that takes seconds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "helpers of tests may panic and need no documentation for others"
)]

mod crash;
mod damage;
mod disk;
mod errors;
mod history;
mod media;
mod power;

/// The seeds of a test that by itself tries `count` of them.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("STEADFAST_SEEDS").ok();
    0..asked.map_or(count, |text| {
        text.parse().expect("STEADFAST_SEEDS is a number of seeds")
    })
}
