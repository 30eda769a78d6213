//! The admin service: what an operator asks.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::deadline::budget;
use super::edge::Edge;
use super::status::Failure;
use super::{backup, comparison, history, set};
use crate::base::{Epoch, NodeNumber};
use crate::node::{Entity, Forgotten, SetChange, Tombstone};
use crate::proto::v1::admin_service_server::AdminService;
use crate::proto::{self, v1};
use v1::forgotten_row::KeyKept;

pub(super) struct Admin(pub(super) Edge);

/// Stages of forgetting.
const STAGES: usize = 3;

#[tonic::async_trait]
impl AdminService for Admin {
    type CreateBackupStream = backup::Answers;
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
        let catalogue = self.0.catalogue_of_changes()?;
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

    async fn create_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let order = backup::order(request.into_inner())?;
        Ok(Response::new(backup::start(self.0.clone(), order)))
    }

    async fn get_replica_set(
        &self,
        _request: Request<v1::GetReplicaSetRequest>,
    ) -> Result<Response<v1::GetReplicaSetResponse>, Status> {
        let status = self.0.node.set_status().map_err(Failure::from)?;
        Ok(Response::new(set::status_to_proto(status)))
    }

    async fn issue_join_token(
        &self,
        request: Request<v1::IssueJoinTokenRequest>,
    ) -> Result<Response<v1::IssueJoinTokenResponse>, Status> {
        let (role, expires_in) = set::token_to_issue(request.get_ref()).map_err(Failure::from)?;
        let issued = self.0.node.issue_token(role, expires_in).await;
        let secret = issued.map_err(Failure::from)?.secret;
        Ok(Response::new(v1::IssueJoinTokenResponse { secret }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let change = SetChange::Remove(NodeNumber(request.get_ref().number));
        let changed = self.0.node.change_set(change).await;
        changed.map_err(|error| Failure::from(error).in_field("number"))?;
        Ok(Response::new(v1::RemoveMemberResponse {}))
    }

    async fn replace_member(
        &self,
        request: Request<v1::ReplaceMemberRequest>,
    ) -> Result<Response<v1::ReplaceMemberResponse>, Status> {
        let request = request.into_inner();
        let (old, new) = (NodeNumber(request.old), NodeNumber(request.new));
        let changed = self
            .0
            .node
            .change_set(SetChange::Replace { old, new })
            .await;
        changed.map_err(|error| set::replacement_failure(error, new))?;
        Ok(Response::new(v1::ReplaceMemberResponse {}))
    }

    async fn switch_over(
        &self,
        request: Request<v1::SwitchOverRequest>,
    ) -> Result<Response<v1::SwitchOverResponse>, Status> {
        let to = request.get_ref().to.map(NodeNumber);
        let changed = self.0.node.change_set(SetChange::SwitchOver(to)).await;
        changed.map_err(|error| Failure::from(error).in_field("to"))?;
        Ok(Response::new(v1::SwitchOverResponse {}))
    }

    async fn approve_failover(
        &self,
        request: Request<v1::ApproveFailoverRequest>,
    ) -> Result<Response<v1::ApproveFailoverResponse>, Status> {
        let request = request.into_inner();
        let epoch = Epoch(request.epoch);
        let change = if request.force {
            SetChange::Force(epoch)
        } else {
            SetChange::Approve(epoch)
        };
        let changed = self.0.node.change_set(change).await;
        changed.map_err(|error| Failure::from(error).in_field("epoch"))?;
        Ok(Response::new(v1::ApproveFailoverResponse {}))
    }

    async fn set_settings(
        &self,
        request: Request<v1::SetSettingsRequest>,
    ) -> Result<Response<v1::SetSettingsResponse>, Status> {
        let change = set::settings_change(request.get_ref()).map_err(Failure::from)?;
        let changed = self.0.node.change_settings(change).await;
        let settings = changed.map_err(set::settings_failure)?;
        Ok(Response::new(v1::SetSettingsResponse {
            settings: Some(set::settings_to_proto(&settings)),
        }))
    }

    async fn evict_member(
        &self,
        request: Request<v1::EvictMemberRequest>,
    ) -> Result<Response<v1::EvictMemberResponse>, Status> {
        let request = request.into_inner();
        let change = SetChange::Evict {
            number: NodeNumber(request.number),
            epoch: Epoch(request.epoch),
        };
        let changed = self.0.node.change_set(change).await;
        changed.map_err(|error| Failure::from(error).in_field("number"))?;
        Ok(Response::new(v1::EvictMemberResponse {}))
    }

    async fn shrink(
        &self,
        request: Request<v1::ShrinkRequest>,
    ) -> Result<Response<v1::ShrinkResponse>, Status> {
        let change = SetChange::Shrink(Epoch(request.get_ref().epoch));
        let changed = self.0.node.change_set(change).await;
        changed.map_err(|error| Failure::from(error).in_field("epoch"))?;
        Ok(Response::new(v1::ShrinkResponse {}))
    }

    async fn get_history(
        &self,
        _request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        let history = self.0.node.history().map_err(Failure::from)?;
        let epochs = history
            .iter()
            .map(|(epoch, note)| history::note_to_proto(*epoch, note))
            .collect();
        Ok(Response::new(v1::GetHistoryResponse { epochs }))
    }

    async fn compare_rows(
        &self,
        request: Request<v1::CompareRowsRequest>,
    ) -> Result<Response<v1::CompareRowsResponse>, Status> {
        let catalogue = self.0.catalogue()?;
        let span = comparison::span(request.into_inner());
        let seen = self.0.node.look_at(span).await.map_err(Failure::from)?;
        Ok(Response::new(comparison::seen_to_proto(seen, &catalogue)))
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
