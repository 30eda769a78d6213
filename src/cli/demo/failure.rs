//! The primary is killed in the middle of a write load, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use futures::future::try_join;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::error::CliError;
use super::super::load::{Insistent, Load, Seen, VIEW_FILE, Verdict};
use super::super::process_set::{Primary, ProcessSet};
use super::timeline;
use crate::base::clock::{SystemClock, now_monotonic, sleep};
use crate::base::{Clock, CommitLevel, Micros};

/// How long the write load runs before and after something happens.
const LOAD_FOR: Duration = Duration::from_secs(2);
const QUORUM_WRITERS: i32 = 6;
const ASYNC_WRITERS: i32 = 2;
/// Of the load during a switchover; others than before.
const LATER: std::ops::Range<i32> = 8..14;

/// What happened.
#[derive(Debug)]
pub struct Failure {
    /// Who was primary, and who was after it.
    pub before: Primary,
    /// The member that took over; the same one if it was alone.
    pub after: Primary,
    /// What happened how long after the kill.
    pub steps: Vec<(&'static str, Duration)>,
    /// How long the killed node's start took.
    pub restart: Duration,
    /// Writes of level quorum, and of level async, that were acknowledged.
    pub acknowledged: [u64; 2],
    /// What is lost of them.
    pub verdict: Verdict,
    /// Records that only the killed node held until it was back.
    pub returned: u64,
    /// The digest of all rows, the same on every member.
    pub digest: String,
}

/// Kills the primary under load and starts it again.
///
/// # Errors
/// If the set does not recover, or its members differ at the end.
pub async fn kill_primary(set: &mut ProcessSet) -> Result<Failure, CliError> {
    let primary = set.whole().await?;
    set.client(primary.at)?
        .create_view(VIEW_FILE.to_owned())
        .await?;
    let before = set.equal().await?;
    let endpoints = set.endpoints();
    let (stop, seen) = (CancellationToken::new(), Seen::new());
    let load = Load::run_both(&endpoints, QUORUM_WRITERS, ASYNC_WRITERS, &stop, &seen);
    let crash = crash(set, before, &seen, stop.clone().drop_guard());
    let ((strong, weak), crashed) = try_join(load, crash).await?;
    let primary = set.equal().await?;
    let client = set.client(primary.at)?;
    let mut verdict = strong.verify(client).await?;
    verdict.join(weak.verify(client).await?);
    let digest = same(&set.digests().await?)?;
    let logs = set.logs();
    let mut steps = timeline::steps(&logs, crashed.killed, crashed.after.epoch);
    steps.extend(crashed.answered);
    Ok(Failure {
        before,
        after: crashed.after,
        steps,
        restart: crashed.restart,
        acknowledged: [strong.acknowledged(), weak.acknowledged()],
        verdict,
        returned: timeline::returned(&logs, before.epoch).unwrap_or(0),
        digest,
    })
}

struct Crashed {
    killed: Micros,
    after: Primary,
    answered: [(&'static str, Duration); 2],
    restart: Duration,
}

/// The load stops afterwards.
async fn crash(
    set: &mut ProcessSet,
    before: Primary,
    seen: &Seen,
    _stop: DropGuard,
) -> Result<Crashed, CliError> {
    let mut reader = Insistent::connect(&set.endpoints()).await?;
    sleep(LOAD_FOR).await;
    let (killed, begun) = (SystemClock::new().wall(), now_monotonic());
    set.kill(before.at).await?;
    let is_alone = set.endpoints().len() == 1;
    let mut restart = Duration::ZERO;
    if is_alone {
        restart = start_again(set, before).await?;
    }
    let read = async {
        super::super::load::read_at_primary(&mut reader).await?;
        Ok::<Instant, CliError>(now_monotonic())
    };
    let (reign, read) = try_join(seen.after(before.epoch), read).await?;
    let after = |at: Instant| at.saturating_duration_since(begun);
    let answered = [
        ("first write acknowledged", after(reign.first)),
        ("first primary read", after(read)),
    ];
    sleep(LOAD_FOR).await;
    if !is_alone {
        restart = start_again(set, before).await?;
    }
    let after = set.whole().await?;
    sleep(LOAD_FOR).await;
    Ok(Crashed {
        killed,
        after,
        answered,
        restart,
    })
}

async fn start_again(set: &mut ProcessSet, before: Primary) -> Result<Duration, CliError> {
    let begun = now_monotonic();
    set.restart(before.at).await?;
    Ok(begun.elapsed())
}

/// What all members have.
///
/// # Errors
/// If one has something else.
pub fn same(digests: &[String]) -> Result<String, CliError> {
    match digests {
        [first, others @ ..] if others.iter().all(|other| other == first) => Ok(first.clone()),
        _ => {
            let message = format!("the members hold different rows: {}", digests.join(", "));
            Err(CliError::failed("MEMBERS_DIFFER", message))
        }
    }
}

/// Has the primary hand over under load; says how long no write was acknowledged, and what is lost.
///
/// # Errors
/// If nobody takes over.
pub async fn switch_over(set: &ProcessSet) -> Result<(Duration, Verdict), CliError> {
    let before = set.whole().await?;
    let (stop, seen) = (CancellationToken::new(), Seen::new());
    let endpoints = set.endpoints();
    let load = Load::run(&endpoints, LATER, CommitLevel::Quorum, &stop, |written| {
        seen.note(written.epoch);
    });
    let guard = stop.clone().drop_guard();
    let handing_over = async {
        let _stop = guard;
        sleep(LOAD_FOR).await;
        set.client(before.at)?.switch_over(None).await?;
        let reign = seen.after(before.epoch).await?;
        sleep(LOAD_FOR).await;
        Ok(reign.pause)
    };
    let (load, pause) = try_join(load, handing_over).await?;
    let primary = set.whole().await?;
    let verdict = load.verify(set.client(primary.at)?).await?;
    Ok((pause, verdict))
}
