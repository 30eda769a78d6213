//! What goes between nodes, and between them and the agreement.

use std::sync::Arc;
use std::time::Duration;

use steadfast::base::{Epoch, IncarnationId, VersionVector};
use steadfast::control::{Command, Rejection};
use steadfast::replication::Message;

use crate::disk::Snapshot;
use crate::world::{Event, MILLI, World};

impl World {
    pub fn send(&mut self, at: usize, to: IncarnationId, message: Message) {
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

    pub fn on_peer(&mut self, from: IncarnationId, to: IncarnationId, message: Message) {
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

    pub fn on_snapshot(
        &mut self,
        _from: IncarnationId,
        to: IncarnationId,
        epoch: Epoch,
        snapshot: Snapshot,
    ) {
        let Some(at) = self.node_of(to) else { return };
        let Some(live) = &self.nodes[at].live else {
            return;
        };
        if !live
            .replica
            .accepts_snapshot(epoch, snapshot.store.held.vector())
        {
            return;
        }
        self.check_snapshot(at, &snapshot);
        // Its process goes on with the new store as one that has just started.
        self.crash(at);
        let region = self.agreement.now().region;
        self.nodes[at].disk.install(region, snapshot);
        *self.counts.faults.entry("(re-seeded)").or_default() += 1;
        self.log(|| format!("node {at} is re-seeded"));
        let delay = self.chance.between(MILLI, 100 * MILLI);
        self.push(delay, Event::Start(at));
    }

    pub fn way_to_agreement(&mut self, at: usize) -> Option<u64> {
        let lost = self.faults.is_off_agreement(at) || self.chance.percent(self.faults.plan.loss);
        let delay = self.chance.between(MILLI, 6 * MILLI);
        (!lost).then_some(delay)
    }

    pub fn on_proposal(&mut self, at: usize, life: u64, command: Command) {
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

    pub fn on_extension(
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
        if outcome.is_ok() {
            self.check_agreed(&before, &command);
        }
        let index = self.agreement.states.len() - 1;
        for at in 0..self.nodes.len() {
            if !self.faults.is_off_agreement(at) {
                let delay = self.chance.between(MILLI / 2, 8 * MILLI);
                self.push(delay, Event::Learn(at, index));
            }
        }
        outcome
    }

    pub fn on_learn(&mut self, at: usize, index: usize) {
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
