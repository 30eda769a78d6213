//! What a run came to, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use steadfast::base::{CommitLevel, ReadLevel};

use crate::recorded::{Call, Found, Recorded, Told};

#[derive(Default)]
pub struct Summary {
    pub seconds: u64,
    pub rounds: u64,
    /// By kind.
    pub faults: BTreeMap<String, u64>,
    /// By level and outcome.
    writes: BTreeMap<String, u64>,
    /// By level; read answers are all judged.
    reads: BTreeMap<String, u64>,
    /// Nanoseconds between two writes acknowledged at quorum in one round.
    longest_pause: u64,
}

impl Summary {
    /// Adds a round, and says how long and since when no write was acknowledged at quorum in it, at the longest.
    pub fn add(&mut self, recorded: &[Recorded]) -> (Duration, Duration) {
        let mut acked = Vec::new();
        for one in recorded {
            let (counts, name) = match &one.call {
                Call::Write(write, told) => {
                    if write.level != CommitLevel::Async && matches!(told, Told::Acked(_)) {
                        acked.push(one.ended);
                    }
                    let told = match told {
                        Told::Acked(_) => "acknowledged",
                        Told::Unknown(_) => "unknown",
                        Told::Refused(_) => "refused",
                        Told::Wrong(_) => "wrong",
                    };
                    (&mut self.writes, format!("{} {told}", write.level))
                }
                Call::Read(level, found) => {
                    let told = match found {
                        Found::Nothing(_) | Found::Value { .. } => "answered",
                        Found::Unrecovered => "unrecovered",
                        Found::Failed(_) => "failed",
                    };
                    let level = match level {
                        ReadLevel::Local => "local",
                        ReadLevel::Bounded(_) => "bounded",
                        ReadLevel::Quorum => "quorum",
                        ReadLevel::Primary => "primary",
                    };
                    (&mut self.reads, format!("{level} {told}"))
                }
            };
            *counts.entry(name).or_default() += 1;
        }
        acked.sort_unstable();
        let pauses = acked.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (longest, since) = pauses.max().unwrap_or_default();
        self.longest_pause = self.longest_pause.max(longest);
        self.rounds += 1;
        (Duration::from_nanos(longest), Duration::from_nanos(since))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<String, u64>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "{} s, {} rounds without a violation",
            self.seconds, self.rounds
        )?;
        writeln!(f, "faults: {}", counts(&self.faults))?;
        writeln!(f, "writes: {}", counts(&self.writes))?;
        writeln!(f, "reads: {}", counts(&self.reads))?;
        let longest = self.longest_pause / 1_000_000;
        write!(
            f,
            "longest time without a write acknowledged at quorum: {longest} ms"
        )
    }
}
