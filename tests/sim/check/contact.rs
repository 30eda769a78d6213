//! I17: a primary without quorum contact acknowledges nothing at async. So L after another epoch has opened nothing is.

use steadfast::base::{CommitLevel, Epoch, Stamp};

use crate::world::World;

impl World {
    pub fn check_contact(&mut self, acknowledged_in: Epoch, stamp: Stamp, level: CommitLevel) {
        let later = self.seen.opened.range(acknowledged_in.next()..).next();
        let silence = self.agreement.now().settings.silence();
        if let Some((epoch, opened)) = later
            && level == CommitLevel::Async
            && self.now >= opened + silence.as_nanos() as u64
        {
            self.fail(format!(
                "I17: {stamp} is acknowledged at async long after epoch {epoch} has opened"
            ));
        }
    }
}
