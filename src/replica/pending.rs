//! Pure: writes that are appended and not yet acknowledged, each waiting for its level.
//!
//! Records of one log reach a level in the order of the log, so only the first of each level need be looked at.

use std::collections::VecDeque;

use super::action::WriteId;
use crate::base::{CommitLevel, Stamp};

/// A write that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub write: WriteId,
    pub stamp: Stamp,
}

/// The writes that wait, by level.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: [VecDeque<Pending>; 3],
}

const LEVELS: [CommitLevel; 3] = [CommitLevel::Async, CommitLevel::Quorum, CommitLevel::All];

impl Queues {
    pub fn push(&mut self, level: CommitLevel, pending: Pending) {
        let queues = LEVELS.iter().zip(&mut self.queues);
        for (_, queue) in queues.filter(|(of, _)| **of == level) {
            queue.push_back(pending);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// All that wait.
    pub fn writes(&self) -> impl Iterator<Item = WriteId> {
        self.queues.iter().flatten().map(|pending| pending.write)
    }

    pub fn forget(&mut self, write: WriteId) {
        for queue in &mut self.queues {
            queue.retain(|pending| pending.write != write);
        }
    }

    /// Takes out those that have reached their level.
    pub fn reached(&mut self, has_reached: impl Fn(CommitLevel, &Stamp) -> bool) -> Vec<Pending> {
        let mut reached = Vec::new();
        for (level, queue) in LEVELS.iter().zip(&mut self.queues) {
            while let Some(pending) = queue.front()
                && has_reached(*level, &pending.stamp)
            {
                reached.extend(queue.pop_front());
            }
        }
        reached
    }
}
