//! I3: a snapshot replaces nothing that it does not hold. I5: what it holds without records is durable on W data members.

use crate::disk::Snapshot;
use crate::world::World;

impl World {
    pub fn check_snapshot(&mut self, at: usize, offered: &Snapshot) {
        let held = offered.store.held.vector();
        let disk = &self.nodes[at].disk;
        let mut durable = disk.wal[..disk.synced].iter();
        let lost = durable.find(|record| !held.contains(record.log(), record.seq()));
        if let Some(stamp) = lost.map(|record| record.stamp) {
            self.fail(format!("I3: node {at} takes a snapshot that lacks {stamp}"));
        }
        let region = self.agreement.now().region;
        let without = offered.without_records(region);
        for (log, seq) in without.logs() {
            self.check_spread(log, seq, |stamp, copies| {
                format!("I5: node {at} takes a snapshot with {stamp} in rows alone, on {copies} data members")
            });
        }
    }
}
