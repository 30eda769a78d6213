//! Pure: which purge horizon to ask for. It lags, so that an answer does not turn from EXPIRED to NOT_FOUND as soon as
//! possible.
//!
//! What lies at or below a time need not be known exactly, only bounded (P3): whatever was applied when a later time was
//! noted covers it. So a start, at which all that came before is applied, covers every time before it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::{Hlc, VersionVector};
use crate::model::record::Horizon;

/// Times of which it is known what lies at or below them.
#[derive(Debug)]
pub(super) struct Horizons {
    lag: Duration,
    /// In the order of their times.
    noted: VecDeque<Horizon>,
}

impl Horizons {
    /// None noted yet.
    pub fn new(lag: Duration) -> Horizons {
        Horizons {
            lag,
            noted: VecDeque::new(),
        }
    }

    /// Notes one: all that is `applied` lies at or below it, and everything to come above.
    pub fn note(&mut self, at: Hlc, applied: VersionVector) {
        self.noted.push_back(Horizon {
            horizon: at,
            covered: applied,
        });
    }

    /// The latest time that lags enough and is not above all that are noted, with what covers it; `None` if it is not
    /// above the present horizon. What was noted before it is forgotten.
    pub fn due(&mut self, now_millis: u64, present: Hlc) -> Option<Horizon> {
        let lag = u64::try_from(self.lag.as_millis()).unwrap_or(u64::MAX);
        let latest = self.noted.back()?.horizon;
        let horizon = latest.min(Hlc::from_millis(now_millis.saturating_sub(lag)));
        let lies_before = |noted: &Horizon| noted.horizon < horizon;
        while self.noted.front().is_some_and(lies_before) {
            self.noted.pop_front();
        }
        let covered = self.noted.front()?.covered.clone();
        (horizon > present).then_some(Horizon { horizon, covered })
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

    fn due(horizons: &mut Horizons, now: u64, present: u64) -> Option<(u64, VersionVector)> {
        let due = horizons.due(now, Hlc::from_millis(present))?;
        assert_eq!(due.horizon, Hlc::from_millis(due.horizon.millis()));
        Some((due.horizon.millis(), due.covered))
    }

    #[test]
    fn the_horizon_lags_just_enough_and_is_covered_by_what_the_next_time_noted_had() {
        let mut horizons = Horizons::new(Duration::from_secs(60));
        horizons.note(Hlc::from_millis(0), vector(0));
        for minute in 1..=5 {
            horizons.note(Hlc::from_millis(minute * 40_000), vector(minute));
        }
        assert_eq!(due(&mut horizons, 60_000, 5), None, "not above the present");
        assert_eq!(
            due(&mut horizons, 99_999, 5),
            Some((39_999, vector(1))),
            "all at or below it was applied at 40,000"
        );
        assert_eq!(due(&mut horizons, 100_000, 5), Some((40_000, vector(1))));
        assert_eq!(due(&mut horizons, 100_001, 5), Some((40_001, vector(2))));
        assert_eq!(due(&mut horizons, 100_001, 40_001), None, "it is there");
        assert_eq!(horizons.noted.len(), 4, "what lies before is forgotten");
        assert_eq!(
            due(&mut horizons, u64::MAX, 5),
            Some((200_000, vector(5))),
            "of what lies above all that are noted nothing is known"
        );
    }

    #[test]
    fn after_a_start_it_goes_on_where_it_stood() {
        let at = Hlc::from_millis(10_000_000);
        let mut horizons = Horizons::new(Duration::from_secs(3_600));
        horizons.note(at, vector(7));
        assert_eq!(
            due(&mut horizons, 10_000_001, 6_390_000),
            Some((6_400_001, vector(7)))
        );
    }
}
