//! The invariants, held after every step of a run. One file each; each looks at disks and cores, not at what anybody says.

mod booted;
mod calls;
mod closed;
mod committed;
mod contact;
mod copies;
mod equal;
mod healed;
mod names;
mod opening;
mod promised;
mod released;
mod sealed;
mod snapshot;
mod transferred;
mod windows;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use steadfast::base::{CommitLevel, Epoch, Hlc, IncarnationId, LogId, Seq, Stamp};
use steadfast::control::{Command, ControlState};

use names::Names;

use crate::operation::Outcome;
use crate::world::World;

/// What the invariants remember of a run.
#[derive(Debug, Default)]
pub struct Seen {
    names: Names,
    /// Records acknowledged at quorum or all.
    committed: Vec<(LogId, Seq)>,
    /// Which process served each epoch.
    served: BTreeMap<Epoch, (usize, u64)>,
    /// The ceiling when each epoch was begun.
    floors: BTreeMap<Epoch, Hlc>,
    /// The greatest promise that each incarnation has made durable.
    promises: BTreeMap<IncarnationId, Epoch>,
    /// When each epoch was opened.
    opened: BTreeMap<Epoch, u64>,
    /// Epochs whose primary an operator let others replace.
    approved: BTreeSet<Epoch>,
    /// Since when everything works, and all nodes are members.
    whole_since: Option<u64>,
    /// How often a primary was replaced without that, though its policy is hybrid.
    pub replaced: u64,
}

impl World {
    /// After something has happened at a node.
    pub fn check_node(&mut self, at: usize) {
        if self.nodes[at].live.is_some() {
            self.check_writer(at);
            self.check_opening(at);
            self.check_promised(at);
        }
    }

    /// From time to time.
    pub fn check_all(&mut self) {
        self.check_equal();
        self.note_whole();
    }

    /// After something has been agreed.
    pub fn check_agreed(&mut self, before: &ControlState, command: &Command) {
        self.note_window(before, command);
        self.check_frozen(command);
        self.check_sealed(before, command);
        self.check_hybrid(before, command);
        self.check_transferred(before, command);
        self.check_booted(before, command);
        self.check_closed(command);
    }

    /// When a write is acknowledged; gives what its client is told.
    pub fn acknowledge(&mut self, at: usize, op: usize, stamp: Stamp, copies: usize) -> Outcome {
        // A repetition may be acknowledged in a later epoch than it was written in.
        let serves = self.nodes[at]
            .live
            .as_ref()
            .and_then(|live| live.replica.serves());
        let epoch = serves.unwrap_or(stamp.epoch);
        let operation = &self.operations[op];
        let level = operation.level();
        let rank = operation.rank_of(operation.event_time, stamp);
        self.check_copies(stamp, copies);
        self.check_contact(epoch, stamp, level);
        if level != CommitLevel::Async {
            self.seen.committed.push((stamp.log(), stamp.seq));
        }
        let incarnation = self.nodes[at].disk.incarnation.0;
        Outcome::Acknowledged {
            rank,
            node: at,
            incarnation,
        }
    }
}
