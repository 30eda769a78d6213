//! Questions of a quorum read to other members.

use tonic::transport::Channel;

use super::MESSAGE_BYTES;
use super::lines::Lines;
use crate::base::IncarnationId;
use crate::proto::v1::row_service_client::RowServiceClient;
use crate::proto::v1::{NameRowsRequest, NameRowsResponse};

/// Why a member named no rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} does not name its rows: {cause}")]
pub struct Unnamed {
    address: String,
    cause: String,
}

/// One line to each member.
#[derive(Debug, Default)]
pub struct RowLines {
    lines: Lines<IncarnationId>,
}

impl RowLines {
    /// Asks a member at an address, and waits for the answer without limit.
    ///
    /// # Errors
    /// If the address is none, does not answer or refuses.
    pub async fn ask(
        &self,
        member: IncarnationId,
        address: &str,
        question: NameRowsRequest,
    ) -> Result<NameRowsResponse, Unnamed> {
        let unnamed = |cause: &str| Unnamed {
            address: address.to_owned(),
            cause: cause.to_owned(),
        };
        let line = self.lines.to(member, address);
        let mut client = client(line.ok_or_else(|| unnamed("it is no address"))?);
        let answer = client.name_rows(question).await;
        let answer = answer.map_err(|status| unnamed(status.message()))?;
        Ok(answer.into_inner())
    }
}

fn client(line: Channel) -> RowServiceClient<Channel> {
    RowServiceClient::new(line)
        .max_encoding_message_size(MESSAGE_BYTES)
        .max_decoding_message_size(MESSAGE_BYTES)
}
