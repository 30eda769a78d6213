//! What openraft asks of other members, carried by [`Peers`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetwork, RaftNetworkFactory};

use super::super::member::Addresses;
use super::message::{Answer, Ask};
use super::peers::{NoAnswer, Peers};
use super::types::{Snapshot, TypeConfig, Vote};
use crate::base::NodeNumber;
use crate::base::clock::timeout;

/// A member that is back is to be heard before it suspects the leader.
const ASK_AGAIN: Duration = Duration::from_millis(50);

type Refusal = RPCError<NodeNumber, Addresses, RaftError<NodeNumber>>;

/// Makes the way to each other member.
#[derive(Debug, Clone)]
pub(super) struct Network(pub(super) Arc<Peers>);

/// The way to one other member.
#[derive(Debug)]
pub(super) struct Way {
    peers: Arc<Peers>,
    member: NodeNumber,
    known: Addresses,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: NodeNumber, node: &Addresses) -> Way {
        Way {
            peers: Arc::clone(&self.0),
            member: target,
            known: node.clone(),
        }
    }
}

impl Way {
    async fn ask(&self, ask: &Ask) -> Result<Answer, NoAnswer> {
        self.peers.ask(self.member, &self.known, ask).await
    }
}

/// The answer to another question.
fn astray() -> NetworkError {
    NetworkError::new(&io::Error::other("the answer is to another question"))
}

fn unreachable(error: &NoAnswer) -> Unreachable {
    Unreachable::new(&io::Error::other(error.to_string()))
}

impl RaftNetwork<TypeConfig> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeNumber>, Refusal> {
        match self.ask(&Ask::Append(rpc)).await {
            Ok(Answer::Append(answer)) => Ok(answer),
            Ok(_) => Err(astray().into()),
            Err(error) => Err(unreachable(&error).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeNumber>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeNumber>, Refusal> {
        match self.ask(&Ask::Vote(rpc)).await {
            Ok(Answer::Vote(answer)) => Ok(answer),
            Ok(_) => Err(astray().into()),
            Err(error) => Err(unreachable(&error).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeNumber>, StreamingError<TypeConfig, Fatal<NodeNumber>>> {
        let ask = Ask::Install {
            vote,
            meta: snapshot.meta,
            state: snapshot.snapshot,
        };
        match timeout(option.hard_ttl(), self.ask(&ask)).await {
            Ok(Ok(Answer::Install(answer))) => Ok(answer),
            Ok(Ok(_)) => Err(astray().into()),
            Ok(Err(error)) => Err(unreachable(&error).into()),
            Err(elapsed) => Err(Unreachable::new(&elapsed).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(ASK_AGAIN))
    }
}
