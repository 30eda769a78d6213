//! When writes are acknowledged, epoch by epoch.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::error::CliError;
use crate::base::clock::{now_monotonic, timeout};

/// A set that takes no write for so long after a fault has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The writes acknowledged at quorum, as far as it matters when.
#[derive(Debug)]
pub struct Seen(watch::Sender<Reign>);

/// Those of the latest epoch.
#[derive(Debug, Clone, Copy)]
pub struct Reign {
    epoch: u64,
    /// When the first one was acknowledged.
    pub first: Instant,
    /// How long that was after the last one of the epoch before.
    pub pause: Duration,
    /// The last one of all.
    last: Instant,
}

impl Seen {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Seen {
        let now = now_monotonic();
        Seen(watch::Sender::new(Reign {
            epoch: 0,
            first: now,
            pause: Duration::ZERO,
            last: now,
        }))
    }

    /// A write of this epoch was acknowledged just now.
    pub fn note(&self, epoch: u64) {
        let now = now_monotonic();
        self.0.send_if_modified(|seen| {
            let is_new = epoch > seen.epoch;
            if is_new {
                *seen = Reign {
                    epoch,
                    first: now,
                    pause: now - seen.last,
                    last: now,
                };
            }
            seen.last = now;
            is_new
        });
    }

    /// Waits for the first write acknowledged in a later epoch.
    ///
    /// # Errors
    /// If none is for too long.
    pub async fn after(&self, epoch: u64) -> Result<Reign, CliError> {
        let mut seen = self.0.subscribe();
        let later = seen.wait_for(|seen| seen.epoch > epoch);
        match timeout(PATIENCE, later).await {
            Ok(Ok(reign)) => Ok(*reign),
            Ok(Err(_)) | Err(_) => {
                let message = format!("no write was acknowledged after epoch {epoch}");
                Err(CliError::failed("NODE_FAILED", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_the_first_write_of_a_later_epoch() {
        let seen = Seen::new();
        seen.note(3);
        let first = *seen.0.borrow();
        seen.note(3);
        let last = seen.0.borrow().last;
        assert_eq!(seen.0.borrow().first, first.first);
        seen.note(5);
        let next = *seen.0.borrow();
        assert_eq!((next.epoch, next.pause), (5, next.first - last));
        seen.note(4);
        assert_eq!(seen.0.borrow().epoch, 5);
    }
}
