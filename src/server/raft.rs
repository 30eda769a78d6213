//! The Raft service on the peer port: what members ask each other about their agreement.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::control::raft::Raft;
use crate::net::RAFT_MESSAGE_BYTES;
use crate::proto::v1::RaftMessage;
use crate::proto::v1::raft_service_server::{RaftService, RaftServiceServer};

struct RaftPort(Arc<Raft>);

/// The service of this member.
#[must_use]
pub fn raft_service(raft: Arc<Raft>) -> RaftServiceServer<impl RaftService> {
    RaftServiceServer::new(RaftPort(raft))
        .max_encoding_message_size(RAFT_MESSAGE_BYTES)
        .max_decoding_message_size(RAFT_MESSAGE_BYTES)
}

#[tonic::async_trait]
impl RaftService for RaftPort {
    async fn ask(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        Ok(Response::new(self.0.answer(request.get_ref()).await))
    }
}
