//! What members ask each other about their agreement.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::super::command::{Command, Effect};
use super::super::member::Addresses;
use super::super::state::ControlState;
use super::error::Error;
use super::types::{LogId, SnapshotMeta, TypeConfig, Vote};
use crate::base::{BootNumber, BootToken, Epoch, IncarnationId, NodeNumber, VersionVector};

/// The limit of a command.
const DECIDE: Duration = Duration::from_secs(2);
/// That of a change of voters or learners, who first catch up.
const CHANGE: Duration = Duration::from_secs(10);

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<NodeNumber>),
    Install {
        vote: Vote,
        meta: SnapshotMeta,
        state: Box<ControlState>,
    },
    /// A voter that starts: is anything known of it that it should know?
    Hello(Hello),
    /// A voter that hears no leader: would this one vote for it?
    Canvass {
        last: Option<LogId>,
    },
    /// For the leader.
    Propose(Proposal),
}

/// What a directory knows of its own starts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Starts {
    /// The number of the last one that was registered, as far as it knows.
    #[serde(default)]
    pub boot: BootNumber,
    /// The tokens of that one and of those tried since.
    pub known: BTreeSet<BootToken>,
}

/// What a voter that starts says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub number: NodeNumber,
    #[serde(flatten)]
    pub starts: Starts,
    pub last: Option<LogId>,
}

/// What another member knows of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// What the voter should know and does not.
    pub objection: Option<String>,
    /// Who leads, if that one has been heard lately. It alone knows how long the voter's log was.
    pub leader: Option<NodeNumber>,
}

/// A change that only the leader makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proposal {
    Command(Command),
    /// The leader says how high.
    Extend {
        epoch: Epoch,
        number: u64,
        acked: Vec<(IncarnationId, VersionVector)>,
    },
    AddLearner {
        number: NodeNumber,
        addresses: Addresses,
    },
    SetVoters(BTreeSet<NodeNumber>),
    Remove(NodeNumber),
}

impl Proposal {
    /// How long it may take before its fate counts as unknown.
    pub fn limit(&self) -> Duration {
        match self {
            Proposal::Command(_) | Proposal::Extend { .. } => DECIDE,
            Proposal::AddLearner { .. } | Proposal::SetVoters(_) | Proposal::Remove(_) => CHANGE,
        }
    }
}

/// An answer, to the question of the same name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Append(AppendEntriesResponse<NodeNumber>),
    Vote(VoteResponse<NodeNumber>),
    Install(SnapshotResponse<NodeNumber>),
    Hello(Greeting),
    Canvass(bool),
    Propose(Result<Effect, Error>),
    /// To any question.
    Refused(String),
}
