//! How long to wait before the next connect.

use std::time::Duration;

/// The first wait that is one, and the longest.
const MIN: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(1);

/// Waits that double, each between half of it and all of it, so that members do not meet again and again. The first is
/// none: a connection that ends is dialled again at once, which tells whether the other process is gone.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub fn next(&mut self) -> Duration {
        let wait = self.longest();
        self.failures += 1;
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    fn longest(&self) -> Duration {
        let Some(doubled) = self.failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        MIN.saturating_mul(2_u32.saturating_pow(doubled)).min(MAX)
    }

    /// Begins the waits anew after a connection that lasted so long: with none, unless it ended right away, so that a peer
    /// that closes at once is not dialled without rest.
    pub fn begin_anew(&mut self, lasted: Duration) {
        self.failures = u32::from(lasted < MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Is the next wait at the most this many milliseconds, and half of it at least?
    fn check(backoff: &mut Backoff, longest: u64) {
        let (longest, wait) = (Duration::from_millis(longest), backoff.next());
        assert!(
            wait >= longest / 2 && wait <= longest,
            "{wait:?} of {longest:?}"
        );
    }

    #[test]
    fn waits_double_from_none_to_a_second() {
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            for longest in [0, 50, 100, 200, 400, 800, 1_000, 1_000] {
                check(&mut backoff, longest);
            }
        }
    }

    #[test]
    fn after_a_connection_they_begin_anew_and_after_a_short_one_not_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            (0..5).for_each(|_| _ = backoff.next());
            backoff.begin_anew(MIN);
            check(&mut backoff, 0);
            backoff.begin_anew(MIN / 2);
            check(&mut backoff, 50);
        }
    }
}
