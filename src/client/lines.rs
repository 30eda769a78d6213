//! The nodes of a set, the connections to them, and asking one after the other.
//!
//! What is decided is decided in [`routes`](super::routes), [`hedge`](super::hedge) and [`retry`](super::retry).

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{Either, join_all, select};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::convert::{commit_level_to_wire, read_level_to_wire};
use super::error::{Effect, Error, Kind};
use super::hedge::{Budget, Hedges};
use super::reach::{connect, endpoint, leads_there};
use super::retry::{Attempt, Attempts};
use super::routes::{Routes, Wish};
use super::survey::{self, EVERY, FIRST, SOON};
use super::target::{Options, Target};
use crate::base::clock::{now_monotonic, sleep};
use crate::base::task::TaskGroup;
use crate::proto::{Reason, v1};

/// One lookup in so many may be sent to a second node, and so many at once.
const HEDGED: (f64, f64) = (0.1, 10.0);
/// So many retries for each call, and so many at once: enough to get through a failover, too few to keep an overloaded set
/// from recovering.
const RETRIED: (f64, f64) = (0.5, 1_000.0);

/// Lines to nodes, each made when it is needed. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    begun: Instant,
    /// Guards what is known of the nodes; never held across a call.
    known: Mutex<Known>,
    surveys: TaskGroup,
}

#[derive(Debug)]
struct Known {
    routes: Routes,
    hedges: Hedges,
    second_calls: Budget,
    retries: Budget,
    channels: HashMap<String, Channel>,
    /// When the nodes are asked for their set next, if they ever are.
    next_survey: Option<Duration>,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub effect: Effect,
    pub wish: Wish,
    /// May a second node be asked while the first has not answered yet?
    pub is_hedged: bool,
}

impl Manner {
    /// A call that any node answers.
    pub const READS: Manner = Manner {
        effect: Effect::Reads,
        wish: Wish::Anyone,
        is_hedged: false,
    };

    /// A call that changes something.
    pub fn writes(effect: Effect) -> Manner {
        Manner {
            effect,
            wish: Wish::Primary,
            is_hedged: false,
        }
    }
}

/// A call that failed, and at which node it did last.
struct Failed {
    at: String,
    failure: Box<Error>,
}

impl Lines {
    /// Connects to the first node of a target that can be reached, in the order given.
    ///
    /// # Errors
    /// If none can; names each.
    pub async fn connect(target: Target) -> Result<Lines, Error> {
        let Target { endpoints, options } = target;
        let mut failures = Vec::new();
        for current in &endpoints {
            match connect(current).await {
                Ok(channel) => {
                    let lines = Lines::new(&endpoints, options);
                    let mut known = lines.lock();
                    known.routes.answered(current);
                    known.channels.insert(current.clone(), channel);
                    drop(known);
                    return Ok(lines);
                }
                Err(cause) => failures.push(format!("{current}: {cause}")),
            }
        }
        let tried = if failures.is_empty() {
            "no endpoint was given".to_owned()
        } else {
            failures.join("; ")
        };
        Err(Error::unavailable(format!("no node answers ({tried})")))
    }

    fn new(endpoints: &[String], options: Options) -> Lines {
        let known = Known {
            routes: Routes::new(endpoints, options.zone.clone()),
            hedges: Hedges::new(),
            second_calls: Budget::new(HEDGED.0, HEDGED.1),
            retries: Budget::new(RETRIED.0, RETRIED.1),
            channels: HashMap::new(),
            next_survey: None,
        };
        Lines(Arc::new(Shared {
            options,
            begun: now_monotonic(),
            known: Mutex::new(known),
            surveys: TaskGroup::new(),
        }))
    }

    /// Learns from the node that answers who else is in the set, and goes on to do so now and then. Where that cannot be told,
    /// as while a node starts, the nodes that were given are all there is.
    pub async fn follow(&self) {
        let current = self.lock().routes.last().cloned();
        self.look(&current.unwrap_or_default()).await;
        self.lock().next_survey = Some(self.now().saturating_add(FIRST));
    }

    /// What calls ask for that do not say it themselves.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The level of a write that asks for this one.
    pub fn commit_level(&self, asked: v1::CommitLevel) -> v1::CommitLevel {
        match asked {
            v1::CommitLevel::Unspecified => commit_level_to_wire(self.0.options.commit),
            v1::CommitLevel::Async | v1::CommitLevel::Quorum | v1::CommitLevel::All => asked,
        }
    }

    /// The level and bound of a read that asks for these.
    pub fn read_level(&self, asked: v1::ReadLevel, bound: u32) -> (v1::ReadLevel, u32) {
        match asked {
            v1::ReadLevel::Unspecified => read_level_to_wire(self.0.options.level),
            v1::ReadLevel::Local
            | v1::ReadLevel::Bounded
            | v1::ReadLevel::Quorum
            | v1::ReadLevel::Primary => (asked, bound),
        }
    }

    /// Are there several nodes to ask?
    pub fn are_several(&self) -> bool {
        self.lock().routes.endpoints().len() > 1
    }

    /// The line to the node that answered last.
    ///
    /// # Errors
    /// If its address is none.
    pub fn current(&self) -> Result<Channel, Error> {
        let current = self.lock().routes.last().cloned();
        self.channel(&current.unwrap_or_default())
    }

    /// Asks nodes one after the other as long as that makes sense.
    ///
    /// # Errors
    /// What the call came to in the end.
    pub async fn ask<M, T, F>(
        &self,
        message: M,
        manner: Manner,
        ask: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let begun = now_monotonic();
        let order = self.order(manner.wish);
        let is_harmless = manner.effect != Effect::Writes;
        let deadline = self.0.options.deadline;
        let (mut attempts, mut attempt) = Attempts::begin(order, is_harmless, deadline);
        loop {
            // Even to wait for no time takes a timer a millisecond.
            if !attempt.wait.is_zero() {
                sleep(attempt.wait).await;
            }
            let outcome = if manner.is_hedged && attempts.are_several() {
                let asked = self.hedged(&mut attempts, &attempt, begun, &message, manner, &ask);
                asked.await
            } else {
                self.once(&attempt, message.clone(), manner, &ask).await
            };
            let Failed { at, failure } = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            attempt = self.after(&mut attempts, &at, *failure, begun.elapsed())?;
        }
    }

    /// The order in which a call that begins tries the nodes.
    pub fn order(&self, wish: Wish) -> Vec<String> {
        self.survey_if_due();
        let now = self.now();
        let mut known = self.lock();
        known.retries.earn();
        known.second_calls.earn();
        let chances = [rand::random(), rand::random()];
        known.routes.order(wish, now, chances)
    }

    /// The next attempt of a call, if there may be one.
    ///
    /// # Errors
    /// What the call came to otherwise.
    pub fn after(
        &self,
        attempts: &mut Attempts,
        at: &str,
        failure: Error,
        elapsed: Duration,
    ) -> Result<Attempt, Error> {
        let next = attempts.after(at, failure.clone(), elapsed, rand::random())?;
        if self.lock().retries.take() {
            Ok(next)
        } else {
            Err(attempts.told(failure))
        }
    }

    /// An attempt, and a second one at another node if the first takes longer than usual. The first answer counts.
    async fn hedged<M, T, F>(
        &self,
        attempts: &mut Attempts,
        attempt: &Attempt,
        begun: Instant,
        message: &M,
        manner: Manner,
        ask: &impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failed>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let sent = now_monotonic();
        let delay = self.lock().hedges.delay();
        let first = pin!(self.once(attempt, message.clone(), manner, ask));
        let first = match select(first, pin!(sleep(delay))).await {
            Either::Left((outcome, _)) => return self.timed(sent, outcome),
            Either::Right(((), first)) => first,
        };
        let is_allowed = self.lock().second_calls.take();
        let second = is_allowed.then(|| attempts.beside(attempt, begun.elapsed()));
        let Some(second) = second.flatten() else {
            return self.timed(sent, first.await);
        };
        let other = Box::pin(self.once(&second, message.clone(), manner, ask));
        let (failed, rest) = match select(first, other).await {
            Either::Left((Err(failed), other)) => (failed, Either::Left(other)),
            Either::Right((Err(failed), first)) => (failed, Either::Right(first)),
            Either::Left((answer, _)) => return self.timed(sent, answer),
            Either::Right((answer, _)) => {
                let now = self.now();
                self.lock().routes.overtaken(&attempt.endpoint, now);
                return self.timed(sent, answer);
            }
        };
        attempts.failed_beside(*failed.failure);
        self.timed(sent, rest.await)
    }

    /// Remembers how long an answer took.
    fn timed<T>(&self, sent: Instant, outcome: Result<T, Failed>) -> Result<T, Failed> {
        if outcome.is_ok() {
            self.lock().hedges.answered(sent.elapsed());
        }
        outcome
    }

    async fn once<M, T, F>(
        &self,
        attempt: &Attempt,
        message: M,
        manner: Manner,
        ask: &impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Attempt {
            endpoint, limit, ..
        } = attempt;
        let failed = |failure| Failed {
            at: endpoint.clone(),
            failure: Box::new(failure),
        };
        let channel = self.channel(endpoint).map_err(failed)?;
        let mut request = Request::new(message);
        request.set_timeout(*limit);
        let _under_way = UnderWay::new(self, endpoint);
        match ask(channel, request).await {
            Ok(answer) => {
                self.lock().routes.answered(endpoint);
                Ok(answer.into_inner())
            }
            Err(status) => {
                let failure = Error::from_status(&status, manner.effect);
                Err(failed(self.learn(endpoint, failure)))
            }
        }
    }

    /// What a failure says of its node.
    pub fn learn(&self, endpoint: &str, mut failure: Error) -> Error {
        let named = failure.primary.take();
        failure.primary = named.filter(|named| leads_there(named, endpoint));
        let now = self.now();
        let mut known = self.lock();
        if failure.reason == Reason::NotPrimary.name() {
            known.routes.not_primary(endpoint, failure.primary.as_ref());
        } else if matches!(failure.kind, Kind::Unavailable | Kind::UnknownOutcome) {
            known.routes.failed(endpoint, now);
        } else {
            return failure;
        }
        let soon = now.saturating_add(SOON);
        known.next_survey = known.next_survey.map(|next| next.min(soon));
        failure
    }

    /// Has the nodes asked how the set is, if it is time, beside the calls.
    fn survey_if_due(&self) {
        let now = self.now();
        let mut known = self.lock();
        if known.next_survey.is_none_or(|next| now < next) {
            return;
        }
        known.next_survey = Some(now.saturating_add(EVERY));
        let endpoints: Vec<String> = known.routes.endpoints().cloned().collect();
        drop(known);
        let lines = self.clone();
        self.0.surveys.spawn_finite("survey", async move {
            join_all(endpoints.iter().map(|endpoint| lines.look(endpoint))).await;
        });
    }

    /// Asks a node how the set is.
    async fn look(&self, endpoint: &str) {
        let Ok(channel) = self.channel(endpoint) else {
            return;
        };
        let begun = now_monotonic();
        let Ok(set) = survey::ask(channel).await else {
            return;
        };
        let round_trip = begun.elapsed();
        let zone = survey::zone(&set);
        let told = survey::told(set, |address| leads_there(address, endpoint));
        let mut known = self.lock();
        known.routes.measured(endpoint, round_trip, &zone);
        known.routes.told(told);
    }

    /// Since it began.
    fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line to a node, connected when it is used.
    pub fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut known = self.lock();
        if let Some(channel) = known.channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address);
        let endpoint =
            endpoint.map_err(|cause| Error::unavailable(format!("{address}: {cause}")))?;
        let channel = endpoint.connect_lazy();
        known.channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// A call to a node, counted as long as it lasts.
struct UnderWay<'a> {
    lines: &'a Lines,
    endpoint: &'a str,
}

impl UnderWay<'_> {
    fn new<'a>(lines: &'a Lines, endpoint: &'a str) -> UnderWay<'a> {
        lines.lock().routes.begun(endpoint);
        UnderWay { lines, endpoint }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.lines.lock().routes.ended(self.endpoint);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_node_is_asked_without_waiting_for_anything() {
        let lines = Lines::new(&["a:1".to_owned(), "b:1".to_owned()], Options::default());
        let answer = |_, _| async { Ok(Response::new(7)) };
        for is_hedged in [false, true] {
            let manner = Manner {
                is_hedged,
                ..Manner::READS
            };
            let asked = lines.ask((), manner, answer);
            assert_eq!(asked.now_or_never(), Some(Ok(7)));
        }
    }

    #[tokio::test]
    async fn every_endpoint_that_cannot_be_reached_is_named() {
        let target = Target {
            endpoints: ["127.0.0.1:1", "no port"].map(str::to_owned).into(),
            options: Options::default(),
        };
        let error = Lines::connect(target).await.unwrap_err();
        assert_eq!(
            (error.kind, error.reason.as_str()),
            (Kind::Unavailable, "UNAVAILABLE")
        );
        assert!(error.message.contains("127.0.0.1:1: "), "{error}");
        assert!(
            error.message.contains("no port: not of the form host:port"),
            "{error}"
        );
    }
}
