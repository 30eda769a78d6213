//! How clients call: the library's own cores decide whom a call asks, when, and what it comes to.

use std::time::Duration;

use steadfast::base::LineageId;
use steadfast::client::course::{Course, Known, Manner};
use steadfast::client::retry::Attempt;
use steadfast::client::routes::{Told, Wish};
use steadfast::client::{Effect, Error, Kind};
use steadfast::control::Role;
use steadfast::proto::Reason;
use steadfast::read::Token;
use steadfast::replica::WriteId;
use tonic::Status;

use crate::chance::Chance;
use crate::operation::{Ask, Operation, Outcome};
use crate::world::{Event, MILLI, World};

/// A client of the library, which makes one call after the other.
pub struct Caller {
    pub known: Known,
    /// What its session has seen.
    pub token: Token,
    /// For each of its calls.
    pub deadline: Duration,
    /// How much longer than to the nearest the way to each node is.
    distances: Vec<u64>,
    /// Its present call, if there is one, and the attempts of it that it waits for.
    course: Option<Course>,
    under_way: Vec<usize>,
    /// How many calls it made, and how many attempts beside others.
    pub calls: u64,
    pub beside: u64,
}

/// An attempt.
#[derive(Debug, Clone)]
pub struct Sent {
    pub op: usize,
    /// To which node.
    pub at: usize,
    /// Its client waits for it no longer.
    pub is_over: bool,
}

pub type Answer = Result<Outcome, Box<Error>>;

/// Where clients reach a node.
pub fn endpoint(at: usize) -> String {
    format!("n{at}:7400")
}

fn node_at(endpoint: &str) -> usize {
    let number = endpoint.strip_prefix('n').unwrap().strip_suffix(":7400");
    number.unwrap().parse().unwrap()
}

impl Caller {
    pub fn new(nodes: usize, chance: &mut Chance) -> Caller {
        let first = chance.index(nodes);
        let given = 1 + chance.index(nodes);
        let given: Vec<String> = (first..first + given)
            .map(|at| endpoint(at % nodes))
            .collect();
        let deadline = [400, 1_500, 1_500, 3_000, 10_000][chance.index(5)];
        let mut distance = || chance.one_in(3).then(|| chance.below(10 * MILLI));
        let distances = (0..nodes).map(|_| distance().unwrap_or_default());
        Caller {
            distances: distances.collect(),
            known: Known::new(&given, None),
            token: Token::new(LineageId(1)),
            deadline: Duration::from_millis(deadline),
            course: None,
            under_way: Vec::new(),
            calls: 0,
            beside: 0,
        }
    }

    fn course(&mut self) -> (&mut Course, &mut Known) {
        let course = self.course.as_mut().expect("its call is not over");
        (course, &mut self.known)
    }
}

impl Operation {
    pub fn manner(&self) -> Manner {
        match self.ask {
            Ask::Write { is_named: true, .. } => Manner::writes(Effect::WritesNamed),
            Ask::Write { .. } => Manner::writes(Effect::Writes),
            Ask::ReadPrimary => Manner {
                wish: Wish::Primary,
                ..Manner::READS
            },
            Ask::ReadLocal | Ask::ReadQuorum => Manner {
                is_hedged: true,
                ..Manner::READS
            },
        }
    }

    /// What a call has come to that failed so.
    fn outcome_of(&self, error: &Error) -> Outcome {
        match (&self.ask, error.kind) {
            (Ask::Write { .. }, Kind::UnknownOutcome) => Outcome::Unknown,
            (Ask::Write { .. }, _) => Outcome::Refused,
            _ if error.reason == Reason::Unrecovered.name() => Outcome::Unrecovered,
            _ => Outcome::Failed,
        }
    }
}

impl World {
    /// An operation becomes a call.
    pub fn call(&mut self, op: usize) {
        let now = self.clock();
        let client = self.operations[op].client;
        let manner = self.operations[op].manner();
        let chances = [self.chance.share(), self.chance.share()];
        let caller = &mut self.clients.callers[client];
        let mut survey = caller.known.survey(now);
        if caller.calls == 0 {
            caller.known.follow(now);
            survey.extend(caller.known.routes.last().cloned());
        }
        caller.calls += 1;
        let (course, first) =
            Course::begin(&mut caller.known, manner, caller.deadline, now, chances);
        caller.course = Some(course);
        let deadline = nanos(caller.deadline);
        for endpoint in survey {
            let at = node_at(&endpoint);
            if let Some(delay) = self.way_of_call(client, at) {
                self.push(delay, Event::Survey(client, at, self.now));
            }
        }
        self.push(deadline + MILLI, Event::Overdue(op));
        self.on_send(op, first);
    }

    /// An attempt leaves its client.
    pub fn on_send(&mut self, op: usize, attempt: Attempt) {
        let now = self.clock();
        self.check_sent(op, &attempt);
        let client = self.operations[op].client;
        let at = node_at(&attempt.endpoint);
        let number = self.clients.sent.len();
        let is_over = false;
        self.clients.sent.push(Sent { op, at, is_over });
        self.counts.attempts += 1;
        self.log(|| format!("attempt {number} of call {op} goes to node {at}"));
        self.push(nanos(attempt.limit), Event::Limit(number));
        let caller = &mut self.clients.callers[client];
        caller.under_way.push(number);
        let (course, known) = caller.course();
        if let Some(delay) = course.asked(known, attempt, now) {
            self.push(nanos(delay), Event::Second(number));
        }
        if let Some(delay) = self.way_of_call(client, at) {
            self.push(delay, Event::Request(number, at));
        }
    }

    /// An attempt takes long.
    pub fn on_second(&mut self, number: usize) {
        let Sent { op, is_over, .. } = self.clients.sent[number];
        if is_over {
            return;
        }
        let now = self.clock();
        let caller = &mut self.clients.callers[self.operations[op].client];
        let (course, known) = caller.course();
        if let Some(attempt) = course.second(known, now) {
            caller.beside += 1;
            self.counts.beside += 1;
            self.check_beside(op);
            self.on_send(op, attempt);
        }
    }

    /// No answer has come in time.
    pub fn on_limit(&mut self, number: usize) {
        self.break_off(number, &Status::deadline_exceeded("no answer in time"));
    }

    /// The transport says so, where no node answers.
    pub fn break_off(&mut self, number: usize, status: &Status) {
        let op = &self.operations[self.clients.sent[number].op];
        let failure = Error::from_status(status, op.manner().effect);
        self.on_response(number, Err(Box::new(failure)));
    }

    pub fn on_response(&mut self, number: usize, answer: Answer) {
        let Sent { op, at, is_over } = self.clients.sent[number];
        if is_over {
            return;
        }
        self.give_up(number);
        let now = self.clock();
        let chance = self.chance.share();
        let caller = &mut self.clients.callers[self.operations[op].client];
        let (course, known) = caller.course();
        match answer {
            Ok(outcome) => {
                course.answered(known, &endpoint(at), now);
                self.close(op, outcome);
            }
            Err(failure) => match course.failed(known, &endpoint(at), *failure, now, chance) {
                Ok(None) => {}
                Ok(Some(next)) => self.push(nanos(next.wait), Event::Send(op, next)),
                Err(error) => {
                    let outcome = self.operations[op].outcome_of(&error);
                    self.close(op, outcome);
                }
            },
        }
    }

    /// A call is over, whatever is under way beside the attempt that decided it.
    fn close(&mut self, op: usize, outcome: Outcome) {
        let client = self.operations[op].client;
        let caller = &mut self.clients.callers[client];
        caller.course = None;
        for number in std::mem::take(&mut caller.under_way) {
            self.give_up(number);
        }
        self.end(op, outcome);
    }

    /// Nobody waits for an attempt any longer, at the client or at the nodes.
    fn give_up(&mut self, number: usize) {
        self.clients.sent[number].is_over = true;
        let op = self.clients.sent[number].op;
        let caller = &mut self.clients.callers[self.operations[op].client];
        caller.under_way.retain(|other| *other != number);
        self.clients.gathers.remove(&number);
        for live in self.nodes.iter_mut().filter_map(|node| node.live.as_mut()) {
            live.replica.forget(WriteId(number as u64));
            let reads = live.reads.iter().filter(|(_, (of, _))| *of == number);
            let reads: Vec<_> = reads.map(|(read, _)| *read).collect();
            for read in reads {
                live.reads.remove(&read);
                live.replica.drop_read(read);
            }
        }
    }

    /// A node's process has ended: most of its connections are seen to.
    pub fn reset(&mut self, at: usize) {
        let callers = self.clients.callers.iter();
        let under_way: Vec<usize> = callers
            .flat_map(|caller| caller.under_way.clone())
            .collect();
        for number in under_way {
            if self.clients.sent[number].at == at && self.chance.percent(70) {
                let delay = self.chance.between(MILLI, 20 * MILLI);
                self.push(delay, Event::Reset(number));
            }
        }
    }

    pub fn on_reset(&mut self, number: usize) {
        self.break_off(number, &Status::unavailable("connection reset"));
    }

    /// How long a call or its answer takes between a client and a node; `None` if it is lost.
    pub fn way_of_call(&mut self, client: usize, at: usize) -> Option<u64> {
        let delay = self.faults.way_to_client(at, &mut self.chance)?;
        Some(delay + self.clients.callers[client].distances[at])
    }

    pub fn on_survey(&mut self, client: usize, at: usize, begun: u64) {
        let Some(live) = &self.nodes[at].live else {
            return;
        };
        let control = live.replica.control();
        let is_primary = |who| control.primary() == Some(who);
        let mut told = Told {
            epoch: control.open_epoch().0,
            ..Told::default()
        };
        for (who, member) in &control.members {
            let address = &member.addresses.client;
            if address.is_empty() {
                continue;
            }
            if is_primary(*who) {
                told.primary = Some(address.clone());
            }
            let is_arbiter = member.role == Role::Arbiter;
            told.members.push((address.clone(), is_arbiter));
        }
        if let Some(delay) = self.way_of_call(client, at) {
            self.push(delay, Event::Surveyed(client, at, begun, told));
        }
    }

    pub fn on_surveyed(&mut self, client: usize, at: usize, begun: u64, told: Told) {
        let round_trip = Duration::from_nanos(self.now - begun);
        let routes = &mut self.clients.callers[client].known.routes;
        routes.measured(&endpoint(at), round_trip, "");
        routes.told(told);
    }
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}
