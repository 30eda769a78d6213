//! Pure: what is agreed about one replica set.
//!
//! ```text
//!            Begin a            Open a                    Begin b           Open b
//! (nothing) ────────► attempt a ──────► open a = attempt a ──────► attempt b ──────► open b
//!                        │ Begin b: a is overtaken,            (a stays open until b opens)
//!                        ▼ its log is closed empty
//! log of a:            none ─── Open a ──► active ─── Close, once b > a is open ──► closed ─── folded by all ──► forgotten
//! ```
//! **Invariants.**
//! - An epoch's number is `epoch_base` plus the index of the command that began it, so none is used twice.
//! - I13: only the latest attempt can open; an attempt that a later one overtook never opens and its log is empty.
//! - I7: `ceiling` only rises; an attempt's floor is the highest ceiling granted before it.
//! - A member's number is never given to another one.
//! - I4: a boot is registered only for a directory that presents the token of the boot before and holds all that was
//!   recorded of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::archive::Archived;
use super::history::{Cause, EpochNote};
use super::joining::{Intent, JoinToken, TokenHash};
use super::member::{LEVEL, Member, Role, first_level};
use super::quorum::commit_size;
use super::schedule::Backups;
use super::secret::SetSecret;
use super::settings::Settings;
use crate::base::rule::Rule;
use crate::base::{
    BootNumber, Epoch, Hlc, IncarnationId, LineageId, LogId, Missing, NodeNumber, RegionId, Seq,
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
    /// The last request for a ceiling that was granted.
    #[serde(default)]
    pub extended: Option<Extended>,
    /// Logs of this region that not every member has folded yet, by epoch.
    pub logs: BTreeMap<Epoch, LogState>,
    /// The greatest epoch whose log's end has been forgotten.
    #[serde(default = "no_epoch")]
    pub forgotten: Epoch,
    /// Who wrote, or writes, each active log.
    #[serde(default)]
    pub writers: BTreeMap<Epoch, IncarnationId>,
    /// The purge horizon.
    pub horizon: Hlc,
    /// The members.
    pub members: BTreeMap<IncarnationId, Member>,
    /// Those given up for good.
    #[serde(default)]
    pub evicted: BTreeSet<IncarnationId>,
    /// The number of the next member.
    #[serde(default = "second_number")]
    pub next_number: NodeNumber,
    /// The feature level agreed on: every member understands it.
    #[serde(default = "first_level")]
    pub level: u32,
    /// What only the members know; `None` as long as nobody has chosen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SetSecret>,
    /// What operators chose.
    #[serde(default)]
    pub settings: Settings,
    /// Leave to join, by the digest of its secret.
    #[serde(default)]
    pub tokens: BTreeMap<TokenHash, JoinToken>,
    /// Changes of members that are under way.
    #[serde(default)]
    pub intents: BTreeSet<Intent>,
    /// How far the logs are archived; `None` while nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<Archived>,
    /// What is agreed about the set's own backups.
    #[serde(default, skip_serializing_if = "Backups::is_empty")]
    pub backups: Backups,
    /// What is remembered of the latest epochs.
    #[serde(default)]
    pub history: BTreeMap<Epoch, EpochNote>,
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
    /// The candidate's start that began it.
    #[serde(default = "first_boot")]
    pub boot: BootNumber,
    /// Its data members once it opens.
    pub members: BTreeSet<IncarnationId>,
    /// The members among which it must seal: those of the last opened configuration.
    pub basis: BTreeSet<IncarnationId>,
    /// Its stamps lie above this.
    pub floor: Hlc,
    /// Why it was begun.
    #[serde(default)]
    pub cause: Cause,
}

fn first_boot() -> BootNumber {
    BootNumber::NONE
}

fn no_epoch() -> Epoch {
    Epoch::NONE
}

/// States that do not say it have one member.
fn second_number() -> NodeNumber {
    NodeNumber::FIRST.next()
}

/// A request for a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extended {
    /// Whose primary asked.
    pub epoch: Epoch,
    /// Its how-manieth request.
    pub number: u64,
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

impl ControlState {
    /// A new set with one member.
    #[must_use]
    pub fn new(lineage: LineageId, region: RegionId, first: IncarnationId) -> ControlState {
        ControlState {
            lineage,
            region,
            epoch_base: 0,
            index: 0,
            open: None,
            attempt: None,
            ceiling: Hlc::ZERO,
            extended: None,
            logs: BTreeMap::new(),
            forgotten: Epoch::NONE,
            writers: BTreeMap::new(),
            horizon: Hlc::ZERO,
            members: BTreeMap::from([(first, Member::new(NodeNumber::FIRST, Role::Data))]),
            evicted: BTreeSet::new(),
            next_number: NodeNumber::FIRST.next(),
            level: LEVEL,
            secret: None,
            settings: Settings::default(),
            tokens: BTreeMap::new(),
            intents: BTreeSet::new(),
            archived: None,
            backups: Backups::default(),
            history: BTreeMap::new(),
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

    /// The primary of the open epoch, as long as nobody has begun another one.
    #[must_use]
    pub fn primary(&self) -> Option<IncarnationId> {
        self.writers.get(&self.open_epoch()).copied()
    }

    /// The member with this number.
    #[must_use]
    pub fn member_by_number(&self, number: NodeNumber) -> Option<(IncarnationId, &Member)> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| member.number == number)?;
        Some((*found.0, found.1))
    }

    /// The log of an epoch of this region.
    #[must_use]
    pub fn log(&self, epoch: Epoch) -> LogId {
        LogId {
            region: self.region,
            epoch,
        }
    }

    /// Is the record on as many of the open epoch's data members as commit, by what they have acknowledged to the
    /// agreement? Before that no log may let go of it: the only copy could be there (I5).
    #[must_use]
    pub fn is_spread(&self, log: LogId, seq: Seq) -> bool {
        seq <= self.spread_through(log)
    }

    /// Which of these records must go with a snapshot for its receiver's log, because they are not known to be
    /// [spread](Self::is_spread). They could not be given on from there, if the sender's disk were lost: rows without records,
    /// which no primary could merge.
    #[must_use]
    pub fn unspread(&self, held: &VersionVector) -> Vec<Missing> {
        if !Rule::SnapshotTail.holds() {
            return Vec::new();
        }
        let unspread = held.logs().map(|(log, through)| Missing {
            log,
            after: self.spread_through(log).min(through),
            through,
        });
        unspread
            .filter(|found| found.after < found.through)
            .collect()
    }

    /// The last record of a log that is spread.
    pub(super) fn spread_through(&self, log: LogId) -> Seq {
        let Some(open) = &self.open else {
            return Seq::NONE;
        };
        let held = open.members.iter().map(|member| {
            let member = self.members.get(member);
            // Of a folded log everything is held.
            member.map_or(Seq::NONE, |member| {
                member.acked.last(log).unwrap_or(Seq(u64::MAX))
            })
        });
        let mut held: Vec<Seq> = held.collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        let last = commit_size(open.members.len()).checked_sub(1);
        last.and_then(|last| held.get(last).copied())
            .unwrap_or(Seq::NONE)
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

    /// The greatest epoch up to which every log is closed and `held` has it to its end: up to there it may be folded.
    #[must_use]
    pub fn foldable(&self, held: &VersionVector) -> Epoch {
        let base = held.base(self.region);
        if base < self.forgotten {
            return base;
        }
        let closed = self.closed_through();
        let short = |(epoch, state): (&Epoch, &LogState)| match state {
            LogState::Closed { last, .. } if !held.contains(self.log(*epoch), *last) => {
                Some(Epoch(epoch.0.saturating_sub(1)))
            }
            LogState::Closed { .. } | LogState::Active => None,
        };
        let first_short = self.logs.iter().find_map(short).unwrap_or(closed);
        base.max(closed.min(first_short))
    }

    /// What a holder of `held` lacks of `wanted`. Says `None` if the end of a folded log is needed that is not known: it has
    /// been forgotten, because every member had folded it, or is of another region, such as that of the set before a restore.
    /// Only a snapshot helps then. Or this state is older than what was folded, and does not know yet which logs that are.
    #[must_use]
    pub fn missing(&self, wanted: &VersionVector, held: &VersionVector) -> Option<Vec<Missing>> {
        let base = wanted.base(self.region);
        let folded = self.foldable(held);
        let mut elsewhere = wanted.bases().filter(|(region, _)| *region != self.region);
        let lacks_others = elsewhere.any(|(region, epoch)| held.base(region) < epoch);
        let is_ahead = base > self.closed_through().max(held.base(self.region));
        if base > folded && self.forgotten > folded || lacks_others || is_ahead {
            return None;
        }
        let ends = self
            .logs
            .range(..=base)
            .filter_map(|(epoch, state)| match state {
                LogState::Closed { last, .. } => Some((self.log(*epoch), *last)),
                LogState::Active => None,
            });
        let lacks = |(log, through): (LogId, Seq)| {
            if log.region == self.region && log.epoch <= folded || held.contains(log, through) {
                return None;
            }
            let after = held.last(log)?;
            Some(Missing {
                log,
                after,
                through,
            })
        };
        Some(ends.chain(wanted.logs()).filter_map(lacks).collect())
    }

    /// Does a holder of `held` have everything in `wanted`, by what is known of closed logs?
    #[must_use]
    pub fn covers(&self, held: &VersionVector, wanted: &VersionVector) -> bool {
        let elsewhere = |vector: &VersionVector| {
            let mut vector = vector.clone();
            vector.fold(self.region, Epoch(u64::MAX));
            vector
        };
        let missing = self.missing(wanted, held);
        missing.is_some_and(|missing| missing.is_empty())
            && elsewhere(held).covers(&elsewhere(wanted))
    }
}
