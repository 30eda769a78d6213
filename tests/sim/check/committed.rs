//! I12, I14: whoever serves an epoch holds everything that was ever acknowledged at quorum.

use steadfast::base::{Epoch, LogId, Seq};

use crate::world::World;

impl World {
    pub fn check_committed(&mut self, at: usize, epoch: Epoch) {
        let Some(live) = &self.nodes[at].live else {
            return;
        };
        let held = live.store.held.vector();
        // One that is overtaken and does not know it may begin to serve; what came after is not its.
        let lacks = |(log, seq): &&(LogId, Seq)| log.epoch < epoch && !held.contains(*log, *seq);
        let lacking = self.seen.committed.iter().find(lacks).copied();
        if let Some((log, seq)) = lacking {
            self.fail(format!(
                "I12: epoch {epoch} opens at node {at} without {log} {seq}, which was acknowledged at quorum"
            ));
        }
    }
}
