//! Reads, from a node's rows to a client's answer.

use steadfast::base::IncarnationId;
use steadfast::node;
use steadfast::read::{Gather, Verdict, judge};
use steadfast::replica::ReadId;
use steadfast::replication::Vouched;

use crate::disk::read_row;
use crate::operation::{Ask, Operation, Outcome};
use crate::world::{Event, MILLI, World};

impl World {
    pub fn new_read(&mut self) -> ReadId {
        self.next_read += 1;
        ReadId(self.next_read)
    }

    pub fn read_rows(&mut self, at: usize, read: ReadId) {
        let now = self.clock();
        let live = self.nodes[at].live.as_mut().unwrap();
        let Some((number, row)) = live.reads.get_mut(&read) else {
            return;
        };
        let number = *number;
        let op = self.clients.sent[number].op;
        let found = live.store.rows.get(&self.clients.place(op)).cloned();
        if self.operations[op].ask == Ask::ReadQuorum {
            live.reads.remove(&read);
            let vouched = live.replica.vouch();
            let from = live.replica.incarnation();
            if let Some(delay) = self.faults.way_of_rows(&mut self.chance) {
                self.push(delay, Event::Vouched(number, from, vouched, found));
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

    /// Reads a node's own row, if the node holds what the client's session has seen.
    pub fn read_local(&mut self, op: usize, at: usize) -> Result<Outcome, node::Error> {
        let now = self.clock();
        let live = self.nodes[at].live.as_ref().unwrap();
        let client = self.operations[op].client;
        let token = &mut self.clients.callers[client].token;
        let (control, store) = (live.replica.control(), &live.store);
        match judge(token, control, store.held.vector(), store.opening.as_ref()) {
            Verdict::Satisfied => token.settle(store.held.vector()),
            Verdict::Wait => return Err(node::Error::SessionBehind),
            Verdict::Unrecovered => return Err(node::Error::Unrecovered),
            Verdict::Forgotten => return Err(node::Error::PerhapsUnrecovered),
            Verdict::OtherLineage => return Err(node::Error::OtherHistory),
        }
        let row = store.rows.get(&self.clients.place(op));
        let mut outcome = outcome_of_row(&self.operations[op], row.map(Vec::as_slice));
        if let Outcome::Read { staleness, .. } = &mut outcome {
            let known = live.replica.staleness(now);
            *staleness = known.map(|known| u64::try_from(known.as_nanos()).unwrap());
        }
        Ok(outcome)
    }

    /// The node that carries a quorum read out asks all nodes, members or not, until enough name one row. Rows have ways of
    /// their own, which no partition cuts: so more of them meet than would.
    pub fn on_ask_again(&mut self, number: usize) {
        if self.gather(number).is_none() {
            return;
        }
        for at in 0..self.nodes.len() {
            if let Some(delay) = self.faults.way_of_rows(&mut self.chance) {
                self.push(delay, Event::Ask(number, at));
            }
        }
        self.push(100 * MILLI, Event::AskAgain(number));
    }

    /// What a quorum read was named, as long as somebody waits for it and its node's process lives.
    fn gather(&mut self, number: usize) -> Option<&mut Gather<Vec<u8>>> {
        let (life, gather) = self.clients.gathers.get_mut(&number)?;
        let node = &self.nodes[self.clients.sent[number].at];
        (node.live.is_some() && node.life == *life).then_some(gather)
    }

    pub fn on_ask(&mut self, number: usize, at: usize) {
        let now = self.clock();
        let read = self.new_read();
        let Some(live) = &mut self.nodes[at].live else {
            return;
        };
        if !live.replica.takes_part() {
            return;
        }
        live.reads.insert(read, (number, None));
        live.replica.read_for_quorum(now, read);
        self.go_on(at);
    }

    /// Q2 and Q3: the row that W members of one epoch name as theirs.
    pub fn on_vouched(
        &mut self,
        number: usize,
        from: IncarnationId,
        vouched: Option<Vouched>,
        row: Option<Vec<u8>>,
    ) {
        let (Some(vouched), Some(gather)) = (vouched, self.gather(number)) else {
            return;
        };
        gather.on_answer(from, vouched, [(0, row)]);
        let decided = gather.decided(0).map(|row| row.cloned());
        if let Some(row) = decided {
            self.clients.gathers.remove(&number);
            let op = self.clients.sent[number].op;
            let outcome = outcome_of_row(&self.operations[op], row.as_deref());
            self.respond(number, Ok(outcome));
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
