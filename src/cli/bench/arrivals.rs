//! Pure: when the requests of an open loop arrive, and which of them count.
//!
//! Model servers are many and know nothing of one another, so requests arrive at random at a rate that is fixed: a Poisson
//! process, whose gaps are exponentially distributed. Requests at even distances would hardly ever meet while a node has
//! time to spare, so that half of its peak would look like no load at all.

use std::time::Duration;

/// The times at which requests arrive, since the beginning, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    mean_gap: f64,
    seconds: f64,
    warmup: Duration,
    end: Duration,
}

/// A request that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the beginning.
    pub at: Duration,
    /// Is it measured? It is, however late it is answered, if it arrives in the time that is measured.
    pub counts: bool,
}

impl Arrivals {
    /// So many arrivals per second on average, in the time that is measured and in the warm-up before it.
    #[must_use]
    pub fn new(rate: f64, warmup: Duration, measured: Duration) -> Arrivals {
        Arrivals {
            mean_gap: rate.recip(),
            seconds: 0.0,
            warmup,
            end: warmup + measured,
        }
    }

    /// The next arrival, made from a number drawn evenly from `0.0..1.0`; `None` once the time is up.
    pub fn next(&mut self, uniform: f64) -> Option<Arrival> {
        self.seconds -= (1.0 - uniform).ln() * self.mean_gap;
        // What is too far away to be told is so at any rate.
        let at = Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX);
        (at < self.end).then_some(Arrival {
            at,
            counts: at >= self.warmup,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const SECOND: Duration = Duration::from_secs(1);

    fn all(mut arrivals: Arrivals) -> Vec<Arrival> {
        let mut rng = SmallRng::seed_from_u64(7);
        std::iter::from_fn(|| arrivals.next(rng.random())).collect()
    }

    #[test]
    fn they_are_as_many_as_the_rate_says_and_their_gaps_exponential() {
        let times: Vec<_> = all(Arrivals::new(1_000.0, Duration::ZERO, SECOND * 100))
            .iter()
            .map(|arrival| arrival.at)
            .collect();
        let count = times.len() as f64;
        // Five standard deviations of a Poisson distribution.
        assert!(
            (count - 100_000.0).abs() < 5.0 * 100_000f64.sqrt(),
            "{count}"
        );
        let gap = Duration::from_millis(1);
        let longer = times.windows(2).filter(|pair| pair[1] - pair[0] > gap);
        let share = longer.count() as f64 / count;
        assert!((share - (-1f64).exp()).abs() < 0.01, "{share}");
    }

    #[test]
    fn those_of_the_warm_up_do_not_count_and_none_comes_later() {
        let arrivals = all(Arrivals::new(1_000.0, SECOND, SECOND * 2));
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        assert!(arrivals.iter().all(|arrival| arrival.at < SECOND * 3));
        for Arrival { at, counts } in arrivals {
            assert_eq!(counts, at >= SECOND, "{at:?}");
        }
    }

    #[test]
    fn a_rate_that_brings_none_in_time_ends_at_once() {
        for rate in [1e-9, f64::MIN_POSITIVE] {
            let mut arrivals = Arrivals::new(rate, Duration::ZERO, SECOND);
            assert_eq!(arrivals.next(0.5), None);
        }
    }
}
