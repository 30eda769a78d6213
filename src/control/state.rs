//! Pure: the control state machine. The same commands in the same order make the same state everywhere.
//!
//! **Invariants.**
//! - An epoch's number is `epoch_base` plus the index of the command that began it, so none is used twice.
//! - I13: only the latest attempt can open; an attempt that a later one overtook never opens and its log is empty.
//! - I7: `ceiling` only rises; an attempt's floor is the highest ceiling granted before it.
//! - I4: a boot is registered only for a directory that presents the token of the boot before and holds all that was
//!   recorded of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::{
    BootNumber, BootToken, Epoch, Hlc, IncarnationId, LineageId, LogId, RegionId, Seq,
    VersionVector,
};

/// Everything agreed about one replica set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlState {
    /// The history this set holds.
    pub lineage: LineageId,
    /// The set's region.
    pub region: RegionId,
    /// What is added to the index of a command to number the epoch it begins.
    pub epoch_base: u64,
    /// The index of the last command applied.
    pub index: u64,
    /// The configuration opened last.
    pub open: Option<OpenConfig>,
    /// The latest epoch begun.
    pub attempt: Option<Attempt>,
    /// The highest stamp ceiling ever granted.
    pub ceiling: Hlc,
    /// Logs of this region that not every member has folded yet, by epoch.
    pub logs: BTreeMap<Epoch, LogState>,
    /// The purge horizon.
    pub horizon: Hlc,
    /// The members.
    pub members: BTreeMap<IncarnationId, Member>,
}

/// An epoch's data members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenConfig {
    /// The epoch.
    pub epoch: Epoch,
    /// Its data members.
    pub members: BTreeSet<IncarnationId>,
}

/// An epoch begun, opened or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Its number.
    pub epoch: Epoch,
    /// Who is to be its primary.
    pub candidate: IncarnationId,
    /// Its data members once it opens.
    pub members: BTreeSet<IncarnationId>,
    /// The members among which it must seal: those of the last opened configuration.
    pub basis: BTreeSet<IncarnationId>,
    /// Its stamps lie above this.
    pub floor: Hlc,
}

/// What is known of an epoch's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LogState {
    /// It may still grow.
    Active,
    /// It ends here for ever.
    Closed {
        /// Its last record; 0 if it never had one.
        last: Seq,
        /// The chain digest up to it.
        digest: u128,
    },
}

/// A registered member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// How often it has been started.
    pub boot: BootNumber,
    /// The token of that start; `None` before the first.
    pub token: Option<BootToken>,
    /// What it was last known to hold durably.
    pub acked: VersionVector,
}

/// What a directory presents to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootClaim {
    /// Whose directory.
    pub incarnation: IncarnationId,
    /// The token of its last start, and of starts tried since whose answer it never learnt.
    pub known: BTreeSet<BootToken>,
    /// The token of this start.
    pub token: BootToken,
    /// What it holds durably.
    pub held: VersionVector,
}

/// A change of the control state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A member's process starts.
    Boot(BootClaim),
    /// A candidate begins an epoch.
    Begin {
        /// Who is to be its primary.
        candidate: IncarnationId,
        /// Its data members once it opens.
        members: BTreeSet<IncarnationId>,
        /// The open epoch that the candidate saw, or [`Epoch::NONE`].
        expected_open: Epoch,
        /// The attempt that the candidate saw, or [`Epoch::NONE`].
        expected_attempt: Epoch,
    },
    /// A candidate has sealed and caught up: its epoch opens.
    Open {
        /// The epoch.
        epoch: Epoch,
    },
    /// The primary asks for a higher ceiling, and reports what members hold.
    Extend {
        /// Its epoch.
        epoch: Epoch,
        /// The ceiling granted by the leader's clock.
        ceiling: Hlc,
        /// What members acknowledged last.
        acked: Vec<(IncarnationId, VersionVector)>,
    },
    /// A log is complete and ends.
    Close {
        /// Its epoch.
        epoch: Epoch,
        /// Its last record.
        last: Seq,
        /// The chain digest up to it.
        digest: u128,
    },
    /// The purge horizon rises (P1).
    SetHorizon {
        /// The stamp time up to which everything is applied everywhere.
        horizon: Hlc,
        /// What lies at or below it.
        covered: VersionVector,
        /// For each active log: the stamp time above which alone it will grow.
        closed_marks: Vec<(LogId, Hlc)>,
        /// What each member has applied.
        applied: Vec<(IncarnationId, VersionVector)>,
    },
}

/// What a command brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The member's new boot number.
    Booted(BootNumber),
    /// The attempt.
    Begun(Attempt),
    /// Nothing more to say.
    Done,
}

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such member.
    #[error("incarnation {incarnation} is not a member of this set")]
    NotAMember {
        /// Who.
        incarnation: IncarnationId,
    },
    /// The directory was rolled back or copied (I4).
    #[error(
        "incarnation {incarnation} was started {boot} times, the last of them not from this directory: it is a copy or an older state"
    )]
    DeadDirectory {
        /// Whose directory.
        incarnation: IncarnationId,
        /// How often it was started.
        boot: BootNumber,
    },
    /// The directory lacks records that it is known to have held (I4).
    #[error(
        "incarnation {incarnation} holds {held}, but is known to have held {recorded}: its files are lost or an older state"
    )]
    LostRecords {
        /// Whose directory.
        incarnation: IncarnationId,
        /// What it holds.
        held: String,
        /// What was recorded.
        recorded: String,
    },
    /// The state has moved on since the command was made.
    #[error("epoch {named} is overtaken: the latest attempt is {attempt}, open is {open}")]
    Stale {
        /// The epoch that the command named.
        named: Epoch,
        /// The latest attempt.
        attempt: Epoch,
        /// The open epoch.
        open: Epoch,
    },
    /// A log that is not active cannot be closed.
    #[error("the log of epoch {epoch} is not active")]
    NotActive {
        /// The epoch.
        epoch: Epoch,
    },
    /// The horizon would go back, or somebody has not applied what lies below it (P1).
    #[error("horizon {horizon} is refused: {reason}")]
    HorizonRefused {
        /// The horizon asked for.
        horizon: Hlc,
        /// Why.
        reason: &'static str,
    },
}

impl ControlState {
    /// A new set with one member.
    #[must_use]
    pub fn new(lineage: LineageId, region: RegionId, first: IncarnationId) -> ControlState {
        let member = Member {
            boot: BootNumber::NONE,
            token: None,
            acked: VersionVector::new(),
        };
        ControlState {
            lineage,
            region,
            epoch_base: 0,
            index: 0,
            open: None,
            attempt: None,
            ceiling: Hlc::ZERO,
            logs: BTreeMap::new(),
            horizon: Hlc::ZERO,
            members: BTreeMap::from([(first, member)]),
        }
    }

    /// The open epoch, or [`Epoch::NONE`].
    #[must_use]
    pub fn open_epoch(&self) -> Epoch {
        self.open.as_ref().map_or(Epoch::NONE, |open| open.epoch)
    }

    /// The latest attempt, or [`Epoch::NONE`].
    #[must_use]
    pub fn attempt_epoch(&self) -> Epoch {
        self.attempt
            .as_ref()
            .map_or(Epoch::NONE, |attempt| attempt.epoch)
    }

    /// The greatest epoch up to which every log is closed.
    #[must_use]
    pub fn closed_through(&self) -> Epoch {
        let active = self
            .logs
            .iter()
            .filter(|(_, state)| **state == LogState::Active)
            .map(|(epoch, _)| *epoch);
        let unopened = Some(self.attempt_epoch()).filter(|attempt| *attempt > self.open_epoch());
        match active.chain(unopened).min() {
            Some(first) => Epoch(first.0.saturating_sub(1)),
            None => self.open_epoch(),
        }
    }

    /// Applies the next command. A rejected one counts as an index but changes nothing else.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn apply(&mut self, command: Command) -> Result<Effect, Rejection> {
        self.index += 1;
        match command {
            Command::Boot(claim) => self.boot(claim),
            Command::Begin {
                candidate,
                members,
                expected_open,
                expected_attempt,
            } => self.begin(candidate, members, expected_open, expected_attempt),
            Command::Open { epoch } => self.open_attempt(epoch),
            Command::Extend {
                epoch,
                ceiling,
                acked,
            } => self.extend(epoch, ceiling, acked),
            Command::Close {
                epoch,
                last,
                digest,
            } => self.close(epoch, last, digest),
            Command::SetHorizon {
                horizon,
                covered,
                closed_marks,
                applied,
            } => self.set_horizon(horizon, &covered, &closed_marks, &applied),
        }
    }

    fn boot(&mut self, claim: BootClaim) -> Result<Effect, Rejection> {
        let incarnation = claim.incarnation;
        let member = self
            .members
            .get_mut(&incarnation)
            .ok_or(Rejection::NotAMember { incarnation })?;
        if member
            .token
            .is_some_and(|token| !claim.known.contains(&token))
        {
            return Err(Rejection::DeadDirectory {
                incarnation,
                boot: member.boot,
            });
        }
        if !claim.held.covers(&member.acked) {
            let (held, recorded) = (claim.held.to_string(), member.acked.to_string());
            return Err(Rejection::LostRecords {
                incarnation,
                held,
                recorded,
            });
        }
        member.boot = member.boot.next();
        member.token = Some(claim.token);
        Ok(Effect::Booted(member.boot))
    }

    fn begin(
        &mut self,
        candidate: IncarnationId,
        members: BTreeSet<IncarnationId>,
        expected_open: Epoch,
        expected_attempt: Epoch,
    ) -> Result<Effect, Rejection> {
        if (expected_open, expected_attempt) != (self.open_epoch(), self.attempt_epoch()) {
            return Err(self.stale(expected_attempt));
        }
        let named = members.iter().chain([&candidate]);
        if let Some(stranger) = named
            .copied()
            .find(|member| !self.members.contains_key(member))
        {
            return Err(Rejection::NotAMember {
                incarnation: stranger,
            });
        }
        if self.attempt_epoch() > self.open_epoch() {
            self.logs.insert(
                self.attempt_epoch(),
                LogState::Closed {
                    last: Seq::NONE,
                    digest: 0,
                },
            );
        }
        let basis = self
            .open
            .as_ref()
            .map_or_else(|| members.clone(), |open| open.members.clone());
        let epoch = Epoch(self.epoch_base + self.index);
        let attempt = Attempt {
            epoch,
            candidate,
            members,
            basis,
            floor: self.ceiling,
        };
        self.attempt = Some(attempt.clone());
        Ok(Effect::Begun(attempt))
    }

    fn open_attempt(&mut self, epoch: Epoch) -> Result<Effect, Rejection> {
        let attempt = self
            .attempt
            .as_ref()
            .filter(|attempt| attempt.epoch == epoch);
        let members = attempt.ok_or_else(|| self.stale(epoch))?.members.clone();
        self.open = Some(OpenConfig { epoch, members });
        self.logs.insert(epoch, LogState::Active);
        Ok(Effect::Done)
    }

    fn extend(
        &mut self,
        epoch: Epoch,
        ceiling: Hlc,
        acked: Vec<(IncarnationId, VersionVector)>,
    ) -> Result<Effect, Rejection> {
        if epoch != self.attempt_epoch() {
            return Err(self.stale(epoch));
        }
        self.ceiling = self.ceiling.max(ceiling);
        for (incarnation, held) in acked {
            if let Some(member) = self.members.get_mut(&incarnation) {
                member.acked.join(&held);
            }
        }
        self.forget_folded_logs();
        Ok(Effect::Done)
    }

    /// A closed log's end is needed only until every member has folded it.
    fn forget_folded_logs(&mut self) {
        let bases = self
            .members
            .values()
            .map(|member| member.acked.base(self.region));
        let folded = bases.min().unwrap_or(Epoch::NONE);
        self.logs
            .retain(|epoch, state| *epoch > folded || *state == LogState::Active);
    }

    fn close(&mut self, epoch: Epoch, last: Seq, digest: u128) -> Result<Effect, Rejection> {
        match self.logs.get_mut(&epoch) {
            Some(log)
                if *log == LogState::Active
                    && Some(epoch) < self.attempt.as_ref().map(|a| a.epoch) =>
            {
                *log = LogState::Closed { last, digest };
                Ok(Effect::Done)
            }
            _ => Err(Rejection::NotActive { epoch }),
        }
    }

    fn set_horizon(
        &mut self,
        horizon: Hlc,
        covered: &VersionVector,
        closed_marks: &[(LogId, Hlc)],
        applied: &[(IncarnationId, VersionVector)],
    ) -> Result<Effect, Rejection> {
        let refuse = |reason| Err(Rejection::HorizonRefused { horizon, reason });
        if horizon <= self.horizon {
            return refuse("it does not rise");
        }
        let mut active = self
            .logs
            .iter()
            .filter(|(_, state)| **state == LogState::Active);
        let is_promised = |epoch: &Epoch| {
            let log = LogId {
                region: self.region,
                epoch: *epoch,
            };
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
                .any(|(named, held)| named == member && held.covers(covered))
        };
        if !self.members.keys().all(has_applied) {
            return refuse("a member has not applied what lies below it");
        }
        self.horizon = horizon;
        Ok(Effect::Done)
    }

    fn stale(&self, named: Epoch) -> Rejection {
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
