//! Pure: why a command changes nothing.

use serde::{Deserialize, Serialize};

use super::joining::Intent;
use super::member::Role;
use crate::base::{BootNumber, CommitLevel, Epoch, Hlc, IncarnationId, NodeNumber};

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
        reason: String,
    },
    /// A program that does not understand what the set uses cannot take part.
    #[error(
        "incarnation {incarnation} understands feature level {level}, but {needed} is needed: start a later version of the program"
    )]
    LevelTooLow {
        /// Whose start.
        incarnation: IncarnationId,
        /// What it understands.
        level: u32,
        /// What is agreed, or asked for.
        needed: u32,
    },
    /// The feature level only rises.
    #[error("feature level {level} is below {agreed}, which the set uses already")]
    LevelFalls {
        /// The level asked for.
        level: u32,
        /// What is agreed.
        agreed: u32,
    },
    /// Settings: a silence that is too short or too long.
    #[error("silence_ms is {silence_ms}: it must be from {least} to {most}")]
    SilenceOutOfRange {
        /// The silence asked for.
        silence_ms: u64,
        /// The shortest.
        least: u64,
        /// The longest.
        most: u64,
    },
    /// Settings: the default level would never be used.
    #[error("the default commit level, {default}, is below the floor, {floor}")]
    DefaultBelowFloor {
        /// The default.
        default: CommitLevel,
        /// The floor.
        floor: CommitLevel,
    },
    /// No member has this number.
    #[error("no member has number {number}")]
    NoSuchNumber {
        /// The number.
        number: NodeNumber,
    },
    /// The token was never issued, or has expired and is forgotten.
    #[error("the join token is not known to this set: it was not issued here, or expired long ago")]
    UnknownToken,
    /// The token has let another directory in.
    #[error("the join token has been used by incarnation {by}: issue another one")]
    UsedToken {
        /// Who used it.
        by: IncarnationId,
    },
    /// The token's time is over.
    #[error("the join token expired {} s ago: issue another one", (now - expires) / 1000)]
    ExpiredToken {
        /// When it expired, in milliseconds of wall time.
        expires: u64,
        /// When it was shown.
        now: u64,
    },
    /// What is archived counts only in the bucket that the settings name, and after the archive was begun there.
    #[error("the archive is not in {bucket} any more, or is to be begun anew there")]
    ArchivedElsewhere {
        /// The bucket that it was said to be in.
        bucket: String,
    },
    /// Settings: an interval of backups that is too short or too long.
    #[error("{name} is {ms}: it must be from {least} to {most}")]
    IntervalOutOfRange {
        /// The setting.
        name: String,
        /// The interval asked for.
        ms: u64,
        /// The shortest.
        least: u64,
        /// The longest.
        most: u64,
    },
    /// A member is changed by one intent at a time.
    #[error("{intent} is under way: let it end first")]
    OtherIntent {
        /// The other one.
        intent: Intent,
    },
}
