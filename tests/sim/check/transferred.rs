//! I14: before an epoch with changed members opens, W of the new ones hold what was ever acknowledged at quorum.

use steadfast::base::IncarnationId;
use steadfast::control::{Command, ControlState, commit_size};

use crate::world::World;

impl World {
    pub fn check_transferred(&mut self, before: &ControlState, command: &Command) {
        let (Command::Open { epoch }, Some(attempt)) = (command, &before.attempt) else {
            return;
        };
        let members = &attempt.members;
        let is_unsound = members.iter().any(|member| self.is_unsound(*member));
        if before.open_epoch() >= *epoch || *members == attempt.basis || is_unsound {
            return;
        }
        let committed = &self.seen.committed;
        let holds_all = |member: &&IncarnationId| {
            let held = self.node_of(**member).map(|at| self.nodes[at].disk.held());
            held.is_some_and(|held| committed.iter().all(|(log, seq)| held.contains(*log, *seq)))
        };
        let holders = members.iter().filter(holds_all).count();
        if holders < commit_size(members.len()) {
            let of = members.len();
            self.fail(format!(
                "I14: epoch {epoch} opens while {holders} of its {of} members hold what was acknowledged"
            ));
        }
    }
}
