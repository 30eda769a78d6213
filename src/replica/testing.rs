//! A replica on a disk that syncs and applies at once, beside an agreement that always answers.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out what it is about"
)]

use std::collections::BTreeSet;

use super::*;
use crate::base::{BootToken, CommitLevel, LineageId, RegionId, Stamp};
use crate::control::{Addresses, Cause, LEVEL, Role, SettingsChange, grant};
use crate::model::record::{Body, Rows};
use crate::replication::{Append, Held, Logged, SealAck};

pub const ME: IncarnationId = IncarnationId(1);
pub const OTHERS: [IncarnationId; 2] = [IncarnationId(2), IncarnationId(3)];
pub const ALL: [IncarnationId; 3] = [ME, OTHERS[0], OTHERS[1]];

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn claim(incarnation: IncarnationId) -> BootClaim {
    BootClaim {
        incarnation,
        known: BTreeSet::new(),
        token: BootToken(1),
        held: VersionVector::new(),
        addresses: Addresses::default(),
        level: LEVEL,
    }
}

/// Members of which all are registered and have started, before the first epoch.
pub fn members(members: &[IncarnationId]) -> ControlState {
    let mut control = ControlState::new(LineageId(1), RegionId(7), ME);
    for member in members {
        let role = Role::Data;
        let incarnation = *member;
        let register = Command::Register { incarnation, role };
        control.apply(register).unwrap();
        control.apply(Command::Boot(claim(*member))).unwrap();
    }
    control
}

/// A candidate begins an epoch with these data members.
pub fn begin(control: &mut ControlState, candidate: IncarnationId, members: &[IncarnationId]) {
    let begin = Command::Begin {
        candidate,
        boot: BootNumber(1),
        members: members.iter().copied().collect(),
        expected_open: control.open_epoch(),
        expected_attempt: control.attempt_epoch(),
        cause: Cause::Unrecorded,
    };
    control.apply(begin).unwrap();
}

/// The same, and it opens.
pub fn open(control: &mut ControlState, candidate: IncarnationId, members: &[IncarnationId]) {
    begin(control, candidate, members);
    let epoch = control.attempt_epoch();
    control.apply(Command::Open { epoch }).unwrap();
}

pub struct Bench {
    pub replica: Replica,
    pub control: ControlState,
    pub now: Duration,
    /// What it has asked for, but for what follows.
    pub asked: Vec<Action>,
    pub appended: Vec<Logged>,
    pub proposed: Vec<Command>,
    /// The numbers of its requests for a ceiling.
    pub extensions: Vec<u64>,
    /// Nothing that it proposes is agreed, and no ceiling granted.
    pub is_unheard: bool,
}

impl Bench {
    /// Just started, with nothing on its disk.
    pub fn start(control: ControlState, seed: u64) -> Bench {
        let found = Found {
            incarnation: ME,
            claim: claim(ME),
            promise: Epoch::NONE,
            held: Heads::default(),
            opening: None,
            applied: VersionVector::new(),
            newest: Hlc::ZERO,
        };
        let now = Duration::ZERO;
        let replica = Replica::new(found, Arc::new(control.clone()), now, seed);
        let mut bench = Bench {
            replica,
            control,
            now,
            asked: vec![],
            appended: vec![],
            proposed: vec![],
            extensions: vec![],
            is_unheard: false,
        };
        bench.settle();
        bench
    }

    /// One of three; the second of them is primary.
    pub fn member() -> Bench {
        let mut control = members(&ALL);
        open(&mut control, OTHERS[0], &ALL);
        Bench::start(control, 1)
    }

    /// The primary of these by an operator's word, of whom the others have promised its epoch and reported nothing since.
    pub fn primary(of: &[IncarnationId]) -> Bench {
        let mut control = members(of);
        open(&mut control, OTHERS[0], of);
        let mut bench = Bench::start(control, 1);
        bench.take_over();
        bench
    }

    /// It replaces the primary by an operator's word.
    pub fn take_over(&mut self) {
        let before = self.control.open_epoch();
        self.replica.force(self.now, before).unwrap();
        self.settle();
        self.seal();
        self.pass(0);
        assert!(self.replica.serves() > Some(before));
    }

    /// The other members promise the attempt, and hold what is held here.
    pub fn seal(&mut self) {
        let ack = SealAck {
            epoch: self.control.attempt_epoch(),
            boot: BootNumber(1),
            durable: self.replica.member().durable().clone(),
            appended: self.replica.member().appended().clone(),
        };
        for other in OTHERS {
            self.hear(other, Message::SealAck(ack.clone()));
        }
    }

    pub fn settle(&mut self) {
        loop {
            let actions = self.replica.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Append(records) => {
                assert!(!records.is_empty(), "nothing to append");
                let mut durable = self.replica.member().durable().clone();
                let mut newest = Hlc::ZERO;
                for record in &records {
                    durable.advance(record.log(), record.seq());
                    newest = newest.max(record.stamp.hlc);
                }
                self.replica.synced(self.now, &durable);
                self.replica.applied(self.now, &durable, newest);
                self.appended.extend(records);
            }
            Action::Propose(command) => {
                self.proposed.push(command.clone());
                if !self.is_unheard {
                    self.agree(command);
                }
            }
            Action::Extend {
                epoch,
                number,
                acked,
            } => {
                self.extensions.push(number);
                if self.is_unheard {
                    return;
                }
                // Above the stamps of `replication::testing::records`.
                let clock = 10_000_000 + u64::try_from(self.now.as_millis()).unwrap();
                let ceiling = grant(clock, self.control.ceiling);
                self.agree(Command::Extend {
                    epoch,
                    number,
                    ceiling,
                    acked,
                });
            }
            action => self.asked.push(action),
        }
    }

    /// Refused or not, it is heard of.
    pub fn agree(&mut self, command: Command) {
        let _refused = self.control.apply(command);
        self.learn();
    }

    pub fn set(&mut self, change: SettingsChange) {
        self.agree(Command::Set(change));
        self.settle();
    }

    /// The agreed state comes to be known.
    pub fn learn(&mut self) {
        self.replica.agree(self.now, Arc::new(self.control.clone()));
    }

    /// Time passes, by a tick each 50 ms.
    pub fn pass(&mut self, time: u64) {
        let until = self.now + millis(time);
        loop {
            self.replica.tick(self.now);
            self.settle();
            if self.now >= until {
                return;
            }
            self.now += millis(50);
        }
    }

    pub fn hear(&mut self, from: IncarnationId, message: Message) {
        self.replica.hear(self.now, from, message);
        self.settle();
    }

    /// The primary of an epoch, which holds this and has nothing to send, is heard.
    pub fn ping(&mut self, from: IncarnationId, epoch: Epoch, vector: VersionVector) {
        let ping = Append {
            epoch,
            number: 1,
            round: Round(1),
            vector,
            records: vec![],
        };
        self.hear(from, Message::Append(ping));
    }

    /// Another member reports that it holds all that is held here, and has heard the latest ping.
    pub fn report(&mut self, from: IncarnationId) {
        let durable = self.replica.member().durable().clone();
        let appended = self.replica.member().appended().clone();
        self.report_of(from, durable, appended);
    }

    /// The same, but it holds this.
    pub fn report_of(&mut self, from: IncarnationId, durable: VersionVector, appended: Heads) {
        let held = Held {
            epoch: self.replica.member().promise(),
            number: 0,
            round: self.pings(from).max().unwrap_or(Round::NONE),
            applied: durable.clone(),
            durable,
            appended,
        };
        self.hear(from, Message::Held(held));
    }

    /// The rounds of the pings to a member.
    pub fn pings(&self, to: IncarnationId) -> impl Iterator<Item = Round> {
        self.asked.iter().filter_map(move |action| match action {
            Action::Send(whom, Message::Append(ping)) if *whom == to => Some(ping.round),
            _ => None,
        })
    }

    /// How often something was asked for.
    pub fn count(&self, of: impl Fn(&Action) -> bool) -> usize {
        self.asked.iter().filter(|action| of(action)).count()
    }

    /// A write without rows.
    pub fn write(&mut self, write: u64, level: CommitLevel) -> Stamp {
        let turn = self.replica.stamp(0).unwrap();
        let body = Body::Rows(Rows::default());
        let write = Some((WriteId(write), level));
        let stamp = self.replica.append(self.now, turn, None, body, write);
        self.settle();
        stamp.unwrap()
    }

    /// Which of the writes have been acknowledged since this was asked last, in order.
    pub fn acknowledged(&mut self) -> Vec<u64> {
        let acknowledged = self
            .asked
            .extract_if(.., |action| matches!(action, Action::Acknowledge { .. }));
        let name = |action| match action {
            Action::Acknowledge { write, .. } => Some(write.0),
            _ => None,
        };
        acknowledged.filter_map(name).collect()
    }

    /// Who has been asked whether the primary may be replaced, by the numbers of the questions.
    pub fn questions(&self) -> BTreeSet<u64> {
        let number = |action: &Action| match action {
            Action::Send(_, Message::PreSeal(question)) => Some(question.number),
            _ => None,
        };
        self.asked.iter().filter_map(number).collect()
    }
}
