//! A log is closed at its end: no disk holds a record beyond it.

use steadfast::base::{IncarnationId, Seq};
use steadfast::control::Command;

use crate::world::World;

impl World {
    pub fn check_closed(&mut self, command: &Command) {
        let Command::Close { epoch, last, .. } = command else {
            return;
        };
        let log = self.agreement.now().log(*epoch);
        for at in 0..self.nodes.len() {
            let disk = &self.nodes[at].disk;
            let beyond = disk.wal[..disk.synced]
                .iter()
                .filter(|record| record.log() == log && record.seq() > *last)
                .map(|record| record.seq());
            let beyond: Option<Seq> = beyond.max();
            let incarnation: IncarnationId = disk.incarnation;
            if let Some(beyond) = beyond {
                self.fail(format!(
                    "{log} is closed at {last}, {incarnation} holds {beyond} of it"
                ));
            }
        }
    }
}
