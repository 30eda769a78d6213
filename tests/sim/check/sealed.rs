//! I13: each epoch opens only after R of the last opened configuration have promised it, durably; all of it, where the
//! policy is hybrid and nobody has approved that the primary be replaced.

use steadfast::base::{Epoch, IncarnationId};
use steadfast::control::{Cause, Command, ControlState, seal_size};

use super::Seen;
use crate::world::World;

impl Seen {
    /// An operator lets others replace the primary of this epoch.
    pub fn approve(&mut self, open: Epoch) {
        self.approved.insert(open);
    }
}

impl World {
    pub fn check_hybrid(&mut self, before: &ControlState, command: &Command) {
        let (Command::Open { epoch }, Some(open)) = (command, &before.open) else {
            return;
        };
        let attempt = before.attempt.as_ref();
        let Some(attempt) = attempt.filter(|attempt| attempt.epoch == *epoch) else {
            return;
        };
        let is_told = self.seen.approved.contains(&open.epoch) || attempt.cause == Cause::Planned;
        let is_own = before.primary() == Some(attempt.candidate);
        if !self.faults.plan.hybrid || open.epoch >= *epoch || is_told || is_own {
            return;
        }
        let lacks = |member: &&IncarnationId| {
            let at = self.node_of(**member);
            at.is_some_and(|at| self.nodes[at].disk.promise < *epoch)
        };
        if let Some(member) = open.members.iter().find(lacks) {
            self.fail(format!(
                "epoch {epoch} opens without an operator's word, and {member} has not promised it"
            ));
        }
        self.seen.replaced += 1;
    }

    pub fn check_sealed(&mut self, before: &ControlState, command: &Command) {
        let (Command::Open { epoch }, Some(open)) = (command, &before.open) else {
            return;
        };
        let basis = &open.members;
        // A lost disk has taken its promise with it.
        if before.open_epoch() >= *epoch || basis.iter().any(|member| self.is_unsound(*member)) {
            return;
        }
        let promised = |member: &&IncarnationId| {
            let at = self.node_of(**member);
            at.is_some_and(|at| self.nodes[at].disk.promise >= *epoch)
        };
        let sealed = basis.iter().filter(promised).count();
        if sealed < seal_size(basis.len()) {
            let of = basis.len();
            self.fail(format!(
                "I13: epoch {epoch} opens with {sealed} of {of} sealed"
            ));
        }
    }
}
