//! The applier's thread: records as they come, groups of them at once, and between the groups what else changes the
//! store.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tracing::error;

use super::applier::{Applier, Item};
use super::error::Error;
use super::sweeper::Pace;
use crate::base::{Epoch, Lsn, RegionId, Watermark, explained};
use crate::wal::Wal;

/// Records that the applier takes at once.
const GROUP_RECORDS: usize = 256;

/// What the applier is asked to do, in this order.
#[derive(Debug)]
pub(super) enum Work {
    /// Apply a record, once it is durable.
    Apply(Item),
    /// Fold logs that are applied to their ends.
    Fold(Fold),
}

/// Logs to be folded.
#[derive(Debug)]
pub(super) struct Fold {
    pub region: RegionId,
    pub through: Epoch,
    /// Told when it is durable, or has failed; dropped if it is not done.
    pub done: SyncSender<Result<(), Error>>,
}

/// Work that is done together.
#[derive(Debug, Default)]
struct Turn {
    group: Vec<Item>,
    /// Comes behind the group.
    fold: Option<Fold>,
}

/// Ends when the queue does, or at the first failure; then everybody who waits gets the cause. Between the groups it
/// sweeps as far as is due.
pub(super) fn run(
    applier: &mut Applier,
    pace: &mut Pace,
    wal: &Wal,
    queue: &Receiver<Work>,
    applied: &Watermark<Lsn, Error>,
) {
    let _end = EndOfApplier(applied.clone());
    while let Some(mut turn) = next_turn(queue, pace.pause(applier)) {
        let worked = apply_durable(applier, wal, &mut turn.group, applied)
            .and_then(|()| turn.fold.take().map_or(Ok(()), |fold| fold.work(applier)));
        if let Err(cause) = worked.and_then(|()| pace.sweep(applier)) {
            let why = explained(&cause);
            error!(why, "the applier stops; nothing more is acknowledged");
            applied.close(cause.clone());
            tell_all(turn.group, &cause);
            queue.try_iter().for_each(|work| work.give_up(&cause));
            return;
        }
    }
}

/// What comes next, nothing if nothing comes within `pause`; ends with the queue.
fn next_turn(queue: &Receiver<Work>, pause: Option<Duration>) -> Option<Turn> {
    let first = match pause {
        None => queue.recv().ok()?,
        Some(pause) => match queue.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Turn::default()),
            Err(RecvTimeoutError::Disconnected) => return None,
        },
    };
    let mut turn = Turn::default();
    for work in std::iter::once(first).chain(queue.try_iter()) {
        match work {
            Work::Apply(item) => turn.group.push(item),
            Work::Fold(fold) => turn.fold = Some(fold),
        }
        if turn.fold.is_some() || turn.group.len() >= GROUP_RECORDS {
            break;
        }
    }
    Some(turn)
}

/// Whatever ends the applier, a panic included, ends waiting for it.
struct EndOfApplier(Watermark<Lsn, Error>);

impl Drop for EndOfApplier {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(Error::Panicked);
        }
    }
}

fn apply_durable(
    applier: &Applier,
    wal: &Wal,
    group: &mut [Item],
    applied: &Watermark<Lsn, Error>,
) -> Result<(), Error> {
    let Some(end) = group.last().map(|last| last.end) else {
        return Ok(());
    };
    // Rows are read and merged while the disk is at work on the log.
    let prepared = applier.prepare(group);
    wal.durable().reached_blocking(end)?;
    let outcomes = applier.commit(prepared?)?;
    for (item, outcome) in group.iter_mut().zip(outcomes) {
        if let Some(fate) = item.fate.take() {
            fate.tell(Ok(outcome));
        }
    }
    applied.advance(end);
    Ok(())
}

impl Fold {
    fn work(self, applier: &Applier) -> Result<(), Error> {
        let folded = applier.fold(self.region, self.through);
        // Whoever asked waits for it.
        let _told = self.done.send(folded.clone());
        folded
    }
}

impl Work {
    /// Tells whoever waits that it will not be done, because of `cause`.
    pub fn give_up(self, cause: &Error) {
        match self {
            Work::Apply(item) => tell_all([item], cause),
            // Sees its end.
            Work::Fold(_) => {}
        }
    }
}

fn tell_all(items: impl IntoIterator<Item = Item>, cause: &Error) {
    for fate in items.into_iter().filter_map(|item| item.fate) {
        fate.tell(Err(cause.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::task::thread;

    #[test]
    fn an_applier_that_panics_leaves_nobody_waiting() {
        let applied = Watermark::new(Lsn(5));
        let end = EndOfApplier(applied.clone());
        let applier = thread("applier", move || {
            assert!(end.0.get() > Lsn(5), "an invariant is broken");
        });
        let waited = applied.reached_blocking(Lsn(6));
        assert!(matches!(waited, Err(Error::Panicked)));
        assert!(applier.unwrap().join().is_err());
    }
}
