//! Pure: what a client knows of its set, and the course of a call: whom it asks, when a second node besides, what it learns
//! from each answer and failure, and what it comes to.
//!
//! ```text
//!  begin ──► asked ── an answer ──────────────► answered: the call is over
//!              │ ▲
//!              │ ├── its delay is over ──► second: another attempt beside the first, while the share of those lasts
//!              │ └── a failure ──────────► failed: the next attempt, if there is no other under way; or the error
//!              └── nobody waits any more ► abandoned
//! ```
//! Whoever drives it sends what it is told to, and keeps the times. That is [`Client`](super::Client) over real connections;
//! the simulator drives the same.

use std::time::Duration;

use super::error::{Effect, Error, Kind};
use super::hedge::{Budget, Hedges};
use super::retry::{Attempt, Attempts};
use super::routes::{Routes, Wish};
use crate::proto::Reason;

/// One lookup in so many may be sent to a second node, and so many at once.
const HEDGED: (f64, f64) = (0.1, 10.0);
/// So many retries for each call, and so many at once: enough to get through a failover, too few to keep an overloaded set
/// from recovering.
const RETRIED: (f64, f64) = (0.5, 1_000.0);
/// A client that lives on asks all nodes how the set is for the first time, and again after each such span.
const FIRST: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);
/// So soon after a failure.
const SOON: Duration = Duration::from_millis(500);

/// What one client knows. Times are monotonic, since any fixed moment.
#[derive(Debug)]
pub struct Known {
    /// The nodes.
    pub routes: Routes,
    hedges: Hedges,
    second_calls: Budget,
    retries: Budget,
    /// When the nodes are asked for their set next, if they ever are.
    next_survey: Option<Duration>,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// What it does.
    pub effect: Effect,
    /// Who can answer it.
    pub wish: Wish,
    /// May a second node be asked while the first has not answered yet?
    pub is_hedged: bool,
}

/// One call, from its first attempt on.
#[derive(Debug)]
pub struct Course {
    attempts: Attempts,
    begun: Duration,
    /// May a second node be asked, and is there one?
    is_hedged: bool,
    /// One attempt, or two; the second beside the first.
    under_way: Vec<Attempt>,
    /// When the first of them was sent.
    sent: Duration,
}

impl Known {
    /// The nodes given, of which nothing is known. Those of `zone` are near.
    #[must_use]
    pub fn new(given: &[String], zone: Option<String>) -> Known {
        Known {
            routes: Routes::new(given, zone),
            hedges: Hedges::new(),
            second_calls: Budget::new(HEDGED.0, HEDGED.1),
            retries: Budget::new(RETRIED.0, RETRIED.1),
            next_survey: None,
        }
    }

    /// From now on the nodes are asked how the set is.
    pub fn follow(&mut self, now: Duration) {
        self.next_survey = Some(now.saturating_add(FIRST));
    }

    /// The nodes that are to be asked now how the set is.
    pub fn survey(&mut self, now: Duration) -> Vec<String> {
        if self.next_survey.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.next_survey = Some(now.saturating_add(EVERY));
        self.routes.endpoints().cloned().collect()
    }

    /// What a failure says of its node.
    fn learn(&mut self, endpoint: &str, failure: &Error, now: Duration) {
        if failure.reason == Reason::NotPrimary.name() {
            self.routes.not_primary(endpoint, failure.primary.as_ref());
        } else if matches!(failure.kind, Kind::Unavailable | Kind::UnknownOutcome) {
            self.routes.failed(endpoint, now);
        } else {
            return;
        }
        let soon = now.saturating_add(SOON);
        self.next_survey = self.next_survey.map(|next| next.min(soon));
    }
}

impl Manner {
    /// A call that any node answers.
    pub const READS: Manner = Manner {
        effect: Effect::Reads,
        wish: Wish::Anyone,
        is_hedged: false,
    };

    /// A call that changes something.
    #[must_use]
    pub fn writes(effect: Effect) -> Manner {
        Manner {
            effect,
            wish: Wish::Primary,
            is_hedged: false,
        }
    }
}

impl Course {
    /// A call with this deadline, and its first attempt. `chances` are from 0 to 1.
    pub fn begin(
        known: &mut Known,
        manner: Manner,
        deadline: Duration,
        now: Duration,
        chances: [f64; 2],
    ) -> (Course, Attempt) {
        known.retries.earn();
        known.second_calls.earn();
        let order = known.routes.order(manner.wish, now, chances);
        let is_harmless = manner.effect != Effect::Writes;
        let (attempts, first) = Attempts::begin(order, is_harmless, deadline);
        let course = Course {
            is_hedged: manner.is_hedged && attempts.are_several(),
            attempts,
            begun: now,
            under_way: Vec::new(),
            sent: now,
        };
        (course, first)
    }

    /// An attempt is sent. After how long a [`second`](Self::second) is due, if there may be one.
    pub fn asked(
        &mut self,
        known: &mut Known,
        attempt: Attempt,
        now: Duration,
    ) -> Option<Duration> {
        known.routes.begun(&attempt.endpoint);
        if self.under_way.is_empty() {
            self.sent = now;
        }
        self.under_way.push(attempt);
        (self.is_hedged && self.under_way.len() == 1).then(|| known.hedges.delay())
    }

    /// An attempt beside the one that takes long; `None` if there may be none.
    pub fn second(&mut self, known: &mut Known, now: Duration) -> Option<Attempt> {
        let [first] = self.under_way.as_slice() else {
            return None;
        };
        let is_allowed = self.is_hedged && known.second_calls.take();
        let elapsed = now.saturating_sub(self.begun);
        is_allowed
            .then(|| self.attempts.beside(first, elapsed))
            .flatten()
    }

    /// The attempt at `endpoint` is answered, and with it the call.
    pub fn answered(&mut self, known: &mut Known, endpoint: &str, now: Duration) {
        known.routes.answered(endpoint);
        if self.is_hedged {
            known.hedges.answered(now.saturating_sub(self.sent));
        }
        if let [first, second] = self.under_way.as_slice()
            && second.endpoint == endpoint
        {
            known.routes.overtaken(&first.endpoint, now);
        }
        self.abandoned(known);
    }

    /// The attempt at `endpoint` failed. `None`: the other one goes on. `chance` is from 0 to 1.
    ///
    /// # Errors
    /// What the call comes to.
    pub fn failed(
        &mut self,
        known: &mut Known,
        endpoint: &str,
        failure: Error,
        now: Duration,
        chance: f64,
    ) -> Result<Option<Attempt>, Error> {
        known.learn(endpoint, &failure, now);
        if let Some(at) = self.under_way.iter().position(|of| of.endpoint == endpoint) {
            self.under_way.remove(at);
            known.routes.ended(endpoint);
        }
        if !self.under_way.is_empty() {
            self.attempts.failed_beside(failure);
            return Ok(None);
        }
        let elapsed = now.saturating_sub(self.begun);
        let next = self
            .attempts
            .after(endpoint, failure.clone(), elapsed, chance)?;
        if known.retries.take() {
            Ok(Some(next))
        } else {
            Err(self.attempts.told(failure))
        }
    }

    /// Nobody waits any longer for what is under way.
    pub fn abandoned(&mut self, known: &mut Known) {
        for attempt in self.under_way.drain(..) {
            known.routes.ended(&attempt.endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);
    const LOOKUP: Manner = Manner {
        is_hedged: true,
        ..Manner::READS
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn known(names: &[&str]) -> Known {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Known::new(&names, None)
    }

    fn begin(known: &mut Known, manner: Manner, now: Duration) -> (Course, Attempt) {
        Course::begin(known, manner, DEADLINE, now, [0.0, 0.0])
    }

    fn gone() -> Error {
        Error::unavailable("connection refused".to_owned())
    }

    fn first(known: &Known, now: Duration) -> String {
        known.routes.order(Wish::Anyone, now, [0.0, 0.0]).remove(0)
    }

    #[test]
    fn a_lookup_that_takes_long_is_asked_of_a_second_node_whose_answer_counts() {
        let mut known = known(&["a", "b"]);
        let (mut course, attempt) = begin(&mut known, LOOKUP, millis(0));
        let due = course.asked(&mut known, attempt, millis(0));
        assert_eq!(due, Some(millis(100)));
        let second = course.second(&mut known, millis(100)).unwrap();
        assert_eq!(second.endpoint, "b");
        assert_eq!(course.asked(&mut known, second, millis(100)), None);
        assert_eq!(course.second(&mut known, millis(300)), None);
        course.answered(&mut known, "b", millis(310));
        assert_eq!(first(&known, millis(320)), "b");
    }

    #[test]
    fn one_of_two_that_fails_is_not_the_end_and_both_are() {
        let mut known = known(&["a", "b"]);
        let (mut course, attempt) = begin(&mut known, LOOKUP, millis(0));
        course.asked(&mut known, attempt, millis(0));
        let second = course.second(&mut known, millis(100)).unwrap();
        course.asked(&mut known, second, millis(100));
        let next = course.failed(&mut known, "b", gone(), millis(110), 1.0);
        assert_eq!(next, Ok(None));
        let next = course.failed(&mut known, "a", gone(), millis(120), 1.0);
        assert_eq!(next.unwrap().unwrap().wait, millis(50));
    }

    #[test]
    fn where_there_is_one_node_or_a_write_nobody_else_is_asked_besides() {
        let manners = [(LOOKUP, "a"), (Manner::writes(Effect::WritesNamed), "a b")];
        for (manner, names) in manners {
            let mut known = known(&names.split(' ').collect::<Vec<_>>());
            let (mut course, attempt) = begin(&mut known, manner, millis(0));
            assert_eq!(course.asked(&mut known, attempt, millis(0)), None);
            assert_eq!(course.second(&mut known, millis(500)), None);
        }
    }

    #[test]
    fn the_nodes_are_asked_for_their_set_soon_after_a_failure() {
        let mut known = known(&["a", "b"]);
        let (mut course, attempt) = begin(&mut known, LOOKUP, millis(0));
        assert!(known.survey(millis(5_000)).is_empty());
        known.follow(millis(5_000));
        assert_eq!(known.survey(millis(6_000)), ["a", "b"]);
        course.asked(&mut known, attempt, millis(6_100));
        let next = course.failed(&mut known, "a", gone(), millis(6_200), 0.5);
        assert!(next.is_ok());
        assert!(known.survey(millis(6_699)).is_empty());
        assert_eq!(known.survey(millis(6_700)), ["a", "b"]);
    }

    #[test]
    fn retries_are_a_share_of_the_calls_and_some_saved_up() {
        let mut known = known(&["a", "b"]);
        let mut retries = 0;
        for _ in 0..4_000 {
            let (mut course, mut attempt) = begin(&mut known, LOOKUP, millis(0));
            while let Ok(Some(next)) =
                course.failed(&mut known, &attempt.endpoint, gone(), millis(0), 0.5)
            {
                retries += 1;
                attempt = next;
            }
        }
        assert!((2_900..=3_001).contains(&retries), "{retries}");
    }
}
