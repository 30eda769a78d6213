//! Questions of one member's Raft to another's, on a connection that is made when it is needed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tonic::transport::Channel;

use super::dial::endpoint;
use crate::base::NodeNumber;
use crate::proto::v1::raft_service_client::RaftServiceClient;
use crate::proto::v1::{JoinRequest, JoinResponse, RaftMessage};

/// A snapshot of the control state is the greatest message by far; thousands of members and logs fit into this.
pub const RAFT_MESSAGE_BYTES: usize = 16 << 20;

/// Why a question has no answer. It may have been heard all the same.
#[derive(Debug, thiserror::Error)]
#[error("{address} does not answer: {cause}")]
pub struct Unreachable {
    address: String,
    cause: String,
}

/// One line to each member.
#[derive(Debug, Default)]
pub struct RaftLines {
    lines: Mutex<HashMap<NodeNumber, Line>>,
}

#[derive(Debug, Clone)]
struct Line {
    address: String,
    client: RaftServiceClient<Channel>,
}

impl RaftLines {
    /// Asks a member at an address, and waits for the answer without limit.
    ///
    /// # Errors
    /// If the address is none or does not answer.
    pub async fn ask(
        &self,
        member: NodeNumber,
        address: &str,
        question: RaftMessage,
    ) -> Result<RaftMessage, Unreachable> {
        let unreachable = |cause: String| Unreachable {
            address: address.to_owned(),
            cause,
        };
        let mut line = self.line(member, address).map_err(unreachable)?;
        let answer = line.client.ask(question).await;
        let answer = answer.map_err(|status| unreachable(status.to_string()))?;
        Ok(answer.into_inner())
    }

    fn line(&self, member: NodeNumber, address: &str) -> Result<Line, String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&member).filter(|line| line.address == address) {
            return Ok(line.clone());
        }
        let line = Line::to(address).ok_or("it is no address")?;
        lines.insert(member, line.clone());
        Ok(line)
    }
}

impl Line {
    fn to(address: &str) -> Option<Line> {
        let client = RaftServiceClient::new(endpoint(address)?.connect_lazy())
            .max_encoding_message_size(RAFT_MESSAGE_BYTES)
            .max_decoding_message_size(RAFT_MESSAGE_BYTES);
        let address = address.to_owned();
        Some(Line { address, client })
    }
}

/// Asks a member, at its peer address, to let a directory join.
///
/// # Errors
/// If the address is none, does not answer or refuses: what it said.
pub async fn join(address: &str, request: JoinRequest) -> Result<JoinResponse, Unreachable> {
    let unreachable = |cause: String| Unreachable {
        address: address.to_owned(),
        cause,
    };
    let line = Line::to(address).ok_or_else(|| unreachable("it is no address".to_owned()))?;
    let mut client = line.client;
    let answer = client.join(request).await;
    let answer = answer.map_err(|status| unreachable(status.message().to_owned()))?;
    Ok(answer.into_inner())
}
