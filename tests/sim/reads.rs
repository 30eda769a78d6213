//! Strong reads, from a node's rows to a client's answer.

use steadfast::base::IncarnationId;
use steadfast::read::{Verdict, judge};
use steadfast::replica::ReadId;
use steadfast::replication::Vouched;

use crate::disk::read_row;
use crate::operation::{Operation, Outcome};
use crate::world::{Event, World};

impl World {
    pub fn new_read(&mut self) -> ReadId {
        self.next_read += 1;
        ReadId(self.next_read)
    }

    pub fn read_rows(&mut self, at: usize, read: ReadId) {
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

    pub fn respond(&mut self, op: usize, outcome: Outcome) {
        if let Some(delay) = self.faults.way_to_client(&mut self.chance) {
            self.push(delay, Event::Response(op, outcome));
        }
    }

    /// Reads a node's own row, if the node holds what the client's session has seen.
    pub fn read_local(&mut self, op: usize, at: usize) -> Outcome {
        let now = self.clock();
        let live = self.nodes[at].live.as_ref().unwrap();
        let token = &mut self.clients.tokens[self.operations[op].client];
        let (control, store) = (live.replica.control(), &live.store);
        match judge(token, control, store.held.vector(), store.opening.as_ref()) {
            Verdict::Satisfied => token.settle(store.held.vector()),
            Verdict::Unrecovered | Verdict::Forgotten => return Outcome::Unrecovered,
            Verdict::Wait | Verdict::OtherLineage => return Outcome::Failed,
        }
        let row = store.rows.get(&self.clients.place(op));
        let mut outcome = outcome_of_row(&self.operations[op], row.map(Vec::as_slice));
        if let Outcome::Read { staleness, .. } = &mut outcome {
            let known = live.replica.staleness(now);
            *staleness = known.map(|known| u64::try_from(known.as_nanos()).unwrap());
        }
        outcome
    }

    /// Q2 and Q3: the row that W members of one epoch name as theirs.
    pub fn on_vouched(
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
        answers.on_answer(from, vouched, [(0, row)]);
        let decided = answers.decided(0).map(|row| row.cloned());
        if let Some(row) = decided {
            let outcome = outcome_of_row(&self.operations[op], row.as_deref());
            self.on_response(op, outcome);
        }
    }
}

pub fn outcome_of_row(operation: &Operation, row: Option<&[u8]>) -> Outcome {
    let Some((event_time, stamp, value)) = row.map(read_row) else {
        return Outcome::Read {
            rank: None,
            value: None,
            staleness: None,
        };
    };
    Outcome::Read {
        rank: Some(operation.rank_of(event_time, stamp)),
        value,
        staleness: None,
    }
}
