//! I4: the promise of an incarnation that takes part never goes back, even if its disk does.

use crate::world::World;

impl World {
    pub fn note_promise(&mut self, at: usize) {
        let disk = &self.nodes[at].disk;
        let (incarnation, promise) = (disk.incarnation, disk.promise);
        let most = self.seen.promises.entry(incarnation).or_insert(promise);
        *most = promise.max(*most);
    }

    pub fn check_promised(&mut self, at: usize) {
        let disk = &self.nodes[at].disk;
        let most = self.seen.promises.get(&disk.incarnation).copied();
        let takes_part = self.nodes[at]
            .live
            .as_ref()
            .is_some_and(|live| live.replica.takes_part());
        if takes_part && Some(disk.promise) < most {
            let promise = disk.promise;
            self.fail(format!(
                "I4: node {at} takes part with promise {promise}, having promised {most:?}"
            ));
        }
    }
}
