//! I13: each epoch opens only after R of the last opened configuration have promised it, durably.

use steadfast::base::IncarnationId;
use steadfast::control::{Command, ControlState, seal_size};

use crate::world::World;

impl World {
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
