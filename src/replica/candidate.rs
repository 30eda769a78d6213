//! Pure: how a replica sets out to be primary, and what it does until it is.
//!
//! **Invariant.** Where the policy is hybrid, nobody replaces a primary without an operator's word unless every data member of
//! its epoch is sealed, or the former primary is this very member: so nothing that was acknowledged can be missing.

use std::time::Duration;

use super::reign::{Reign, Stage};
use super::{Action, Replica};
use crate::base::rule::Rule;
use crate::base::{BootNumber, Epoch, IncarnationId};
use crate::control::FailoverPolicy;
use crate::epoch::{Change, Instruction, Seals, Sight};
use crate::replication::{Message, Seal};

/// Why a member cannot replace the primary, though it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The epoch that the operator has seen is open no more, or not known here yet.
    #[error("another epoch is open here than the one that was named")]
    Overtaken,
    /// It does not take part, or not yet.
    #[error("this member does not take part in its set now")]
    Mute,
    /// It holds no rows that count.
    #[error("this member is no data member of the open epoch")]
    NotData,
    /// It is primary, or sets out to be.
    #[error("this member is the primary, or about to be")]
    UnderWay,
}

impl Replica {
    /// An operator approves that the primary of this open epoch be replaced, though not all its members can be sealed.
    pub fn approve(&mut self, open: Epoch) {
        self.approved = open;
        if open == self.control.open_epoch()
            && let Some(change) = &mut self.change
        {
            change.take_enough();
        }
    }

    /// An operator has this member replace the primary of this open epoch, whether anybody suspects it or not.
    ///
    /// # Errors
    /// If it cannot.
    pub fn force(&mut self, now: Duration, open: Epoch) -> Result<(), Unfit> {
        let members = match &self.control.open {
            Some(config) if config.epoch == open => config.members.clone(),
            Some(_) | None => return Err(Unfit::Overtaken),
        };
        if !self.takes_part() {
            return Err(Unfit::Mute);
        }
        if !members.contains(&self.me) {
            return Err(Unfit::NotData);
        }
        if self.reigns() || self.change.is_some() {
            return Err(Unfit::UnderWay);
        }
        self.approved = open;
        self.set_out(now, |me, boot, number, sight| {
            Change::forced(me, boot, members, number, sight)
        });
        self.go_on(now);
        Ok(())
    }

    /// Sets out to replace the primary, if there is reason to, and this member may.
    pub(super) fn seek_change(&mut self, now: Duration) {
        let is_primary = self.reigns();
        let is_data = match &self.control.open {
            Some(open) => open.members.contains(&self.me),
            None => self.control.members.contains_key(&self.me),
        };
        if self.change.is_some() || !is_data || self.detector.suspects(now, is_primary).is_none() {
            if self.change.is_none() {
                self.try_at = None;
            }
            return;
        }
        let members = match &self.control.open {
            Some(open) => open.members.clone(),
            None => [self.me].into(),
        };
        // Whoever is alone overtakes nobody.
        let wait = match self.try_at {
            None if members.len() > 1 => self.backoff.wait(),
            _ => Duration::ZERO,
        };
        let try_at = *self.try_at.get_or_insert(now + wait);
        let Some(seals) = self.may_replace().filter(|_| now >= try_at) else {
            return;
        };
        self.set_out(now, |me, boot, number, sight| {
            Change::unplanned(me, boot, members, number, seals, sight)
        });
    }

    /// By how many seals this member may replace the primary, if without an operator's word.
    fn may_replace(&self) -> Option<Seals> {
        // What the former primary alone has acknowledged may be missing until it returns; it is here if it was this member.
        let is_told = self.approved == self.control.open_epoch();
        let is_here = self.control.primary() == Some(self.me);
        match self.control.settings.failover {
            FailoverPolicy::Automatic => Some(Seals::Enough),
            FailoverPolicy::Hybrid | FailoverPolicy::Manual if is_told || is_here => {
                Some(Seals::Enough)
            }
            FailoverPolicy::Hybrid => Some(Seals::All),
            FailoverPolicy::Manual => None,
        }
    }

    pub(super) fn set_out(
        &mut self,
        now: Duration,
        begin: impl FnOnce(IncarnationId, BootNumber, u64, &Sight<'_>) -> Change,
    ) {
        let Some(boot) = self.boot else {
            return;
        };
        self.changes += 1;
        let change = begin(self.me, boot, self.changes, &self.sight(now));
        self.change = Some(change);
    }

    fn sight(&self, now: Duration) -> Sight<'_> {
        Sight {
            now,
            control: &self.control,
            durable: self.member.durable(),
            appended: self.member.appended().vector(),
            suspects: self.detector.suspects(now, self.reigns()),
            // A primary is not idle before it sets out itself.
            heard: if self.reigns() {
                now
            } else {
                self.detector.heard()
            },
            commit: self.reign.as_ref().map(|reign| &reign.commit),
        }
    }

    pub(super) fn go_on_changing(&mut self, now: Duration) {
        let Some(mut change) = self.change.take() else {
            return;
        };
        let instructions = change.step(&self.sight(now));
        self.change = Some(change);
        for instruction in instructions {
            self.carry_out(now, instruction);
        }
    }

    fn carry_out(&mut self, now: Duration, instruction: Instruction) {
        match instruction {
            Instruction::Ask(members, question) => {
                for member in members {
                    self.send(member, Message::PreSeal(question.clone()));
                }
            }
            Instruction::Propose(command) => self.actions.push(Action::Propose(command)),
            Instruction::Seal(members, epoch) => {
                for member in members {
                    if member == self.me {
                        self.seal_myself(epoch);
                    } else {
                        self.send(member, Message::Seal(Seal { epoch }));
                    }
                }
            }
            Instruction::Fetch(holder, missing) => self.fetch(holder, missing),
            Instruction::Transfer => self.begin_reign(now),
            Instruction::Reign(_) => {
                self.begin_reign(now);
                self.change = None;
                self.try_at = None;
                self.backoff.succeeded();
            }
            Instruction::GiveUp(_) => {
                self.change = None;
                if self
                    .reign
                    .as_ref()
                    .is_some_and(|r| r.stage == Stage::Transferring)
                {
                    self.end_reign();
                }
                self.backoff.failed();
                self.try_at = Some(now + self.backoff.wait());
            }
        }
    }

    /// The candidate seals its own member, too.
    fn seal_myself(&mut self, epoch: Epoch) {
        self.raise(epoch);
        let ack = self.seal_ack(epoch);
        if self.member.promise() == epoch
            && let Some(change) = &mut self.change
        {
            change.seal(self.me, ack);
        }
    }

    /// Streams may lead to members under the attempt; once its epoch is open, all of them.
    fn begin_reign(&mut self, now: Duration) {
        let Some(change) = &self.change else {
            return;
        };
        let Some(attempt) = change.attempt() else {
            return;
        };
        let may = attempt.epoch == self.member.promise() || !Rule::StopOld.holds();
        if !may
            || self
                .reign
                .as_ref()
                .is_some_and(|r| r.epoch() == attempt.epoch)
        {
            return;
        }
        let (attempt, recovered) = (attempt.clone(), change.recovered());
        let idle_since = change.idle_since();
        self.end_reign();
        let mut reign = Reign::new(self.me, now, attempt, recovered, &self.control);
        reign.idle_since = idle_since;
        reign.follow(&self.control);
        self.reign = Some(reign);
    }
}
