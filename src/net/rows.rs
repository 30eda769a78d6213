//! Questions of a quorum read to other members.

use tonic::transport::Channel;
use tonic::{Response, Status};

use super::MESSAGE_BYTES;
use super::lines::Lines;
use crate::base::IncarnationId;
use crate::proto::v1::row_service_client::RowServiceClient;
use crate::proto::v1::{ListKeysRequest, ListKeysResponse, NameRowsRequest, NameRowsResponse};

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
    /// Asks a member at an address for its rows of some keys, and waits for the answer without limit.
    ///
    /// # Errors
    /// If the address is none, does not answer or refuses.
    pub async fn name_rows(
        &self,
        member: IncarnationId,
        address: &str,
        question: NameRowsRequest,
    ) -> Result<NameRowsResponse, Unnamed> {
        let mut client = self.client(member, address)?;
        named(address, client.name_rows(question).await)
    }

    /// Asks a member at an address for the keys of its rows behind one, and waits for the answer without limit.
    ///
    /// # Errors
    /// If the address is none, does not answer or refuses.
    pub async fn list_keys(
        &self,
        member: IncarnationId,
        address: &str,
        question: ListKeysRequest,
    ) -> Result<ListKeysResponse, Unnamed> {
        let mut client = self.client(member, address)?;
        named(address, client.list_keys(question).await)
    }

    fn client(
        &self,
        member: IncarnationId,
        address: &str,
    ) -> Result<RowServiceClient<Channel>, Unnamed> {
        let line = self.lines.to(member, address);
        let line = line.ok_or_else(|| unnamed(address, "it is no address"))?;
        Ok(RowServiceClient::new(line)
            .max_encoding_message_size(MESSAGE_BYTES)
            .max_decoding_message_size(MESSAGE_BYTES))
    }
}

fn named<T>(address: &str, answer: Result<Response<T>, Status>) -> Result<T, Unnamed> {
    let answer = answer.map_err(|status| unnamed(address, status.message()))?;
    Ok(answer.into_inner())
}

fn unnamed(address: &str, cause: &str) -> Unnamed {
    Unnamed {
        address: address.to_owned(),
        cause: cause.to_owned(),
    }
}
