//! I5: a record leaves a disk's log only once it is durable on W data members.

use steadfast::base::{IncarnationId, LogId, Seq};
use steadfast::control::commit_size;
use steadfast::replication::Logged;

use crate::world::World;

impl World {
    pub fn check_released(&mut self, at: usize, released: &[Logged]) {
        for record in released {
            self.check_spread(record.log(), record.seq(), |place, copies| {
                format!("I5: node {at} lets go of {place}, which is on {copies} data members")
            });
        }
    }

    /// Is this record on the disks of W data members?
    pub fn check_spread(
        &mut self,
        log: LogId,
        seq: Seq,
        otherwise: impl Fn(String, usize) -> String,
    ) {
        let Some(open) = self.agreement.now().open.clone() else {
            return;
        };
        // What a lost disk held was there when it was counted.
        if open.members.iter().any(|member| self.is_unsound(*member)) {
            return;
        }
        let holds = |member: &&IncarnationId| {
            let node = self.node_of(**member).map(|at| &self.nodes[at]);
            node.is_some_and(|node| node.disk.held().contains(log, seq))
        };
        let copies = open.members.iter().filter(holds).count();
        if copies < commit_size(open.members.len()) {
            self.fail(otherwise(format!("{log} {seq}"), copies));
        }
    }
}
