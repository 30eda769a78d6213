//! Pure: floors of event time. They follow a setting through its history and never fall, so a longer ttl revives
//! nothing and a write that was too late once stays too late (M7, M8).
//!
//! The floor at time `t` is the greatest `s - span(s)` over all `s <= t`, `span(s)` being the setting at time `s`. Between
//! two changes `s - span` rises with `s`, so only the ends of the intervals have to be looked at.

use std::time::Duration;

use crate::base::{Hlc, Micros};

/// What a span of time was set to, and from when on. Never empty: the first setting holds from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    first: Option<Duration>,
    /// Later settings with the times of their stamps, in order.
    later: Vec<(Hlc, Option<Duration>)>,
}

impl History {
    /// A setting that never changed; `None` sets no floor.
    #[must_use]
    pub fn new(first: Option<Duration>) -> History {
        History {
            first,
            later: Vec::new(),
        }
    }

    /// Adds a later setting. Settings come in the order of their stamps.
    pub fn push(&mut self, at: Hlc, span: Option<Duration>) {
        debug_assert!(self.later.last().is_none_or(|(last, _)| *last <= at));
        self.later.push((at, span));
    }

    /// Adds a later setting that counts only if it is longer than all before; none is the longest.
    pub fn push_longer(&mut self, at: Hlc, span: Option<Duration>) {
        let longest = match (self.current(), span) {
            (Some(current), Some(span)) => Some(current.max(span)),
            _ => None,
        };
        self.push(at, longest);
    }

    /// The setting now.
    #[must_use]
    pub fn current(&self) -> Option<Duration> {
        self.later.last().map_or(self.first, |(_, span)| *span)
    }

    /// The floor at time `at`; `None` if there is none yet.
    #[must_use]
    pub fn floor(&self, at: Micros) -> Option<Micros> {
        let mut floor = None;
        let mut span = self.first;
        for (from, next) in &self.later {
            if from.micros() > at {
                break;
            }
            floor = floor.max(span.map(|span| from.micros().minus(span)));
            span = *next;
        }
        floor.max(span.map(|span| at.minus(span)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(span: u64) -> Option<Duration> {
        // 0 stands for no floor, as in view files.
        (span > 0).then(|| Duration::from_millis(span))
    }

    fn history(first: u64, later: &[(u64, u64)], longer: bool) -> History {
        let mut history = History::new(millis(first));
        let mut at = 0;
        for (step, span) in later {
            at += step;
            if longer {
                history.push_longer(Hlc::from_millis(at), millis(*span));
            } else {
                history.push(Hlc::from_millis(at), millis(*span));
            }
        }
        history
    }

    /// By the definition: every millisecond up to `at` is looked at.
    fn by_definition(first: u64, later: &[(u64, u64)], at: u64) -> Option<i64> {
        let mut best = None;
        for s in 0..=at {
            let mut place = 0;
            let mut spans = vec![first];
            for (step, next) in later {
                place += step;
                // At the moment of a change both settings touch: the one before held until then.
                if place == s {
                    spans.push(*next);
                } else if place < s {
                    spans = vec![*next];
                }
            }
            for span in spans.into_iter().filter(|span| *span > 0) {
                best = best.max(Some(
                    i64::try_from(s).unwrap() - i64::try_from(span).unwrap(),
                ));
            }
        }
        best.map(|millis| millis * 1_000)
    }

    proptest! {
        #[test]
        fn the_floor_is_what_its_definition_says(
            first in 0..20u64,
            later in proptest::collection::vec((0..12u64, 0..20u64), 0..5),
            at in 0..50u64,
        ) {
            let floor = history(first, &later, false).floor(Micros(i64::try_from(at).unwrap() * 1_000));
            prop_assert_eq!(floor.map(|floor| floor.0), by_definition(first, &later, at));
        }

        #[test]
        fn the_floor_never_falls(
            first in 0..20u64,
            later in proptest::collection::vec((0..12u64, 0..20u64), 0..5),
            times in (0..60_000i64, 0..60_000i64),
            longer: bool,
        ) {
            let history = history(first, &later, longer);
            let (early, late) = (times.0.min(times.1), times.0.max(times.1));
            prop_assert!(history.floor(Micros(early)) <= history.floor(Micros(late)));
        }

        #[test]
        fn a_growing_setting_never_shrinks(
            first in 0..20u64,
            later in proptest::collection::vec((1..12u64, 0..20u64), 1..5),
        ) {
            let history = history(first, &later, true);
            let all: Vec<_> = std::iter::once(first).chain(later.iter().map(|(_, span)| *span)).collect();
            let longest = if all.contains(&0) { None } else { all.into_iter().max().and_then(millis) };
            prop_assert_eq!(history.current(), longest);
        }
    }

    #[test]
    fn a_longer_ttl_revives_nothing() {
        let second = Duration::from_secs(1);
        let mut history = History::new(Some(second));
        history.push(Hlc::from_millis(10_000), Some(second * 9));
        assert_eq!(history.floor(Micros(10_500_000)), Some(Micros(9_000_000)));
    }
}
