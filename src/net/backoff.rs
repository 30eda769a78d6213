//! How long to wait before the next connect.

use std::time::Duration;

/// A connection that ends sooner does not count as one.
const BRIEF: Duration = Duration::from_millis(50);

/// How long is waited at the most before a peer is dialled again that does not call.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// The first wait that is one.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        }
    }
}

/// Waits that double, each between half of it and all of it, so that members do not meet again and again. The first is
/// none: a connection that ends is dialled again at once, which tells whether the other process is gone.
#[derive(Debug)]
pub(super) struct Backoff {
    waits: Waits,
    failures: u32,
}

impl Backoff {
    pub fn new(waits: Waits) -> Backoff {
        Backoff { waits, failures: 0 }
    }

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
        let Waits { first, longest } = self.waits;
        let doubled = first.saturating_mul(2_u32.saturating_pow(doubled));
        doubled.min(longest)
    }

    /// Begins the waits anew after a connection that lasted so long: with none, unless it ended right away, so that a peer
    /// that closes at once is not dialled without rest.
    pub fn begin_anew(&mut self, lasted: Duration) {
        self.failures = u32::from(lasted < BRIEF);
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
            let mut backoff = Backoff::new(Waits::default());
            for longest in [0, 50, 100, 200, 400, 800, 1_000, 1_000] {
                check(&mut backoff, longest);
            }
        }
    }

    #[test]
    fn after_a_connection_they_begin_anew_and_after_a_short_one_not_at_once() {
        let mut backoff = Backoff::new(Waits::default());
        for _ in 0..10 {
            (0..5).for_each(|_| _ = backoff.next());
            backoff.begin_anew(BRIEF);
            check(&mut backoff, 0);
            backoff.begin_anew(BRIEF / 2);
            check(&mut backoff, 50);
        }
    }
}
