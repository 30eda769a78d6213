//! What peers call for a quorum read.

use tonic::{Request, Response, Status};

use super::admission::intake;
use super::edge::Edge;
use super::status::Failure;
use crate::net::Hello;
use crate::node::{KeysAsked, RowsAsked, keys_answer_to_proto, rows_answer_to_proto};
use crate::proto::{Reason, v1};
use v1::row_service_server::RowService;

/// The service behind the quorum reads of other members.
pub(super) struct Rows(pub Edge);

#[tonic::async_trait]
impl RowService for Rows {
    async fn name_rows(
        &self,
        request: Request<v1::NameRowsRequest>,
    ) -> Result<Response<v1::NameRowsResponse>, Status> {
        let intake = intake(&request);
        let mut memory = intake.take();
        let asked = RowsAsked::try_from(request.into_inner()).map_err(Failure::from)?;
        self.judge(&asked.hello)?;
        let named = self.0.node.name_rows(asked, &mut memory).await;
        let answer = rows_answer_to_proto(named.map_err(Failure::from)?);
        intake.leave(memory);
        Ok(Response::new(answer))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let intake = intake(&request);
        let mut memory = intake.take();
        let asked = KeysAsked::try_from(request.into_inner()).map_err(Failure::from)?;
        self.judge(&asked.hello)?;
        let listed = self.0.node.list_keys(asked, &mut memory).await;
        let answer = keys_answer_to_proto(listed.map_err(Failure::from)?);
        intake.leave(memory);
        Ok(Response::new(answer))
    }
}

impl Rows {
    /// Refuses whoever is no peer, or means another member.
    fn judge(&self, hello: &Hello) -> Result<(), Failure> {
        let starting = || Failure::new(Reason::Starting, "the node does not know its peers yet");
        let wires = self.0.node.wires().ok_or_else(starting)?;
        wires.judge(hello).map(drop).map_err(Failure::from)
    }
}
