//! Changes of members, carried out by whoever is primary: one step at a time, each of which can be done again.
//!
//! ```text
//!  add      learner ── holds what the primary holds ──► CHANGE with it ──► voter ──► done      (data)
//!           learner ──► voter ──► done (arbiter)        learner ──► done (read replica)
//!  remove   CHANGE without it ──► no voter ──► no learner ──► evicted ──► done
//!  replace  as add, but CHANGE puts the new in place of the old; then as remove
//! ```
//! Whom a shrunk set has left out is added again, without anybody's asking.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::{debug, info};

use super::survey::lag;
use super::{Error, Serving};
use crate::base::clock::timeout;
use crate::base::{IncarnationId, NodeNumber, TaskGroup};
use crate::control::raft::Raft;
use crate::control::{Addresses, Command, ControlState, Intent, Role, SetSecret};
use crate::replica::Report;

/// How often it is looked whether there is something to do, at the least.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A member that lacks no more records than this is caught up within the pause of a CHANGE.
const CAUGHT_UP: u64 = 200;

/// What is done next for an intent.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing yet: a member has to start, or to catch up.
    Wait,
    /// The agreement tells this member everything.
    Learn(NodeNumber, Addresses),
    /// CHANGE to these data members, under this primary.
    Change(IncarnationId, BTreeSet<IncarnationId>),
    /// These vote.
    Vote(BTreeSet<NodeNumber>),
    /// The agreement tells this member nothing any more.
    Unlearn(NodeNumber),
    /// It is given up for good.
    Evict(IncarnationId),
    /// The intent is fulfilled.
    Done,
}

/// What the steps depend on.
struct Sight<'a> {
    me: IncarnationId,
    control: &'a ControlState,
    voters: BTreeSet<NodeNumber>,
    learners: BTreeSet<NodeNumber>,
    /// Those that lack almost nothing.
    caught_up: BTreeSet<IncarnationId>,
    successor: Option<IncarnationId>,
}

impl Sight<'_> {
    fn next(&self, intent: &Intent) -> Step {
        match *intent {
            Intent::Add { incarnation } => self.add(incarnation, None),
            Intent::Remove { incarnation } => self.remove(incarnation),
            Intent::Replace { old, new } => {
                let step = self.add(new, Some(old));
                if step == Step::Done {
                    self.remove(old)
                } else {
                    step
                }
            }
        }
    }

    fn add(&self, incarnation: IncarnationId, instead_of: Option<IncarnationId>) -> Step {
        let Some(member) = self.control.members.get(&incarnation) else {
            return Step::Done;
        };
        let number = member.number;
        if !self.voters.contains(&number) && !self.learners.contains(&number) {
            let is_known = !member.addresses.peer.is_empty();
            return if is_known {
                Step::Learn(number, member.addresses.clone())
            } else {
                Step::Wait
            };
        }
        let Some(open) = &self.control.open else {
            return Step::Wait;
        };
        if member.role == Role::Data && !open.members.contains(&incarnation) {
            if !self.caught_up.contains(&incarnation) {
                return Step::Wait;
            }
            let mut members = open.members.clone();
            members.insert(incarnation);
            if let Some(old) = instead_of {
                members.remove(&old);
            }
            let to = if members.contains(&self.me) {
                self.me
            } else {
                incarnation
            };
            return Step::Change(to, members);
        }
        if member.role != Role::ReadReplica && !self.voters.contains(&number) {
            let mut voters = self.voters.clone();
            voters.insert(number);
            return Step::Vote(voters);
        }
        Step::Done
    }

    fn remove(&self, incarnation: IncarnationId) -> Step {
        let Some(member) = self.control.members.get(&incarnation) else {
            return Step::Done;
        };
        let number = member.number;
        if let Some(open) = &self.control.open
            && open.members.contains(&incarnation)
        {
            let mut members = open.members.clone();
            members.remove(&incarnation);
            let to = if incarnation == self.me {
                self.successor
            } else {
                Some(self.me)
            };
            return match to.filter(|to| members.contains(to)) {
                Some(to) => Step::Change(to, members),
                None => Step::Wait,
            };
        }
        if self.voters.contains(&number) {
            let others = self.voters.iter().copied().filter(|voter| *voter != number);
            return Step::Vote(others.collect());
        }
        if self.learners.contains(&number) {
            return Step::Unlearn(number);
        }
        Step::Evict(incarnation)
    }
}

/// Carries out what is intended, for as long as the node serves.
pub(super) fn coordinate(node: &Arc<Serving>, tasks: &TaskGroup) {
    let node = Arc::downgrade(node);
    let stopped = tasks.cancelled();
    tasks.spawn("members", async move {
        loop {
            let looked = look(&node);
            tokio::select! {
                () = stopped.cancelled() => return Ok::<(), String>(()),
                () = looked => {}
            }
        }
    });
}

/// Data members that do not count, because the epoch was opened without them, are to count again.
fn left_out(control: &ControlState) -> BTreeSet<Intent> {
    let counts = |member| {
        let open = control.open.as_ref();
        open.is_some_and(|open| open.members.contains(member))
    };
    let is_named = |member| {
        let mut named = control.intents.iter().flat_map(Intent::members);
        named.any(|named| named == member)
    };
    let data = control.members.iter();
    data.filter(|(member, state)| {
        state.role == Role::Data && !counts(*member) && !is_named(**member)
    })
    .map(|(member, _)| Intent::Add {
        incarnation: *member,
    })
    .collect()
}

async fn look(node: &Weak<Serving>) {
    let Some(node) = node.upgrade() else {
        return std::future::pending().await;
    };
    node.note_serving().await;
    node.raise_level().await;
    node.choose_secret().await;
    if node.member.standing().serves.is_some()
        && let Some(raft) = node.agreement.raft()
    {
        let control = node.agreement.state();
        for intent in control.intents.iter().chain(&left_out(&control)) {
            if let Err(cause) = node.go_on(intent, &control, &raft).await {
                debug!(%intent, %cause, "a change of members waits");
            }
        }
    }
    let mut standings = node.member.standings();
    standings.mark_unchanged();
    let _late = timeout(LOOK_EVERY, standings.changed()).await;
}

impl Serving {
    /// Has the feature level raised to what every member understands by now.
    async fn raise_level(&self) {
        let due = self.agreement.state().level_due();
        let Some(level) = due.filter(|_| self.member.standing().serves.is_some()) else {
            return;
        };
        match self.agreement.agree(Command::RaiseLevel(level)).await {
            Ok(_) => info!(level, "the feature level rises"),
            Err(cause) => debug!(level, %cause, "the feature level does not rise yet"),
        }
    }

    /// Has the set choose its secret, if it has none.
    async fn choose_secret(&self) {
        if self.member.standing().serves.is_none() || !self.agreement.state().lacks_secret() {
            return;
        }
        let secret = SetSecret(rand::random());
        if let Err(cause) = self.agreement.agree(Command::ChooseSecret(secret)).await {
            debug!(%cause, "the set has no secret yet");
        }
    }

    async fn go_on(
        &self,
        intent: &Intent,
        control: &ControlState,
        raft: &Raft,
    ) -> Result<(), Error> {
        let (reports, durable) = (self.member.reports(), self.engine.durable());
        let lacks_little = |report: &Report| {
            lag(control, &durable, &report.durable).is_some_and(|lag| lag <= CAUGHT_UP)
        };
        let caught_up = reports
            .iter()
            .filter(|(_, report)| report.is_heard && lacks_little(report));
        let status = raft.status();
        let sight = Sight {
            me: self.identity.incarnation,
            control,
            voters: status.voters,
            learners: status.learners,
            caught_up: caught_up.map(|(member, _)| *member).collect(),
            successor: self.successor(),
        };
        let step = sight.next(intent);
        if step != Step::Wait {
            info!(%intent, ?step, "changing members");
        }
        match step {
            Step::Wait => {}
            Step::Learn(number, addresses) => {
                raft.add_learner(number, addresses).await?;
            }
            Step::Change(to, members) => self.member.hand_over(to, members)?,
            Step::Vote(voters) => {
                raft.set_voters(voters).await?;
            }
            Step::Unlearn(number) => {
                raft.remove(number).await?;
            }
            Step::Evict(incarnation) => {
                let evict = Command::Evict {
                    incarnation,
                    expected_open: None,
                };
                self.agreement.agree(evict).await?;
            }
            Step::Done => {
                self.agreement.agree(Command::Fulfil(*intent)).await?;
            }
        }
        Ok(())
    }
}
