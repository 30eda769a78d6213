//! Agreement among several members: [`ControlState`] as the state machine of a Raft group, of which every member is a
//! voter or a learner. The only module that names openraft.
//!
//! ```text
//!             other members                      this node
//!   ask │ ▲ append, vote, snapshot,                 │ propose, extend    ▲ states
//!       ▼ │ hello, canvass, propose                 ▼                    │
//!   ┌──────────────────────────────────────────────────────────────────────────┐
//!   │ Core: answers; decides while it leads       voting: starts, stands       │
//!   └───────┬───────────────────────────────▲──────────────────────────────────┘
//!   ┌───────▼───────┐             ┌─────────┴────┐         ┌──────────────────┐
//!   │ openraft      │── entries ─►│ state machine│         │ Peers: lines,    │
//!   └───────┬───────┘             └─────────┬────┘         │ clocks           │
//!           └──────── store ────────────────┘              └──────────────────┘
//! ```
//! **Invariants.** What was answered is on the disks of a majority of voters. An epoch's number is `epoch_base` plus the
//! index of its entry, and whenever indices start anew the base lies above every epoch begun or seen. A voter whose
//! directory is an older state votes in nothing. Nothing here lies on the path of a read or of a steady write.

mod clocks;
mod core;
mod election;
mod error;
mod log_store;
mod message;
mod network;
mod peers;
mod state_machine;
mod store;
mod types;
mod voting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::{CommittedLeaderId, Config, ServerState, SnapshotPolicy};
use tokio::sync::watch;

use self::core::{Core, Gate};
use self::election::Election;
use self::log_store::LogStore;
use self::message::{Answer, Ask, Proposal};
use self::network::Network;
use self::peers::{NoAnswer, Peers};
use self::state_machine::StateMachine;
use self::store::{Agreed, Store};
use self::types::{LogId, Membership, StoredMembership, Vote};
use super::command::{Command, Effect};
use super::member::Addresses;
use super::state::ControlState;
use crate::base::clock::timeout;
use crate::base::{Clock, Epoch, IncarnationId, NodeNumber, TaskGroup, VersionVector};
use crate::proto::v1::RaftMessage;

pub use self::error::Error;
pub use self::message::Starts;
pub use self::store::Error as StoreError;

/// What of the library's log is kept when nothing else is asked for: nothing, for it says at each heartbeat that a member
/// is away. What matters is said here, and by [`Raft::failure`].
pub const LOG_FILTER: &str = "openraft=off";

/// How often a leader is heard.
const HEARTBEAT_MILLIS: u64 = 50;
/// The least time without a leader before another is voted for; [`election::LEASE`] is the longest.
const ELECTION_MILLIS_MIN: u64 = 150;
/// A snapshot is sent within this time, or again.
const INSTALL_MILLIS: u64 = 5_000;
/// The state is small, so that entries need not be kept for long.
const ENTRIES_BETWEEN_SNAPSHOTS: u64 = 1_000;
const ENTRIES_KEPT: u64 = 500;
/// A learner that lacks so few entries has caught up.
const ENTRIES_BEHIND: u64 = 1;
/// How long the answer of the leader is waited for, beyond what it may take itself.
const FORWARD: Duration = Duration::from_millis(500);
const STOP: Duration = Duration::from_secs(2);

/// Why this member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The library refused.
    #[error("cannot start Raft: {0}")]
    Raft(String),
}

/// One member's part in the agreement of its set.
#[derive(Debug)]
pub struct Raft {
    core: Arc<Core>,
    tasks: TaskGroup,
}

/// How the agreement goes, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub number: NodeNumber,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeNumber>,
    /// The term.
    pub term: u64,
    /// If this member leads: how long ago a majority last confirmed it.
    pub last_quorum_acked: Option<Duration>,
    /// Who votes.
    pub voters: BTreeSet<NodeNumber>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeNumber>,
    /// The index of the last entry in the log here.
    pub last: u64,
    /// The index of the last entry applied here.
    pub applied: u64,
    /// If this member leads: up to where each other member's log is known to be the same.
    pub matched: BTreeMap<NodeNumber, u64>,
}

/// Makes a new group of one in this directory, from the state of a lone node that is reached at `addresses`. The indices of
/// its entries go on where those of the lone node's commands ended, so that epochs are numbered as before.
///
/// # Errors
/// If the directory holds a group already, or cannot be written.
pub fn found(
    dir: &Path,
    first: IncarnationId,
    addresses: Addresses,
    mut control: ControlState,
) -> Result<(), StoreError> {
    let mut number = NodeNumber::FIRST;
    if let Some(member) = control.members.get_mut(&first) {
        number = member.number;
        member.addresses = addresses.clone();
    }
    let leader = CommittedLeaderId::new(1, number);
    control.index += 1;
    let beginning = LogId::new(leader, control.index);
    let voters = vec![BTreeSet::from([number])];
    let membership = Membership::new(voters, BTreeMap::from([(number, addresses)]));
    let agreed = Agreed {
        applied: Some(beginning),
        membership: StoredMembership::new(Some(beginning), membership),
        control,
    };
    Store::open(dir)?.begin(number, Some(Vote::new(1, number)), &agreed)
}

/// Makes this directory that of a member who joins a group, with the state that it was told. It follows once the group's
/// leader adds it.
///
/// # Errors
/// If the directory holds a group already, or cannot be written.
pub fn join(dir: &Path, number: NodeNumber, control: ControlState) -> Result<(), StoreError> {
    let agreed = Agreed {
        applied: None,
        membership: StoredMembership::default(),
        control,
    };
    Store::open(dir)?.begin(number, None, &agreed)
}

/// What was agreed as far as this directory, in which no group runs, has learnt: every entry of its log counts, because
/// nobody else is there to say which were agreed on.
///
/// # Errors
/// If the store is damaged, newer or empty.
pub fn last_agreed(dir: &Path) -> Result<ControlState, StoreError> {
    let store = Store::open(dir)?;
    store.check()?;
    let mut agreed = store.agreed()?;
    let next = agreed.applied.map_or(0, |applied| applied.index + 1);
    let end = store.extent()?.last.map_or(0, |last| last.index + 1);
    for entry in store.entries(next, end)? {
        // What was refused is refused again.
        let _outcome = agreed.apply(entry);
    }
    Ok(agreed.control)
}

impl Raft {
    /// Starts from what is on disk. `starts` is what the node's directory knows of its own.
    ///
    /// # Errors
    /// If the store is damaged, newer or empty.
    pub async fn open(
        dir: &Path,
        starts: Starts,
        clock: Arc<dyn Clock>,
    ) -> Result<Raft, StartError> {
        let store = Store::open(dir)?;
        store.check()?;
        let number = store.number()?;
        stand_down(&store, number)?;
        let machine = StateMachine::new(store.clone(), store.agreed()?);
        let states = machine.states();
        let peers = Arc::new(Peers::new(number, states.clone(), Arc::clone(&clock)));
        let raft = openraft::Raft::new(
            number,
            Arc::new(config()?),
            Network(Arc::clone(&peers)),
            LogStore(store.clone()),
            machine,
        );
        let raft = Box::pin(raft).await;
        let core = Arc::new(Core {
            raft: raft.map_err(|error| StartError::Raft(error.to_string()))?,
            store,
            peers,
            states,
            election: Mutex::new(Election::new(clock.monotonic(), rand::random())),
            gate: watch::Sender::new(Gate::Mute),
        });
        let tasks = TaskGroup::new();
        let part = voting::take_part(Arc::clone(&core), starts, tasks.cancelled());
        tasks.spawn("raft", part);
        Ok(Raft { core, tasks })
    }

    /// Waits until this member may vote.
    ///
    /// # Errors
    /// If it never may, because its directory is an older state: what the others know of it.
    pub async fn admitted(&self) -> Result<(), String> {
        let mut gate = self.core.gate.subscribe();
        let settled = gate.wait_for(|gate| *gate != Gate::Mute).await;
        match settled.as_deref() {
            Ok(Gate::Shut(objection)) => Err(objection.clone()),
            Ok(Gate::Open | Gate::Mute) => Ok(()),
            Err(ended) => Err(ended.to_string()),
        }
    }

    /// Waits until this member cannot go on, and says why. Waits for ever if it can.
    pub async fn failure(&self) -> String {
        self.tasks.failure().await
    }

    /// What is agreed, as it reaches this member.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Arc<ControlState>> {
        self.core.states.clone()
    }

    /// This member's number.
    #[must_use]
    pub fn number(&self) -> NodeNumber {
        self.core.peers.me
    }

    /// Has a command agreed on, by the leader if that is another member.
    ///
    /// # Errors
    /// If it is refused, if nobody leads, or if it is not known what became of it.
    pub async fn propose(&self, command: Command) -> Result<Effect, Error> {
        self.request(Proposal::Command(command)).await
    }

    /// Asks for a higher ceiling, which the leader chooses by the voters' clocks, and reports what members hold.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub async fn extend(
        &self,
        epoch: Epoch,
        number: u64,
        acked: Vec<(IncarnationId, VersionVector)>,
    ) -> Result<Effect, Error> {
        let proposal = Proposal::Extend {
            epoch,
            number,
            acked,
        };
        self.request(proposal).await
    }

    /// Has the leader send everything agreed to a member, and waits until it has caught up.
    ///
    /// # Errors
    /// As [`propose`](Self::propose), and if another change of voters or learners is under way.
    pub async fn add_learner(
        &self,
        number: NodeNumber,
        addresses: Addresses,
    ) -> Result<Effect, Error> {
        let proposal = Proposal::AddLearner { number, addresses };
        self.request(proposal).await
    }

    /// Makes these the voters. Each must be a voter or learner already; whoever votes no more becomes a learner.
    ///
    /// # Errors
    /// As [`add_learner`](Self::add_learner).
    pub async fn set_voters(&self, voters: BTreeSet<NodeNumber>) -> Result<Effect, Error> {
        self.request(Proposal::SetVoters(voters)).await
    }

    /// Takes a member out, voter or learner.
    ///
    /// # Errors
    /// As [`add_learner`](Self::add_learner).
    pub async fn remove(&self, number: NodeNumber) -> Result<Effect, Error> {
        self.request(Proposal::Remove(number)).await
    }

    async fn request(&self, proposal: Proposal) -> Result<Effect, Error> {
        match self.core.decide(proposal.clone()).await {
            Ok(decided) => decided,
            Err(Some((leader, known))) if leader != self.number() => {
                self.forward(leader, &known, proposal).await
            }
            Err(_) => self.seek_leader(proposal).await,
        }
    }

    /// Asks every other voter to decide. A leader that does not reach this member, because that was started again elsewhere,
    /// learns its new address in no other way.
    async fn seek_leader(&self, proposal: Proposal) -> Result<Effect, Error> {
        let me = self.number();
        let unknown = Addresses::default();
        for voter in self.status().voters.into_iter().filter(|at| *at != me) {
            match self.forward(voter, &unknown, proposal.clone()).await {
                // It does not lead, or cannot be reached; nothing that can be said twice is done by halves.
                Err(Error::NoLeader | Error::Unknown { .. }) => {}
                decided @ (Ok(_)
                | Err(Error::Rejected(_) | Error::Members { .. } | Error::Stopped)) => {
                    return decided;
                }
            }
        }
        Err(Error::NoLeader)
    }

    async fn forward(
        &self,
        leader: NodeNumber,
        known: &Addresses,
        proposal: Proposal,
    ) -> Result<Effect, Error> {
        let unknown = |cause: String| Err(Error::Unknown { cause });
        let limit = proposal.limit() + FORWARD;
        let ask = Ask::Propose(proposal);
        let asked = self.core.peers.ask(leader, known, &ask);
        match timeout(limit, asked).await {
            Ok(Ok(Answer::Propose(decided))) => decided,
            Ok(Ok(_)) => unknown(format!("member {leader} answered another question")),
            // Nobody was asked: who led was removed, and who leads now is not known here yet.
            Ok(Err(NoAnswer::NoAddress { .. })) => Err(Error::NoLeader),
            Ok(Err(error)) => unknown(error.to_string()),
            Err(elapsed) => unknown(elapsed.to_string()),
        }
    }

    /// Answers another member's question.
    pub async fn answer(&self, question: &RaftMessage) -> RaftMessage {
        self.core.answer(question).await
    }

    /// How the agreement goes.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.core.metrics();
        let membership = metrics.membership_config.membership();
        let matched = metrics.replication.unwrap_or_default().into_iter();
        let acked = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        Status {
            number: metrics.id,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_quorum_acked: acked.filter(|_| metrics.state == ServerState::Leader),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            last: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |at| at.index),
            matched: matched
                .filter_map(|(number, at)| Some((number, at?.index)))
                .collect(),
        }
    }

    /// Ends once its directory may be opened again: after [`stop`](Self::stop), when the last user is done.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        self.core.store.gone()
    }

    /// Ends this member's part.
    pub async fn stop(&self) {
        self.tasks.stop(STOP).await;
        // Whatever its tasks were doing, the store is as after a crash at worst.
        let _ended = self.core.raft.shutdown().await;
    }
}

/// A leader that was started again has to be elected again: its directory could be an older state.
fn stand_down(store: &Store, me: NodeNumber) -> Result<(), StoreError> {
    match store.vote()? {
        Some(mut vote) if vote.committed && vote.leader_id.voted_for() == Some(me) => {
            vote.committed = false;
            store.save_vote(&vote)
        }
        Some(_) | None => Ok(()),
    }
}

fn config() -> Result<Config, StartError> {
    let lease = u64::try_from(election::LEASE.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "steadfast".to_owned(),
        heartbeat_interval: HEARTBEAT_MILLIS,
        election_timeout_min: ELECTION_MILLIS_MIN,
        election_timeout_max: lease,
        install_snapshot_timeout: INSTALL_MILLIS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_BETWEEN_SNAPSHOTS),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        replication_lag_threshold: ENTRIES_BEHIND,
        // Who stands, and when, is decided in `voting`.
        enable_elect: false,
        ..Config::default()
    };
    let config = config.validate();
    config.map_err(|error| StartError::Raft(error.to_string()))
}
