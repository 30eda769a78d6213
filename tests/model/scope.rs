//! How much of the protocol one run explores.

use std::fmt;

use crate::rule::{Rule, Rules};
use crate::set::{Set, each, has, one};
use crate::state::{EPOCHS, NO_IMAGE, NO_READ, NODES, State, number};

/// When the primary syncs what it appends. What is not synced is not applied either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    AtOnce,
    BeforeShipping,
    AfterShipping,
    /// And members sync in a step of their own.
    MembersToo,
}

/// Bounds, and what is switched on.
#[derive(Clone)]
pub struct Scope {
    /// Data members a Begin may name; the first are those at the start.
    pub configs: &'static [Set],
    /// Epochs, the first included.
    pub epochs: u8,
    /// The key of each write of an epoch: "X", "XX" or "XY".
    pub keys: &'static str,
    pub sync: Sync,
    pub crashes: u8,
    pub losses: u8,
    pub evictions: u8,
    /// Epochs that write.
    pub writers: Set,
    pub primary_reads: bool,
    pub quorum_reads: bool,
    /// Primaries also stream to nodes outside their epoch.
    pub learners: bool,
    /// Stamps from explicit windows below this; 0: stamps rise with epochs.
    pub windows: u8,
    pub planned: bool,
    pub contact: bool,
    pub close: bool,
    pub snapshots: bool,
    pub rollback: bool,
    /// Steps the protocol states to be outside what it holds, or that must be possible at all.
    pub witness: Option<Witness>,
}

/// What a run is to reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// A quorum read returns a row although the primary is dead and nobody has begun another epoch.
    ReadWithoutPrimary,
    /// A rollback to after the last Extend passes unseen.
    UnseenRollback,
}

/// Three data members, two epochs, one write in each, and no faults.
pub const THREE: Scope = Scope {
    configs: &[0b0111],
    epochs: 2,
    keys: "X",
    sync: Sync::AtOnce,
    crashes: 0,
    losses: 0,
    evictions: 0,
    writers: !0,
    primary_reads: true,
    quorum_reads: true,
    learners: false,
    windows: 0,
    planned: false,
    contact: false,
    close: false,
    snapshots: false,
    rollback: false,
    witness: None,
};

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.configs.iter().map(|d| {
            let members: Vec<String> = each(*d).map(|n| n.to_string()).collect();
            members.join("")
        });
        let members: Vec<String> = sets.collect();
        let keys = if self.keys.contains('Y') {
            ", 2 keys"
        } else {
            ""
        };
        write!(f, "{}; {} epochs", members.join(" "), self.epochs)?;
        if self.writers != !0 {
            write!(f, ", {} of them writing", self.writers.count_ones())?;
        }
        if self.keys.len() > 1 {
            write!(f, "; {} writes{keys}", self.keys.len())?;
        }
        let syncs = match self.sync {
            Sync::AtOnce => "",
            Sync::BeforeShipping => "; sync apart",
            Sync::AfterShipping => "; shipped unsynced",
            Sync::MembersToo => "; all syncs apart",
        };
        write!(f, "{syncs}")?;
        for (some, name) in [
            (self.crashes, "crash"),
            (self.losses, "lost disk"),
            (self.evictions, "eviction"),
        ] {
            if some > 0 {
                write!(f, "; {name} x{some}")?;
            }
        }
        for (is_on, name) in [
            (self.learners, "learners"),
            (self.planned, "planned changes"),
            (self.contact, "contact"),
            (self.close, "Close"),
            (self.snapshots, "snapshots"),
            (self.rollback, "rollback"),
            (self.windows > 0, "windows"),
            (!self.quorum_reads && self.primary_reads, "no quorum reads"),
            (!self.quorum_reads && !self.primary_reads, "no reads"),
        ] {
            if is_on {
                write!(f, "; {name}")?;
            }
        }
        Ok(())
    }
}

/// The protocol in one scope, with the rules in force.
pub struct Model {
    pub scope: Scope,
    pub rules: Rules,
}

impl Model {
    pub fn new(scope: Scope, rules: Rules) -> Model {
        Model { scope, rules }
    }

    pub fn holds(&self, rule: Rule) -> bool {
        self.rules.hold(rule)
    }

    pub fn start(&self) -> State {
        let scope = &self.scope;
        let first = scope.configs[0];
        let mut s = State {
            promise: [0; NODES],
            held: [0; NODES],
            unsynced: [0; NODES],
            other_bytes: [0; NODES],
            joined: first,
            alive: scope.configs.iter().fold(0, |all, config| all | config),
            mute: 0,
            image: NO_IMAGE,
            begun: 1,
            last_open: 1,
            opened: 1,
            candidate: [0; EPOCHS],
            members: [0; EPOCHS],
            basis: [0; EPOCHS],
            planned: [0; EPOCHS],
            evicted: 0,
            closed: 0,
            beyond: 0,
            recorded: [0; NODES],
            ceiling: scope.windows.min(1),
            floor: [0; EPOCHS],
            running: 1,
            caught_up: 1,
            sealed: [0; EPOCHS],
            read_early: [0; EPOCHS],
            seal_held: [[0; NODES]; EPOCHS],
            target: [0; EPOCHS],
            acks: [[0; NODES]; EPOCHS],
            granted: [0; EPOCHS],
            contact: Set::from(scope.contact),
            hlc: [0; 8],
            written: 0,
            async_acked: 0,
            quorum_acked: 0,
            late: 0,
            done: [0; 2],
            dead_letter: 0,
            overdue: 0,
            restarted: 0,
            read: NO_READ,
            crashes_left: scope.crashes,
            losses_left: scope.losses,
            evictions_left: scope.evictions,
            rollbacks_left: u8::from(scope.rollback),
        };
        s.members[0] = first;
        s.granted[0] = s.ceiling;
        for n in each(first) {
            s.promise[n] = 1;
        }
        s
    }

    /// All records of the log of `e`, written or not.
    pub fn log(&self, e: usize) -> Set {
        let writes = self.scope.keys.len();
        (((1u16 << writes) - 1) << (e * writes)) as Set
    }

    pub fn epoch_of(&self, record: usize) -> usize {
        record / self.scope.keys.len()
    }

    pub fn key(&self, record: usize) -> u8 {
        let keys = self.scope.keys.as_bytes();
        keys[record % keys.len()] - b'X'
    }

    pub fn key_count(&self) -> u8 {
        1 + u8::from(self.scope.keys.contains('Y'))
    }

    pub fn version(&self, s: &State, record: usize) -> u8 {
        s.hlc[record] << 3 | number(record)
    }

    /// The greatest version of a key among some records; 0 is no row.
    pub fn row(&self, s: &State, records: Set, key: u8) -> u8 {
        let of_key = each(records).filter(|&i| self.key(i) == key);
        of_key.map(|i| self.version(s, i)).max().unwrap_or(0)
    }

    /// The first record of each log that is not among `held`.
    pub fn next_missing(&self, held: Set) -> Set {
        (0..EPOCHS)
            .map(|e| self.log(e) & !held)
            .fold(0, |next, missing| next | missing & missing.wrapping_neg())
    }

    /// Up, and its start registered.
    pub fn can_answer(&self, s: &State, n: usize) -> bool {
        has(s.alive, n) && !(has(s.mute, n) && self.holds(Rule::MuteUntilBoot))
    }

    /// R1: n answers a message of `e`.
    pub fn hears(&self, s: &State, n: usize, e: usize) -> bool {
        self.can_answer(s, n) && s.promise[n] <= number(e)
    }

    /// Records that have W acknowledgements under `e`.
    pub fn committed(&self, s: &State, e: usize) -> Set {
        let d = s.members[e];
        let wanted = crate::set::commit_size(d) - usize::from(!self.holds(Rule::CommitSize));
        let has_it = |n: usize, i: usize| {
            has(s.acks[e][n], i) || !self.holds(Rule::AckEpoch) && has(s.durable(n), i)
        };
        each(s.written)
            .filter(|&i| each(d).filter(|&n| has_it(n, i)).count() >= wanted)
            .fold(0, |set, i| set | one(i))
    }

    /// R3: n syncs its WAL; without `WalOrder`, only the `records`.
    pub fn sync(&self, t: &mut State, n: usize, records: Set) {
        let synced = match self.holds(Rule::WalOrder) {
            true => t.unsynced[n],
            false => t.unsynced[n] & records,
        };
        t.unsynced[n] &= !synced;
        self.acknowledge_async(t, n, synced);
        t.acknowledge(n);
        if !self.holds(Rule::StopOld) {
            for e in each(t.reigns(n)) {
                t.acks[e][n] |= synced & self.log(e);
            }
        }
    }

    /// What n wrote itself is acknowledged at async.
    pub fn acknowledge_async(&self, t: &mut State, n: usize, records: Set) {
        for e in 0..usize::from(t.begun) {
            let is_writer = t.primary(e) == n && has(t.opened, e);
            let in_contact = !self.scope.contact || !self.holds(Rule::Contact) || has(t.contact, e);
            let has_stopped = t.promise[n] > number(e) && self.holds(Rule::StopOld);
            if is_writer && in_contact && !has_stopped {
                t.async_acked |= records & self.log(e);
            }
        }
    }

    /// Copies records and syncs them.
    pub fn store(&self, t: &mut State, to: usize, from: usize, records: Set) {
        t.copy(to, from, records);
        self.sync(t, to, records);
    }

    /// Records a primary may send.
    pub fn shippable(&self, s: &State, c: usize) -> Set {
        match self.scope.sync {
            Sync::AfterShipping | Sync::MembersToo => s.held[c],
            Sync::AtOnce | Sync::BeforeShipping => s.durable(c),
        }
    }

    /// What binds everyone who knows the closed logs.
    pub fn beyond(&self, s: &State) -> Set {
        match self.holds(Rule::FinalBinds) {
            true => s.beyond,
            false => 0,
        }
    }
}
