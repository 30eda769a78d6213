//! The admin service: what an operator asks.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::deadline::budget;
use super::edge::Edge;
use super::status::Failure;
use crate::node::{Entity, Forgotten, Tombstone};
use crate::proto::v1::admin_service_server::AdminService;
use crate::proto::{self, v1};
use v1::forgotten_row::KeyKept;

pub(super) struct Admin(pub(super) Edge);

/// Stages of forgetting.
const STAGES: usize = 3;

#[tonic::async_trait]
impl AdminService for Admin {
    type ForgetStream = ReceiverStream<Result<v1::ForgetResponse, Status>>;

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let json = self.0.status().to_string();
        Ok(Response::new(v1::GetStatusResponse { json }))
    }

    async fn forget(
        &self,
        request: Request<v1::ForgetRequest>,
    ) -> Result<Response<Self::ForgetStream>, Status> {
        let deadline = budget(request.metadata());
        let catalogue = self.0.catalogue()?;
        let named =
            proto::entities_to_forget(request.get_ref(), &catalogue).map_err(Failure::from)?;
        let entities: Vec<Entity> = named
            .into_iter()
            .map(|(view, key)| Entity { view, key })
            .collect();
        let forgotten = self.0.node.forget(&entities, deadline).await;
        let deleted = v1::ForgetResponse {
            stage: v1::ForgetStage::Deleted.into(),
            rows: forgotten
                .map_err(Failure::from)?
                .into_iter()
                .map(row)
                .collect(),
        };
        // There is room for all stages, so nobody waits for the client.
        let (outbox, stages) = mpsc::channel(STAGES);
        let _sent = outbox.try_send(Ok(deleted));
        let tasks = self.0.tasks.clone();
        tasks.spawn_finite("erase", erase(self.0.clone(), entities, outbox));
        Ok(Response::new(ReceiverStream::new(stages)))
    }
}

/// Erases the values of forgotten rows, and tells of each stage whoever still listens.
async fn erase(
    edge: Edge,
    entities: Vec<Entity>,
    outbox: mpsc::Sender<Result<v1::ForgetResponse, Status>>,
) {
    let done = |stage: v1::ForgetStage| v1::ForgetResponse {
        stage: stage.into(),
        rows: Vec::new(),
    };
    let erased = async {
        edge.node.erase_from_log().await?;
        let _gone = outbox.try_send(Ok(done(v1::ForgetStage::ErasedFromLog)));
        edge.node.erase_from_store(&entities).await
    };
    let stopped = edge.tasks.cancelled();
    let erased = tokio::select! {
        biased;
        () = stopped.cancelled() => return,
        erased = erased => erased,
    };
    let end = match erased {
        Ok(()) => Ok(done(v1::ForgetStage::ErasedFromStore)),
        Err(cause) => {
            tracing::warn!(%cause, "could not erase the values of forgotten rows");
            Err(Failure::from(cause).into())
        }
    };
    let _gone = outbox.try_send(end);
}

fn row(forgotten: Forgotten) -> v1::ForgottenRow {
    let key_kept = match forgotten.tombstone {
        Tombstone::None => None,
        Tombstone::Until(at) => Some(KeyKept::UntilUs(at.0)),
        Tombstone::ForEver => Some(KeyKept::ForEver(true)),
    };
    v1::ForgottenRow {
        view: forgotten.view,
        deleted: forgotten.deleted,
        key_kept,
    }
}
