//! Pure: where and when a call that failed is tried again, and what is said if it is not.
//!
//! **Invariants.** What may have been carried out is tried again only if repeating it is harmless. Once an attempt's outcome is
//! unknown, no failure of a later one makes it known. All attempts together keep to the call's deadline.

use std::time::Duration;

use super::error::{Error, Kind};
use crate::base::rule::Rule;
use crate::proto::{Reason, Retry};

/// How long is waited after the first attempt, at the most; twice as long after each further one, up to the limit.
const WAIT: Duration = Duration::from_millis(50);
const WAIT_LIMIT: Duration = Duration::from_millis(800);
/// No attempt is given less, unless less is left.
const ATTEMPT: Duration = Duration::from_secs(1);
/// With less than this left nothing is begun.
const LEAST: Duration = Duration::from_millis(20);

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Attempts {
    /// In the order in which they are tried.
    endpoints: Vec<String>,
    /// May it be carried out twice without harm?
    is_harmless: bool,
    deadline: Duration,
    failed: u32,
    /// The endpoint in the list that is tried, or was before a primary was named.
    at: usize,
    /// The last attempt was at a primary that a node named.
    follows: bool,
    /// The attempt whose outcome is unknown.
    unknown: Option<Error>,
    /// The last failure of which a node itself gave the reason.
    explained: Option<Error>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// At which node.
    pub endpoint: String,
    /// After which wait.
    pub wait: Duration,
    /// For how long.
    pub limit: Duration,
}

/// What a failure says of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was not carried out, and may be later or elsewhere.
    Passing,
    /// It may have been carried out.
    Unknown,
    /// It was not carried out, and never will be.
    Refused,
}

impl Attempts {
    /// A call with this deadline, with its first attempt, at the first of `endpoints`.
    pub fn begin(
        endpoints: Vec<String>,
        is_harmless: bool,
        deadline: Duration,
    ) -> (Attempts, Attempt) {
        let attempts = Attempts {
            endpoints,
            is_harmless,
            deadline,
            failed: 0,
            at: 0,
            follows: false,
            unknown: None,
            explained: None,
        };
        let first = attempts.endpoints.first().cloned().unwrap_or_default();
        let first = attempts.attempt(first, Duration::ZERO, deadline);
        (attempts, first)
    }

    /// Are there several nodes to ask?
    pub fn are_several(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// A second attempt while one is under way, `elapsed` after the call began; `None` if there is no other node.
    pub fn beside(&mut self, under_way: &Attempt, elapsed: Duration) -> Option<Attempt> {
        let left = self.deadline.saturating_sub(elapsed);
        if !self.are_several() || left < LEAST {
            return None;
        }
        let mut other = self.next_in_line();
        if other == under_way.endpoint {
            other = self.next_in_line();
        }
        Some(self.attempt(other, Duration::ZERO, left))
    }

    /// One of two attempts failed while the other goes on.
    pub fn failed_beside(&mut self, failure: Error) {
        if failure.is_of_node() {
            self.explained = Some(failure);
        }
    }

    /// The next attempt after the one at `endpoint` failed, `elapsed` after the call began. `chance` is from 0 to 1.
    ///
    /// # Errors
    /// What the call comes to if there is none.
    pub fn after(
        &mut self,
        endpoint: &str,
        failure: Error,
        elapsed: Duration,
        chance: f64,
    ) -> Result<Attempt, Error> {
        self.failed += 1;
        let fate = fate(&failure);
        let named = failure.primary.clone().filter(|named| named != endpoint);
        let has_others = named.is_some() || self.follows || self.are_several();
        // Two nodes that name each other are not asked in turn without a pause.
        let is_news = named.is_some() && !self.follows;
        let wait = if is_news {
            Duration::ZERO
        } else {
            self.wait(chance)
        };
        let left = self.deadline.saturating_sub(elapsed).saturating_sub(wait);
        if fate == Fate::Passing && failure.is_of_node() {
            self.explained = Some(failure.clone());
        }
        let may_repeat = self.is_harmless || !Rule::RepeatNamed.holds();
        let goes_on = fate == Fate::Passing || (fate == Fate::Unknown && may_repeat);
        if !goes_on || !has_others || left < LEAST {
            return Err(self.told(failure));
        }
        if fate == Fate::Unknown && Rule::StaysUnknown.holds() {
            self.unknown = Some(failure);
        }
        self.follows = named.is_some();
        let endpoint = named.unwrap_or_else(|| self.next_in_line());
        Ok(self.attempt(endpoint, wait, left))
    }

    fn next_in_line(&mut self) -> String {
        self.at = (self.at + 1) % self.endpoints.len().max(1);
        self.endpoints.get(self.at).cloned().unwrap_or_default()
    }

    /// What is left is shared by as many attempts as there are endpoints, if there may be a second one.
    fn attempt(&self, endpoint: String, wait: Duration, left: Duration) -> Attempt {
        let others = u32::try_from(self.endpoints.len())
            .unwrap_or(u32::MAX)
            .max(1);
        let limit = if self.is_harmless {
            (left / others).max(ATTEMPT).min(left)
        } else {
            left
        };
        Attempt {
            endpoint,
            wait,
            limit,
        }
    }

    /// From half of the span to all of it, so that those who failed together do not come back together.
    fn wait(&self, chance: f64) -> Duration {
        let doubled = WAIT.saturating_mul(1 << (self.failed - 1).min(16));
        doubled.min(WAIT_LIMIT).mul_f64(0.5 + chance / 2.0)
    }

    /// What the call comes to that failed so in the end.
    pub fn told(&self, failure: Error) -> Error {
        match &self.unknown {
            Some(unknown) if failure.kind != Kind::UnknownOutcome => Error {
                message: format!("{}; asked again: {failure}", unknown.message),
                ..unknown.clone()
            },
            _ => match &self.explained {
                Some(explained) => explained.clone().or_rather(failure),
                None => failure,
            },
        }
    }
}

fn fate(failure: &Error) -> Fate {
    let retry = Reason::from_name(&failure.reason).map(Reason::retry);
    match (retry, failure.kind) {
        (Some(Retry::AfterDelay), _) | (None, Kind::Unavailable) => Fate::Passing,
        (Some(Retry::SameRequestSafe), _) => Fate::Unknown,
        (Some(Retry::Never), _) | (None, _) => Fate::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn endpoints(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn failure(reason: Reason) -> Error {
        Error::refused(reason.name(), i32::from(reason.code()), "no", "")
    }

    fn primary_is(address: &str) -> Error {
        let primary = Some(address.to_owned());
        Error {
            primary,
            ..failure(Reason::NotPrimary)
        }
    }

    /// Where a call is tried that fails each time with the next of these.
    fn tried(names: &[&str], is_harmless: bool, failures: Vec<Error>) -> Vec<String> {
        let (mut attempts, mut attempt) = Attempts::begin(endpoints(names), is_harmless, DEADLINE);
        let mut tried = vec![attempt.endpoint.clone()];
        for failure in failures {
            match attempts.after(&attempt.endpoint, failure, Duration::ZERO, 0.5) {
                Ok(next) => attempt = next,
                Err(_) => break,
            }
            tried.push(attempt.endpoint.clone());
        }
        tried
    }

    #[test]
    fn what_was_not_carried_out_is_tried_at_the_next_endpoint() {
        let passing = || {
            vec![
                Error::unavailable("refused".to_owned()),
                failure(Reason::NotPrimary),
                failure(Reason::Starting),
                failure(Reason::NoQuorum),
            ]
        };
        for is_harmless in [true, false] {
            let all = tried(&["a", "b", "c"], is_harmless, passing());
            assert_eq!(all, ["a", "b", "c", "a", "b"]);
            assert_eq!(tried(&["a"], is_harmless, passing()), ["a"]);
        }
    }

    #[test]
    fn what_may_have_been_carried_out_is_repeated_only_if_that_is_harmless() {
        let unknown = || vec![failure(Reason::OutcomeUnknown)];
        assert_eq!(tried(&["a", "b"], true, unknown()), ["a", "b"]);
        assert_eq!(tried(&["a", "b"], false, unknown()), ["a"]);
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        for reason in Reason::ALL {
            let again = tried(&["a", "b"], true, vec![failure(reason)]);
            assert_eq!(
                again.len() == 1,
                reason.retry() == Retry::Never,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_primary_that_is_named_is_asked_at_once_and_the_list_after_it() {
        let (mut attempts, first) = Attempts::begin(endpoints(&["a"]), false, DEADLINE);
        let at = |elapsed| Duration::from_millis(elapsed);
        let named = attempts
            .after(&first.endpoint, primary_is("p"), at(1), 1.0)
            .unwrap();
        assert_eq!((&*named.endpoint, named.wait), ("p", Duration::ZERO));
        let gone = Error::unavailable("refused".to_owned());
        let back = attempts.after("p", gone, at(2), 1.0).unwrap();
        assert_eq!((&*back.endpoint, back.wait), ("a", WAIT * 2));
    }

    #[test]
    fn nodes_that_name_each_other_are_not_asked_without_a_pause() {
        let (mut attempts, mut attempt) = Attempts::begin(endpoints(&["a", "b"]), true, DEADLINE);
        let mut elapsed = Duration::ZERO;
        for asked in 0.. {
            let other = if attempt.endpoint == "a" { "b" } else { "a" };
            match attempts.after(&attempt.endpoint, primary_is(other), elapsed, 0.0) {
                Ok(next) => attempt = next,
                Err(_) => return assert!(asked > 10),
            }
            elapsed += attempt.wait;
            assert!(asked < 50 && attempt.endpoint == other);
        }
    }

    #[test]
    fn no_later_failure_makes_an_unknown_outcome_known() {
        for reason in Reason::ALL {
            let (mut attempts, _) = Attempts::begin(endpoints(&["a", "b"]), true, DEADLINE);
            let unknown = failure(Reason::OutcomeUnknown);
            attempts.after("a", unknown, Duration::ZERO, 0.0).unwrap();
            let told = attempts
                .after("b", failure(reason), DEADLINE, 0.0)
                .unwrap_err();
            assert_eq!(told.kind, Kind::UnknownOutcome, "{reason:?}");
        }
    }

    #[test]
    fn what_is_told_of_an_unknown_outcome_says_what_came_of_asking_again() {
        let unknown = || failure(Reason::OutcomeUnknown);
        let told = |last: Error| {
            let (mut attempts, _) = Attempts::begin(endpoints(&["a", "b"]), true, DEADLINE);
            attempts.after("a", unknown(), Duration::ZERO, 0.0).unwrap();
            let told = attempts.after("b", last, DEADLINE, 0.0).unwrap_err();
            told.message
        };
        let gone = Error::unavailable("connection refused".to_owned());
        let expected = "no; asked again: UNAVAILABLE: connection refused";
        assert_eq!(told(gone), expected);
        assert_eq!(told(unknown()), "no", "it says all by itself");
    }

    #[test]
    fn beside_an_attempt_another_node_is_asked_if_there_is_one_and_time() {
        let begin = |names: &[&str]| Attempts::begin(endpoints(names), true, DEADLINE);
        let (mut lone, first) = begin(&["a"]);
        assert_eq!(lone.beside(&first, Duration::ZERO), None);
        for (left, is_time) in [(LEAST, true), (LEAST - Duration::from_nanos(1), false)] {
            let (mut attempts, first) = begin(&["a", "b"]);
            let second = attempts.beside(&first, DEADLINE - left);
            assert_eq!(second.is_some(), is_time);
            let expected = ("b".to_owned(), Duration::ZERO, left);
            let told = second.map(|second| (second.endpoint, second.wait, second.limit));
            assert!(told.is_none_or(|told| told == expected));
        }
        // The one that is named comes out of turn.
        let (mut attempts, _) = begin(&["a", "b", "c"]);
        let named = attempts.after("a", primary_is("b"), Duration::ZERO, 0.0);
        let second = attempts.beside(&named.unwrap(), Duration::ZERO);
        assert_eq!(second.unwrap().endpoint, "c");
    }

    #[test]
    fn what_a_node_says_while_another_is_asked_is_told_if_nobody_says_more() {
        let (mut attempts, first) = Attempts::begin(endpoints(&["a", "b"]), true, DEADLINE);
        attempts.beside(&first, Duration::ZERO).unwrap();
        attempts.failed_beside(failure(Reason::NoQuorum));
        let gone = Error::unavailable("connection refused".to_owned());
        let told = attempts.after("a", gone, DEADLINE, 0.0).unwrap_err();
        assert_eq!(told.reason, "NO_QUORUM");
    }

    #[test]
    fn what_a_node_says_is_told_rather_than_that_another_is_not_there() {
        let (mut attempts, _) = Attempts::begin(endpoints(&["a", "b"]), true, DEADLINE);
        let no_quorum = failure(Reason::NoQuorum);
        attempts.after("a", no_quorum, Duration::ZERO, 0.0).unwrap();
        let gone = Error::unavailable("connection refused".to_owned());
        let told = attempts.after("b", gone, DEADLINE, 0.0).unwrap_err();
        assert_eq!(told.reason, "NO_QUORUM");
        assert_eq!(
            told.message,
            "no; asked elsewhere: UNAVAILABLE: connection refused"
        );
        let refused = failure(Reason::UnknownView);
        let told = attempts.after("a", refused, DEADLINE, 0.0).unwrap_err();
        assert_eq!(told.reason, "UNKNOWN_VIEW");
    }

    #[test]
    fn all_attempts_keep_to_the_deadline_and_share_it() {
        let names = endpoints(&["a", "b", "c"]);
        for chance in [0.0, 0.3, 1.0] {
            let (mut attempts, mut attempt) = Attempts::begin(names.clone(), true, DEADLINE);
            let (mut elapsed, mut asked) = (Duration::ZERO, 1);
            assert!(attempt.limit <= DEADLINE / 3);
            loop {
                // Each takes all that it is given.
                elapsed += attempt.wait + attempt.limit;
                assert!(elapsed <= DEADLINE);
                let unknown = failure(Reason::DeadlineExceeded);
                match attempts.after(&attempt.endpoint, unknown, elapsed, chance) {
                    Ok(next) => attempt = next,
                    Err(_) => break,
                }
                assert!(attempt.wait <= WAIT_LIMIT);
                asked += 1;
            }
            assert!(asked >= 5, "{asked}");
        }
        let (_, only) = Attempts::begin(names, false, DEADLINE);
        assert_eq!(only.limit, DEADLINE, "it is the only one if it is lost");
    }
}
