//! I3: a snapshot replaces nothing that it does not hold. I5: what it holds is durable on W data members.

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
        let control = self.agreement.now();
        let ends: Vec<_> = offered.held.vector().logs().collect();
        let alone = ends
            .iter()
            .find(|(log, seq)| !control.is_spread(*log, *seq));
        if let Some((log, seq)) = alone.copied() {
            self.fail(format!(
                "I5: node {at} takes a snapshot with {log} {seq}, which is not on W data members"
            ));
        }
    }
}
