//! Clients in a closed loop: writes at every level with unique values, strong reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast::base::{CommitLevel, LineageId, Micros};
use steadfast::model::cells::put_cell;
use steadfast::model::record::{Body, RowGroup, RowWrite, Rows};
use steadfast::model::view::FeatureId;
use steadfast::model::{EntityKey, KeyValue, MergeMode, Order, Scalar, Value, ValueType, ViewId};
use steadfast::read::Gather;
use steadfast::read::Token;
use steadfast::replica::WriteId;

use crate::chance::Chance;
use crate::operation::{Ask, Operation, Outcome};
use crate::world::{Event, MILLI, World};

const KEYS: u64 = 3;
const TIMEOUT: u64 = 1_500 * MILLI;

pub struct Clients {
    pub count: usize,
    pub is_stopped: bool,
    /// What each client last found to be primary.
    believes: Vec<usize>,
    /// Of each operation: its client, its row, and whether it is a quorum read with which answers so far.
    /// What each client's session has seen.
    pub tokens: Vec<Token>,
    places: Vec<(ViewId, EntityKey)>,
    answers: BTreeMap<usize, Gather<Vec<u8>>>,
    asks_quorum: Vec<bool>,
}

impl Clients {
    pub fn new(chance: &mut Chance) -> Clients {
        let count = usize::try_from(chance.between(3, 7)).unwrap();
        Clients {
            count,
            is_stopped: false,
            believes: vec![0; count],
            tokens: vec![Token::new(LineageId(1)); count],
            places: Vec::new(),
            answers: BTreeMap::new(),
            asks_quorum: Vec::new(),
        }
    }

    pub fn place(&self, op: usize) -> (ViewId, EntityKey) {
        self.places[op].clone()
    }

    pub fn is_quorum_read(&self, op: usize) -> bool {
        self.asks_quorum[op]
    }

    pub fn answers(&mut self, op: usize) -> &mut Gather<Vec<u8>> {
        self.answers.entry(op).or_insert_with(|| Gather::new(1))
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
        let ask = match self.chance.below(10) {
            0..=2 => Ask::Write {
                value: op as u64 + 1,
                level: CommitLevel::Quorum,
            },
            3..=4 => Ask::Write {
                value: op as u64 + 1,
                level: CommitLevel::Async,
            },
            5 => Ask::Write {
                value: op as u64 + 1,
                level: CommitLevel::All,
            },
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
        self.clients.asks_quorum.push(ask == Ask::ReadQuorum);
        self.operations.push(Operation {
            order,
            client,
            key,
            event_time,
            ask: ask.clone(),
            begun: self.now,
            ended: u64::MAX,
            outcome: Outcome::Open,
        });
        self.push(TIMEOUT, Event::Timeout(op));
        if ask == Ask::ReadQuorum {
            self.on_ask_again(op);
            return;
        }
        if self.chance.one_in(8) || ask == Ask::ReadLocal {
            self.clients.believes[client] = self.chance.index(self.nodes.len());
        }
        let at = self.clients.believes[client];
        if let Some(delay) = self.faults.way_to_client(&mut self.chance) {
            self.push(delay, Event::Request(op, at));
        }
    }

    pub fn on_ask_again(&mut self, op: usize) {
        if self.operations[op].outcome != Outcome::Open {
            return;
        }
        for at in 0..self.nodes.len() {
            if let Some(delay) = self.faults.way_to_client(&mut self.chance) {
                self.push(delay, Event::Ask(op, at));
            }
        }
        self.push(100 * MILLI, Event::AskAgain(op));
    }

    pub fn on_ask(&mut self, op: usize, at: usize) {
        let now = self.clock();
        let read = self.new_read();
        let Some(live) = &mut self.nodes[at].live else {
            return;
        };
        if !live.replica.takes_part() {
            return;
        }
        live.reads.insert(read, (op, None));
        live.replica.read_for_quorum(now, read);
        self.go_on(at);
    }

    pub fn on_request(&mut self, op: usize, at: usize) {
        let now = self.clock();
        let ask = self.operations[op].ask.clone();
        if self.nodes[at].live.is_none() {
            let refused = if matches!(ask, Ask::Write { .. }) {
                Outcome::Refused
            } else {
                Outcome::Failed
            };
            return self.respond(op, refused);
        }
        match ask {
            Ask::Write { value, level } => {
                if !self.write(op, at, value, level) {
                    self.respond(op, Outcome::Refused);
                }
            }
            Ask::ReadPrimary => {
                let read = self.new_read();
                let live = self.nodes[at].live.as_mut().unwrap();
                live.reads.insert(read, (op, None));
                if live.replica.read_primary(now, read).is_err() {
                    live.reads.remove(&read);
                    self.respond(op, Outcome::Failed);
                }
            }
            Ask::ReadLocal => {
                let outcome = self.read_local(op, at);
                self.respond(op, outcome);
            }
            Ask::ReadQuorum => {}
        }
        self.go_on(at);
    }

    fn write(&mut self, op: usize, at: usize, value: u64, level: CommitLevel) -> bool {
        let now = self.clock();
        let wall = self.nodes[at].wall_millis(self.now);
        let live = self.nodes[at].live.as_mut().unwrap();
        if live.replica.admits(now, level).is_err() {
            return false;
        }
        let Ok(turn) = live.replica.stamp(wall) else {
            return false;
        };
        self.check_above_visible(at, turn.hlc);
        let mut cells = Vec::new();
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(
            &mut cells,
            FeatureId(1),
            int64,
            &Value::Int64(i64::try_from(value).unwrap()),
        );
        let (view, key) = self.clients.place(op);
        let row = RowWrite {
            key,
            event_time: Micros(self.operations[op].event_time),
            cells: Some(Bytes::from(cells)),
        };
        let group = RowGroup {
            view,
            merge: MergeMode::Row,
            order: self.operations[op].order,
            rows: vec![row],
        };
        let body = Body::Rows(Rows {
            older: 0,
            folded: 0,
            groups: vec![group],
        });
        let live = self.nodes[at].live.as_mut().unwrap();
        live.replica
            .append(now, turn, None, body, Some((WriteId(op as u64), level)))
            .is_ok()
    }

    /// Nobody waits any longer, at the client or at the nodes.
    pub fn on_timeout(&mut self, op: usize) {
        for live in self.nodes.iter_mut().filter_map(|node| node.live.as_mut()) {
            live.replica.forget(WriteId(op as u64));
            let reads = live.reads.iter().filter(|(_, (of, _))| *of == op);
            let reads: Vec<_> = reads.map(|(read, _)| *read).collect();
            for read in reads {
                live.reads.remove(&read);
                live.replica.drop_read(read);
            }
        }
        self.on_response(op, Outcome::Unknown);
    }

    pub fn on_response(&mut self, op: usize, outcome: Outcome) {
        if self.operations[op].outcome != Outcome::Open {
            return;
        }
        let is_read = !matches!(self.operations[op].ask, Ask::Write { .. });
        let outcome = if is_read && outcome == Outcome::Unknown {
            Outcome::Failed
        } else {
            outcome
        };
        let client = self.operations[op].client;
        let counts = &mut self.counts;
        match &outcome {
            Outcome::Acknowledged { node, .. } => {
                self.clients.believes[client] = *node;
                let Ask::Write { level, .. } = self.operations[op].ask else {
                    unreachable!()
                };
                let level = match level {
                    CommitLevel::Async => "async",
                    CommitLevel::Quorum => "quorum",
                    CommitLevel::All => "all",
                };
                *counts.acknowledged.entry(level).or_default() += 1;
            }
            Outcome::Read { .. } if self.operations[op].ask == Ask::ReadLocal => {
                counts.local_reads += 1;
            }
            Outcome::Read { .. } => counts.strong_reads += 1,
            Outcome::Unrecovered => {
                counts.unrecovered += 1;
                self.clients.tokens[client] = Token::new(LineageId(1));
            }
            Outcome::Unknown => counts.unknown += 1,
            Outcome::Refused | Outcome::Failed => {
                counts.refused += 1;
                self.clients.believes[client] = self.chance.index(self.nodes.len());
            }
            Outcome::Open => {}
        }
        let is_of_session = self.operations[op].is_of_session();
        if let (
            true,
            Outcome::Acknowledged { rank, .. }
            | Outcome::Read {
                rank: Some(rank), ..
            },
        ) = (is_of_session, &outcome)
        {
            let is_committed = self.operations[op].is_committed();
            self.clients.tokens[client].see(rank.1.log(), rank.1.seq, is_committed);
        }
        self.operations[op].outcome = outcome;
        self.operations[op].ended = self.now;
        self.clients.answers.remove(&op);
        let pause = self.chance.below(40 * MILLI);
        self.push(pause, Event::Client(client));
    }
}
