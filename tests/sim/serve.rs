//! What a node does with a call, and what it says if it does not carry it out: the same as the server does.

use std::sync::Arc;

use bytes::Bytes;
use steadfast::base::{CommitLevel, Micros, Stamp};
use steadfast::client::Error;
use steadfast::model::cells::put_cell;
use steadfast::model::record::{Body, RequestId, RowGroup, RowWrite, Rows};
use steadfast::model::view::FeatureId;
use steadfast::model::{Digest, MergeMode, Scalar, Value, ValueType};
use steadfast::node::{self, Primary};
use steadfast::read::Gather;
use steadfast::replica::{Refused, WriteId};
use steadfast::server::status::Failure;
use tonic::Status;

use crate::caller::{Answer, Sent};
use crate::operation::Ask;
use crate::world::{Event, MILLI, World};

impl World {
    pub fn on_request(&mut self, number: usize, at: usize) {
        let now = self.clock();
        if self.nodes[at].live.is_none() {
            let nobody = Error::unavailable("connection refused".to_owned());
            return self.respond(number, Err(Box::new(nobody)));
        }
        let Sent { op, is_over, .. } = self.clients.sent[number];
        match self.operations[op].ask {
            // What was on its way when its client gave up is carried out all the same.
            Ask::Write { level, .. } => {
                if let Err(refused) = self.write(number, at, level) {
                    self.refuse(number, at, refused);
                }
            }
            _ if is_over => {}
            Ask::ReadPrimary => {
                let read = self.new_read();
                let live = self.nodes[at].live.as_mut().unwrap();
                live.reads.insert(read, (number, None));
                if let Err(refused) = live.replica.read_primary(now, read) {
                    live.reads.remove(&read);
                    self.refuse(number, at, refused);
                }
            }
            Ask::ReadLocal => match self.read_local(op, at) {
                Ok(outcome) => self.respond(number, Ok(outcome)),
                Err(error) => self.fail_call(number, error),
            },
            Ask::ReadQuorum => {
                let life = self.nodes[at].life;
                let gather = Gather::new(1);
                self.clients.gathers.insert(number, (life, gather));
                self.on_ask_again(number);
            }
        }
        self.go_on(at);
    }

    /// As the node's writer does it: what was written under a request id is not written again.
    fn write(&mut self, number: usize, at: usize, level: CommitLevel) -> Result<(), Refused> {
        let now = self.clock();
        let wall = self.nodes[at].wall_millis(self.now);
        let op = self.clients.sent[number].op;
        let Ask::Write {
            value, is_named, ..
        } = self.operations[op].ask
        else {
            unreachable!()
        };
        let live = self.nodes[at].live.as_mut().unwrap();
        live.replica.admits(now, level)?;
        if is_named {
            let held = live.store.held.vector();
            let is_applied = |stamp: &Stamp| held.contains(stamp.log(), stamp.seq);
            if !live.recent.get(&op).is_none_or(is_applied) {
                self.push(MILLI, Event::Request(number, at));
                return Ok(());
            }
            if let Some(stamp) = live.store.requests.get(&op).copied() {
                self.counts.repeated += 1;
                let write = WriteId(number as u64);
                return live.replica.await_level(now, stamp, level, write);
            }
        }
        let turn = match live.replica.stamp(wall) {
            Err(Refused::AtCeiling) => {
                self.push(5 * MILLI, Event::Request(number, at));
                return Ok(());
            }
            turn => turn?,
        };
        self.check_above_visible(at, turn.hlc);
        let body = self.body(op, value);
        let request = is_named.then(|| RequestId {
            caller: String::new(),
            id: op.to_string(),
            body_hash: Digest::EMPTY,
        });
        let live = self.nodes[at].live.as_mut().unwrap();
        let write = Some((WriteId(number as u64), level));
        let stamp = live.replica.append(now, turn, request, body, write)?;
        live.recent.insert(op, stamp);
        self.log(|| format!("attempt {number} makes {stamp} of call {op} at node {at}"));
        self.check_carried_out(op, at);
        self.operations[op].records.push(stamp);
        Ok(())
    }

    fn body(&self, op: usize, value: u64) -> Body {
        let mut cells = Vec::new();
        let int64 = ValueType::Scalar(Scalar::Int64);
        let value = Value::Int64(i64::try_from(value).unwrap());
        put_cell(&mut cells, FeatureId(1), int64, &value);
        let (view, key) = self.clients.place(op);
        let row = RowWrite {
            key,
            event_time: Micros(self.operations[op].event_time),
            cells: Some(Bytes::from(cells)),
        };
        Body::Rows(Rows {
            older: 0,
            folded: 0,
            groups: vec![RowGroup {
                view,
                merge: MergeMode::Row,
                order: self.operations[op].order,
                rows: vec![row],
            }],
        })
    }

    /// A node does not carry a call out.
    pub fn refuse(&mut self, number: usize, at: usize, refused: Refused) {
        let live = self.nodes[at].live.as_ref();
        let control = Arc::clone(live.unwrap().replica.control());
        let primary = Primary::elsewhere(&control, self.nodes[at].disk.incarnation);
        self.fail_call(number, node::Error::refused(refused, primary));
    }

    /// What a client is told of an error.
    pub fn fail_call(&mut self, number: usize, error: node::Error) {
        let status = Status::from(Failure::from(error));
        let Sent { op, .. } = self.clients.sent[number];
        let failure = Error::from_status(&status, self.operations[op].manner().effect);
        self.respond(number, Err(Box::new(failure)));
    }

    pub fn respond(&mut self, number: usize, answer: Answer) {
        let Sent { op, at, .. } = self.clients.sent[number];
        let client = self.operations[op].client;
        if let Some(delay) = self.way_of_call(client, at) {
            self.push(delay, Event::Response(number, answer));
        }
    }
}
