//! What is true of the whole set at one moment, in bytes only, so that it is copied and hashed fast.
//!
//! A record is a bit: the writes of the first epoch come first. A version is a number that orders rows of one key.

use crate::set::{Set, each, has, one};

/// Incarnations: a replaced disk is another node.
pub const NODES: usize = 5;
/// At most three are explored; healing takes the last.
pub const EPOCHS: usize = 4;
pub const RECORDS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    // Each node's disk, and `unsynced`, what a crash takes from it.
    pub promise: [u8; NODES],
    pub held: [Set; NODES],
    pub unsynced: [Set; NODES],
    /// Records of which this node holds the bytes of a second writer.
    pub other_bytes: [Set; NODES],
    /// Nodes that hold the opening record of the epoch they promised.
    pub joined: Set,
    pub alive: Set,
    /// Started, but not registered yet.
    pub mute: Set,
    /// A copy of one directory, which may come back.
    pub image: Image,

    // Raft.
    pub begun: u8,
    pub last_open: u8,
    pub opened: Set,
    pub candidate: [u8; EPOCHS],
    pub members: [Set; EPOCHS],
    pub basis: [Set; EPOCHS],
    /// The epoch that hands over, where the attempt is planned.
    pub planned: [u8; EPOCHS],
    pub evicted: Set,
    /// Epochs whose log is closed, and the records that lie beyond its final one.
    pub closed: Set,
    pub beyond: Set,
    /// What each member is known to have acknowledged.
    pub recorded: [Set; NODES],
    pub ceiling: u8,
    pub floor: [u8; EPOCHS],

    // What a running candidate or primary knows; it ends with its process.
    pub running: Set,
    pub caught_up: Set,
    pub sealed: [Set; EPOCHS],
    pub read_early: [Set; EPOCHS],
    pub seal_held: [[Set; NODES]; EPOCHS],
    /// T.
    pub target: [Set; EPOCHS],
    /// Ack(e): what a member held durably while its promise was e.
    pub acks: [[Set; NODES]; EPOCHS],
    pub granted: [u8; EPOCHS],
    /// Epochs whose primary has fresh quorum contact.
    pub contact: Set,

    // History, for the invariants alone.
    pub hlc: [u8; RECORDS],
    pub written: Set,
    pub async_acked: Set,
    pub quorum_acked: Set,
    /// Began after something newer had been acknowledged or read.
    pub late: Set,
    /// The newest version acknowledged or read, by key.
    pub done: [u8; 2],
    pub dead_letter: Set,
    /// Epochs overtaken for longer than L.
    pub overdue: Set,
    /// Epochs whose process has restarted.
    pub restarted: Set,
    pub read: Read,

    pub crashes_left: u8,
    pub losses_left: u8,
    pub evictions_left: u8,
    pub rollbacks_left: u8,
}

/// The read in progress.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Read {
    pub phase: Phase,
    pub epoch: u8,
    pub key: u8,
    /// Who has confirmed it, or named its row.
    pub answered: Set,
    /// Who names `version`, or, for a primary read, what it must apply first.
    pub hold: Set,
    pub version: u8,
    /// What it must not fall behind.
    pub after: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    None,
    Confirming,
    Committing,
    Gathering,
}

pub const NO_READ: Read = Read {
    phase: Phase::None,
    epoch: 0,
    key: 0,
    answered: 0,
    hold: 0,
    version: 0,
    after: 0,
};

/// A copy of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Image {
    pub of: Option<u8>,
    pub promise: u8,
    pub held: Set,
    pub joined: bool,
    /// The original has been started again since.
    pub is_old_boot: bool,
}

pub const NO_IMAGE: Image = Image {
    of: None,
    promise: 0,
    held: 0,
    joined: false,
    is_old_boot: false,
};

/// An epoch's number; 0 is none.
pub fn number(epoch: usize) -> u8 {
    epoch as u8 + 1
}

/// The record that made a version.
pub fn record_of(version: u8) -> usize {
    usize::from(version - 1) & 7
}

impl State {
    pub fn durable(&self, n: usize) -> Set {
        self.held[n] & !self.unsynced[n]
    }

    pub fn primary(&self, e: usize) -> usize {
        usize::from(self.candidate[e])
    }

    pub fn is_open(&self, e: usize) -> bool {
        has(self.opened, e)
    }

    /// The last opened epoch.
    pub fn open_epoch(&self) -> usize {
        usize::from(self.last_open) - 1
    }

    pub fn is_latest(&self, e: usize) -> bool {
        self.begun == number(e)
    }

    /// The primary or candidate of `e` has promised a later epoch.
    pub fn is_fenced(&self, e: usize) -> bool {
        self.promise[self.primary(e)] > number(e)
    }

    /// Has promised exactly `e` and holds its opening record.
    pub fn is_in(&self, n: usize, e: usize) -> bool {
        has(self.alive & self.joined, n) && self.promise[n] == number(e)
    }

    /// Raises n's promise to `e`; with the promise `e`, all that is durable counts as acknowledged under it.
    pub fn promise(&mut self, n: usize, e: usize) {
        if self.promise[n] < number(e) {
            self.promise[n] = number(e);
            self.joined &= !one(n);
        }
        self.acknowledge(n);
    }

    pub fn acknowledge(&mut self, n: usize) {
        let Some(e) = usize::from(self.promise[n]).checked_sub(1) else {
            return;
        };
        if has(self.running, e) {
            self.acks[e][n] |= self.durable(n);
        }
    }

    /// Copies records from one node's log to another's, unsynced.
    pub fn copy(&mut self, to: usize, from: usize, records: Set) {
        self.unsynced[to] |= records & !self.held[to];
        self.held[to] |= records;
        self.other_bytes[to] = self.other_bytes[to] & !records | self.other_bytes[from] & records;
    }

    /// Takes records from a node.
    pub fn cut(&mut self, n: usize, records: Set) {
        self.held[n] &= !records;
        self.unsynced[n] &= !records;
        self.other_bytes[n] &= !records;
    }

    /// The processes of n that lead an epoch.
    pub fn reigns(&self, n: usize) -> Set {
        each(self.running)
            .filter(|&e| self.primary(e) == n)
            .fold(0, |set, e| set | one(e))
    }

    /// The same state with the nodes renamed.
    pub fn renamed(&self, by: &Renaming) -> State {
        let mut t = *self;
        for set in [&mut t.joined, &mut t.alive, &mut t.mute, &mut t.evicted] {
            *set = by.set(*set);
        }
        for row in [
            &mut t.promise,
            &mut t.held,
            &mut t.unsynced,
            &mut t.other_bytes,
            &mut t.recorded,
        ] {
            *row = by.row(row);
        }
        for e in 0..usize::from(t.begun) {
            t.candidate[e] = by.node[self.primary(e)];
            for set in [
                &mut t.members[e],
                &mut t.basis[e],
                &mut t.sealed[e],
                &mut t.read_early[e],
            ] {
                *set = by.set(*set);
            }
            t.seal_held[e] = by.row(&t.seal_held[e]);
            t.acks[e] = by.row(&t.acks[e]);
        }
        t.image.of = t.image.of.map(|n| by.node[usize::from(n)]);
        t.read.answered = by.set(t.read.answered);
        if t.read.phase == Phase::Gathering {
            t.read.hold = by.set(t.read.hold);
        }
        t
    }
}

/// A permutation of the nodes.
pub struct Renaming {
    node: [u8; NODES],
    sets: [Set; 1 << NODES],
}

impl Renaming {
    pub fn new(node: [u8; NODES]) -> Renaming {
        let mut sets = [0; 1 << NODES];
        for (set, renamed) in sets.iter_mut().enumerate() {
            *renamed = each(set as Set).fold(0, |to, n| to | one(usize::from(node[n])));
        }
        Renaming { node, sets }
    }

    pub fn set(&self, nodes: Set) -> Set {
        self.sets[usize::from(nodes)]
    }

    fn row(&self, of: &[u8; NODES]) -> [u8; NODES] {
        let mut row = [0; NODES];
        for (value, to) in of.iter().zip(self.node) {
            row[usize::from(to)] = *value;
        }
        row
    }
}
