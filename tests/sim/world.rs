//! The simulated world: nodes, network, agreement, clients, and what happens when.
//!
//! One seed decides everything; the order of events is the order of their times, then of their making.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use steadfast::base::{Epoch, IncarnationId, VersionVector};
use steadfast::client::retry::Attempt;
use steadfast::client::routes::Told;
use steadfast::control::{Command, FailoverPolicy, Rejection, SettingsChange, TwoNode};
use steadfast::replication::{Message, Vouched};

use crate::agreement::Agreement;
use crate::caller::Answer;
use crate::chance::Chance;
use crate::check::Seen;
use crate::disk::Snapshot;
use crate::faults::{Faults, Plan};
use crate::load::Clients;
use crate::node::{Live, Node};
use crate::operation::Operation;

pub const MILLI: u64 = 1_000_000;

#[derive(Debug, Clone)]
pub enum Event {
    Tick(usize, u64),
    Synced(usize, u64, usize),
    Applied(usize, u64, usize),
    Peer(IncarnationId, IncarnationId, Message),
    Snapshot(IncarnationId, IncarnationId, Epoch, Box<Snapshot>),
    Proposal(usize, u64, Command),
    Extension(usize, Epoch, u64, Vec<(IncarnationId, VersionVector)>),
    Learn(usize, usize),
    Refused(usize, u64, Rejection),
    Gone(usize, IncarnationId),
    Start(usize),
    Client(usize),
    /// Of an operation.
    Send(usize, Attempt),
    Overdue(usize),
    /// Of an attempt.
    Request(usize, usize),
    Response(usize, Answer),
    Second(usize),
    Limit(usize),
    Reset(usize),
    Survey(usize, usize, u64),
    Surveyed(usize, usize, u64, Told),
    Ask(usize, usize),
    Vouched(usize, IncarnationId, Option<Vouched>, Option<Vec<u8>>),
    AskAgain(usize),
    Fault,
    Ease(usize),
    /// The disk as it was before this node's last start takes the place of the one there.
    RollBack(usize),
    Operator,
    Flush(usize),
}

/// What a run has seen, for its summary.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub runs: u64,
    pub events: u64,
    pub epochs: u64,
    pub crashes: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub acknowledged: BTreeMap<&'static str, u64>,
    pub unknown: u64,
    pub refused: u64,
    pub strong_reads: u64,
    pub local_reads: u64,
    pub unrecovered: u64,
    /// Attempts of calls, those of them beside others, and writes that were found to be written.
    pub attempts: u64,
    pub beside: u64,
    pub repeated: u64,
    pub replaced: u64,
    pub seconds: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.runs += other.runs;
        self.events += other.events;
        self.epochs += other.epochs;
        self.crashes += other.crashes;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.strong_reads += other.strong_reads;
        self.local_reads += other.local_reads;
        self.unrecovered += other.unrecovered;
        self.attempts += other.attempts;
        self.beside += other.beside;
        self.repeated += other.repeated;
        self.replaced += other.replaced;
        self.seconds += other.seconds;
        for (kind, times) in &other.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (level, times) in &other.acknowledged {
            *self.acknowledged.entry(level).or_default() += times;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.seconds as f64 / 3_600.0;
        writeln!(
            f,
            "{} runs, {hours:.1} simulated hours, {} events, {} epochs opened",
            self.runs, self.events, self.epochs
        )?;
        writeln!(
            f,
            "acknowledged and checked: {:?}, strong reads {}, local reads in sessions {} and {} told that what they saw is lost; writes unknown {}, anything refused {}",
            self.acknowledged,
            self.strong_reads,
            self.local_reads,
            self.unrecovered,
            self.unknown,
            self.refused
        )?;
        writeln!(
            f,
            "calls made by {} attempts, {} of them beside others; {} times a write was repeated and found",
            self.attempts, self.beside, self.repeated
        )?;
        write!(
            f,
            "faults: {:?}, processes ended {}",
            self.faults, self.crashes
        )
    }
}

pub struct World {
    pub chance: Chance,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    made: u64,
    pub nodes: Vec<Node>,
    pub agreement: Agreement,
    pub faults: Faults,
    pub clients: Clients,
    pub operations: Vec<Operation>,
    pub seen: Seen,
    /// Incarnations whose disk was lost or rolled back, and when.
    pub unsound: BTreeMap<IncarnationId, u64>,
    pub next_incarnation: u128,
    pub next_read: u64,
    pub counts: Counts,
    /// A digest of everything that happened, in order.
    pub trace: u64,
    pub verbose: bool,
    pub violation: Option<String>,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> World {
        let mut chance = Chance::new(seed);
        let first = IncarnationId(1);
        let nodes: Vec<Node> = (0..plan.nodes)
            .map(|at| Node::new(IncarnationId(at as u128 + 1)))
            .collect();
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            made: 0,
            agreement: Agreement::new(first),
            faults: Faults::new(plan),
            clients: Clients::new(plan.nodes, &mut chance),
            operations: Vec::new(),
            seen: Seen::default(),
            unsound: BTreeMap::new(),
            next_incarnation: nodes.len() as u128 + 1,
            next_read: 0,
            nodes,
            counts: Counts::default(),
            trace: 0,
            verbose: false,
            violation: None,
            chance,
        };
        let two_node = if world.faults.plan.shrink {
            TwoNode::Shrink
        } else {
            TwoNode::Refuse
        };
        let change = SettingsChange {
            two_node: Some(two_node),
            failover: world.faults.plan.hybrid.then_some(FailoverPolicy::Hybrid),
            ..SettingsChange::default()
        };
        world
            .agree(Command::Set(change))
            .expect("settings are always taken");
        for at in 0..world.nodes.len() {
            world.register(at);
            world.push(0, Event::Start(at));
        }
        for client in 0..world.clients.callers.len() {
            world.push(500 * MILLI, Event::Client(client));
        }
        world.push(300 * MILLI, Event::Operator);
        world.push(3_000 * MILLI, Event::Fault);
        world
    }

    /// Runs until this time, or until something is violated.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry() else {
                break;
            };
            if entry.key().0 > until {
                break;
            }
            let ((time, _), event) = entry.remove_entry();
            self.now = time;
            self.counts.events += 1;
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    pub fn push(&mut self, delay: u64, event: Event) {
        self.made += 1;
        self.queue.insert((self.now + delay, self.made), event);
    }

    pub fn fail(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    pub fn log(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>10.3} ms  {}", self.now as f64 / 1e6, what());
        }
    }

    pub fn note(&mut self, what: u64) {
        self.trace =
            (self.trace.rotate_left(5) ^ what ^ self.now).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub fn clock(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    pub fn node_of(&self, incarnation: IncarnationId) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.disk.incarnation == incarnation)
    }

    /// The node that serves the greatest epoch.
    pub fn primary(&self) -> Option<usize> {
        let serving =
            |(at, node): (usize, &Node)| Some((node.live.as_ref()?.replica.serves()?, at));
        self.nodes
            .iter()
            .enumerate()
            .filter_map(serving)
            .max()
            .map(|(_, at)| at)
    }

    /// Was its disk lost or rolled back?
    pub fn is_unsound(&self, incarnation: IncarnationId) -> bool {
        self.unsound.contains_key(&incarnation)
    }

    fn happen(&mut self, event: Event) {
        let about = match &event {
            Event::Tick(at, _) | Event::Synced(at, ..) | Event::Applied(at, ..) => Some(*at),
            Event::Peer(_, to, _) | Event::Snapshot(_, to, ..) => self.node_of(*to),
            Event::Learn(at, _)
            | Event::Refused(at, ..)
            | Event::Gone(at, _)
            | Event::Flush(at) => Some(*at),
            Event::Ask(_, at) | Event::Request(_, at) | Event::Survey(_, at, _) => Some(*at),
            Event::AskAgain(number) | Event::Vouched(number, ..) => {
                Some(self.clients.sent[*number].at)
            }
            _ => None,
        };
        if let Some(at) = about {
            // A paused process does nothing until it goes on, and then everything at once.
            let paused_until = self.nodes[at].paused_until;
            if paused_until > self.now {
                self.push(paused_until - self.now, event);
                return;
            }
        }
        match event {
            Event::Tick(at, life) => self.on_tick(at, life),
            Event::Synced(at, life, upto) => self.on_synced(at, life, upto),
            Event::Applied(at, life, upto) => self.on_applied(at, life, upto),
            Event::Peer(from, to, message) => self.on_peer(from, to, message),
            Event::Snapshot(from, to, epoch, snapshot) => {
                self.on_snapshot(from, to, epoch, *snapshot)
            }
            Event::Proposal(at, life, command) => self.on_proposal(at, life, command),
            Event::Extension(at, epoch, number, acked) => {
                self.on_extension(at, epoch, number, acked)
            }
            Event::Learn(at, index) => self.on_learn(at, index),
            Event::Refused(at, life, why) => self.on_refused(at, life, &why),
            Event::Gone(at, whose) => {
                if let Some(live) = &mut self.nodes[at].live {
                    live.replica.see_gone(whose);
                }
            }
            Event::Start(at) => self.on_start(at),
            Event::Client(client) => self.on_client(client),
            Event::Send(op, attempt) => self.on_send(op, attempt),
            Event::Overdue(op) => self.on_overdue(op),
            Event::Request(number, at) => self.on_request(number, at),
            Event::Response(number, answer) => self.on_response(number, answer),
            Event::Second(number) => self.on_second(number),
            Event::Limit(number) => self.on_limit(number),
            Event::Reset(number) => self.on_reset(number),
            Event::Survey(client, at, begun) => self.on_survey(client, at, begun),
            Event::Surveyed(client, at, begun, told) => self.on_surveyed(client, at, begun, told),
            Event::Ask(number, at) => self.on_ask(number, at),
            Event::Vouched(number, from, vouched, row) => {
                self.on_vouched(number, from, vouched, row)
            }
            Event::AskAgain(number) => self.on_ask_again(number),
            Event::Fault => self.on_fault(),
            Event::Ease(what) => self.ease(what),
            Event::RollBack(at) => {
                self.roll_back(at);
            }
            Event::Operator => self.on_operator(),
            Event::Flush(at) => self.on_flush(at),
        }
    }

    pub fn live(&mut self, at: usize, life: u64) -> Option<&mut Live> {
        let node = &mut self.nodes[at];
        node.live.as_mut().filter(|_| node.life == life)
    }
}
