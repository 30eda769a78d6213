//! I18: an acknowledgement names no more copies than are durable.

use steadfast::base::Stamp;

use crate::node::Node;
use crate::world::World;

impl World {
    pub fn check_copies(&mut self, stamp: Stamp, copies: usize) {
        let holds = |node: &&Node| {
            let synced = &node.disk.wal[..node.disk.synced];
            synced.iter().rev().any(|record| record.stamp == stamp)
                || node
                    .disk
                    .flushed
                    .held
                    .vector()
                    .contains(stamp.log(), stamp.seq)
        };
        let durable = self.nodes.iter().filter(holds).count();
        // What a lost disk held was durable when it was counted.
        if durable < copies && self.unsound.is_empty() {
            self.fail(format!(
                "I18: {copies} copies of {stamp} are acknowledged, {durable} are durable"
            ));
        }
    }
}
