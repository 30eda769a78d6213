//! Questions of one member's Raft to another's, on a connection that is made when it is needed.

use tonic::transport::Channel;

use super::dial::channel;
use super::lines::Lines;
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
    lines: Lines<NodeNumber>,
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
        let line = self.lines.to(member, address);
        let line = line.ok_or_else(|| Unreachable::new(address, "it is no address"))?;
        let answer = client(line).ask(question).await;
        let answer = answer.map_err(|status| Unreachable::new(address, status.to_string()))?;
        Ok(answer.into_inner())
    }
}

impl Unreachable {
    fn new(address: &str, cause: impl Into<String>) -> Unreachable {
        Unreachable {
            address: address.to_owned(),
            cause: cause.into(),
        }
    }
}

fn client(line: Channel) -> RaftServiceClient<Channel> {
    RaftServiceClient::new(line)
        .max_encoding_message_size(RAFT_MESSAGE_BYTES)
        .max_decoding_message_size(RAFT_MESSAGE_BYTES)
}

/// Asks a member, at its peer address, to let a directory join.
///
/// # Errors
/// If the address is none, does not answer or refuses: what it said.
pub async fn join(address: &str, request: JoinRequest) -> Result<JoinResponse, Unreachable> {
    let line = channel(address).ok_or_else(|| Unreachable::new(address, "it is no address"))?;
    let answer = client(line).join(request).await;
    let answer = answer.map_err(|status| Unreachable::new(address, status.message()))?;
    Ok(answer.into_inner())
}
