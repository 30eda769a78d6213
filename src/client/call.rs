//! The calls.

use std::time::Duration;

use futures::Stream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::convert::view_from_wire;
use super::course::Manner;
use super::error::{Effect, Error};
use super::ingest::Acks;
use super::lines::Lines;
use super::routes::Wish;
use super::streams::{BackupStages, Pages, Stages};
use super::target::{BadTarget, DEADLINE, Options, Target};
use crate::model::View;
use crate::proto::v1;
use v1::admin_service_client::AdminServiceClient;
use v1::feature_service_client::FeatureServiceClient;
use v1::view_service_client::ViewServiceClient;

/// A node may take as long as a call before it says that a switch-over did not happen.
const SWITCH_DEADLINE: Duration = Duration::from_secs(15);
/// Answers to the largest lookups exceed tonic's default of 4 MiB.
pub(super) const ANSWER_BYTES: usize = 256 << 20;

/// A set, of which calls go to the node that answers them best, and to another if that cannot. Cheap to clone; clones share
/// the connections.
#[derive(Debug, Clone)]
pub struct Client(Lines);

impl Client {
    /// Connects to a set, given as a [`Target`] or its text, such as `steadfast://node1,node2/?level=local`, through the first
    /// node named that can be reached, in the order given.
    ///
    /// The client learns who is in the set and follows it: lookups go to near nodes, to a second one if the first is slow;
    /// what only the primary does goes there. What cannot be answered at one node is tried at the others, within the call's
    /// deadline.
    ///
    /// # Errors
    /// If the text makes no sense, or no node named can be reached; names each.
    pub async fn connect<T>(target: T) -> Result<Client, Error>
    where
        T: TryInto<Target, Error: Into<BadTarget>>,
    {
        let target = target
            .try_into()
            .map_err(|bad| Error::bad_target(&bad.into()))?;
        let lines = Lines::connect(target).await?;
        lines.follow().await;
        Ok(Client(lines))
    }

    /// Connects to the first of these nodes (`host:port`) that can be reached, in the order given. No others are asked but
    /// a primary that they name, and the one that answered last comes first.
    ///
    /// # Errors
    /// If none can; names each.
    pub async fn to<S: AsRef<str>>(endpoints: &[S]) -> Result<Client, Error> {
        let endpoints = endpoints
            .iter()
            .map(|endpoint| endpoint.as_ref().to_owned());
        let target = Target {
            endpoints: endpoints.collect(),
            options: Options::default(),
        };
        Lines::connect(target).await.map(Client)
    }

    /// Looks features up.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn get(
        &self,
        mut request: v1::GetFeaturesRequest,
    ) -> Result<v1::GetFeaturesResponse, Error> {
        if self.0.options().or_local {
            request.set_on_unavailable(v1::OnUnavailable::Local);
        }
        let (level, bound) = self.0.read_level(request.level(), request.max_staleness_ms);
        request.set_level(level);
        request.max_staleness_ms = bound;
        let manner = if level == v1::ReadLevel::Primary {
            Manner {
                wish: Wish::Primary,
                ..Manner::READS
            }
        } else {
            Manner {
                is_hedged: true,
                ..Manner::READS
            }
        };
        let ask = async |channel, request| features(channel).get_features(request).await;
        self.0.ask(request, manner, ask).await
    }

    /// Writes rows, all or none.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn put(
        &self,
        mut request: v1::PutFeaturesRequest,
    ) -> Result<v1::WriteResponse, Error> {
        let effect = self.name(&mut request.request_id);
        let level = self.0.commit_level(request.level());
        request.set_level(level);
        let id = request.request_id.clone();
        let ask = async |channel, request| features(channel).put_features(request).await;
        let written = self.0.ask(request, Manner::writes(effect), ask).await;
        written.map_err(|error| error.of_write(&id))
    }

    /// Deletes rows, all or none.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn delete(
        &self,
        mut request: v1::DeleteFeaturesRequest,
    ) -> Result<v1::WriteResponse, Error> {
        let effect = self.name(&mut request.request_id);
        let level = self.0.commit_level(request.level());
        request.set_level(level);
        let id = request.request_id.clone();
        let ask = async |channel, request| features(channel).delete_features(request).await;
        let written = self.0.ask(request, Manner::writes(effect), ask).await;
        written.map_err(|error| error.of_write(&id))
    }

    /// Writes a stream of batches. Answers come in the order of the batches. Without a deadline, for it may be long. If its
    /// node is lost, another one goes on with what is not acknowledged; a batch may then be applied after one that came behind
    /// it, which only views in order of arrival tell apart.
    ///
    /// # Errors
    /// If no node can be asked.
    pub async fn ingest(
        &self,
        batches: impl Stream<Item = v1::IngestFeaturesRequest> + Send + 'static,
    ) -> Result<Acks, Error> {
        Acks::open(self.0.clone(), Box::pin(batches)).await
    }

    /// Streams rows of a view in key order. Without a deadline, for it may be long. If its node is lost, another one goes on
    /// behind the last row.
    ///
    /// # Errors
    /// If the stream cannot be opened.
    pub async fn scan(&self, mut request: v1::ScanFeaturesRequest) -> Result<Pages, Error> {
        let (level, bound) = self.0.read_level(request.level(), request.max_staleness_ms);
        request.set_level(level);
        request.max_staleness_ms = bound;
        Pages::open(self.0.clone(), request).await
    }

    /// Puts a view into force; `definition` is the text of a view file.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn create_view(&self, definition: String) -> Result<v1::View, Error> {
        let request = v1::CreateViewRequest {
            definition_toml: definition,
        };
        let ask = async |channel, request| views(channel).create_view(request).await;
        let answer = self
            .0
            .ask(request, Manner::writes(Effect::Writes), ask)
            .await?;
        answer.view.ok_or_else(no_view)
    }

    /// The views in force, by name.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn list_views(&self) -> Result<Vec<v1::View>, Error> {
        let request = v1::ListViewsRequest {};
        let ask = async |channel, request| views(channel).list_views(request).await;
        let answer = self.0.ask(request, Manner::READS, ask).await?;
        Ok(answer.views)
    }

    /// A view in force with its counts.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn describe_view(&self, name: &str) -> Result<v1::View, Error> {
        let request = v1::GetViewRequest {
            name: name.to_owned(),
        };
        let ask = async |channel, request| views(channel).get_view(request).await;
        let answer = self.0.ask(request, Manner::READS, ask).await?;
        answer.view.ok_or_else(no_view)
    }

    /// The definition of a view in force.
    ///
    /// # Errors
    /// As the node or the transport reports, or if the definition makes no sense.
    pub async fn view(&self, name: &str) -> Result<View, Error> {
        view_from_wire(&self.describe_view(name).await?).map_err(Error::bad_answer)
    }

    /// Adds a feature to a view; `definition` is the text of a `[[feature]]` table.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn add_feature(&self, view: &str, definition: String) -> Result<v1::View, Error> {
        let request = v1::AddFeatureRequest {
            view: view.to_owned(),
            definition_toml: definition,
        };
        let ask = async |channel, request| views(channel).add_feature(request).await;
        let answer = self
            .0
            .ask(request, Manner::writes(Effect::Writes), ask)
            .await?;
        answer.view.ok_or_else(no_view)
    }

    /// Alters settings of a view; `alteration` is TOML as in
    /// [`parse_alteration`](crate::model::view_file::parse_alteration).
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn alter_view(&self, name: &str, alteration: String) -> Result<v1::View, Error> {
        let request = v1::AlterViewRequest {
            name: name.to_owned(),
            alteration_toml: alteration,
        };
        let ask = async |channel, request| views(channel).alter_view(request).await;
        let answer = self
            .0
            .ask(request, Manner::writes(Effect::Writes), ask)
            .await?;
        answer.view.ok_or_else(no_view)
    }

    /// Drops a view with all its rows.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn drop_view(&self, name: &str) -> Result<(), Error> {
        let request = v1::DropViewRequest {
            name: name.to_owned(),
        };
        let ask = async |channel, request| views(channel).drop_view(request).await;
        let dropped = self
            .0
            .ask(request, Manner::writes(Effect::Writes), ask)
            .await;
        dropped.map(|_| ())
    }

    /// The node's status document, JSON as text.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn status(&self) -> Result<String, Error> {
        let request = within_deadline(v1::GetStatusRequest {});
        Ok(read(self.admin()?.get_status(request).await)?.json)
    }

    /// Forgets an entity. Answers when its rows are deleted and then once for each stage of erasing their values, which
    /// goes on if nobody listens. Without a deadline, for it may be long.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn forget(&self, request: v1::ForgetRequest) -> Result<Stages, Error> {
        write(self.admin()?.forget(request).await).map(Stages)
    }

    /// Has the member that is connected to make a restore point of its store. Dropping the stages gives it up.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn create_backup(
        &self,
        request: v1::CreateBackupRequest,
    ) -> Result<BackupStages, Error> {
        read(self.admin()?.create_backup(request).await).map(BackupStages)
    }

    /// The replica set as the node sees it.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn replica_set(&self) -> Result<v1::GetReplicaSetResponse, Error> {
        let request = within_deadline(v1::GetReplicaSetRequest {});
        read(self.admin()?.get_replica_set(request).await)
    }

    /// What some rows of the node that is connected to are.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn compare_rows(
        &self,
        request: v1::CompareRowsRequest,
    ) -> Result<v1::CompareRowsResponse, Error> {
        let request = within_deadline(request);
        read(self.admin()?.compare_rows(request).await)
    }

    /// A token by which one directory may join the set in this role.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer a token nobody knows may have been issued.
    pub async fn issue_join_token(
        &self,
        role: v1::MemberRole,
        expires_in: Duration,
    ) -> Result<String, Error> {
        let request = within_deadline(v1::IssueJoinTokenRequest {
            role: role.into(),
            expires_in_ms: u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX),
        });
        Ok(write(self.admin()?.issue_join_token(request).await)?.secret)
    }

    /// Has a member leave for good. That goes on after the answer.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn remove_member(&self, number: u64) -> Result<(), Error> {
        let request = within_deadline(v1::RemoveMemberRequest { number });
        write(self.admin()?.remove_member(request).await).map(|_| ())
    }

    /// Has a member that joined take the place of another, which leaves for good. That goes on after the answer.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn replace_member(&self, old: u64, new: u64) -> Result<(), Error> {
        let request = within_deadline(v1::ReplaceMemberRequest { old, new });
        write(self.admin()?.replace_member(request).await).map(|_| ())
    }

    /// Makes another member the primary, the best one if none is named; to be asked of the primary.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn switch_over(&self, to: Option<u64>) -> Result<(), Error> {
        let mut request = Request::new(v1::SwitchOverRequest { to });
        request.set_timeout(SWITCH_DEADLINE);
        write(self.admin()?.switch_over(request).await).map(|_| ())
    }

    /// Lets the node replace the primary of an open epoch; with `force` it does so now, whatever it suspects.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn approve_failover(&self, epoch: u64, force: bool) -> Result<(), Error> {
        let mut request = Request::new(v1::ApproveFailoverRequest { epoch, force });
        request.set_timeout(SWITCH_DEADLINE);
        write(self.admin()?.approve_failover(request).await).map(|_| ())
    }

    /// Changes those settings of the set that are given, and answers with all.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn set_settings(
        &self,
        changes: v1::SetSettingsRequest,
    ) -> Result<v1::Settings, Error> {
        let answer = write(self.admin()?.set_settings(within_deadline(changes)).await)?;
        let settings = answer.settings;
        settings.ok_or_else(|| Error::bad_answer("the node answered without the settings"))
    }

    /// Gives a member up at once, with all that it alone holds, if this epoch is open.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn evict_member(&self, number: u64, epoch: u64) -> Result<(), Error> {
        let request = within_deadline(v1::EvictMemberRequest { number, epoch });
        write(self.admin()?.evict_member(request).await).map(|_| ())
    }

    /// Has the primary go on without the data members that are not in contact, if this epoch is open.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn shrink(&self, epoch: u64) -> Result<(), Error> {
        let mut request = Request::new(v1::ShrinkRequest { epoch });
        request.set_timeout(SWITCH_DEADLINE);
        write(self.admin()?.shrink(request).await).map(|_| ())
    }

    /// What is remembered of the set's latest epochs.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn history(&self) -> Result<Vec<v1::EpochNote>, Error> {
        let request = within_deadline(v1::GetHistoryRequest {});
        Ok(read(self.admin()?.get_history(request).await)?.epochs)
    }

    /// Of several nodes another may have to be asked: then every write has a name. What it has as an effect.
    fn name(&self, id: &mut String) -> Effect {
        if id.is_empty() && self.0.are_several() {
            *id = request_id();
        }
        if id.is_empty() {
            Effect::Writes
        } else {
            Effect::WritesNamed
        }
    }

    fn admin(&self) -> Result<AdminServiceClient<Channel>, Error> {
        self.0.current().map(AdminServiceClient::new)
    }
}

/// A name for a write.
pub(super) fn request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn features(channel: Channel) -> FeatureServiceClient<Channel> {
    FeatureServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES)
}

fn views(channel: Channel) -> ViewServiceClient<Channel> {
    ViewServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES)
}

fn within_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn read<T>(answer: Result<Response<T>, Status>) -> Result<T, Error> {
    outcome(answer, Effect::Reads)
}

fn write<T>(answer: Result<Response<T>, Status>) -> Result<T, Error> {
    outcome(answer, Effect::Writes)
}

fn outcome<T>(answer: Result<Response<T>, Status>, effect: Effect) -> Result<T, Error> {
    match answer {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => Err(Error::from_status(&status, effect)),
    }
}

fn no_view() -> Error {
    Error::bad_answer("the node answered without a view")
}
