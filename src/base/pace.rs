//! How fast bytes go that are not urgent, all together: snapshots, backups.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::{now_monotonic, sleep};

/// What was not sent for want of something to send may be made up for, for so long.
const CREDIT: Duration = Duration::from_millis(50);

/// Lets bytes go at a given rate.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// Guards when the next bytes may go.
    next: Mutex<Instant>,
}

impl Pace {
    /// At so many bytes in a second.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Pace {
        Pace {
            bytes_per_second,
            next: Mutex::new(now_monotonic()),
        }
    }

    /// Waits until these bytes may go.
    pub async fn wait(&self, bytes: u64) {
        let now = now_monotonic();
        let begin = self.reserve(now, bytes);
        if let Some(wait) = begin.checked_duration_since(now) {
            sleep(wait).await;
        }
    }

    fn reserve(&self, now: Instant, bytes: u64) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*next).max(now.checked_sub(CREDIT).unwrap_or(now));
        *next = begin + span;
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_at_the_rate_and_idle_time_gives_little_credit() {
        let pace = Pace::new(1_000);
        let begun = now_monotonic();
        let second = Duration::from_secs(1);
        assert!(pace.reserve(begun, 500) <= begun);
        let next = pace.reserve(begun, 1_000);
        assert!(next > begun + second / 3 && next <= begun + second / 2);
        assert_eq!(pace.reserve(begun, 1_000), next + second);
        // Long after.
        let later = begun + 100 * second;
        assert_eq!(pace.reserve(later, 1_000), later - CREDIT);
        assert_eq!(pace.reserve(later, 1), later - CREDIT + second);
    }
}
