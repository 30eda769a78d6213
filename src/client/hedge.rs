//! Pure: when a lookup that is not answered yet is sent to a second node, and how many second calls there may be.
//!
//! A lookup is hedged once it takes longer than nearly all lookups before it did, as Dean and Barroso describe in "The Tail
//! at Scale" (2013): a small share of second calls cuts off the slowest answers.
//!
//! **Invariant.** However slow all nodes are, second calls are bounded to a share of the first ones.

use std::time::Duration;

/// So many latencies are looked back at.
const REMEMBERED: usize = 64;
/// How often the delay is worked out anew, in lookups.
const EVERY: usize = 16;
/// Until there are enough.
const AT_FIRST: Duration = Duration::from_millis(100);
/// Sooner a second call costs more than it gains.
const LEAST: Duration = Duration::from_millis(1);

/// The latencies of one client's latest lookups.
#[derive(Debug)]
pub struct Hedges {
    recent: [Duration; REMEMBERED],
    seen: usize,
    delay: Duration,
}

impl Hedges {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Hedges {
        Hedges {
            recent: [Duration::ZERO; REMEMBERED],
            seen: 0,
            delay: AT_FIRST,
        }
    }

    /// A lookup took so long.
    pub fn answered(&mut self, took: Duration) {
        if let Some(oldest) = self.recent.get_mut(self.seen % REMEMBERED) {
            *oldest = took;
        }
        self.seen += 1;
        if self.seen.is_multiple_of(EVERY) && self.seen >= REMEMBERED {
            let mut sorted = self.recent;
            sorted.sort_unstable();
            let slow = sorted.get(REMEMBERED - REMEMBERED / 20 - 1);
            self.delay = slow.copied().unwrap_or(AT_FIRST).max(LEAST);
        }
    }

    /// After how long a lookup is sent to a second node: the 95th percentile of the latest ones.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

impl Default for Hedges {
    fn default() -> Self {
        Hedges::new()
    }
}

/// A share of calls, and some saved up.
#[derive(Debug)]
pub struct Budget {
    saved: f64,
    /// What each call adds.
    share: f64,
    most: f64,
}

impl Budget {
    /// `share` of all calls, and `most` of them at once.
    #[must_use]
    pub fn new(share: f64, most: f64) -> Budget {
        Budget {
            saved: most,
            share,
            most,
        }
    }

    /// A call began.
    pub fn earn(&mut self) {
        self.saved = (self.saved + self.share).min(self.most);
    }

    /// Takes one, if one is left.
    pub fn take(&mut self) -> bool {
        let is_left = self.saved >= 1.0;
        if is_left {
            self.saved -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_what_one_in_twenty_exceeds() {
        let mut hedges = Hedges::new();
        assert_eq!(hedges.delay(), AT_FIRST);
        for millis in 1..=64 {
            assert_eq!(hedges.delay(), AT_FIRST, "too few are known");
            hedges.answered(Duration::from_millis(millis));
        }
        assert_eq!(hedges.delay(), Duration::from_millis(61));
        for _ in 0..64 {
            hedges.answered(Duration::from_micros(20));
        }
        assert_eq!(hedges.delay(), LEAST);
    }

    #[test]
    fn second_calls_are_a_share_of_the_first_and_some_more() {
        let mut budget = Budget::new(0.1, 5.0);
        let mut taken = 0;
        for _ in 0..1_000 {
            budget.earn();
            taken += u32::from(budget.take());
        }
        assert!((100..=105).contains(&taken), "{taken}");
    }
}
