//! The nodes of a set, the connections to them, and asking one after the other.
//!
//! What is decided is decided in [`course`](super::course).

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{Either, join_all, select};
use futures::stream::FuturesUnordered;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::convert::{commit_level_to_wire, read_level_to_wire};
use super::course::{Course, Known, Manner};
use super::error::Error;
use super::reach::{connect, endpoint, leads_there};
use super::retry::Attempt;
use super::survey;
use super::target::{Options, Target};
use crate::base::clock::{now_monotonic, sleep};
use crate::base::task::TaskGroup;
use crate::proto::v1;

/// Lines to nodes, each made when it is needed. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    begun: Instant,
    /// Never held across a call.
    state: Mutex<State>,
    surveys: TaskGroup,
}

#[derive(Debug)]
struct State {
    known: Known,
    channels: HashMap<String, Channel>,
}

/// A call on its course, which may be given up at any time.
struct Running<'a> {
    lines: &'a Lines,
    course: Course,
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
                    let mut state = lines.lock();
                    state.known.routes.answered(current);
                    state.channels.insert(current.clone(), channel);
                    drop(state);
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
        let state = State {
            known: Known::new(endpoints, options.zone.clone()),
            channels: HashMap::new(),
        };
        Lines(Arc::new(Shared {
            options,
            begun: now_monotonic(),
            state: Mutex::new(state),
            surveys: TaskGroup::new(),
        }))
    }

    /// Learns from the node that answers who else is in the set, and goes on to do so now and then. Where that cannot be told,
    /// as while a node starts, the nodes that were given are all there is.
    pub async fn follow(&self) {
        self.look(&self.last()).await;
        self.decide(Known::follow);
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
        self.lock().known.routes.endpoints().len() > 1
    }

    /// The line to the node that answered last.
    ///
    /// # Errors
    /// If its address is none.
    pub fn current(&self) -> Result<Channel, Error> {
        self.channel(&self.last())
    }

    fn last(&self) -> String {
        let last = self.lock().known.routes.last().cloned();
        last.unwrap_or_default()
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
        let (course, first) = self.begin(manner);
        let lines = self;
        let mut call = Running { lines, course };
        let mut under_way = FuturesUnordered::new();
        let mut next = Some(first);
        loop {
            let mut second_due = None;
            if let Some(attempt) = next.take() {
                // Even to wait for no time takes a timer a millisecond.
                if !attempt.wait.is_zero() {
                    sleep(attempt.wait).await;
                }
                second_due = call.asked(attempt.clone());
                under_way.push(self.once(attempt, message.clone(), manner, &ask));
            }
            let outcome = match second_due {
                None => under_way.next().await,
                Some(delay) => match select(under_way.next(), pin!(sleep(delay))).await {
                    Either::Left((outcome, _)) => outcome,
                    Either::Right(_) => {
                        next = call.second();
                        continue;
                    }
                },
            };
            match outcome.expect("an attempt is under way until the call is over") {
                (endpoint, Ok(answer)) => {
                    call.answered(&endpoint);
                    return Ok(answer);
                }
                (endpoint, Err(failure)) => {
                    next = self.failed(&mut call.course, &endpoint, failure)?;
                }
            }
        }
    }

    /// A call begins, with this attempt.
    pub fn begin(&self, manner: Manner) -> (Course, Attempt) {
        self.survey_if_due();
        let deadline = self.0.options.deadline;
        let chances = [rand::random(), rand::random()];
        self.decide(|known, now| Course::begin(known, manner, deadline, now, chances))
    }

    /// The next attempt of a call of which one failed, or `None` if another is under way.
    ///
    /// # Errors
    /// What the call came to.
    pub fn failed(
        &self,
        course: &mut Course,
        endpoint: &str,
        mut failure: Error,
    ) -> Result<Option<Attempt>, Error> {
        let named = failure.primary.take();
        failure.primary = named.filter(|named| leads_there(named, endpoint));
        let chance = rand::random();
        self.decide(|known, now| course.failed(known, endpoint, failure, now, chance))
    }

    async fn once<M, T, F>(
        &self,
        attempt: Attempt,
        message: M,
        manner: Manner,
        ask: &impl Fn(Channel, Request<M>) -> F,
    ) -> (String, Result<T, Error>)
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = match self.channel(&attempt.endpoint) {
            Ok(channel) => channel,
            Err(failure) => return (attempt.endpoint, Err(failure)),
        };
        let mut request = Request::new(message);
        request.set_timeout(attempt.limit);
        let answer = ask(channel, request).await.map(Response::into_inner);
        let answer = answer.map_err(|status| Error::from_status(&status, manner.effect));
        (attempt.endpoint, answer)
    }

    /// Has the nodes asked how the set is, if it is time, beside the calls.
    fn survey_if_due(&self) {
        let endpoints = self.decide(Known::survey);
        if endpoints.is_empty() {
            return;
        }
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
        let routes = &mut self.lock().known.routes;
        routes.measured(endpoint, round_trip, &zone);
        routes.told(told);
    }

    /// Decides by what is known, at this time since it began.
    fn decide<T>(&self, decide: impl FnOnce(&mut Known, Duration) -> T) -> T {
        let now = self.0.begun.elapsed();
        decide(&mut self.lock().known, now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line to a node, connected when it is used.
    pub fn channel(&self, address: &str) -> Result<Channel, Error> {
        let channels = &mut self.lock().channels;
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address);
        let endpoint =
            endpoint.map_err(|cause| Error::unavailable(format!("{address}: {cause}")))?;
        let channel = endpoint.connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl Running<'_> {
    fn asked(&mut self, attempt: Attempt) -> Option<Duration> {
        self.lines
            .decide(|known, now| self.course.asked(known, attempt, now))
    }

    fn second(&mut self) -> Option<Attempt> {
        self.lines
            .decide(|known, now| self.course.second(known, now))
    }

    fn answered(&mut self, endpoint: &str) {
        self.lines
            .decide(|known, now| self.course.answered(known, endpoint, now));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.lines.decide(|known, _| self.course.abandoned(known));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::client::Kind;

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
