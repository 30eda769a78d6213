//! The simulated world: nodes, network, agreement, clients, and what happens when.
//!
//! One seed decides everything; the order of events is the order of their times, then of their making.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use steadfast::base::rule::Rule;
use steadfast::base::{Epoch, Hlc, IncarnationId, LogId, Seq, VersionVector};
use steadfast::control::{
    Command, ControlState, LogState, Rejection, Role, Settings, TwoNode, commit_size, seal_size,
};
use steadfast::epoch::timing::SILENCE;
use steadfast::model::CommitLevel;
use steadfast::replica::{Action, Fault as Halted, ReadId, Wanted, WriteId};
use steadfast::replication::{Message, Vouched};

use crate::agreement::Agreement;
use crate::chance::Chance;
use crate::disk::{Disk, Names, Store, read_row};
use crate::faults::{Faults, Plan};
use crate::history::{Operation, Outcome};
use crate::load::Clients;
use crate::node::{Live, Node};

pub const MILLI: u64 = 1_000_000;

#[derive(Debug, Clone)]
pub enum Event {
    Tick(usize, u64),
    Synced(usize, u64, usize),
    Applied(usize, u64, usize),
    Peer(IncarnationId, IncarnationId, Message),
    Snapshot(IncarnationId, IncarnationId, Epoch, Box<Store>),
    Proposal(usize, u64, Command),
    Extension(usize, Epoch, u64, Vec<(IncarnationId, VersionVector)>),
    Learn(usize, usize),
    Refused(usize, u64, Rejection),
    Gone(usize, IncarnationId),
    Start(usize),
    Client(usize),
    Request(usize, usize),
    Ask(usize, usize),
    Vouched(usize, IncarnationId, Option<Vouched>, Option<Vec<u8>>),
    Response(usize, Outcome),
    AskAgain(usize),
    Timeout(usize),
    Fault,
    Ease(usize),
    Operator,
    Flush(usize),
}

/// What a run has seen, for its summary.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub events: u64,
    pub epochs: u64,
    pub crashes: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub acknowledged: BTreeMap<&'static str, u64>,
    pub unknown: u64,
    pub refused: u64,
    pub strong_reads: u64,
    pub seconds: u64,
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
    names: Names,
    /// Records acknowledged at quorum or all.
    committed: Vec<(LogId, Seq)>,
    served: BTreeMap<Epoch, (usize, u64)>,
    floors: BTreeMap<Epoch, Hlc>,
    opened: BTreeMap<Epoch, u64>,
    pub lost: BTreeSet<IncarnationId>,
    next_incarnation: u128,
    next_read: u64,
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
            faults: Faults::new(plan, &mut chance),
            clients: Clients::new(&mut chance),
            operations: Vec::new(),
            names: Names::default(),
            committed: Vec::new(),
            served: BTreeMap::new(),
            floors: BTreeMap::new(),
            opened: BTreeMap::new(),
            lost: BTreeSet::new(),
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
        let settings = Settings {
            two_node,
            ..Settings::default()
        };
        world
            .agree(Command::Set(settings))
            .expect("settings are always taken");
        for at in 0..world.nodes.len() {
            world.register(at);
            world.push(0, Event::Start(at));
        }
        for client in 0..world.clients.count {
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

    fn note(&mut self, what: u64) {
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

    fn happen(&mut self, event: Event) {
        let about = match &event {
            Event::Tick(at, _) | Event::Synced(at, ..) | Event::Applied(at, ..) => Some(*at),
            Event::Peer(_, to, _) | Event::Snapshot(_, to, ..) => self.node_of(*to),
            Event::Learn(at, _)
            | Event::Refused(at, ..)
            | Event::Gone(at, _)
            | Event::Flush(at) => Some(*at),
            Event::Ask(_, at) | Event::Request(_, at) => Some(*at),
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
            Event::Snapshot(from, to, epoch, store) => self.on_snapshot(from, to, epoch, *store),
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
            Event::Request(op, at) => self.on_request(op, at),
            Event::Ask(op, at) => self.on_ask(op, at),
            Event::Vouched(op, from, vouched, row) => self.on_vouched(op, from, vouched, row),
            Event::Response(op, outcome) => self.on_response(op, outcome),
            Event::AskAgain(op) => self.on_ask_again(op),
            Event::Timeout(op) => self.on_response(op, Outcome::Unknown),
            Event::Fault => self.on_fault(),
            Event::Ease(what) => self.ease(what),
            Event::Operator => self.on_operator(),
            Event::Flush(at) => self.on_flush(at),
        }
    }

    fn live(&mut self, at: usize, life: u64) -> Option<&mut Live> {
        let node = &mut self.nodes[at];
        node.live.as_mut().filter(|_| node.life == life)
    }

    // ------------------------------------------------------------------------------------------- processes

    fn on_start(&mut self, at: usize) {
        if self.nodes[at].live.is_some() || self.nodes[at].is_dead {
            return;
        }
        let token = self.chance.next();
        let control = Arc::clone(&self.agreement.states[self.nodes[at].learnt]);
        let now = self.clock();
        self.nodes[at].start(&control, now, token);
        let life = self.nodes[at].life;
        self.log(|| format!("node {at} starts, life {life}"));
        self.push(MILLI, Event::Tick(at, life));
        self.push(MILLI, Event::Learn(at, self.agreement.states.len() - 1));
        self.go_on(at);
    }

    /// The process ends; what its disk had not synced is gone.
    pub fn crash(&mut self, at: usize) {
        if self.nodes[at].live.take().is_none() {
            return;
        }
        self.log(|| format!("node {at} crashes"));
        self.counts.crashes += 1;
        let mut chance = self.chance.clone();
        self.nodes[at].disk.crash(&mut chance);
        self.chance = chance;
        let whose = self.nodes[at].disk.incarnation;
        for other in 0..self.nodes.len() {
            if other != at && self.chance.percent(70) && !self.faults.is_cut(at, other) {
                let delay = self.chance.between(MILLI, 20 * MILLI);
                self.push(delay, Event::Gone(other, whose));
            }
        }
    }

    /// The disk is gone, and what was on it: an empty one takes its place.
    pub fn lose_disk(&mut self, at: usize) {
        self.crash(at);
        let lost = self.nodes[at].disk.incarnation;
        self.lost.insert(lost);
        let node = &mut self.nodes[at];
        node.disk = Disk::empty(IncarnationId(self.next_incarnation));
        node.backup = None;
        node.is_dead = false;
        self.next_incarnation += 1;
        self.log(|| format!("node {at} loses its disk"));
        self.register(at);
    }

    fn register(&mut self, at: usize) {
        let incarnation = self.nodes[at].disk.incarnation;
        let role = Role::Data;
        self.agree(Command::Register { incarnation, role })
            .expect("a new incarnation is not evicted");
    }

    fn on_refused(&mut self, at: usize, life: u64, why: &Rejection) {
        if self.live(at, life).is_none() {
            return;
        }
        self.log(|| format!("node {at} is refused: {why}"));
        self.nodes[at].live = None;
        self.nodes[at].is_dead = true;
        let allowed = self
            .faults
            .rolled_back
            .contains(&self.nodes[at].disk.incarnation);
        if !allowed {
            self.fail(format!(
                "node {at} is refused though its disk is sound: {why}"
            ));
        }
    }

    fn on_tick(&mut self, at: usize, life: u64) {
        let now = self.clock();
        let Some(live) = self.live(at, life) else {
            return;
        };
        live.replica.tick(now);
        self.go_on(at);
        let delay = self.chance.between(15 * MILLI, 25 * MILLI);
        self.push(delay, Event::Tick(at, life));
    }

    // ------------------------------------------------------------------------------------------- actions

    /// Does what the replica asks for.
    pub fn go_on(&mut self, at: usize) {
        while let Some(live) = &mut self.nodes[at].live {
            let actions = live.replica.take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                if self.nodes[at].live.is_none() || self.violation.is_some() {
                    return;
                }
                self.carry_out(at, action);
            }
        }
        self.check_node(at);
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        match action {
            Action::Promise(epoch) => {
                if epoch < self.nodes[at].disk.promise {
                    self.fail(format!("I4: the promise of node {at} goes back to {epoch}"));
                }
                self.nodes[at].disk.promise = epoch;
            }
            Action::Fold(epoch) => {
                let node = &mut self.nodes[at];
                let live = node.live.as_mut().unwrap();
                let region = self.agreement.now().region;
                live.store.held.fold(region, epoch);
                node.disk.flush(&live.store, live.applied_at);
                node.disk.fold(LogId { region, epoch });
            }
            Action::Append(records) => self.append(at, records),
            Action::Send(to, message) => self.send(at, to, message),
            Action::Propose(command) => {
                if let Some(delay) = self.way_to_agreement(at) {
                    let life = self.nodes[at].life;
                    self.push(delay, Event::Proposal(at, life, command));
                }
            }
            Action::Extend {
                epoch,
                number,
                acked,
            } => {
                if let Some(delay) = self.way_to_agreement(at) {
                    self.push(delay, Event::Extension(at, epoch, number, acked));
                }
            }
            Action::Read(wanted) => {
                let node = &mut self.nodes[at];
                let live = node.live.as_mut().unwrap();
                let control = live.replica.control();
                let records = match &wanted {
                    Wanted::Shipment { shipment, .. } => node.disk.shipment(control, shipment),
                    Wanted::Fetch { missing, .. } => node.disk.fetch(missing),
                };
                let now = Duration::from_nanos(self.now);
                live.replica.records(now, wanted, records);
            }
            Action::Snapshot { to, epoch } => {
                let live = self.nodes[at].live.as_ref().unwrap();
                let from = live.replica.incarnation();
                let store = Box::new(live.store.clone());
                let delay = self.chance.between(20 * MILLI, 200 * MILLI);
                let reaches = self
                    .node_of(to)
                    .is_some_and(|to| !self.faults.is_cut(at, to));
                if reaches {
                    self.push(delay, Event::Snapshot(from, to, epoch, store));
                }
            }
            Action::Acknowledge {
                write: WriteId(op),
                stamp,
                copies,
            } => {
                let op = usize::try_from(op).unwrap();
                self.acknowledge(at, op, stamp, copies);
            }
            Action::Unknown(WriteId(op)) => {
                self.respond(at, usize::try_from(op).unwrap(), Outcome::Unknown);
            }
            Action::ReadRows(read) => self.read_rows(at, read),
            Action::Answer(read) => {
                let live = self.nodes[at].live.as_mut().unwrap();
                if let Some((op, row)) = live.reads.remove(&read) {
                    self.respond(at, op, outcome_of_row(&self.operations[op], row.as_deref()));
                }
            }
            Action::Abandon(read) => {
                let live = self.nodes[at].live.as_mut().unwrap();
                if let Some((op, _)) = live.reads.remove(&read) {
                    self.respond(at, op, Outcome::Failed);
                }
            }
            Action::Halt(Halted::Evicted) => {
                self.nodes[at].live = None;
                self.nodes[at].is_dead = true;
            }
            Action::Halt(Halted::Fork(fork)) => self.fail(format!("I2: node {at}: {fork}")),
        }
    }

    fn acknowledge(&mut self, at: usize, op: usize, stamp: steadfast::base::Stamp, copies: usize) {
        let (log, seq) = (stamp.log(), stamp.seq);
        let level = match &self.operations[op].ask {
            crate::history::Ask::Write { level, .. } => *level,
            other => panic!("{other:?} is acknowledged"),
        };
        let holds = |node: &&Node| {
            let in_log = node.disk.wal[..node.disk.synced]
                .iter()
                .any(|r| r.stamp == stamp);
            in_log || node.disk.flushed.held.vector().contains(log, seq)
        };
        let really = self.nodes.iter().filter(holds).count();
        if really < copies && self.lost.is_empty() && self.faults.rolled_back.is_empty() {
            self.fail(format!(
                "I18: {copies} copies of {stamp} are acknowledged, {really} are durable"
            ));
        }
        let later = self.opened.range(stamp.epoch.next()..).next();
        if let Some((epoch, opened)) = later
            && level == CommitLevel::Async
            && self.now >= opened + SILENCE.as_nanos() as u64
        {
            self.fail(format!(
                "I17: {stamp} is acknowledged at async long after epoch {epoch} has opened"
            ));
        }
        if level != CommitLevel::Async {
            self.committed.push((log, seq));
        }
        let rank = self.clients.rank(op, stamp);
        let incarnation = self.nodes[at].disk.incarnation.0;
        self.respond(
            at,
            op,
            Outcome::Acknowledged {
                rank,
                node: at,
                incarnation,
            },
        );
    }

    fn append(&mut self, at: usize, records: Vec<steadfast::replication::Logged>) {
        for record in records {
            if let Err(fork) = self.names.see(&record) {
                self.fail(fork);
            }
            let floor = self
                .floors
                .get(&record.stamp.epoch)
                .copied()
                .unwrap_or(Hlc::ZERO);
            let later = self.floors.range(record.stamp.epoch.next()..).next();
            let frozen = later.map_or(Hlc(u64::MAX), |(_, floor)| *floor);
            if record.stamp.hlc >= frozen {
                self.fail(format!(
                    "I7: {} lies above the floor of a later epoch, {frozen}",
                    record.stamp
                ));
            }
            if record.stamp.hlc <= floor || record.stamp.hlc >= self.agreement.now().ceiling {
                self.fail(format!(
                    "I7: {} lies outside of its window, above {floor}",
                    record.stamp
                ));
            }
            self.nodes[at].disk.wal.push(record);
        }
        self.sync(at);
    }

    fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(live) = &mut node.live else { return };
        if live.is_syncing || node.disk.synced == node.disk.wal.len() {
            return;
        }
        live.is_syncing = true;
        let (life, upto, slowness) = (node.life, node.disk.wal.len(), node.slowness);
        let delay = self.chance.between(MILLI / 10, 3 * MILLI) * slowness;
        self.push(delay, Event::Synced(at, life, upto));
    }

    fn on_synced(&mut self, at: usize, life: u64, upto: usize) {
        let now = self.clock();
        if self.live(at, life).is_none() {
            return;
        }
        if self.faults.fails_sync(&mut self.chance) {
            // A failed sync is never tried again: the process ends.
            *self.counts.faults.entry("sync error").or_default() += 1;
            self.crash(at);
            let delay = self.chance.between(100 * MILLI, 2_000 * MILLI);
            self.push(delay, Event::Start(at));
            return;
        }
        let node = &mut self.nodes[at];
        let live = node.live.as_mut().unwrap();
        live.is_syncing = false;
        let upto = upto.min(node.disk.wal.len()).max(node.disk.synced);
        for record in &node.disk.wal[node.disk.synced..upto] {
            live.durable.advance(record.log(), record.seq());
        }
        node.disk.synced = upto;
        let durable = live.durable.clone();
        live.replica.synced(now, &durable);
        self.go_on(at);
        self.sync(at);
        self.apply(at);
    }

    fn apply(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(live) = &mut node.live else { return };
        if live.is_applying || live.applied_at == node.disk.synced {
            return;
        }
        live.is_applying = true;
        let (life, upto) = (node.life, node.disk.synced);
        let delay = if self.chance.one_in(20) {
            self.chance.between(5 * MILLI, 100 * MILLI)
        } else {
            self.chance.below(2 * MILLI)
        };
        self.push(delay, Event::Applied(at, life, upto));
    }

    fn on_applied(&mut self, at: usize, life: u64, upto: usize) {
        let now = self.clock();
        if self.live(at, life).is_none() {
            return;
        }
        let node = &mut self.nodes[at];
        let live = node.live.as_mut().unwrap();
        live.is_applying = false;
        let upto = upto.min(node.disk.synced);
        for record in &node.disk.wal[live.applied_at.min(upto)..upto] {
            live.store.apply(record);
        }
        live.applied_at = live.applied_at.max(upto);
        let (applied, newest) = (live.store.held.vector().clone(), live.store.newest);
        live.replica.applied(now, &applied, newest);
        self.go_on(at);
        self.apply(at);
        if self.chance.one_in(50) {
            self.push(MILLI, Event::Flush(at));
        }
    }

    fn on_flush(&mut self, at: usize) {
        let release = self.faults.releases() && self.chance.percent(50);
        let node = &mut self.nodes[at];
        if let Some(live) = &node.live {
            node.disk.flush(&live.store, live.applied_at);
            if release {
                let replica = &live.replica;
                node.disk
                    .release(|record| replica.may_release(record.log(), record.seq()));
            }
        }
    }

    // ------------------------------------------------------------------------------------------- messages

    fn send(&mut self, at: usize, to: IncarnationId, message: Message) {
        let Some(other) = self.node_of(to) else {
            return;
        };
        let from = self.nodes[at].disk.incarnation;
        let Some(delay) = self.faults.way(at, other, &mut self.chance) else {
            return;
        };
        if self.faults.duplicates(&mut self.chance) {
            let later = delay + self.chance.below(50 * MILLI);
            self.push(later, Event::Peer(from, to, message.clone()));
        }
        self.push(delay, Event::Peer(from, to, message));
    }

    fn on_peer(&mut self, from: IncarnationId, to: IncarnationId, message: Message) {
        let now = self.clock();
        let Some(at) = self.node_of(to) else { return };
        let Some(live) = &mut self.nodes[at].live else {
            return;
        };
        if self.verbose
            && !matches!(&message, Message::Append(a) if a.records.is_empty())
            && !matches!(message, Message::Held(_))
        {
            println!(
                "{:>10.3} ms  node {at} hears from {from}: {}",
                self.now as f64 / 1e6,
                short(&message)
            );
        }
        live.replica.hear(now, from, message);
        self.note(at as u64);
        self.go_on(at);
    }

    fn on_snapshot(&mut self, _from: IncarnationId, to: IncarnationId, epoch: Epoch, store: Store) {
        let now = self.clock();
        let Some(at) = self.node_of(to) else { return };
        let node = &mut self.nodes[at];
        let Some(live) = &mut node.live else { return };
        if !live.replica.accepts_snapshot(epoch, store.held.vector()) {
            return;
        }
        node.disk.install(store.clone());
        node.life += 1;
        live.applied_at = 0;
        live.durable = store.held.vector().clone();
        live.is_syncing = false;
        live.is_applying = false;
        let (held, opening, newest) = (store.held.clone(), store.opening.clone(), store.newest);
        live.store = store;
        live.replica.reseeded(now, held, opening, newest);
        let life = node.life;
        *self.counts.faults.entry("(re-seeded)").or_default() += 1;
        self.log(|| format!("node {at} is re-seeded"));
        self.push(MILLI, Event::Tick(at, life));
        self.go_on(at);
    }

    // ------------------------------------------------------------------------------------------- agreement

    fn way_to_agreement(&mut self, at: usize) -> Option<u64> {
        let lost = self.faults.is_off_agreement(at) || self.chance.percent(self.faults.plan.loss);
        let delay = self.chance.between(MILLI, 6 * MILLI);
        (!lost).then_some(delay)
    }

    fn on_proposal(&mut self, at: usize, life: u64, command: Command) {
        if self.now < self.agreement.leaderless_until {
            // Its proposer hears nothing, or the next leader takes it up.
            if self.chance.percent(50) {
                let delay = self.agreement.leaderless_until - self.now;
                self.push(delay, Event::Proposal(at, life, command));
            }
            return;
        }
        let is_boot = matches!(command, Command::Boot(_));
        if let Err(why) = self.agree(command)
            && is_boot
        {
            self.push(2 * MILLI, Event::Refused(at, life, why));
        }
    }

    fn on_extension(
        &mut self,
        at: usize,
        epoch: Epoch,
        number: u64,
        acked: Vec<(IncarnationId, VersionVector)>,
    ) {
        if self.now < self.agreement.leaderless_until {
            return;
        }
        let clocks = self
            .nodes
            .iter()
            .map(|node| node.wall_millis(self.now))
            .collect();
        let ceiling = self.agreement.ceiling(clocks);
        let _stale = self.agree(Command::Extend {
            epoch,
            number,
            ceiling,
            acked,
        });
        self.note(at as u64);
    }

    /// Agrees on a command, and tells everybody in time.
    pub fn agree(&mut self, command: Command) -> Result<(), Rejection> {
        let before = Arc::clone(self.agreement.now());
        let outcome = self.agreement.apply(command.clone());
        if self.verbose && !matches!(command, Command::Extend { .. }) {
            self.log(|| {
                format!(
                    "agreed {} {command:?}: {outcome:?}",
                    self.agreement.now().index
                )
            });
        }
        self.check_agreed(&before, &command, outcome.is_ok());
        let index = self.agreement.states.len() - 1;
        for at in 0..self.nodes.len() {
            if !self.faults.is_off_agreement(at) {
                let delay = self.chance.between(MILLI / 2, 8 * MILLI);
                self.push(delay, Event::Learn(at, index));
            }
        }
        outcome
    }

    fn on_learn(&mut self, at: usize, index: usize) {
        if self.faults.is_off_agreement(at) {
            return;
        }
        let node = &mut self.nodes[at];
        if index > node.learnt {
            node.learnt = index;
        }
        let state = Arc::clone(&self.agreement.states[node.learnt]);
        let now = Duration::from_nanos(self.now);
        if let Some(live) = &mut node.live
            && live.replica.control().index <= state.index
        {
            live.replica.agree(now, state);
            self.go_on(at);
        }
    }

    fn check_agreed(&mut self, before: &ControlState, command: &Command, is_ok: bool) {
        if !is_ok {
            return;
        }
        let after = Arc::clone(self.agreement.now());
        if let Command::Begin { .. } = command {
            let attempt = after.attempt.as_ref().unwrap();
            self.floors.insert(attempt.epoch, before.ceiling);
        }
        if let Command::Open { epoch } = command
            && before.open_epoch() < *epoch
        {
            self.counts.epochs += 1;
            self.opened.insert(*epoch, self.now);
            let basis = before.open.as_ref().map(|open| open.members.clone());
            let Some(basis) = basis else { return };
            let is_unsound = |member: &IncarnationId| {
                self.lost.contains(member) || self.faults.rolled_back.contains(member)
            };
            if basis.iter().any(is_unsound) {
                return;
            }
            let promised = |member: &&IncarnationId| {
                self.node_of(**member)
                    .is_some_and(|at| self.nodes[at].disk.promise >= *epoch)
            };
            let sealed = basis.iter().filter(promised).count();
            if sealed < seal_size(basis.len()) {
                self.fail(format!(
                    "I13: epoch {epoch} opens with {sealed} of {} sealed",
                    basis.len()
                ));
            }
        }
    }

    // ------------------------------------------------------------------------------------------- reads

    pub fn new_read(&mut self) -> ReadId {
        self.next_read += 1;
        ReadId(self.next_read)
    }

    fn read_rows(&mut self, at: usize, read: ReadId) {
        let now = self.clock();
        let live = self.nodes[at].live.as_mut().unwrap();
        let Some((op, row)) = live.reads.get_mut(&read) else {
            return;
        };
        let op = *op;
        let found = live.store.rows.get(&self.clients.place(op)).cloned();
        if self.clients.is_quorum_read(op) {
            live.reads.remove(&read);
            let vouched = live.replica.vouch();
            let from = live.replica.incarnation();
            if let Some(delay) = self.faults.way_to_client(&mut self.chance) {
                self.push(delay, Event::Vouched(op, from, vouched, found));
            }
            return;
        }
        let records = found.iter().map(|row| {
            let (_, stamp, _) = read_row(row);
            (stamp.log(), stamp.seq)
        });
        let records = records.collect();
        *row = found;
        live.replica.rows(now, read, records);
    }

    pub fn respond(&mut self, _at: usize, op: usize, outcome: Outcome) {
        if let Some(delay) = self.faults.way_to_client(&mut self.chance) {
            self.push(delay, Event::Response(op, outcome));
        }
    }

    // ------------------------------------------------------------------------------------------- checks

    fn check_node(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(live) = &node.live else { return };
        if let Some(epoch) = live.replica.serves() {
            let process = (at, node.life);
            let first = self.served.get(&epoch).copied();
            if first.is_none() {
                let lacks =
                    |(log, seq): &&(LogId, Seq)| !live.store.held.vector().contains(*log, *seq);
                let lacking = self.committed.iter().find(lacks).copied();
                if let Some((log, seq)) = lacking {
                    self.fail(format!("I12: epoch {epoch} opens at node {at} without {log} {seq}, which was acknowledged at quorum"));
                }
                self.served.insert(epoch, process);
                self.log(|| format!("node {at} serves epoch {epoch}"));
            } else if first != Some(process) {
                self.fail(format!(
                    "I1: epoch {epoch} is served by {first:?} and {process:?}"
                ));
            }
        }
        self.check_opening(at);
    }

    /// I27: a member in an epoch holds nothing that the epoch's primary does not hold.
    fn check_opening(&mut self, at: usize) {
        let live = self.nodes[at].live.as_ref().unwrap();
        let member = live.replica.member();
        let Some(opening) = member.opening() else {
            return;
        };
        let epoch = opening.log.epoch;
        if epoch != member.promise() {
            return;
        }
        let primary = self
            .nodes
            .iter()
            .filter_map(|node| node.live.as_ref())
            .find(|live| live.replica.serves() == Some(epoch));
        let Some(primary) = primary else { return };
        let held = primary.replica.member().appended().vector();
        if !self
            .agreement
            .now()
            .covers(held, member.appended().vector())
        {
            let (held, has) = (held.to_string(), member.appended().vector().to_string());
            self.fail(format!(
                "I27: node {at} holds {has} in epoch {epoch}, its primary {held}"
            ));
        }
    }

    /// I22: equal positions mean equal rows.
    pub fn check_equal(&mut self) {
        let mut seen: Vec<(&VersionVector, &Store)> = Vec::new();
        let mut differ = None;
        for live in self.nodes.iter().filter_map(|node| node.live.as_ref()) {
            let held = live.store.held.vector();
            let other = seen.iter().find(|(other, _)| *other == held);
            if other.is_some_and(|(_, other)| other.rows != live.store.rows) {
                differ = Some(held.to_string());
            }
            seen.push((held, &live.store));
        }
        if let Some(held) = differ {
            self.fail(format!("I22: two nodes hold {held} and different rows"));
        }
    }

    /// After everything has healed: nothing acknowledged is missing, and all are equal.
    pub fn check_end(&mut self) {
        let control = Arc::clone(self.agreement.now());
        let Some(primary) = self.primary() else {
            return self.fail("no primary serves after everything has healed");
        };
        let rows = &self.nodes[primary].live.as_ref().unwrap().store;
        for (at, node) in self.nodes.iter().enumerate() {
            let store = &node.live.as_ref().unwrap().store;
            if !control.covers(store.held.vector(), rows.held.vector()) || store.rows != rows.rows {
                let differs = format!(
                    "I22: node {at} holds {} and {} rows, the primary {} and {} rows",
                    store.held.vector(),
                    store.rows.len(),
                    rows.held.vector(),
                    rows.rows.len()
                );
                return self.fail(differs);
            }
        }
        let active = control
            .logs
            .iter()
            .filter(|(_, log)| **log == LogState::Active)
            .count();
        if active != 1 && self.lost.is_empty() {
            return self.fail(format!(
                "{active} logs are active after everything has healed: {:?}",
                control.logs
            ));
        }
        for op in 0..self.operations.len() {
            let operation = &self.operations[op];
            let Outcome::Acknowledged {
                rank, incarnation, ..
            } = operation.outcome
            else {
                continue;
            };
            let is_async = matches!(
                operation.ask,
                crate::history::Ask::Write {
                    level: CommitLevel::Async,
                    ..
                }
            );
            if is_async
                && (self.lost.contains(&IncarnationId(incarnation))
                    || self
                        .faults
                        .rolled_back
                        .contains(&IncarnationId(incarnation)))
            {
                continue;
            }
            let place = self.clients.place(op);
            let found = rows
                .rows
                .get(&place)
                .map(|row| self.clients.rank_of(op, read_row(row)));
            if found < Some(rank) {
                return self.fail(format!(
                    "an acknowledged write is gone: {operation:?}, found {found:?}"
                ));
            }
        }
        if let Err(what) = crate::history::judge(&self.operations) {
            self.fail(what);
        }
    }

    /// Q2 and Q3: the row that W members of one epoch name as theirs.
    fn on_vouched(
        &mut self,
        op: usize,
        from: IncarnationId,
        vouched: Option<Vouched>,
        row: Option<Vec<u8>>,
    ) {
        let Some(vouched) = vouched else { return };
        if self.operations[op].outcome != Outcome::Open {
            return;
        }
        let answers = self.clients.answers(op);
        answers.insert(from, (vouched, row));
        let decided = answers.values().find(|(vouched, row)| {
            let alike =
                |(member, (other, named)): &(&IncarnationId, &(Vouched, Option<Vec<u8>>))| {
                    let counts = vouched.members.contains(member) || !Rule::ReadMembers.holds();
                    let is_same_epoch = other.epoch == vouched.epoch || !Rule::ReadSize.holds();
                    counts && is_same_epoch && (named == row || !Rule::ReadAgree.holds())
                };
            let needed = if Rule::ReadSize.holds() {
                commit_size(vouched.members.len())
            } else {
                1
            };
            answers.iter().filter(alike).count() >= needed
        });
        if let Some((_, row)) = decided {
            let outcome = outcome_of_row(&self.operations[op], row.as_deref());
            self.on_response(op, outcome);
        }
    }
}

fn outcome_of_row(operation: &Operation, row: Option<&[u8]>) -> Outcome {
    let Some((event_time, stamp, value)) = row.map(read_row) else {
        return Outcome::Read {
            rank: None,
            value: None,
        };
    };
    let event_time = if operation.order == steadfast::model::Order::EventTime {
        event_time
    } else {
        0
    };
    Outcome::Read {
        rank: Some((event_time, stamp)),
        value,
    }
}

fn short(message: &Message) -> String {
    match message {
        Message::Append(append) => {
            let records: Vec<String> = append
                .records
                .iter()
                .map(|r| format!("{}:{}", r.stamp.epoch, r.seq()))
                .collect();
            format!("append in {} of {}", append.epoch, records.join(" "))
        }
        Message::Fetched(fetched) => {
            format!("fetched {:?}", fetched.records.as_ref().map(Vec::len))
        }
        other => format!("{other:?}").chars().take(200).collect(),
    }
}
