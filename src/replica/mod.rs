//! Pure: one member of a set: everything it decides, and nothing it does.
//!
//! A [`Replica`] joins the cores of `replication`, `epoch` and `read` into one state machine. Its driver tells it what
//! happens (a message, a tick, something durable or applied, something agreed) and carries out the [`Action`]s it asks
//! for, in order. The simulator drives it over virtual disks and networks, a node over real ones.
//!
//! ```text
//!               the start is registered            a Change reaches its epoch
//!  (mute) ────────────────────────────► member ───────────────────────────────► member and primary (Reign)
//!                                          ▲                                              │
//!                                          └── a later promise, or a later open epoch ────┘
//! ```
//! **Invariants.** I1: a reign ends with its process. I10: actions that follow a raised promise follow its being durable.
//! R1: raising the promise ends the reign in the same step, so nothing more is stamped, acknowledged or confirmed in it.
//!
//! What it does not do: read clocks, rows, or random numbers; retry a client's request; know what a write means.

mod action;
mod candidate;
mod member;
mod pending;
mod primary;
mod reign;
mod strong;
#[cfg(test)]
mod testing;
mod two_node;

use std::sync::Arc;
use std::time::Duration;

pub use action::{Action, Fault, ReadId, Wanted, WriteId};
pub use candidate::Unfit;
pub use primary::{Report, Turn};
pub use reign::{Refused, Takeover};

use crate::base::rule::Rule;
use crate::base::{BootNumber, Epoch, Hlc, IncarnationId, VersionVector};
use crate::control::{BootClaim, Command, ControlState};
use crate::epoch::timing::ASK_AGAIN;
use crate::epoch::{Backoff, Change, Detector};
use crate::read::{ProbeNumber, Staleness};
use crate::replication::{Heads, HeldOpening, Member, Message, Round};
use reign::{HandOver, Reign, Stage};
use strong::Strong;

/// What a replica finds on its disk when it starts.
#[derive(Debug, Clone)]
pub struct Found {
    /// Whose directory it is.
    pub incarnation: IncarnationId,
    /// The claim with which its start is registered.
    pub claim: BootClaim,
    /// The promise.
    pub promise: Epoch,
    /// What its log and store hold, all of it durable.
    pub held: Heads,
    /// The last opening record held.
    pub opening: Option<HeldOpening>,
    /// What can be read.
    pub applied: VersionVector,
    /// The greatest stamp applied.
    pub newest: Hlc,
}

/// From whom records are taken.
#[derive(Debug, Clone, Copy)]
struct Leader {
    epoch: Epoch,
    who: IncarnationId,
    number: u64,
    round: Round,
}

/// One member of a set.
#[derive(Debug)]
pub struct Replica {
    me: IncarnationId,
    claim: BootClaim,
    boot: Option<BootNumber>,
    /// When something was last proposed that has no answer of its own.
    proposed: Option<Duration>,
    control: Arc<ControlState>,
    member: Member,
    applied: VersionVector,
    newest: Hlc,
    leader: Option<Leader>,
    detector: Detector,
    backoff: Backoff,
    /// When this member may try to replace a primary it suspects.
    try_at: Option<Duration>,
    /// The open epoch whose end an operator has approved.
    approved: Epoch,
    change: Option<Change>,
    changes: u64,
    reign: Option<Reign>,
    strong: Strong,
    staleness: Staleness,
    probed: Option<Duration>,
    halted: bool,
    actions: Vec<Action>,
}

impl Replica {
    /// A process that has just started. `seed` is for its chance.
    #[must_use]
    pub fn new(found: Found, control: Arc<ControlState>, now: Duration, seed: u64) -> Replica {
        let mut replica = Replica {
            me: found.incarnation,
            claim: found.claim,
            boot: None,
            proposed: None,
            control: Arc::clone(&control),
            member: Member::new(found.promise, found.held, found.opening),
            applied: found.applied,
            newest: found.newest,
            leader: None,
            detector: Detector::new(found.incarnation, now),
            backoff: Backoff::new(seed),
            try_at: None,
            approved: Epoch::NONE,
            change: None,
            changes: 0,
            reign: None,
            strong: Strong::default(),
            staleness: Staleness::new(ProbeNumber(seed)),
            probed: None,
            halted: false,
            actions: Vec::new(),
        };
        replica.agree(now, control);
        replica
    }

    /// What is to be done, in this order. To be called after each of the other calls.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Who this is.
    #[must_use]
    pub fn incarnation(&self) -> IncarnationId {
        self.me
    }

    /// The registered start, once it is.
    #[must_use]
    pub fn boot(&self) -> Option<BootNumber> {
        self.boot
    }

    /// The promise, and what is held.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// What is agreed, as far as it has reached this replica.
    #[must_use]
    pub fn control(&self) -> &Arc<ControlState> {
        &self.control
    }

    /// The epoch in which this replica serves writes, if it does.
    #[must_use]
    pub fn serves(&self) -> Option<Epoch> {
        let reign = self.reign.as_ref()?;
        (reign.stage == Stage::Serving).then(|| reign.epoch())
    }

    /// The way to its epoch, while this replica is a candidate.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// How this replica came to serve, if it does.
    #[must_use]
    pub fn takeover(&self) -> Option<Takeover> {
        self.reign.as_ref()?.takeover()
    }

    /// Is this process registered, so that it takes part?
    #[must_use]
    pub fn takes_part(&self) -> bool {
        !self.halted && (self.boot.is_some() || !Rule::MuteUntilBoot.holds())
    }

    /// Time has passed. To be called every few dozen milliseconds at the latest.
    pub fn tick(&mut self, now: Duration) {
        if self.halted {
            return;
        }
        if self.boot.is_none() {
            self.register(now);
        }
        if !self.takes_part() {
            return;
        }
        self.lead(now);
        self.probe(now);
        self.seek_change(now);
        self.go_on(now);
    }

    /// Something more is durable here.
    pub fn synced(&mut self, now: Duration, durable: &VersionVector) {
        self.member.sync(durable);
        self.report_to_leader();
        self.go_on(now);
    }

    /// Something more can be read here; `newest` is the greatest stamp in it.
    pub fn applied(&mut self, now: Duration, applied: &VersionVector, newest: Hlc) {
        self.applied.join(applied);
        self.newest = self.newest.max(newest);
        self.fold();
        self.staleness.on_applied(&self.control, &self.applied);
        self.go_on(now);
    }

    /// The agreed state has changed.
    pub fn agree(&mut self, now: Duration, control: Arc<ControlState>) {
        self.control = control;
        if self.control.evicted.contains(&self.me) {
            self.halt(Fault::Evicted);
            return;
        }
        let registered = self.control.members.get(&self.me);
        if let Some(member) = registered.filter(|member| member.token == Some(self.claim.token)) {
            let is_new = self.boot.is_none();
            self.boot = Some(member.boot);
            // Whatever it promised before, and a directory that was rolled back unnoticed would have forgotten, was no
            // later than this (I4).
            if is_new && Rule::BootPromise.holds() {
                self.raise(self.control.attempt_epoch());
            }
        }
        self.detector
            .agree(now, &self.control, self.reign.is_some());
        self.fold();
        if let Some(reign) = &mut self.reign {
            reign.follow(&self.control);
            if reign.epoch() < self.control.open_epoch() && Rule::StopOld.holds() {
                self.end_reign();
            }
        }
        if self.takes_part() {
            self.go_on(now);
        }
    }

    /// A member's process was seen to be gone: its connections are closed and new ones are refused.
    pub fn see_gone(&mut self, member: IncarnationId) {
        if self.control.primary() == Some(member) {
            self.detector.see_gone();
        }
    }

    fn halt(&mut self, fault: Fault) {
        if !self.halted {
            self.halted = true;
            self.end_reign();
            self.strong.abandon_all(&mut self.actions);
            self.actions.push(Action::Halt(fault));
        }
    }

    /// Has the start registered.
    fn register(&mut self, now: Duration) {
        let is_due = self
            .proposed
            .is_none_or(|last| now.saturating_sub(last) >= ASK_AGAIN);
        if is_due {
            self.proposed = Some(now);
            self.actions
                .push(Action::Propose(Command::Boot(self.claim.clone())));
        }
    }

    /// Folds what is closed and applied to its end. What is folded is durable first, so that no report of it is ever
    /// taken back by a crash.
    fn fold(&mut self) {
        let through = self.control.foldable(&self.applied);
        if through > self.applied.base(self.control.region) {
            self.applied.fold(self.control.region, through);
            self.member.fold(self.control.region, through);
            self.actions.push(Action::Fold(through));
        }
    }

    /// Raises the promise to an epoch that asks for it.
    fn raise(&mut self, epoch: Epoch) {
        if !self.member.promise_to(epoch) {
            return;
        }
        if Rule::StopOld.holds() && self.reign.as_ref().is_some_and(|r| r.epoch() < epoch) {
            self.end_reign();
        }
        if Rule::PromiseSync.holds() {
            self.actions.push(Action::Promise(epoch));
        }
    }

    fn end_reign(&mut self) {
        let Some(reign) = self.reign.take() else {
            return;
        };
        self.actions
            .extend(reign.pending.writes().map(Action::Unknown));
        self.strong.abandon_primary(&mut self.actions);
    }

    /// Is this process primary of the open epoch, serving or about to?
    fn reigns(&self) -> bool {
        let epoch = self.reign.as_ref().map(Reign::epoch);
        epoch.is_some_and(|epoch| epoch >= self.control.open_epoch())
    }

    /// Does whatever can be done now.
    fn go_on(&mut self, now: Duration) {
        if !self.takes_part() {
            return;
        }
        self.go_on_changing(now);
        self.go_on_reigning(now);
        self.go_on_reading();
    }

    /// Has the open epoch's primary, this replica, hand over to a member, which may be itself, with these data members
    /// from then on.
    ///
    /// # Errors
    /// If this replica does not serve, or is handing over already.
    pub fn hand_over(
        &mut self,
        now: Duration,
        to: IncarnationId,
        members: std::collections::BTreeSet<IncarnationId>,
    ) -> Result<(), Refused> {
        let reign = self
            .reign
            .as_mut()
            .filter(|reign| reign.stage == Stage::Serving)
            .ok_or(Refused::NotPrimary)?;
        if reign.hand_over.is_some() {
            return Err(Refused::HandingOver);
        }
        reign.hand_over = Some(HandOver {
            to,
            members,
            since: now,
            asked: None,
        });
        self.go_on(now);
        Ok(())
    }

    fn send(&mut self, to: IncarnationId, message: Message) {
        self.actions.push(Action::Send(to, message));
    }
}

#[cfg(test)]
#[path = "replica_test.rs"]
mod tests;
