//! Pure: what may be agreed on, what comes of it, and why it may be refused.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::state::{Attempt, Role, Settings};
use crate::base::{BootNumber, BootToken, Epoch, Hlc, IncarnationId, LogId, Seq, VersionVector};

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
    /// A directory becomes a member. Said twice, it changes nothing.
    Register {
        /// The directory.
        incarnation: IncarnationId,
        /// What it is to be.
        role: Role,
    },
    /// A member's process starts. Said twice, it changes nothing.
    Boot(BootClaim),
    /// A candidate begins an epoch.
    Begin {
        /// Who is to be its primary.
        candidate: IncarnationId,
        /// The candidate's start: its process alone may write the epoch's log (I1).
        boot: BootNumber,
        /// Its data members once it opens.
        members: BTreeSet<IncarnationId>,
        /// The open epoch that the candidate saw, or [`Epoch::NONE`].
        expected_open: Epoch,
        /// The attempt that the candidate saw, or [`Epoch::NONE`].
        expected_attempt: Epoch,
    },
    /// A candidate has sealed and caught up: its epoch opens. Said twice, it changes nothing.
    Open {
        /// The epoch.
        epoch: Epoch,
    },
    /// The primary asks for a higher ceiling, and reports what members hold.
    Extend {
        /// Its epoch.
        epoch: Epoch,
        /// The how-manieth of the primary's requests this is: by it the primary knows which of them was granted.
        number: u64,
        /// The ceiling granted by the leader's clock.
        ceiling: Hlc,
        /// What members acknowledged last.
        acked: Vec<(IncarnationId, VersionVector)>,
    },
    /// A log is complete and ends.
    Close {
        /// The epoch of the primary that says so.
        by: Epoch,
        /// Its epoch.
        epoch: Epoch,
        /// Its last record.
        last: Seq,
        /// The chain digest up to it.
        digest: u128,
    },
    /// A member is given up for good, with all that it alone holds.
    Evict {
        /// The member.
        incarnation: IncarnationId,
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
    /// The set's settings become these.
    Set(Settings),
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
    /// Given up earlier, for good.
    #[error("incarnation {incarnation} was evicted from this set")]
    Evicted {
        /// Who.
        incarnation: IncarnationId,
    },
    /// A member that holds no rows, or counts for nothing, cannot be a data member of an epoch.
    #[error("incarnation {incarnation} is registered as {role}, not as a data member")]
    NotData {
        /// Who.
        incarnation: IncarnationId,
        /// What it is.
        role: Role,
    },
    /// An epoch's primary is one of its data members.
    #[error("candidate {candidate} is not among the data members it names")]
    CandidateOutside {
        /// Who.
        candidate: IncarnationId,
    },
    /// The candidate's process has been replaced by a later start.
    #[error("candidate {candidate} began as start {boot}, but its last start is {registered}")]
    OtherBoot {
        /// Who.
        candidate: IncarnationId,
        /// The start that began.
        boot: BootNumber,
        /// The start that is registered.
        registered: BootNumber,
    },
    /// A member of an epoch that is open, is being begun or must be sealed cannot be evicted.
    #[error("incarnation {incarnation} is a data member of an epoch in force: change it out first")]
    InUse {
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
