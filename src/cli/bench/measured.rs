//! Pure: what a run measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

/// Latencies are told apart to one part in a thousand.
const DIGITS: u8 = 3;
/// Whatever takes longer counts as this, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Calls that ended within the time measured, with their latencies.
#[derive(Debug, Clone)]
pub struct Measured {
    latencies: Histogram<u64>,
    length: Duration,
}

impl Measured {
    /// No calls, in a time of this length.
    #[must_use]
    pub fn nothing(length: Duration) -> Measured {
        let latencies = Histogram::new_with_max(LONGEST, DIGITS)
            .expect("the bounds are constants within what a histogram takes");
        Measured { latencies, length }
    }

    /// Counts a call.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST);
        self.latencies.saturating_record(nanos);
    }

    /// Counts what another connection measured in the same time.
    pub fn add(&mut self, other: &Measured) {
        self.latencies
            .add(&other.latencies)
            .expect("all histograms have the same bounds");
    }

    /// It took so long, if that is longer than planned.
    pub fn lasted(&mut self, length: Duration) {
        self.length = self.length.max(length);
    }

    /// How many calls.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.latencies.len()
    }

    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.length.as_secs_f64()
    }

    /// The latency that this share of the calls did not exceed, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1e3
    }

    /// The result of a run whose calls moved `batch` rows each.
    #[must_use]
    pub fn to_json(&self, batch: usize) -> Json {
        json!({
            "requests_per_second": rounded(self.rate()),
            "rows_per_second": rounded(self.rate() * batch as f64),
            "p50_us": rounded(self.quantile_us(0.5)),
            "p99_us": rounded(self.quantile_us(0.99)),
            "p999_us": rounded(self.quantile_us(0.999)),
        })
    }
}

/// To one digit behind the point: more would claim too much.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// One of the other, to the hundredth.
#[must_use]
pub fn ratio(one: f64, other: f64) -> f64 {
    (one / other * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_add_up() {
        let second = Duration::from_secs(1);
        let mut all = Measured::nothing(second * 2);
        for _ in 0..2 {
            let mut one = Measured::nothing(second * 2);
            for millis in 1..=100 {
                one.record(Duration::from_millis(millis));
            }
            all.add(&one);
        }
        let json = all.to_json(10);
        assert_eq!(json["requests_per_second"], 100.0);
        assert_eq!(json["rows_per_second"], 1_000.0);
        for (name, expected) in [("p50_us", 50_000.0), ("p99_us", 99_000.0)] {
            let value = json[name].as_f64().unwrap();
            assert!((value / expected - 1.0).abs() < 0.002, "{name}: {value}");
        }
    }

    #[test]
    fn a_call_without_end_counts_as_the_longest() {
        let mut measured = Measured::nothing(Duration::from_secs(1));
        measured.record(Duration::MAX);
        assert!(measured.quantile_us(1.0) >= 59e6);
    }
}
