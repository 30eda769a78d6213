//! One member's part in the agreement: what it answers others, and what it decides while it leads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::{AppendEntriesResponse, ClientWriteResponse};
use openraft::{ChangeMembers, ServerState};
use tokio::sync::watch;

use super::super::command::{Command, Effect};
use super::super::member::Addresses;
use super::super::state::ControlState;
use super::super::window::grant;
use super::clocks::median;
use super::election::{Election, LEASE};
use super::error::Error;
use super::message::{Answer, Ask, Greeting, Hello, Proposal};
use super::peers::Peers;
use super::store::Store;
use super::types::{LogId, Metrics, Snapshot, TypeConfig};
use crate::base::clock::timeout;
use crate::base::{Hlc, NodeNumber};
use crate::proto::v1::RaftMessage;

/// A leader that no majority has answered for so long is not believed to lead.
const QUORUM_ACK_MAX: Duration = Duration::from_secs(1);

/// May this member take part?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not before the others have said what they know of it.
    Mute,
    Open,
    /// Never: what it holds is an older state.
    Shut(String),
}

/// One member's part.
pub(super) struct Core {
    pub raft: openraft::Raft<TypeConfig>,
    pub store: Store,
    pub peers: Arc<Peers>,
    pub states: watch::Receiver<Arc<ControlState>>,
    pub election: Mutex<Election>,
    pub gate: watch::Sender<Gate>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("member", &self.peers.me)
            .finish_non_exhaustive()
    }
}

/// Who leads, if it is somebody else.
type Elsewhere = Option<(NodeNumber, Addresses)>;

impl Core {
    pub fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    pub fn election(&self) -> std::sync::MutexGuard<'_, Election> {
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn answer(&self, question: &RaftMessage) -> RaftMessage {
        let me = self.peers.me;
        let answer = match self.peers.open(question, me) {
            Ok(ask) => self.consider(ask).await,
            Err(why) => Answer::Refused(why),
        };
        self.peers.seal(me, &answer)
    }

    async fn consider(&self, ask: Ask) -> Answer {
        let is_open = *self.gate.borrow() == Gate::Open;
        let answer = match ask {
            Ask::Hello(hello) => return Answer::Hello(self.greet(&hello)),
            _muted if !is_open => return Answer::Refused("it is starting".to_owned()),
            Ask::Append(request) => self.raft.append_entries(request).await.map(Answer::Append),
            Ask::Vote(request) => self.raft.vote(request).await.map(Answer::Vote),
            Ask::Install { vote, meta, state } => {
                let snapshot = Snapshot {
                    meta,
                    snapshot: state,
                };
                let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                installed.map(Answer::Install).map_err(RaftError::Fatal)
            }
            Ask::Canvass { last } => Ok(Answer::Canvass(self.would_vote(last))),
            Ask::Propose(proposal) => {
                let decided = self.decide(proposal).await;
                let unsettled = |_elsewhere| Error::NoLeader;
                Ok(Answer::Propose(
                    decided.unwrap_or_else(|at| Err(unsettled(at))),
                ))
            }
        };
        let answer = answer.unwrap_or_else(|error| Answer::Refused(error.to_string()));
        if is_of_a_leader(&answer) {
            self.election().hear(self.peers.clock.monotonic());
        }
        answer
    }

    /// What is known here of a voter that starts.
    pub fn greet(&self, hello: &Hello) -> Greeting {
        let now = self.peers.clock.monotonic();
        let metrics = self.metrics();
        let is_followed = self.leads_within(LEASE) || !self.election().would_vote(now);
        Greeting {
            objection: self.objection(hello, &metrics),
            leader: metrics.current_leader.filter(|_| is_followed),
        }
    }

    /// What it should know and does not.
    fn objection(&self, hello: &Hello, metrics: &Metrics) -> Option<String> {
        let state = self.states.borrow().clone();
        let (_, member) = state.member_by_number(hello.number)?;
        let starts = &hello.starts;
        let is_unknown = |token| !starts.known.contains(&token);
        // Who is behind knows of an earlier start only, whose token a directory keeps no longer.
        if member.boot >= starts.boot && member.token.is_some_and(is_unknown) {
            let boot = member.boot;
            return Some(format!(
                "member {} was started {boot} times, the last of them not from this directory",
                hello.number
            ));
        }
        let matched = *metrics.replication.as_ref()?.get(&hello.number)?;
        (matched > hello.last).then(|| {
            format!(
                "member {} held the Raft log up to {}, this directory holds it up to {}",
                hello.number,
                place(matched),
                place(hello.last)
            )
        })
    }

    /// Would this voter vote for one whose log ends there?
    pub fn would_vote(&self, last: Option<LogId>) -> bool {
        let now = self.peers.clock.monotonic();
        let Ok(mine) = self.store.extent() else {
            return false;
        };
        !self.leads_within(LEASE) && self.election().would_vote(now) && last >= mine.last
    }

    fn leads_within(&self, limit: Duration) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let acked = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        metrics.state == ServerState::Leader && acked.is_none_or(|since| since <= limit)
    }

    /// Decides as the leader; says who leads if it is another one.
    pub async fn decide(&self, proposal: Proposal) -> Result<Result<Effect, Error>, Elsewhere> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            return Err(metrics.current_leader.map(|leader| {
                let node = metrics.membership_config.membership().get_node(&leader);
                (leader, node.cloned().unwrap_or_default())
            }));
        }
        if !self.leads_within(QUORUM_ACK_MAX) {
            return Ok(Err(Error::NoLeader));
        }
        match timeout(proposal.limit(), self.write(proposal)).await {
            Ok(written) => outcome(written),
            Err(elapsed) => Ok(Err(Error::Unknown {
                cause: elapsed.to_string(),
            })),
        }
    }

    async fn write(
        &self,
        proposal: Proposal,
    ) -> Result<
        ClientWriteResponse<TypeConfig>,
        RaftError<NodeNumber, ClientWriteError<NodeNumber, Addresses>>,
    > {
        match proposal {
            Proposal::Command(command) => self.raft.client_write(command).await,
            Proposal::Extend {
                epoch,
                number,
                acked,
            } => {
                let command = Command::Extend {
                    epoch,
                    number,
                    ceiling: self.ceiling(),
                    acked,
                };
                self.raft.client_write(command).await
            }
            Proposal::AddLearner { number, addresses } => {
                self.raft.add_learner(number, addresses, true).await
            }
            Proposal::SetVoters(voters) => self.raft.change_membership(voters, true).await,
            Proposal::Remove(number) => {
                let one = BTreeSet::from([number]);
                let membership = self.metrics().membership_config;
                let is_voter = membership.voter_ids().any(|voter| voter == number);
                let change = if is_voter {
                    ChangeMembers::RemoveVoters(one)
                } else {
                    ChangeMembers::RemoveNodes(one)
                };
                self.raft.change_membership(change, false).await
            }
        }
    }

    /// As far ahead as the voters' clocks allow. One that is not known counts as far behind: so it is never the wrong one of
    /// two that decides. Where too few are known the ceiling rises all the same, by the least step.
    fn ceiling(&self) -> Hlc {
        let membership = self.metrics().membership_config;
        let voters: BTreeSet<NodeNumber> = membership.voter_ids().collect();
        let mut clocks = self.peers.clocks_of(voters.iter().copied());
        clocks.resize(voters.len().max(clocks.len()), 0);
        let clock = median(clocks).unwrap_or(0);
        grant(clock, self.states.borrow().ceiling)
    }
}

/// Does it show that somebody leads, or soon will?
fn is_of_a_leader(answer: &Answer) -> bool {
    match answer {
        Answer::Append(AppendEntriesResponse::HigherVote(_)) => false,
        Answer::Append(_) | Answer::Install(_) => true,
        Answer::Vote(answer) => answer.vote_granted,
        Answer::Hello(_) | Answer::Canvass(_) | Answer::Propose(_) | Answer::Refused(_) => false,
    }
}

fn place(at: Option<LogId>) -> String {
    at.map_or_else(|| "its beginning".to_owned(), |at| at.to_string())
}

fn outcome(
    written: Result<
        ClientWriteResponse<TypeConfig>,
        RaftError<NodeNumber, ClientWriteError<NodeNumber, Addresses>>,
    >,
) -> Result<Result<Effect, Error>, Elsewhere> {
    match written {
        Ok(response) => Ok(response.data.map_err(Error::Rejected)),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(to.leader_id.zip(to.leader_node))
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Ok(Err(members(&error)))
        }
        Err(RaftError::Fatal(_)) => Ok(Err(Error::Stopped)),
    }
}

fn members(error: &ChangeMembershipError<NodeNumber>) -> Error {
    Error::Members {
        problem: error.to_string(),
    }
}
