//! Pure: how long a candidate waits, so that two of them do not overtake each other for ever.

use std::time::Duration;

use super::timing::BACKOFF_MAX;

/// The shortest span that a random wait is drawn from.
const FIRST: Duration = Duration::from_millis(60);

/// A random wait from a span that doubles with each failure.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    state: u64,
}

impl Backoff {
    /// With the seed of its chance.
    #[must_use]
    pub fn new(seed: u64) -> Backoff {
        Backoff {
            failures: 0,
            state: seed,
        }
    }

    /// How long to wait before trying (again).
    pub fn wait(&mut self) -> Duration {
        let span = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(BACKOFF_MAX);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.random() % millis)
    }

    /// It failed.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// It worked out.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// `SplitMix64`: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_failures_up_to_a_bound_and_differ() {
        let mut backoff = Backoff::new(7);
        let first: Vec<_> = (0..100).map(|_| backoff.wait()).collect();
        assert!(first.iter().all(|wait| *wait < FIRST));
        assert!(first.iter().any(|wait| *wait != first[0]));
        for _ in 0..40 {
            backoff.failed();
        }
        let late: Vec<_> = (0..100).map(|_| backoff.wait()).collect();
        assert!(late.iter().all(|wait| *wait < BACKOFF_MAX));
        assert!(late.iter().any(|wait| *wait > BACKOFF_MAX / 2));
        backoff.succeeded();
        assert!(backoff.wait() < FIRST);
    }

    /// The outputs that others' `SplitMix64` gives for this seed, too.
    #[test]
    fn chance_is_that_of_the_published_generator() {
        let mut backoff = Backoff::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([(); 3].map(|()| backoff.random()), expected);
    }
}
