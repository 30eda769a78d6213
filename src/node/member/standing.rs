//! Where a member stands, for those who must not wait for its lock.

use std::sync::Arc;
use std::time::Duration;

use super::super::Primary;
use super::Halt;
use crate::base::{BootNumber, Epoch, IncarnationId};
use crate::control::ControlState;
use crate::replica::{Replica, Takeover};

/// What a member is at a moment.
#[derive(Debug, Clone)]
pub(in crate::node) struct Standing {
    /// The epoch in which it serves writes.
    pub serves: Option<Epoch>,
    /// How it came to serve in it.
    pub takeover: Option<Takeover>,
    /// The epoch promised.
    pub promise: Epoch,
    /// Its registered start.
    pub boot: Option<BootNumber>,
    /// Everything acknowledged at quorum before this moment can be read here; monotonic.
    pub fresh_at: Option<Duration>,
    /// What is agreed, as far as it has come here.
    pub control: Arc<ControlState>,
    /// Why it takes no further part.
    pub halted: Option<Halt>,
    who: IncarnationId,
}

impl PartialEq for Standing {
    fn eq(&self, other: &Standing) -> bool {
        let of = |standing: &Standing| {
            let Standing {
                serves,
                promise,
                boot,
                fresh_at,
                ..
            } = standing;
            (*serves, *promise, *boot, *fresh_at)
        };
        of(self) == of(other)
            && Arc::ptr_eq(&self.control, &other.control)
            && self.halted.is_some() == other.halted.is_some()
    }
}

impl Standing {
    pub fn of(replica: &Replica, halted: Option<Halt>) -> Standing {
        Standing {
            serves: replica.serves(),
            takeover: replica.takeover(),
            promise: replica.member().promise(),
            boot: replica.boot(),
            fresh_at: replica.fresh_at(),
            control: Arc::clone(replica.control()),
            halted,
            who: replica.incarnation(),
        }
    }

    /// Is its start decided: does it take part, as primary if it is alone, or never?
    pub fn has_started(&self) -> bool {
        let is_alone = self.control.members.len() <= 1;
        self.halted.is_some() || self.serves.is_some() || (self.boot.is_some() && !is_alone)
    }

    /// The primary of the open epoch, if that is another member.
    pub fn primary(&self) -> Option<Primary> {
        Primary::elsewhere(&self.control, self.who)
    }

    /// Does this node hold rows?
    pub fn holds_rows(&self) -> bool {
        let me = self.control.members.get(&self.who);
        me.is_none_or(|member| member.role.holds_rows())
    }

    /// How old the rows can be that are read here after `now`. `None`: nothing is known.
    pub fn staleness(&self, now: Duration) -> Option<Duration> {
        let is_alone =
            self.serves.is_some()
                && self.control.open.as_ref().is_some_and(|open| {
                    open.members.len() == 1 && open.members.contains(&self.who)
                });
        if is_alone {
            // It is its own quorum: nothing is acknowledged that cannot be read here.
            return Some(Duration::ZERO);
        }
        self.fresh_at.map(|at| now.saturating_sub(at))
    }
}
