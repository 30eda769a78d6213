//! Pure: what may be agreed on, and what comes of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::archive::ArchiveClaim;
use super::history::{Cause, Served};
use super::joining::{Intent, TokenHash};
use super::member::{Addresses, Role};
use super::schedule::BackupNote;
use super::secret::SetSecret;
use super::settings::{Settings, SettingsChange};
use super::state::Attempt;
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
    /// Where this start is reached.
    pub addresses: Addresses,
    /// The feature level that this start understands.
    pub level: u32,
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
    /// A member's process starts. Said again by the same start, it changes its addresses only.
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
        /// Why, for the history.
        #[serde(default)]
        cause: Cause,
    },
    /// A candidate has sealed and caught up: its epoch opens. Said twice, it changes nothing.
    Open {
        /// The epoch.
        epoch: Epoch,
    },
    /// The primary of an epoch takes writes from now on: for the history. Said twice, it changes nothing.
    Serve {
        /// Its epoch.
        epoch: Epoch,
        /// How it came to.
        served: Served,
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
        /// If given, the open epoch that whoever gives it up has seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_open: Option<Epoch>,
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
    /// Some of the set's settings change.
    Set(SettingsChange),
    /// Every member understands this feature level: it is used from now on. Said twice, it changes nothing.
    RaiseLevel(u32),
    /// The set has this secret, if it has none yet.
    ChooseSecret(SetSecret),
    /// One directory may join. Said twice, it changes nothing.
    IssueToken {
        /// The digest of the secret that the directory will show.
        hash: TokenHash,
        /// What the directory is to be.
        role: Role,
        /// When the leave ends, in milliseconds of wall time.
        expires: u64,
        /// The wall time, in milliseconds: what has expired by now is forgotten.
        now: u64,
    },
    /// A directory joins by a token: it becomes a member, which is intended to be added. Said twice, it changes nothing.
    Redeem {
        /// The digest of the secret it shows.
        hash: TokenHash,
        /// The directory.
        incarnation: IncarnationId,
        /// The wall time, in milliseconds.
        now: u64,
    },
    /// More of the logs is archived. Said twice, it changes nothing.
    Archive(ArchiveClaim),
    /// What becomes of the set's own backups.
    Backup(BackupNote),
    /// A change of members begins. Said twice, it changes nothing.
    Intend(Intent),
    /// A change of members is done, or given up. Said twice, it changes nothing.
    Fulfil(Intent),
}

/// What a command brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The member's new boot number.
    Booted(BootNumber),
    /// The attempt.
    Begun(Attempt),
    /// The settings in force now.
    Settings(Settings),
    /// Nothing more to say.
    Done,
}
