//! Pure: CHANGE, run by the candidate. See [`crate::epoch`] for the states.
//!
//! What is sent or proposed may be lost: everything that does not come is asked for again, and everything may safely be
//! said twice. The agreed state tells how far the attempt has come, not the answers to proposals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::timing::{ASK_AGAIN, PATIENCE};
use crate::base::rule::Rule;
use crate::base::{BootNumber, Epoch, IncarnationId, VersionVector};
use crate::control::{Attempt, Cause, Command, ControlState, Missing, commit_size, seal_size};
use crate::replication::{Commit, PreSeal, SealAck};

/// What the candidate knows at a moment.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Monotonic time.
    pub now: Duration,
    /// What is agreed, as far as it has reached the candidate.
    pub control: &'a ControlState,
    /// What is durable here.
    pub durable: &'a VersionVector,
    /// What is appended here, durable or not yet.
    pub appended: &'a VersionVector,
    /// Why this member itself would replace the primary, if it has reason to.
    pub suspects: Option<Cause>,
    /// When the primary was last heard.
    pub heard: Duration,
    /// What was acknowledged under the attempt.
    pub commit: Option<&'a Commit>,
}

/// What came of asking a holder for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// Records that were not held.
    Something,
    /// None that was not held: the answer came twice, or could not be read.
    Nothing,
    /// Its log no longer reaches back to them.
    OutOfReach,
}

/// What the candidate is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// Ask these members.
    Ask(BTreeSet<IncarnationId>, PreSeal),
    /// Have this agreed.
    Propose(Command),
    /// Ask these members to promise the attempt, and promise it here.
    Seal(BTreeSet<IncarnationId>, Epoch),
    /// Fetch records from a holder.
    Fetch(IncarnationId, Vec<Missing>),
    /// Send what is held to the new members, under the attempt.
    Transfer,
    /// The epoch is open: the reign begins.
    Reign(Attempt),
    /// It did not work out.
    GiveUp(Why),
}

/// Why a candidate gives up. Nothing is discarded by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not enough members agree that the primary be replaced.
    #[error("not enough members agree")]
    NotAgreed,
    /// Somebody else has begun an epoch since.
    #[error("another attempt has overtaken it")]
    Overtaken,
    /// What is agreed does not come through.
    #[error("nothing can be agreed")]
    NotGranted,
    /// Too few members answer.
    #[error("too few members answer")]
    Unreachable,
    /// What is missing is no longer in any log: somebody who holds it must lead.
    #[error("what is missing here is in no log any more")]
    NeedsSnapshot,
}

/// How far a candidate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It asks whether others suspect the primary, too.
    Asking,
    /// It has an attempt begun.
    Beginning,
    /// It has the attempt promised.
    Sealing,
    /// It fetches what it lacks of what was found.
    CatchingUp,
    /// It sends what it holds to new members.
    Transferring,
    /// It has the epoch opened.
    Opening,
}

/// How many of the last opened configuration agree, and promise the attempt, before it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seals {
    /// R: nothing is missing that was acknowledged at quorum.
    Enough,
    /// All: nothing is missing that was acknowledged at all.
    All,
}

impl Seals {
    fn needed(self, members: usize) -> usize {
        match self {
            Seals::Enough => seal_size(members),
            Seals::All => members,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Asking { agreed: BTreeSet<IncarnationId> },
    Beginning,
    Sealing,
    CatchingUp { asked: Option<IncarnationId> },
    Transferring,
    Opening,
}

/// A candidate's way to its epoch.
#[derive(Debug)]
pub struct Change {
    me: IncarnationId,
    boot: BootNumber,
    /// The data members to be.
    members: BTreeSet<IncarnationId>,
    /// Planned: the primary that has handed over, whose seal is needed unless it dies.
    from: Option<IncarnationId>,
    /// What was agreed when it set out.
    expected: (Epoch, Epoch),
    phase: Phase,
    attempt: Option<Attempt>,
    sealed: BTreeMap<IncarnationId, SealAck>,
    /// When it last came any further.
    advanced: Duration,
    /// The furthest stage so far: who goes back and comes forth again has not advanced.
    furthest: Stage,
    /// When it last asked.
    asked: Option<Duration>,
    number: u64,
    seals: Seals,
    cause: Cause,
    /// Since when no writes are taken, if that is known.
    idle_since: Option<Duration>,
}

impl Change {
    /// Sets out to replace a silent primary.
    #[must_use]
    pub fn unplanned(
        me: IncarnationId,
        boot: BootNumber,
        members: BTreeSet<IncarnationId>,
        number: u64,
        seals: Seals,
        sight: &Sight<'_>,
    ) -> Change {
        let cause = sight.suspects.unwrap_or_default();
        let has_known = !matches!(cause, Cause::First | Cause::Restart);
        Change {
            phase: Phase::Asking {
                agreed: BTreeSet::new(),
            },
            seals,
            cause,
            idle_since: Some(sight.heard).filter(|_| has_known),
            ..Change::new(me, boot, members, number, sight)
        }
    }

    /// Sets out to replace a primary because an operator says so: nobody is asked.
    #[must_use]
    pub fn forced(
        me: IncarnationId,
        boot: BootNumber,
        members: BTreeSet<IncarnationId>,
        number: u64,
        sight: &Sight<'_>,
    ) -> Change {
        Change {
            // If it lives, its seal brings what it alone has acknowledged.
            from: sight.control.primary(),
            cause: Cause::Forced,
            ..Change::new(me, boot, members, number, sight)
        }
    }

    /// Sets out at the request of the open epoch's primary, which may be this member.
    #[must_use]
    pub fn planned(
        me: IncarnationId,
        boot: BootNumber,
        members: BTreeSet<IncarnationId>,
        from: IncarnationId,
        number: u64,
        sight: &Sight<'_>,
    ) -> Change {
        Change {
            from: Some(from),
            ..Change::new(me, boot, members, number, sight)
        }
    }

    fn new(
        me: IncarnationId,
        boot: BootNumber,
        members: BTreeSet<IncarnationId>,
        number: u64,
        sight: &Sight<'_>,
    ) -> Change {
        Change {
            me,
            boot,
            members,
            from: None,
            expected: (sight.control.open_epoch(), sight.control.attempt_epoch()),
            phase: Phase::Beginning,
            attempt: None,
            sealed: BTreeMap::new(),
            advanced: sight.now,
            furthest: Stage::Asking,
            asked: None,
            number,
            seals: Seals::Enough,
            cause: Cause::Planned,
            idle_since: Some(sight.now),
        }
    }

    /// The attempt, once it is agreed.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// How far it has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Asking { .. } => Stage::Asking,
            Phase::Beginning => Stage::Beginning,
            Phase::Sealing => Stage::Sealing,
            Phase::CatchingUp { .. } => Stage::CatchingUp,
            Phase::Transferring => Stage::Transferring,
            Phase::Opening => Stage::Opening,
        }
    }

    /// R of the members will do, whatever was wanted before.
    pub fn take_enough(&mut self) {
        self.seals = Seals::Enough;
    }

    /// Since when no writes are taken, if that is known.
    #[must_use]
    pub fn idle_since(&self) -> Option<Duration> {
        self.idle_since
    }

    /// A member agrees that the primary be replaced.
    pub fn agree(&mut self, from: IncarnationId, number: u64) {
        if let Phase::Asking { agreed } = &mut self.phase
            && number == self.number
        {
            agreed.insert(from);
        }
    }

    /// A member has promised the attempt.
    pub fn seal(&mut self, from: IncarnationId, ack: SealAck) {
        let attempt = self.attempt.as_ref();
        let counts = attempt
            .is_some_and(|attempt| attempt.epoch == ack.epoch && attempt.basis.contains(&from));
        if counts {
            self.sealed.insert(from, ack);
        }
    }

    /// A holder has answered.
    pub fn fetched(&mut self, now: Duration, from: IncarnationId, brought: Brought) {
        if let Phase::CatchingUp { asked } = &mut self.phase
            && *asked == Some(from)
            && brought != Brought::Nothing
        {
            *asked = None;
            self.asked = None;
            if brought == Brought::Something {
                self.advanced = now;
            } else {
                self.sealed.remove(&from);
            }
        }
    }

    /// Looks how far it has come and says what to do next.
    pub fn step(&mut self, sight: &Sight<'_>) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        loop {
            let before = std::mem::discriminant(&self.phase);
            let outcome = self.advance(sight, &mut instructions);
            if let Err(why) = outcome {
                instructions.push(Instruction::GiveUp(why));
                return instructions;
            }
            if std::mem::discriminant(&self.phase) == before {
                break;
            }
            if self.stage() > self.furthest {
                self.furthest = self.stage();
                self.advanced = sight.now;
            }
            self.asked = None;
        }
        instructions
    }

    fn advance(&mut self, sight: &Sight<'_>, out: &mut Vec<Instruction>) -> Result<(), Why> {
        if let Some(attempt) = &self.attempt
            && sight.control.attempt_epoch() > attempt.epoch
        {
            return Err(Why::Overtaken);
        }
        let is_due = self.is_due(sight.now);
        let is_late = sight.now.saturating_sub(self.advanced) >= PATIENCE;
        match &self.phase {
            Phase::Asking { agreed } => {
                let open = sight.control.open.as_ref().map(|open| &open.members);
                let Some(open) = open else {
                    // Nobody has opened an epoch: nobody can be asked.
                    self.phase = Phase::Beginning;
                    return Ok(());
                };
                let me = Some(self.me).filter(|_| sight.suspects.is_some());
                let agreed = agreed.iter().copied().chain(me);
                let agreed: BTreeSet<_> = agreed.filter(|member| open.contains(member)).collect();
                if agreed.len() >= self.seals.needed(open.len()) {
                    self.phase = Phase::Beginning;
                } else if is_late || sight.suspects.is_none() {
                    return Err(Why::NotAgreed);
                } else if is_due {
                    let (open_epoch, attempt) = self.expected;
                    let question = PreSeal {
                        number: self.number,
                        open: open_epoch,
                        attempt,
                    };
                    out.push(Instruction::Ask(self.others(open), question));
                }
            }
            Phase::Beginning => self.begin(sight, is_due, is_late, out)?,
            Phase::Sealing => self.collect_seals(sight, is_due, is_late, out)?,
            Phase::CatchingUp { .. } => self.catch_up(sight, is_late, out)?,
            Phase::Transferring => {
                let target = self.target();
                let attempt = self.attempt.as_ref().ok_or(Why::Overtaken)?;
                let holds = |member: &IncarnationId| {
                    let acked = sight.commit.and_then(|commit| commit.acked(*member));
                    acked.is_some_and(|acked| sight.control.covers(acked, &target))
                };
                let holders = attempt.members.iter().filter(|m| holds(m)).count();
                if holders >= commit_size(attempt.members.len()) {
                    self.phase = Phase::Opening;
                } else if is_late {
                    return Err(Why::Unreachable);
                } else if is_due {
                    out.push(Instruction::Transfer);
                }
            }
            Phase::Opening => {
                let attempt = self.attempt.clone().ok_or(Why::Overtaken)?;
                if sight.control.open_epoch() == attempt.epoch {
                    out.push(Instruction::Reign(attempt));
                } else if is_late {
                    return Err(Why::NotGranted);
                } else if is_due {
                    let epoch = attempt.epoch;
                    out.push(Instruction::Propose(Command::Open { epoch }));
                }
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        sight: &Sight<'_>,
        is_due: bool,
        is_late: bool,
        out: &mut Vec<Instruction>,
    ) -> Result<(), Why> {
        let (expected_open, expected_attempt) = self.expected;
        let control = sight.control;
        let mine = control.attempt.as_ref().filter(|attempt| {
            attempt.epoch > expected_attempt
                && attempt.candidate == self.me
                && attempt.boot == self.boot
        });
        if let Some(attempt) = mine {
            self.attempt = Some(attempt.clone());
            self.phase = Phase::Sealing;
        } else if (control.open_epoch(), control.attempt_epoch()) != self.expected {
            return Err(Why::Overtaken);
        } else if is_late {
            return Err(Why::NotGranted);
        } else if is_due {
            out.push(Instruction::Propose(Command::Begin {
                candidate: self.me,
                boot: self.boot,
                members: self.members.clone(),
                expected_open,
                expected_attempt,
                cause: self.cause,
            }));
        }
        Ok(())
    }

    fn collect_seals(
        &mut self,
        sight: &Sight<'_>,
        is_due: bool,
        is_late: bool,
        out: &mut Vec<Instruction>,
    ) -> Result<(), Why> {
        let attempt = self.attempt.as_ref().ok_or(Why::Overtaken)?;
        let needed = self.seals_needed();
        // Whoever has handed over answers, or is given up half-way through the candidate's patience.
        let waited = sight.now.saturating_sub(self.advanced);
        let has_handed_over = self.from.is_none_or(|from| {
            self.sealed.contains_key(&from)
                || !attempt.basis.contains(&from)
                || waited >= PATIENCE / 2
        });
        if self.sealed.len() >= needed && has_handed_over {
            self.phase = Phase::CatchingUp { asked: None };
        } else if is_late {
            return Err(Why::Unreachable);
        } else if is_due {
            let mut asked = attempt.basis.clone();
            asked.insert(self.me);
            asked.retain(|member| !self.sealed.contains_key(member));
            out.push(Instruction::Seal(asked, attempt.epoch));
        }
        Ok(())
    }

    fn catch_up(
        &mut self,
        sight: &Sight<'_>,
        is_late: bool,
        out: &mut Vec<Instruction>,
    ) -> Result<(), Why> {
        // A seal that was dropped takes what it held out of T: fewer than R say nothing about what is acknowledged.
        if self.sealed.len() < self.seals_needed() {
            self.phase = Phase::Sealing;
            return Ok(());
        }
        let target = self.target();
        if !Rule::CatchUp.holds() || sight.control.covers(sight.durable, &target) {
            let attempt = self.attempt.as_ref().ok_or(Why::Overtaken)?;
            let must_transfer = attempt.members != attempt.basis && Rule::Transfer.holds();
            self.phase = if must_transfer {
                Phase::Transferring
            } else {
                Phase::Opening
            };
            return Ok(());
        }
        if is_late {
            return Err(Why::Unreachable);
        }
        let missing = sight
            .control
            .missing(&target, sight.appended)
            .ok_or(Why::NeedsSnapshot)?;
        if missing.is_empty() {
            // All has come; what is not durable yet waits for this disk alone.
            return Ok(());
        }
        if let Phase::CatchingUp {
            asked: Some(holder),
        } = self.phase
        {
            if !self.is_due(sight.now) {
                return Ok(());
            }
            // It does not answer: what it alone held cannot be had, so its seal does not count.
            self.sealed.remove(&holder);
            self.phase = Phase::Sealing;
            return Ok(());
        }
        let Some((holder, wanted)) = self.holder_of(&missing) else {
            return Ok(());
        };
        out.push(Instruction::Fetch(holder, wanted));
        self.phase = Phase::CatchingUp {
            asked: Some(holder),
        };
        self.asked = Some(sight.now);
        Ok(())
    }

    /// A member that has sealed and holds something of what is missing, with what it holds of it.
    fn holder_of(&self, missing: &[Missing]) -> Option<(IncarnationId, Vec<Missing>)> {
        let held_of = |ack: &SealAck| -> Vec<Missing> {
            let part = |missing: &Missing| {
                let last = ack.durable.last(missing.log).unwrap_or(missing.through);
                let through = last.min(missing.through);
                (through > missing.after).then_some(Missing {
                    through,
                    ..*missing
                })
            };
            missing.iter().filter_map(part).collect()
        };
        let parts = self
            .sealed
            .iter()
            .filter(|(member, _)| **member != self.me)
            .map(|(member, ack)| (*member, held_of(ack)));
        parts
            .filter(|(_, part)| !part.is_empty())
            .max_by_key(|(_, part)| part.len())
    }

    /// R of the last opened configuration, or all of it.
    fn seals_needed(&self) -> usize {
        match &self.attempt {
            Some(attempt) if Rule::SealSize.holds() => self.seals.needed(attempt.basis.len()),
            Some(_) | None => 1,
        }
    }

    /// T: all that the sealed members held.
    fn target(&self) -> VersionVector {
        let mut target = VersionVector::new();
        for ack in self.sealed.values() {
            target.join(&ack.durable);
        }
        target
    }

    /// T, for the opening record.
    #[must_use]
    pub fn recovered(&self) -> VersionVector {
        self.target()
    }

    fn others(&self, members: &BTreeSet<IncarnationId>) -> BTreeSet<IncarnationId> {
        let mut others = members.clone();
        others.remove(&self.me);
        others
    }

    /// Is it time to ask (again)? Notes that it is asked then.
    fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self
            .asked
            .is_none_or(|asked| now.saturating_sub(asked) >= ASK_AGAIN);
        let waits_for_fetch = matches!(self.phase, Phase::CatchingUp { asked: Some(_) });
        if is_due && !waits_for_fetch {
            self.asked = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
#[path = "change_test.rs"]
mod tests;
