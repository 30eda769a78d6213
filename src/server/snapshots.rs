//! What peers call for the snapshots of members that no log can bring up to date.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::edge::Edge;
use super::metrics::TimedByHandler;
use super::status::Failure;
use crate::node::{Given, Seeding};
use crate::proto::{Reason, v1};
use v1::snapshot_service_server::SnapshotService;

/// The service behind giving and taking snapshots.
pub(super) struct Snapshots(pub Edge);

impl Snapshots {
    fn seeding(&self) -> Result<Seeding, Status> {
        let starting = || Failure::new(Reason::Starting, "the node does not know its peers yet");
        self.0.node.seeding().ok_or_else(|| starting().into())
    }
}

/// The chunks of a file, or why they end.
pub(super) struct Chunks(Given);

impl Stream for Chunks {
    type Item = Result<v1::FetchFileResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = self.0.poll_next_unpin(context);
        chunk.map_err(|cause| Failure::from(cause).into())
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

#[tonic::async_trait]
impl SnapshotService for Snapshots {
    type FetchFileStream = Chunks;

    async fn offer_snapshot(
        &self,
        request: Request<v1::OfferSnapshotRequest>,
    ) -> Result<Response<v1::OfferSnapshotResponse>, Status> {
        let taken = self.seeding()?.take(request.into_inner());
        taken.map_err(Failure::from)?;
        Ok(Response::new(v1::OfferSnapshotResponse {}))
    }

    async fn fetch_file(
        &self,
        request: Request<v1::FetchFileRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let given = self.seeding()?.give(request.into_inner());
        let mut response = Response::new(Chunks(given.map_err(Failure::from)?));
        response.extensions_mut().insert(TimedByHandler);
        Ok(response)
    }
}
