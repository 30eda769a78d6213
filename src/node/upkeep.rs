//! What a node does unasked: watches log and disk, flushes, marks, raises the horizon.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::Serving;
use super::writer::Job;
use crate::base::clock::sleep;
use crate::base::{LogId, Seq, explained};
use crate::control::{ControlState, Member};
use crate::engine::{self, Need};
use crate::wal::Poisoned;

/// How often the log is asked whether the disk still answers.
const STALL_CHECK_EVERY: Duration = Duration::from_millis(250);
/// How often the disk is asked how much space is left.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often it is checked whether so much WAL has gathered that the store should be flushed.
const FLUSH_CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often what the store is gets marked in the log, if it has changed.
const MARK_EVERY: Duration = Duration::from_secs(10);
/// How often the purge horizon is raised, if that is of use; more often only if it lags by less than an hour.
const HORIZON_EVERY_MAX: Duration = Duration::from_secs(60);
const HORIZON_EVERY_MIN: Duration = Duration::from_secs(1);

/// Starts all tasks of the node's upkeep.
pub(super) fn spawn(node: &Arc<Serving>) {
    let lag = node.config.purge.horizon_lag();
    let horizon_every = (lag / 60).clamp(HORIZON_EVERY_MIN, HORIZON_EVERY_MAX);
    let node = || Arc::clone(node);
    every(node(), "stall check", STALL_CHECK_EVERY, check_stall);
    every(node(), "watch", WATCH_EVERY, watch);
    every(node(), "flush", FLUSH_CHECK_EVERY, flush);
    every(node(), "mark", MARK_EVERY, |node| async move {
        submit(&node, Job::Mark).await
    });
    every(node(), "horizon", horizon_every, |node| async move {
        submit(&node, Job::RaiseHorizon).await
    });
}

/// Runs `work` again and again until the node stops; its failure ends the node.
fn every<F, W>(node: Arc<Serving>, name: &'static str, pause: Duration, work: W)
where
    F: Future<Output = Result<(), String>> + Send,
    W: Fn(Arc<Serving>) -> F + Send + 'static,
{
    let tasks = node.tasks.clone();
    let stopped = tasks.cancelled();
    tasks.spawn(name, async move {
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => return Ok::<(), String>(()),
                () = sleep(pause) => {}
            }
            work(Arc::clone(&node)).await?;
        }
    });
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())
}

/// Ends the process if the disk stalls (I20). Waits for nothing, least of all for a thread: all of them may be waiting
/// for that disk.
async fn check_stall(node: Arc<Serving>) -> Result<(), String> {
    match node.engine.wal().check_stall() {
        Err(stalled @ Poisoned::Stalled { .. }) => Err(explained(&stalled)),
        _ => Ok(()),
    }
}

/// Refuses writes before the disk is full.
async fn watch(node: Arc<Serving>) -> Result<(), String> {
    let work = Arc::clone(&node);
    let available = blocking(move || work.disk.available_bytes(&work.config.data_dir)).await?;
    let available = match available {
        Ok(available) => available,
        Err(cause) => {
            warn!(%cause, "cannot tell how much disk space is left");
            return Ok(());
        }
    };
    node.disk_available.store(available, Ordering::Release);
    let watermark = node.config.disk.low_watermark_bytes;
    let was_low = node.disk_is_low.load(Ordering::Acquire);
    // Once low, a quarter more must be free again, so that the state does not flicker.
    let is_low = available
        < if was_low {
            watermark.saturating_add(watermark / 4)
        } else {
            watermark
        };
    if is_low != was_low {
        node.disk_is_low.store(is_low, Ordering::Release);
        if is_low {
            warn!(
                available,
                watermark, "the disk is nearly full: writes are refused, reads go on"
            );
        } else {
            info!(
                available,
                watermark, "there is space on the disk again: writes are taken"
            );
        }
    }
    Ok(())
}

/// Who needs a record that this node holds, by what is agreed.
pub(super) fn need(control: Arc<ControlState>) -> impl Fn(LogId, Seq) -> Need {
    move |log, seq| {
        let mut members = control.members.values();
        let lacks = |member: &Member| member.role.holds_rows() && !member.acked.contains(log, seq);
        if !control.is_spread(log, seq) {
            Need::OnlyCopy
        } else if members.any(lacks) || control.is_to_be_archived(log, seq) {
            Need::Laggard
        } else {
            Need::Nobody
        }
    }
}

async fn flush(node: Arc<Serving>) -> Result<(), String> {
    if !node.engine.wants_flush() || node.engine.applied().closed().is_some() {
        return Ok(());
    }
    let work = Arc::clone(&node);
    let need = need(Arc::clone(&node.member.standing().control));
    match blocking(move || work.engine.flush_keeping(need)).await? {
        Ok(()) => Ok(()),
        Err(engine::Error::Store(cause)) => {
            Err(format!("cannot flush the store: {}", explained(&cause)))
        }
        Err(cause) => {
            warn!(%cause, "cannot release the wal");
            Ok(())
        }
    }
}

async fn submit(node: &Serving, job: Job) -> Result<(), String> {
    let jobs = node
        .jobs
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(jobs) = jobs {
        // A writer that is gone or busy has no need of upkeep.
        let _full = jobs.try_send(job);
    }
    Ok(())
}
