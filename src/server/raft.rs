//! The Raft service on the peer port: what members ask each other about their agreement, and how a directory joins.

use tonic::{Request, Response, Status};

use super::edge::Edge;
use super::status::Failure;
use crate::base::IncarnationId;
use crate::net::RAFT_MESSAGE_BYTES;
use crate::node::{Addresses, Applicant};
use crate::proto::Reason;
use crate::proto::v1::raft_service_server::{RaftService, RaftServiceServer};
use crate::proto::v1::{JoinRequest, JoinResponse, RaftMessage};

pub(super) struct RaftPort(Edge);

/// The service of this node.
pub(super) fn raft_service(edge: Edge) -> RaftServiceServer<RaftPort> {
    RaftServiceServer::new(RaftPort(edge))
        .max_encoding_message_size(RAFT_MESSAGE_BYTES)
        .max_decoding_message_size(RAFT_MESSAGE_BYTES)
}

#[tonic::async_trait]
impl RaftService for RaftPort {
    async fn ask(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let raft =
            self.0.node.raft().ok_or_else(|| {
                Failure::new(Reason::Starting, "this node agrees with nobody yet")
            })?;
        Ok(Response::new(raft.answer(request.get_ref()).await))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let JoinRequest {
            secret,
            incarnation,
            peer_address,
            client_address,
            level,
        } = request.into_inner();
        let incarnation: IncarnationId = incarnation.parse().map_err(|_| {
            Failure::new(Reason::InvalidArgument, "it is no incarnation").in_field("incarnation")
        })?;
        let applicant = Applicant {
            secret,
            incarnation,
            addresses: Addresses {
                peer: peer_address,
                client: client_address,
            },
            level,
        };
        let joined = self.0.node.admit(applicant).await.map_err(Failure::from)?;
        Ok(Response::new(JoinResponse {
            number: joined.number.0,
            control: joined.control.into(),
        }))
    }
}
