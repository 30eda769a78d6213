//! Pure: the members of a set, what they do and where they are reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::state::ControlState;
use crate::base::{BootNumber, BootToken, NodeNumber, VersionVector};

/// The feature level of this program: which formats and commands it understands. 2: the set has a secret, and members name
/// their rows to each other. 3: views say at which level they are read. 4: members list their keys to each other. 5: logs are archived.
pub const LEVEL: u32 = 5;
/// The feature level from which on views have read levels.
const VIEW_READ_LEVELS: u32 = 3;
/// The feature level from which on a scan at a quorum needs no primary.
const QUORUM_SCANS: u32 = 4;
/// The feature level from which on logs are archived.
const ARCHIVES: u32 = 5;

/// A registered member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number.
    #[serde(default = "first_number")]
    pub number: NodeNumber,
    /// What it does.
    #[serde(default)]
    pub role: Role,
    /// How often it has been started.
    pub boot: BootNumber,
    /// The token of that start; `None` before the first.
    pub token: Option<BootToken>,
    /// Where that start is reached.
    #[serde(default)]
    pub addresses: Addresses,
    /// The feature level of that start; 0 before the first.
    #[serde(default = "first_level")]
    pub level: u32,
    /// What it was last known to hold durably.
    pub acked: VersionVector,
}

/// States without numbers were written by lone nodes: their only member was their first.
fn first_number() -> NodeNumber {
    NodeNumber::FIRST
}

/// What did not say its level was of the first.
pub(super) fn first_level() -> u32 {
    1
}

impl Member {
    /// One that was never started.
    #[must_use]
    pub fn new(number: NodeNumber, role: Role) -> Member {
        Member {
            number,
            role,
            boot: BootNumber::NONE,
            token: None,
            addresses: Addresses::default(),
            level: 0,
            acked: VersionVector::new(),
        }
    }
}

/// Where a member is reached; empty texts before its first start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// By other members, as `host:port`.
    pub peer: String,
    /// By clients, as `host:port`.
    pub client: String,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Holds rows; once an epoch names it, it counts towards commit and seal.
    #[default]
    Data,
    /// Votes in Raft, holds no rows and counts for nothing else.
    Arbiter,
    /// Holds rows and counts for nothing.
    ReadReplica,
}

impl Role {
    /// Are rows sent to it?
    #[must_use]
    pub fn holds_rows(self) -> bool {
        self != Role::Arbiter
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Data => "data",
            Role::Arbiter => "arbiter",
            Role::ReadReplica => "read-replica",
        })
    }
}

impl ControlState {
    /// Does every member understand views with a read level?
    #[must_use]
    pub fn has_view_read_levels(&self) -> bool {
        self.level >= VIEW_READ_LEVELS
    }

    /// Does every member know what is archived?
    #[must_use]
    pub fn has_archives(&self) -> bool {
        self.level >= ARCHIVES
    }

    /// Does every member list its keys to the others?
    #[must_use]
    pub fn has_quorum_scans(&self) -> bool {
        self.level >= QUORUM_SCANS
    }
}
