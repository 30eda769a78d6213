//! What a process does: its start and end, its ticks, and what its replica asks of disk and store.

use std::sync::Arc;
use std::time::Duration;

use steadfast::base::{IncarnationId, LogId, Missing};
use steadfast::control::{Command, Rejection, Role};
use steadfast::node;
use steadfast::replica::{Action, Fault as Halted, Refused, Wanted, WriteId};
use steadfast::replication::Logged;

use crate::disk::{Disk, Snapshot};
use crate::reads::outcome_of_row;
use crate::world::{Event, MILLI, World};

impl World {
    pub fn on_start(&mut self, at: usize) {
        if self.nodes[at].live.is_some() || self.nodes[at].is_dead {
            return;
        }
        let token = self.chance.next();
        let control = Arc::clone(&self.agreement.states[self.nodes[at].learnt]);
        let now = self.clock();
        self.nodes[at].start(at, &control, now, token);
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
        self.reset(at);
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
        self.unsound.insert(lost, self.now);
        let node = &mut self.nodes[at];
        node.disk = Disk::empty(IncarnationId(self.next_incarnation));
        node.backup = None;
        node.is_dead = false;
        self.next_incarnation += 1;
        self.log(|| format!("node {at} loses its disk"));
        self.register(at);
    }

    pub fn register(&mut self, at: usize) {
        let incarnation = self.nodes[at].disk.incarnation;
        let role = Role::Data;
        self.agree(Command::Register { incarnation, role })
            .expect("a new incarnation is not evicted");
    }

    pub fn on_refused(&mut self, at: usize, life: u64, why: &Rejection) {
        if self.live(at, life).is_none() {
            return;
        }
        self.log(|| format!("node {at} is refused: {why}"));
        self.nodes[at].live = None;
        self.nodes[at].is_dead = true;
        let allowed = self.is_unsound(self.nodes[at].disk.incarnation);
        if !allowed {
            self.fail(format!(
                "node {at} is refused though its disk is sound: {why}"
            ));
        }
    }

    pub fn on_tick(&mut self, at: usize, life: u64) {
        let now = self.clock();
        let Some(live) = self.live(at, life) else {
            return;
        };
        live.replica.tick(now);
        self.go_on(at);
        let delay = self.chance.between(15 * MILLI, 25 * MILLI);
        self.push(delay, Event::Tick(at, life));
    }

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

    pub fn carry_out(&mut self, at: usize, action: Action) {
        match action {
            Action::Promise(epoch) => {
                if epoch < self.nodes[at].disk.promise {
                    self.fail(format!("I4: the promise of node {at} goes back to {epoch}"));
                }
                self.nodes[at].disk.promise = epoch;
                self.note_promise(at);
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
                let unspread = live.replica.control().unspread(live.store.held.vector());
                let goes = |record: &Logged| {
                    let is_of = |tail: &&Missing| tail.log == record.log();
                    let tail = unspread.iter().find(is_of);
                    tail.is_some_and(|tail| tail.after < record.seq())
                };
                let snapshot = Box::new(Snapshot {
                    store: live.store.clone(),
                    tail: self.nodes[at].disk.tail(live.applied_at, goes),
                });
                let delay = self.chance.between(20 * MILLI, 200 * MILLI);
                let reaches = self
                    .node_of(to)
                    .is_some_and(|to| !self.faults.is_cut(at, to));
                if reaches {
                    self.push(delay, Event::Snapshot(from, to, epoch, snapshot));
                }
            }
            Action::Acknowledge {
                write: WriteId(number),
                stamp,
                copies,
            } => {
                let number = usize::try_from(number).unwrap();
                let op = self.clients.sent[number].op;
                let outcome = self.acknowledge(at, op, stamp, copies);
                self.respond(number, Ok(outcome));
            }
            Action::Unknown(WriteId(number)) => {
                let reason = "this node ceased to be primary before it was acknowledged".to_owned();
                let stamp = None;
                let unknown = node::Error::Unknown { reason, stamp };
                self.fail_call(usize::try_from(number).unwrap(), unknown);
            }
            Action::ReadRows(read) => self.read_rows(at, read),
            Action::Answer(read) => {
                let live = self.nodes[at].live.as_mut().unwrap();
                if let Some((number, row)) = live.reads.remove(&read) {
                    let op = self.clients.sent[number].op;
                    let outcome = outcome_of_row(&self.operations[op], row.as_deref());
                    self.respond(number, Ok(outcome));
                }
            }
            Action::Abandon(read) => {
                let live = self.nodes[at].live.as_mut().unwrap();
                if let Some((number, _)) = live.reads.remove(&read)
                    && !self.clients.gathers.contains_key(&number)
                {
                    self.refuse(number, at, Refused::NotPrimary);
                }
            }
            Action::Halt(Halted::Evicted) => {
                self.nodes[at].live = None;
                self.nodes[at].is_dead = true;
            }
            Action::Halt(Halted::Fork(fork)) => self.fail(format!("I2: node {at}: {fork}")),
        }
    }

    pub fn append(&mut self, at: usize, records: Vec<Logged>) {
        for record in records {
            self.check_name(&record);
            self.check_window(record.stamp);
            self.nodes[at].disk.wal.push(record);
        }
        self.sync(at);
    }

    pub fn sync(&mut self, at: usize) {
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

    pub fn on_synced(&mut self, at: usize, life: u64, upto: usize) {
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

    pub fn apply(&mut self, at: usize) {
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

    pub fn on_applied(&mut self, at: usize, life: u64, upto: usize) {
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

    pub fn on_flush(&mut self, at: usize) {
        let release = self.faults.releases() && self.chance.percent(50);
        let node = &mut self.nodes[at];
        let Some(live) = &node.live else { return };
        node.disk.flush(&live.store, live.applied_at);
        if release {
            let before = node.disk.released;
            let replica = &live.replica;
            node.disk
                .release(|record| replica.may_release(record.log(), record.seq()));
            let released = node.disk.wal[before..node.disk.released].to_vec();
            self.check_released(at, &released);
        }
    }
}
