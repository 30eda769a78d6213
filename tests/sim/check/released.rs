//! I5: a record leaves a disk's log only once it is durable on W data members.

use steadfast::base::IncarnationId;
use steadfast::control::commit_size;
use steadfast::replication::Logged;

use crate::world::World;

impl World {
    pub fn check_released(&mut self, at: usize, released: &[Logged]) {
        let Some(open) = self.agreement.now().open.clone() else {
            return;
        };
        // What a lost disk held was there when it was counted.
        if open.members.iter().any(|member| self.is_unsound(*member)) {
            return;
        }
        let on = |member: &IncarnationId| Some(self.nodes[self.node_of(*member)?].disk.held());
        let held: Vec<_> = open.members.iter().filter_map(on).collect();
        for record in released {
            let holds = held
                .iter()
                .filter(|held| held.contains(record.log(), record.seq()));
            let copies = holds.count();
            if copies < commit_size(open.members.len()) {
                let stamp = record.stamp;
                return self.fail(format!(
                    "I5: node {at} lets go of {stamp}, which is on {copies} data members"
                ));
            }
        }
    }
}
