//! I1: one process serves each epoch, ever.

use crate::world::World;

impl World {
    pub fn check_writer(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(epoch) = node.live.as_ref().and_then(|live| live.replica.serves()) else {
            return;
        };
        let process = (at, node.process);
        match self.seen.served.get(&epoch).copied() {
            None => {
                self.seen.served.insert(epoch, process);
                self.log(|| format!("node {at} serves epoch {epoch}"));
                self.check_committed(at, epoch);
            }
            Some(first) if first != process => self.fail(format!(
                "I1: epoch {epoch} is served by {first:?} and {process:?}"
            )),
            Some(_) => {}
        }
    }
}
