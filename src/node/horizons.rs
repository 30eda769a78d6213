//! Pure: which purge horizon to ask for. It lags, so that an answer does not turn from EXPIRED to NOT_FOUND as soon as
//! possible; and what lies at or below it is known only of times at which that was noted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::{Hlc, VersionVector};
use crate::model::record::Horizon;

/// Times that may become the horizon.
#[derive(Debug)]
pub(super) struct Horizons {
    lag: Duration,
    /// In the order of their times.
    noted: VecDeque<Horizon>,
}

impl Horizons {
    /// Begins with one such time: all that is `applied` lies at or below it, and everything to come above.
    pub fn new(lag: Duration, at: Hlc, applied: VersionVector) -> Horizons {
        let mut horizons = Horizons {
            lag,
            noted: VecDeque::new(),
        };
        horizons.note(at, applied);
        horizons
    }

    /// Notes one more.
    pub fn note(&mut self, at: Hlc, applied: VersionVector) {
        self.noted.push_back(Horizon {
            horizon: at,
            covered: applied,
        });
    }

    /// The latest noted one that lags enough and is above the present horizon; it and those before are forgotten.
    pub fn due(&mut self, now_millis: u64, present: Hlc) -> Option<Horizon> {
        let lag = u64::try_from(self.lag.as_millis()).unwrap_or(u64::MAX);
        let lags = |noted: &Horizon| noted.horizon.millis().saturating_add(lag) <= now_millis;
        let mut due = None;
        while self.noted.front().is_some_and(lags) {
            due = self.noted.pop_front();
        }
        due.filter(|due| due.horizon > present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, LogId, RegionId, Seq};

    fn vector(seq: u64) -> VersionVector {
        let mut vector = VersionVector::new();
        let (region, epoch) = (RegionId(1), Epoch(1));
        vector.advance(LogId { region, epoch }, Seq(seq));
        vector
    }

    #[test]
    fn the_horizon_is_the_latest_time_noted_that_lags_enough() {
        let mut horizons = Horizons::new(Duration::from_secs(60), Hlc::from_millis(0), vector(0));
        for minute in 1..=5 {
            horizons.note(Hlc::from_millis(minute * 40_000), vector(minute));
        }
        let due = |horizons: &mut Horizons, now| {
            let due = horizons.due(now, Hlc::from_millis(5));
            due.map(|due| (due.horizon.millis(), due.covered))
        };
        assert_eq!(
            due(&mut horizons, 60_000),
            None,
            "not above the present one"
        );
        assert_eq!(due(&mut horizons, 99_999), None);
        assert_eq!(due(&mut horizons, 180_000), Some((120_000, vector(3))));
        assert_eq!(due(&mut horizons, 219_999), None);
        assert_eq!(due(&mut horizons, u64::MAX), Some((200_000, vector(5))));
        assert!(horizons.noted.is_empty());
    }
}
