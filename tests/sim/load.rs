//! Clients in a closed loop: writes at every level with unique values, strong and local reads.

use std::collections::BTreeMap;

use steadfast::base::{CommitLevel, LineageId};
use steadfast::model::{EntityKey, KeyValue, Order, ViewId};
use steadfast::read::{Gather, Token};

use crate::caller::{Caller, Sent};
use crate::chance::Chance;
use crate::operation::{Ask, Operation, Outcome};
use crate::world::{Event, MILLI, World};

const KEYS: u64 = 3;

pub struct Clients {
    pub callers: Vec<Caller>,
    pub is_stopped: bool,
    places: Vec<(ViewId, EntityKey)>,
    /// Every attempt of every call, in the order in which they were sent.
    pub sent: Vec<Sent>,
    /// Quorum reads under way, with the life of the node that asks, and what was named so far.
    pub gathers: BTreeMap<usize, (u64, Gather<Vec<u8>>)>,
}

impl Clients {
    pub fn new(nodes: usize, chance: &mut Chance) -> Clients {
        let count = chance.between(3, 7);
        Clients {
            callers: (0..count).map(|_| Caller::new(nodes, chance)).collect(),
            is_stopped: false,
            places: Vec::new(),
            sent: Vec::new(),
            gathers: BTreeMap::new(),
        }
    }

    /// The row of an operation.
    pub fn place(&self, op: usize) -> (ViewId, EntityKey) {
        self.places[op].clone()
    }
}

impl World {
    /// A client begins its next operation.
    pub fn on_client(&mut self, client: usize) {
        if self.clients.is_stopped {
            return;
        }
        let op = self.operations.len();
        let order = if self.chance.one_in(2) {
            Order::EventTime
        } else {
            Order::Arrival
        };
        let key = self.chance.below(KEYS);
        let kind = self.chance.below(10);
        let is_named = !self.chance.one_in(4);
        let write = |level| Ask::Write {
            value: op as u64 + 1,
            level,
            is_named,
        };
        let ask = match kind {
            0..=2 => write(CommitLevel::Quorum),
            3..=4 => write(CommitLevel::Async),
            5 => write(CommitLevel::All),
            6 => Ask::ReadPrimary,
            7 => Ask::ReadLocal,
            _ => Ask::ReadQuorum,
        };
        let view = ViewId(if order == Order::EventTime { 1 } else { 2 });
        let event_time = i64::try_from(self.now / 1_000).unwrap()
            + i64::try_from(self.chance.below(2_000_000)).unwrap()
            - 1_000_000;
        self.clients.places.push((
            view,
            EntityKey::encode([&KeyValue::Int64(i64::try_from(key).unwrap())]),
        ));
        self.operations.push(Operation {
            order,
            client,
            key,
            event_time,
            ask,
            begun: self.now,
            ended: u64::MAX,
            outcome: Outcome::Open,
            records: Vec::new(),
        });
        self.call(op);
    }

    /// A client is told what its operation came to, and begins the next one soon.
    pub fn end(&mut self, op: usize, outcome: Outcome) {
        let operation = &self.operations[op];
        let client = operation.client;
        let counts = &mut self.counts;
        match &outcome {
            Outcome::Acknowledged { .. } => {
                let level = match operation.level() {
                    CommitLevel::Async => "async",
                    CommitLevel::Quorum => "quorum",
                    CommitLevel::All => "all",
                };
                *counts.acknowledged.entry(level).or_default() += 1;
            }
            Outcome::Read { .. } if operation.ask == Ask::ReadLocal => counts.local_reads += 1,
            Outcome::Read { .. } => counts.strong_reads += 1,
            Outcome::Unrecovered => {
                counts.unrecovered += 1;
                self.clients.callers[client].token = Token::new(LineageId(1));
            }
            Outcome::Unknown => counts.unknown += 1,
            Outcome::Refused | Outcome::Failed => counts.refused += 1,
            Outcome::Open => {}
        }
        if let (
            true,
            Outcome::Acknowledged { rank, .. }
            | Outcome::Read {
                rank: Some(rank), ..
            },
        ) = (operation.is_of_session(), &outcome)
        {
            let is_committed = operation.is_committed();
            let token = &mut self.clients.callers[client].token;
            token.see(rank.1.log(), rank.1.seq, is_committed);
        }
        self.check_told(op, &outcome);
        self.log(|| format!("call {op} comes to {outcome:?}"));
        self.operations[op].outcome = outcome;
        self.operations[op].ended = self.now;
        let pause = self.chance.below(40 * MILLI);
        self.push(pause, Event::Client(client));
    }
}
