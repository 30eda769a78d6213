//! Pure: what a replica answers to other members.

use std::time::Duration;

use super::{Action, Fault, Leader, Replica, Wanted};
use crate::base::rule::Rule;
use crate::base::{Epoch, IncarnationId, LogId, Seq, VersionVector};
use crate::control::Missing;
use crate::epoch::{Brought, Change};
use crate::replication::{Append, Fetch, Fetched, Held, Logged, Message, Round, SealAck, Taken};

impl Replica {
    /// A member says something.
    pub fn hear(&mut self, now: Duration, from: IncarnationId, message: Message) {
        if !self.takes_part() {
            return;
        }
        match message {
            Message::Append(append) => self.hear_append(now, from, &append),
            Message::Held(held) => self.hear_held(now, from, held),
            Message::Fenced { epoch, .. } => {
                if self
                    .reign
                    .as_ref()
                    .is_some_and(|reign| reign.epoch() == epoch)
                {
                    self.detector.fence();
                }
            }
            Message::Seal(seal) => self.hear_seal(from, seal.epoch),
            Message::SealAck(ack) => {
                if let Some(change) = &mut self.change {
                    change.seal(from, ack);
                }
            }
            Message::Fetch(fetch) => self.actions.push(Action::Read(Wanted::Fetch {
                to: from,
                epoch: fetch.epoch,
                missing: fetch.wanted,
            })),
            Message::Fetched(fetched) => self.hear_fetched(now, from, fetched),
            Message::PreSeal(asked) => {
                let is_primary = self.reigns();
                let agrees = self.detector.agrees(now, &asked, is_primary);
                let number = asked.number;
                self.send(from, Message::PreSealed { number, agrees });
            }
            Message::PreSealed { number, agrees } => {
                if let Some(change) = self.change.as_mut().filter(|_| agrees) {
                    change.agree(from, number);
                }
            }
            Message::HandOver {
                epoch,
                members,
                vector,
            } => {
                let may = self.control.open_epoch() == epoch
                    && self.control.attempt_epoch() == epoch
                    && self.change.is_none()
                    && self.control.covers(self.member.durable(), &vector);
                if may {
                    self.set_out(now, |me, boot, number, sight| {
                        Change::planned(me, boot, members, from, number, sight)
                    });
                }
            }
            Message::Probe { number } => self.hear_probe(now, from, number),
            Message::Probed { number, appended } => self.hear_probed(number, appended),
        }
        self.go_on(now);
    }

    fn hear_append(&mut self, now: Duration, from: IncarnationId, append: &Append) {
        self.raise(append.epoch);
        let control = std::sync::Arc::clone(&self.control);
        match self.member.take(&control, append) {
            Err(fork) => return self.halt(Fault::Fork(fork)),
            Ok(Taken::Fenced(promise)) => {
                let epoch = append.epoch;
                return self.send(from, Message::Fenced { epoch, promise });
            }
            Ok(Taken::Records(records)) => {
                if !records.is_empty() {
                    self.actions.push(Action::Append(records));
                }
            }
        }
        self.detector.hear(now, append.epoch);
        let before = self.leader.filter(|leader| leader.epoch == append.epoch);
        self.leader = Some(Leader {
            epoch: append.epoch,
            who: from,
            number: before.map_or(0, |leader| leader.number).max(append.number),
            round: before
                .map_or(Round::NONE, |leader| leader.round)
                .max(append.round),
        });
        self.report_to_leader();
    }

    /// Tells the primary promised to what is held here: the ping's answer and the acknowledgement.
    pub(super) fn report_to_leader(&mut self) {
        let promise = self.member.promise();
        let Some(leader) = self
            .leader
            .filter(|leader| leader.epoch == promise && self.takes_part())
        else {
            return;
        };
        let held = Held {
            epoch: promise,
            number: leader.number,
            round: leader.round,
            durable: self.member.durable().clone(),
            appended: self.member.appended().clone(),
            applied: self.applied.clone(),
        };
        self.send(leader.who, Message::Held(held));
    }

    fn hear_seal(&mut self, from: IncarnationId, epoch: Epoch) {
        self.raise(epoch);
        let promise = self.member.promise();
        if promise > epoch {
            self.send(from, Message::Fenced { epoch, promise });
            return;
        }
        let ack = self.seal_ack(epoch);
        self.send(from, Message::SealAck(ack));
    }

    pub(super) fn seal_ack(&self, epoch: Epoch) -> SealAck {
        SealAck {
            epoch,
            boot: self.boot.unwrap_or(crate::base::BootNumber::NONE),
            durable: self.member.durable().clone(),
            appended: self.member.appended().clone(),
        }
    }

    /// Asks a holder for records.
    pub(super) fn fetch(&mut self, holder: IncarnationId, wanted: Vec<Missing>) {
        let epoch = self.member.promise();
        self.send(holder, Message::Fetch(Fetch { epoch, wanted }));
    }

    fn hear_fetched(&mut self, now: Duration, from: IncarnationId, fetched: Fetched) {
        let mut brought = match &fetched.records {
            Some(_) => Brought::Nothing,
            None => Brought::OutOfReach,
        };
        // What the promised epoch's primary must not have in advance of its members: only a candidate or the primary
        // of the promised epoch fetches (R14).
        if fetched.epoch == self.member.promise()
            && let Some(records) = fetched.records
            && (self.change.is_some() || self.reign.is_some())
        {
            match self.member.merge(records) {
                Err(fork) => return self.halt(Fault::Fork(fork)),
                Ok(taken) if taken.is_empty() => {}
                Ok(taken) => {
                    brought = Brought::Something;
                    self.actions.push(Action::Append(taken));
                }
            }
        }
        if let Some(change) = &mut self.change {
            change.fetched(now, from, brought);
        }
        if let Some(reign) = &mut self.reign {
            reign.fetching.remove(&from);
        }
    }

    /// Records that were asked for by [`Action::Read`]; `None` if the log no longer reaches back to them.
    pub fn records(&mut self, now: Duration, wanted: Wanted, records: Option<Vec<Logged>>) {
        match wanted {
            Wanted::Fetch { to, epoch, .. } => {
                self.send(to, Message::Fetched(Fetched { epoch, records }));
            }
            Wanted::Shipment { to, epoch, .. } => self.ship(to, epoch, records),
        }
        self.go_on(now);
    }

    /// May the log let go of this record, once the store holds it durably? Members that lack it are then sent a snapshot.
    #[must_use]
    pub fn may_release(&self, log: LogId, seq: Seq) -> bool {
        self.control.is_spread(log, seq) || !Rule::KeepTail.holds()
    }

    /// Would another member's store, offered in the name of an epoch, do in place of this one's?
    #[must_use]
    pub fn accepts_snapshot(&self, epoch: Epoch, offered: &VersionVector) -> bool {
        self.takes_part()
            && epoch == self.member.promise()
            && self.reign.is_none()
            && !self.control.covers(self.member.durable(), offered)
            && self.member.accepts_snapshot(&self.control, offered)
    }
}
