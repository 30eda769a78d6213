//! Trying again what may succeed later.
//!
//! The library below has retries of its own, which are turned off: they take no create-only put for safe to repeat, sign
//! nothing anew while credentials expire, give up resuming a body some minutes after its beginning however far it has come
//! since, and do not go on with a listing. Here each attempt is a new request, and what is created is told from what was
//! there by looking.

use std::future::Future;
use std::time::Duration;

use super::error::Trouble;
use crate::base::clock::{now_monotonic, sleep};

/// For how long something is tried again, and what counts as no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in all, the first one included; without progress between them, where there can be some.
    pub attempts: u32,
    /// The wait before the second attempt; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// No attempt begins so long after the first one.
    pub give_up_after: Duration,
    /// How long the store may take to answer, beside the time that sending takes, and between two parts of an answer.
    pub answer_limit: Duration,
    /// A connection that carries less than this, in bytes per second, counts as broken.
    pub slowest: u32,
}

/// Some 20 seconds of waits, since stores that throttle do so for seconds, and answers within half a minute.
impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempts: 8,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(10),
            give_up_after: Duration::from_secs(120),
            answer_limit: Duration::from_secs(30),
            slowest: 64 * 1024,
        }
    }
}

impl Patience {
    /// How long sending so many bytes and hearing an answer may take.
    pub(super) fn limit(&self, bytes: u64) -> Duration {
        let sending = bytes / u64::from(self.slowest.max(1));
        self.answer_limit + Duration::from_secs(sending)
    }

    /// Before the next attempt after so many failures: between half of it and all of it, so that those who failed together
    /// do not return together.
    fn wait(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let wait = self.first_wait.saturating_mul(doubled);
        wait.min(self.longest_wait)
            .mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Counts the failures of one thing that is attempted.
#[derive(Debug)]
pub(super) struct Tries {
    patience: Patience,
    begun: std::time::Instant,
    failures: u32,
}

impl Tries {
    pub fn new(patience: Patience) -> Tries {
        Tries {
            patience,
            begun: now_monotonic(),
            failures: 0,
        }
    }

    /// Takes note of a failure; waits if it is worth another attempt, and gives it back if not, with the number of
    /// attempts.
    pub async fn after(&mut self, trouble: Trouble) -> Result<(), (Trouble, u32)> {
        self.failures += 1;
        let is_last = !trouble.kind.is_transient()
            || self.failures >= self.patience.attempts
            || self.begun.elapsed() >= self.patience.give_up_after;
        if is_last {
            return Err((trouble, self.failures));
        }
        sleep(self.patience.wait(self.failures)).await;
        Ok(())
    }

    /// Begins anew after some progress.
    pub fn progress(&mut self) {
        if self.failures > 0 {
            *self = Tries::new(self.patience);
        }
    }
}

/// Attempts something until it succeeds or is not worth another attempt.
pub(super) async fn persist<T, F>(
    patience: Patience,
    mut attempt: impl FnMut() -> F,
) -> Result<T, (Trouble, u32)>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut tries = Tries::new(patience);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble) => tries.after(trouble).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Kind;
    use super::*;

    const QUICK: Patience = Patience {
        attempts: 4,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        give_up_after: Duration::from_secs(60),
        answer_limit: Duration::from_secs(30),
        slowest: 1_000,
    };

    /// The outcome of something that fails so the first times, and how often it was attempted.
    async fn failing(times: u32, kind: Kind) -> (Result<u32, (Trouble, u32)>, u32) {
        let mut count = 0;
        let outcome = persist(QUICK, || {
            count += 1;
            let outcome = match count {
                count if count <= times => Err(Trouble::new(kind, "no")),
                count => Ok(count),
            };
            std::future::ready(outcome)
        });
        (outcome.await, count)
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        assert_eq!(failing(3, Kind::Throttled).await, (Ok(4), 4));
        let gives_up = (Err((Trouble::new(Kind::Unavailable, "no"), 4)), 4);
        assert_eq!(failing(9, Kind::Unavailable).await, gives_up);
        let at_once = (Err((Trouble::new(Kind::Denied, "no"), 1)), 1);
        assert_eq!(failing(9, Kind::Denied).await, at_once);
    }

    #[tokio::test]
    async fn nothing_is_tried_again_when_the_time_is_over() {
        let patience = Patience {
            give_up_after: Duration::ZERO,
            ..QUICK
        };
        let mut tries = Tries::new(patience);
        let trouble = Trouble::new(Kind::Throttled, "no");
        assert_eq!(tries.after(trouble.clone()).await, Err((trouble, 1)));
    }

    #[tokio::test]
    async fn progress_begins_the_count_anew() {
        let mut tries = Tries::new(QUICK);
        for _ in 0..10 {
            for _ in 1..QUICK.attempts {
                tries
                    .after(Trouble::new(Kind::Interrupted, "no"))
                    .await
                    .unwrap();
            }
            tries.progress();
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let patience = Patience::default();
        for (failures, longest) in [
            (1, 200),
            (2, 400),
            (3, 800),
            (6, 6_400),
            (7, 10_000),
            (99, 10_000),
        ] {
            let (longest, wait) = (Duration::from_millis(longest), patience.wait(failures));
            assert!(
                wait >= longest / 2 && wait <= longest,
                "{wait:?} of {longest:?}"
            );
        }
    }

    #[test]
    fn what_is_large_may_take_longer() {
        assert_eq!(QUICK.limit(0), Duration::from_secs(30));
        assert_eq!(QUICK.limit(5_000), Duration::from_secs(35));
    }
}
