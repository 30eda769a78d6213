//! `steadfast bench failover`: how long a set of processes takes no writes when its primary fails, and what that loses.
//!
//! The writers repeat what is not acknowledged at one member after the other, so the time measured is that which a client
//! with retries sees.

use std::path::Path;
use std::time::Duration;

use futures::future::try_join;
use serde_json::{Value as Json, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::error::CliError;
use super::super::load::{Load, Seen, VIEW_FILE};
use super::super::network::Network;
use super::super::output::{Output, readable};
use super::super::process_set::{Primary, ProcessSet};
use super::measured::rounded;
use super::{report, with_processes};
use crate::base::clock::{now_monotonic, sleep};

const MEMBERS: u8 = 3;
const QUORUM_WRITERS: i32 = 4;
const ASYNC_WRITERS: i32 = 2;
/// Before each fault some part of this passes, so that faults come at any moment between heartbeats.
const CALM_MS: std::ops::Range<u64> = 200..700;

/// Which failures are measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the primary fails
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// How it fails
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Have it hand over instead; what is measured is then the pause between two acknowledged writes
    #[arg(long, conflicts_with = "fault")]
    planned: bool,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fault {
    /// The process ends: SIGKILL.
    Kill,
    /// The process stands still and keeps its connections: SIGSTOP.
    Pause,
    /// The network between it and the others is cut; clients still reach it.
    Cut,
}

/// What is done to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Fault(Fault),
    SwitchOver,
}

/// Forms a set, lets its primary fail time after time under load, and reads everything back.
///
/// # Errors
/// If the set does not recover, or refuses something.
pub async fn run(args: Args) -> Result<(), CliError> {
    let deed = if args.planned {
        Deed::SwitchOver
    } else {
        Deed::Fault(args.fault)
    };
    let measured = with_processes("bench-failover", async |binary, scratch| {
        Box::pin(measure(binary, scratch, deed, args.kills)).await
    });
    let result = measured.await?;
    report(args.output, &result)?;
    match result.get("lost_quorum").and_then(Json::as_u64) {
        Some(0) => Ok(()),
        lost => {
            let message = format!("{} acknowledged writes are lost", lost.unwrap_or_default());
            Err(CliError::failed("LOST_WRITES", message))
        }
    }
}

async fn measure(binary: &Path, scratch: &Path, deed: Deed, rounds: u32) -> Result<Json, CliError> {
    let network = (deed == Deed::Fault(Fault::Cut)).then(Network::default);
    let mut set = ProcessSet::form(binary, scratch, MEMBERS, network).await?;
    let primary = set.whole().await?;
    set.client(primary.at)?
        .create_view(VIEW_FILE.to_owned())
        .await?;
    set.equal().await?;
    let endpoints = set.endpoints();
    let (stop, seen) = (CancellationToken::new(), Seen::new());
    let load = Load::run_both(&endpoints, QUORUM_WRITERS, ASYNC_WRITERS, &stop, &seen);
    let failures = fail(&mut set, deed, rounds, &seen, stop.clone().drop_guard());
    let ((strong, weak), times) = try_join(load, failures).await?;
    let primary = set.equal().await?;
    let client = set.client(primary.at)?;
    let (lost_strong, lost_weak) = (strong.verify(client).await?, weak.verify(client).await?);
    for example in [&lost_strong, &lost_weak]
        .into_iter()
        .flat_map(|lost| &lost.example)
    {
        eprintln!("lost: {example}");
    }
    Ok(json!({
        "kills": rounds,
        "median_ms": millis(&times, 0.5),
        "p99_ms": millis(&times, 0.99),
        "max_ms": millis(&times, 1.0),
        "acked_quorum": strong.acknowledged(),
        "lost_quorum": lost_strong.lost,
        "acked_async": weak.acknowledged(),
        "lost_async": lost_weak.lost,
    }))
}

/// Does the deed time after time; says in order of size how long nothing was acknowledged. The load stops afterwards.
async fn fail(
    set: &mut ProcessSet,
    deed: Deed,
    rounds: u32,
    seen: &Seen,
    _stop: DropGuard,
) -> Result<Vec<Duration>, CliError> {
    let mut times = Vec::new();
    for round in 1..=rounds {
        let before = set.whole().await?;
        sleep(Duration::from_millis(rand::random_range(CALM_MS))).await;
        let took = once(set, deed, before, seen).await?;
        let after = set.whole().await?;
        eprintln!(
            "{round}/{rounds}: epoch {} of member {}, then {} of {}: {}",
            before.epoch,
            before.at + 1,
            after.epoch,
            after.at + 1,
            readable(took)
        );
        times.push(took);
    }
    times.sort_unstable();
    Ok(times)
}

/// Does the deed once and undoes it.
async fn once(
    set: &mut ProcessSet,
    deed: Deed,
    before: Primary,
    seen: &Seen,
) -> Result<Duration, CliError> {
    let begun = now_monotonic();
    match deed {
        Deed::Fault(Fault::Kill) => set.kill(before.at).await?,
        Deed::Fault(Fault::Pause) => set.pause(before.at)?,
        Deed::Fault(Fault::Cut) => set.cut_off(before.at)?,
        Deed::SwitchOver => set.client(before.at)?.switch_over(None).await?,
    }
    let reign = seen.after(before.epoch).await?;
    match deed {
        Deed::Fault(Fault::Kill) => set.restart(before.at).await?,
        Deed::Fault(Fault::Pause) => set.resume(before.at)?,
        Deed::Fault(Fault::Cut) => set.heal()?,
        Deed::SwitchOver => return Ok(reign.pause),
    }
    Ok(reign.first.saturating_duration_since(begun))
}

/// The time that this share of all did not exceed.
fn millis(sorted: &[Duration], share: f64) -> f64 {
    let rank = (1..)
        .zip(sorted)
        .find(|(rank, _)| f64::from(*rank) >= share * sorted.len() as f64);
    rank.map_or(0.0, |(_, time)| rounded(time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_times_did_not_take_longer() {
        let times: Vec<_> = (1..=50).map(Duration::from_millis).collect();
        let shares = [0.5, 0.99, 1.0].map(|share| millis(&times, share));
        assert_eq!(shares, [25.0, 50.0, 50.0]);
        assert_eq!(millis(&times[..1], 0.5), 1.0);
    }
}
