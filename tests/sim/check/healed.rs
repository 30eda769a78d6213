//! After everything works again: a primary serves, all nodes hold the same, every log of an earlier reign is closed, and
//! what clients were told holds.

use std::sync::Arc;

use steadfast::control::LogState;

use crate::disk::read_row;
use crate::history::{Fact, Healed, History, judge, judge_healed};
use crate::operation::Operation;
use crate::world::World;

impl World {
    pub fn check_healed(&mut self) {
        let Some(primary) = self.primary() else {
            return self.fail("no primary serves after everything has healed");
        };
        let control = Arc::clone(self.agreement.now());
        let theirs = &self.nodes[primary].live.as_ref().unwrap().store;
        for at in 0..self.nodes.len() {
            let ours = self.nodes[at].live.as_ref().map(|live| &live.store);
            let is_caught_up = ours.is_some_and(|ours| {
                control.covers(ours.held.vector(), theirs.held.vector())
                    && ours.rows == theirs.rows
                    && ours.requests == theirs.requests
            });
            if !is_caught_up {
                let held = ours.map(|ours| ours.held.vector().to_string());
                let theirs = theirs.held.vector();
                return self.fail(format!(
                    "I22: node {at} ends with {held:?}, the primary with {theirs}"
                ));
            }
        }
        let mut active = control
            .logs
            .iter()
            .filter(|(_, log)| **log == LogState::Active);
        let open = control.open_epoch();
        if let Some((epoch, _)) = active.find(|(epoch, _)| **epoch != open) {
            return self.fail(format!("the log of epoch {epoch} is never closed"));
        }
        let history = self.history();
        let judged = judge(&history).and_then(|()| judge_healed(&history, &self.ended()));
        if let Err(fault) = judged {
            self.fail(fault.to_string());
        }
    }

    fn history(&self) -> History {
        let lost = self
            .unsound
            .iter()
            .map(|(incarnation, time)| Fact::DiskLost {
                node: incarnation.0 as u64,
                time: *time,
            });
        let again = self.operations.iter().filter(|op| op.records.len() > 1);
        History {
            operations: self
                .operations
                .iter()
                .map(|op| op.judged(self.unsound.is_empty()))
                .collect(),
            facts: lost
                .chain(again.flat_map(Operation::also_written))
                .collect(),
        }
    }

    /// What each node ends with.
    fn ended(&self) -> Healed {
        let mut healed = Healed::new();
        for node in &self.nodes {
            let Some(live) = &node.live else { continue };
            let mut versions = std::collections::BTreeMap::new();
            for (op, operation) in self.operations.iter().enumerate() {
                if let Some(row) = live.store.rows.get(&self.clients.place(op)) {
                    let (event_time, stamp, _) = read_row(row);
                    versions.insert(operation.place(), operation.version((event_time, stamp)));
                }
            }
            healed.insert(node.disk.incarnation.0 as u64, versions);
        }
        healed
    }
}
