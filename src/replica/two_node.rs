//! Pure: what a set of two data members does about one that is gone, if its operator chose `two_node = "shrink"`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Replica;
use super::reign::Stage;
use crate::base::IncarnationId;
use crate::control::{Role, TwoNode};

impl Replica {
    /// The primary of two shrinks to itself when the other has been silent for L, and takes it back once it has caught
    /// up. Both are planned changes like any other.
    pub(super) fn adapt_two_nodes(&mut self, now: Duration) {
        if self.control.settings.two_node != TwoNode::Shrink {
            return;
        }
        let Some(members) = self.two_node_change(now) else {
            return;
        };
        // Refused while another change is under way; it is tried again with the next ping.
        let _under_way = self.hand_over(now, self.me, members);
    }

    fn two_node_change(&self, now: Duration) -> Option<BTreeSet<IncarnationId>> {
        let reign = self.reign.as_ref()?;
        let is_settled = reign.stage == Stage::Serving
            && self.change.is_none()
            && now.saturating_sub(reign.since) >= self.control.settings.silence();
        let data = self
            .control
            .members
            .iter()
            .filter(|(_, member)| member.role == Role::Data);
        let both: BTreeSet<IncarnationId> = data.map(|(incarnation, _)| *incarnation).collect();
        let other = both.iter().copied().find(|member| *member != self.me)?;
        if !is_settled || both.len() != 2 {
            return None;
        }
        let hears = reign.hears(now, other);
        match reign.attempt.members.len() {
            2 if !hears => Some([self.me].into()),
            1 if hears => {
                let reported = reign.senders.get(&other)?.reported()?;
                let has_caught_up = self
                    .control
                    .covers(&reported.durable, self.member.durable());
                has_caught_up.then_some(both)
            }
            _ => None,
        }
    }
}
