//! The types with which Raft is used here.

use super::super::command::{Command, Effect};
use super::super::member::Addresses;
use super::super::rejection::Rejection;
use super::super::state::ControlState;
use crate::base::NodeNumber;

openraft::declare_raft_types!(
    /// An entry is a command; what comes of it is its outcome; a snapshot is the state.
    pub TypeConfig:
        D = Command,
        R = Outcome,
        NodeId = NodeNumber,
        Node = Addresses,
        SnapshotData = ControlState,
);

/// What came of a command.
pub type Outcome = Result<Effect, Rejection>;

pub type Entry = openraft::Entry<TypeConfig>;
pub type LogId = openraft::LogId<NodeNumber>;
pub type Vote = openraft::Vote<NodeNumber>;
pub type Membership = openraft::Membership<NodeNumber, Addresses>;
pub type StoredMembership = openraft::StoredMembership<NodeNumber, Addresses>;
pub type Snapshot = openraft::Snapshot<TypeConfig>;
pub type SnapshotMeta = openraft::SnapshotMeta<NodeNumber, Addresses>;
pub type Metrics = openraft::RaftMetrics<NodeNumber, Addresses>;
pub type StorageError = openraft::StorageError<NodeNumber>;
