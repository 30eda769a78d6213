//! Pure: the control state machine. The same commands in the same order make the same state everywhere.

use std::collections::BTreeSet;

use super::command::{BootClaim, Command, Effect};
use super::history::Cause;
use super::member::{Member, Role};
use super::rejection::Rejection;
use super::schedule::Backups;
use super::settings::SettingsChange;
use super::state::{Attempt, ControlState, Extended, LogState, OpenConfig};
use crate::base::rule::Rule;
use crate::base::{BootNumber, Epoch, Hlc, IncarnationId, LogId, Seq, VersionVector};

impl ControlState {
    /// Applies the next command. A rejected one counts as an index but changes nothing else.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn apply(&mut self, command: Command) -> Result<Effect, Rejection> {
        self.index += 1;
        match command {
            Command::Register { incarnation, role } => self.register(incarnation, role),
            Command::Boot(claim) => self.boot(claim),
            Command::Begin {
                candidate,
                boot,
                members,
                expected_open,
                expected_attempt,
                cause,
            } => {
                if (expected_open, expected_attempt) != (self.open_epoch(), self.attempt_epoch()) {
                    return Err(self.stale(expected_attempt));
                }
                self.begin(candidate, boot, members, cause)
            }
            Command::Open { epoch } => self.open_attempt(epoch),
            Command::Serve { epoch, served } => self.note_served(epoch, served),
            Command::Extend {
                epoch,
                number,
                ceiling,
                acked,
            } => self.extend(Extended { epoch, number }, ceiling, acked),
            Command::Close {
                by,
                epoch,
                last,
                digest,
            } => {
                // A primary that has been overtaken does not know what the next one has recovered.
                if Rule::CloseLatest.holds() && by != self.attempt_epoch() {
                    return Err(self.stale(by));
                }
                self.close(epoch, last, digest)
            }
            Command::Evict {
                incarnation,
                expected_open,
            } => {
                if let Some(expected) = expected_open.filter(|epoch| *epoch != self.open_epoch()) {
                    return Err(self.stale(expected));
                }
                self.evict(incarnation)
            }
            Command::SetHorizon {
                horizon,
                covered,
                closed_marks,
                applied,
            } => self.set_horizon(horizon, &covered, &closed_marks, &applied),
            Command::Set(change) => self.set(&change),
            Command::RaiseLevel(level) => self.raise_level(level),
            Command::ChooseSecret(secret) => Ok(self.choose_secret(secret)),
            Command::IssueToken {
                hash,
                role,
                expires,
                now,
            } => self.issue_token(hash, role, expires, now),
            Command::Redeem {
                hash,
                incarnation,
                now,
            } => self.redeem(hash, incarnation, now),
            Command::Archive(claim) => self.archive(claim),
            Command::Backup(note) => self.note_backup(note),
            Command::Intend(intent) => self.intend(intent),
            Command::Fulfil(intent) => self.fulfil(intent),
        }
    }

    pub(super) fn register(
        &mut self,
        incarnation: IncarnationId,
        role: Role,
    ) -> Result<Effect, Rejection> {
        if self.evicted.contains(&incarnation) {
            return Err(Rejection::Evicted { incarnation });
        }
        if !self.members.contains_key(&incarnation) {
            let number = self.next_number;
            self.next_number = number.next();
            self.members.insert(incarnation, Member::new(number, role));
        }
        Ok(Effect::Done)
    }

    pub(super) fn member(&self, incarnation: IncarnationId) -> Result<&Member, Rejection> {
        if self.evicted.contains(&incarnation) {
            return Err(Rejection::Evicted { incarnation });
        }
        let member = self.members.get(&incarnation);
        member.ok_or(Rejection::NotAMember { incarnation })
    }

    fn boot(&mut self, claim: BootClaim) -> Result<Effect, Rejection> {
        let incarnation = claim.incarnation;
        let member = self.member(incarnation)?;
        if claim.level < self.level {
            return Err(Rejection::LevelTooLow {
                incarnation,
                level: claim.level,
                needed: self.level,
            });
        }
        if member.token == Some(claim.token) {
            let boot = member.boot;
            if let Some(member) = self.members.get_mut(&incarnation) {
                member.addresses = claim.addresses;
            }
            return Ok(Effect::Booted(boot));
        }
        if Rule::BootToken.holds()
            && member
                .token
                .is_some_and(|token| !claim.known.contains(&token))
        {
            return Err(Rejection::DeadDirectory {
                incarnation,
                boot: member.boot,
            });
        }
        if Rule::BootCovers.holds() && !self.covers(&claim.held, &member.acked) {
            let (held, recorded) = (claim.held.to_string(), member.acked.to_string());
            return Err(Rejection::LostRecords {
                incarnation,
                held,
                recorded,
            });
        }
        let boot = member.boot.next();
        if let Some(member) = self.members.get_mut(&incarnation) {
            member.boot = boot;
            member.token = Some(claim.token);
            member.addresses = claim.addresses;
            member.level = claim.level;
        }
        Ok(Effect::Booted(boot))
    }

    fn begin(
        &mut self,
        candidate: IncarnationId,
        boot: BootNumber,
        members: BTreeSet<IncarnationId>,
        cause: Cause,
    ) -> Result<Effect, Rejection> {
        for named in &members {
            let role = self.member(*named)?.role;
            if role != Role::Data {
                let incarnation = *named;
                return Err(Rejection::NotData { incarnation, role });
            }
        }
        if !members.contains(&candidate) {
            return Err(Rejection::CandidateOutside { candidate });
        }
        let registered = self.member(candidate)?.boot;
        if boot != registered {
            return Err(Rejection::OtherBoot {
                candidate,
                boot,
                registered,
            });
        }
        if self.attempt_epoch() > self.open_epoch() {
            let never_opened = LogState::Closed {
                last: Seq::NONE,
                digest: 0,
            };
            self.logs.insert(self.attempt_epoch(), never_opened);
        }
        let basis = match &self.open {
            Some(open) if Rule::SealBasis.holds() => open.members.clone(),
            Some(_) | None => members.clone(),
        };
        let floor = if Rule::Floor.holds() {
            self.ceiling
        } else {
            Hlc::ZERO
        };
        let attempt = Attempt {
            epoch: Epoch(self.epoch_base + self.index),
            candidate,
            boot,
            members,
            basis,
            floor,
            cause,
        };
        self.attempt = Some(attempt.clone());
        Ok(Effect::Begun(attempt))
    }

    fn open_attempt(&mut self, epoch: Epoch) -> Result<Effect, Rejection> {
        let attempt = self
            .attempt
            .as_ref()
            .filter(|attempt| attempt.epoch == epoch)
            .ok_or_else(|| self.stale(epoch))?
            .clone();
        self.note_opened(&attempt);
        self.writers.insert(epoch, attempt.candidate);
        self.logs.insert(epoch, LogState::Active);
        self.open = Some(OpenConfig {
            epoch,
            members: attempt.members,
        });
        Ok(Effect::Done)
    }

    fn extend(
        &mut self,
        extended: Extended,
        ceiling: Hlc,
        acked: Vec<(IncarnationId, VersionVector)>,
    ) -> Result<Effect, Rejection> {
        if Rule::Freeze.holds() && extended.epoch != self.attempt_epoch() {
            return Err(self.stale(extended.epoch));
        }
        self.ceiling = self.ceiling.max(ceiling);
        self.extended = Some(extended);
        for (incarnation, held) in acked {
            if let Some(member) = self.members.get_mut(&incarnation) {
                member.acked.join(&held);
            }
        }
        self.forget_folded_logs();
        Ok(Effect::Done)
    }

    /// A closed log's end is needed only until every member that holds rows has folded it, and the archive.
    pub(super) fn forget_folded_logs(&mut self) {
        let holders = self
            .members
            .values()
            .filter(|member| member.role.holds_rows());
        let bases = holders.map(|member| member.acked.base(self.region));
        let archived = self.archived.as_ref();
        let archived = archived.map(|archived| archived.through.base(self.region));
        let folded = bases.chain(archived).min().unwrap_or(Epoch::NONE);
        let is_folded =
            |epoch: &Epoch, state: &LogState| *epoch <= folded && *state != LogState::Active;
        let mut ended = self
            .logs
            .iter()
            .filter(|(epoch, log)| is_folded(epoch, log));
        if let Some((epoch, _)) = ended.next_back() {
            self.forgotten = self.forgotten.max(*epoch);
        }
        self.logs.retain(|epoch, log| !is_folded(epoch, log));
    }

    fn close(&mut self, epoch: Epoch, last: Seq, digest: u128) -> Result<Effect, Rejection> {
        match self.logs.get_mut(&epoch) {
            // While its epoch is open a log grows, whoever has begun another one.
            Some(log)
                if *log == LogState::Active
                    && Some(epoch) < self.open.as_ref().map(|open| open.epoch) =>
            {
                *log = LogState::Closed { last, digest };
                self.writers.remove(&epoch);
                self.note_closed(epoch, last);
                Ok(Effect::Done)
            }
            _ => Err(Rejection::NotActive { epoch }),
        }
    }

    fn evict(&mut self, incarnation: IncarnationId) -> Result<Effect, Rejection> {
        let in_open = self
            .open
            .as_ref()
            .is_some_and(|open| open.members.contains(&incarnation));
        // Once it is open, an attempt's basis is not sealed any more.
        let in_attempt = self.attempt.as_ref().is_some_and(|attempt| {
            let may_open = attempt.epoch > self.open_epoch();
            let named = attempt.basis.iter().chain(&attempt.members);
            may_open && named.into_iter().any(|member| *member == incarnation)
        });
        if in_open || in_attempt {
            return Err(Rejection::InUse { incarnation });
        }
        match self.members.remove(&incarnation) {
            Some(member) => self.settings.priorities.remove(&member.number),
            None if self.evicted.contains(&incarnation) => None,
            None => return Err(Rejection::NotAMember { incarnation }),
        };
        self.evicted.insert(incarnation);
        self.intents
            .retain(|intent| intent.members().all(|member| member != incarnation));
        self.forget_folded_logs();
        Ok(Effect::Done)
    }

    fn set_horizon(
        &mut self,
        horizon: Hlc,
        covered: &VersionVector,
        closed_marks: &[(LogId, Hlc)],
        applied: &[(IncarnationId, VersionVector)],
    ) -> Result<Effect, Rejection> {
        let refuse = |reason: &str| {
            let reason = reason.to_owned();
            Err(Rejection::HorizonRefused { horizon, reason })
        };
        if horizon <= self.horizon {
            return refuse("it does not rise");
        }
        let mut active = self
            .logs
            .iter()
            .filter(|(_, state)| **state == LogState::Active);
        let is_promised = |epoch: &Epoch| {
            let log = self.log(*epoch);
            closed_marks
                .iter()
                .any(|(named, mark)| *named == log && *mark >= horizon)
        };
        if !active.all(|(epoch, _)| is_promised(epoch)) {
            return refuse("an active log has not promised to grow only above it");
        }
        let has_applied = |member: &IncarnationId| {
            applied
                .iter()
                .any(|(named, held)| named == member && self.covers(held, covered))
        };
        let mut holders = self
            .members
            .iter()
            .filter(|(_, member)| member.role.holds_rows());
        if !holders.all(|(incarnation, _)| has_applied(incarnation)) {
            return refuse("a member has not applied what lies below it");
        }
        self.horizon = horizon;
        Ok(Effect::Done)
    }

    fn set(&mut self, change: &SettingsChange) -> Result<Effect, Rejection> {
        let settings = self.settings.with(change);
        settings.check(self)?;
        if settings.backup.bucket != self.settings.backup.bucket {
            self.archived = None;
            self.backups = Backups::default();
            self.forget_folded_logs();
        }
        self.settings = settings.clone();
        Ok(Effect::Settings(settings))
    }

    /// The feature level that every started member understands, if it is above the one agreed on.
    #[must_use]
    pub fn level_due(&self) -> Option<u32> {
        let started = self
            .members
            .values()
            .filter(|member| member.boot > BootNumber::NONE);
        let least = started.map(|member| member.level).min()?;
        Some(least).filter(|least| *least > self.level)
    }

    /// Refused while a member runs a program that would not understand what follows.
    fn raise_level(&mut self, level: u32) -> Result<Effect, Rejection> {
        let agreed = self.level;
        if level < agreed {
            return Err(Rejection::LevelFalls { level, agreed });
        }
        let has_started = |member: &Member| member.boot > BootNumber::NONE;
        let mut members = self.members.iter();
        let too_low = members.find(|(_, member)| has_started(member) && member.level < level);
        if let Some((incarnation, member)) = too_low {
            return Err(Rejection::LevelTooLow {
                incarnation: *incarnation,
                level: member.level,
                needed: level,
            });
        }
        self.level = level;
        Ok(Effect::Done)
    }

    /// What is said of an epoch that has been overtaken.
    #[must_use]
    pub fn stale(&self, named: Epoch) -> Rejection {
        Rejection::Stale {
            named,
            attempt: self.attempt_epoch(),
            open: self.open_epoch(),
        }
    }
}

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
