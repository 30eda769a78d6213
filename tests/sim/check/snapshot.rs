//! I3: a snapshot replaces nothing that it does not hold.

use crate::disk::Store;
use crate::world::World;

impl World {
    pub fn check_snapshot(&mut self, at: usize, offered: &Store) {
        let disk = &self.nodes[at].disk;
        let mut durable = disk.wal[..disk.synced].iter();
        let lost =
            durable.find(|record| !offered.held.vector().contains(record.log(), record.seq()));
        if let Some(stamp) = lost.map(|record| record.stamp) {
            self.fail(format!("I3: node {at} takes a snapshot that lacks {stamp}"));
        }
    }
}
