//! The connection and its calls.

use std::time::Duration;

use futures::Stream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::convert::view_from_wire;
use super::error::{Effect, Error};
use crate::model::View;
use crate::proto::v1;
use v1::admin_service_client::AdminServiceClient;
use v1::feature_service_client::FeatureServiceClient;
use v1::view_service_client::ViewServiceClient;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A node may take as long as a call before it says that a switch-over did not happen.
const SWITCH_DEADLINE: Duration = Duration::from_secs(15);
/// How long connecting to one endpoint may take, so that the next one gets its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Answers to the largest lookups exceed tonic's default of 4 MiB.
const ANSWER_BYTES: usize = 256 << 20;

/// A connection to one node. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: String,
    channel: Channel,
}

impl Client {
    /// Connects to the first of `endpoints` (`host:port`) that can be reached, in the order given.
    ///
    /// # Errors
    /// If none can; names each.
    pub async fn connect<S: AsRef<str>>(endpoints: &[S]) -> Result<Client, Error> {
        let mut failures = Vec::new();
        for endpoint in endpoints.iter().map(AsRef::as_ref) {
            match connect_one(endpoint).await {
                Ok(client) => return Ok(client),
                Err(cause) => failures.push(format!("{endpoint}: {cause}")),
            }
        }
        let tried = if failures.is_empty() {
            "no endpoint was given".to_owned()
        } else {
            failures.join("; ")
        };
        Err(Error::unavailable(format!("no node answers ({tried})")))
    }

    /// The endpoint in use.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Looks features up.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn get(
        &self,
        request: v1::GetFeaturesRequest,
    ) -> Result<v1::GetFeaturesResponse, Error> {
        read(self.features().get_features(within_deadline(request)).await)
    }

    /// Writes rows, all or none.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn put(&self, request: v1::PutFeaturesRequest) -> Result<v1::WriteResponse, Error> {
        write(self.features().put_features(within_deadline(request)).await)
    }

    /// Deletes rows, all or none.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn delete(
        &self,
        request: v1::DeleteFeaturesRequest,
    ) -> Result<v1::WriteResponse, Error> {
        write(
            self.features()
                .delete_features(within_deadline(request))
                .await,
        )
    }

    /// Writes a stream of batches. Answers come in the order of the batches. Without a deadline, for it may be long.
    ///
    /// # Errors
    /// If the stream cannot be opened.
    pub async fn ingest(
        &self,
        batches: impl Stream<Item = v1::IngestFeaturesRequest> + Send + 'static,
    ) -> Result<Acks, Error> {
        write(self.features().ingest_features(batches).await).map(Acks)
    }

    /// Streams rows of a view in key order. Without a deadline, for it may be long.
    ///
    /// # Errors
    /// If the stream cannot be opened.
    pub async fn scan(&self, request: v1::ScanFeaturesRequest) -> Result<Pages, Error> {
        read(self.features().scan_features(request).await).map(Pages)
    }

    /// Puts a view into force; `definition` is the text of a view file.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn create_view(&self, definition: String) -> Result<v1::View, Error> {
        let request = v1::CreateViewRequest {
            definition_toml: definition,
        };
        let answer = write(self.views().create_view(within_deadline(request)).await)?;
        answer.view.ok_or_else(no_view)
    }

    /// The views in force, by name.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn list_views(&self) -> Result<Vec<v1::View>, Error> {
        let request = within_deadline(v1::ListViewsRequest {});
        Ok(read(self.views().list_views(request).await)?.views)
    }

    /// A view in force with its counts.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn describe_view(&self, name: &str) -> Result<v1::View, Error> {
        let request = v1::GetViewRequest {
            name: name.to_owned(),
        };
        let answer = read(self.views().get_view(within_deadline(request)).await)?;
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
        let answer = write(self.views().add_feature(within_deadline(request)).await)?;
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
        let answer = write(self.views().alter_view(within_deadline(request)).await)?;
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
        write(self.views().drop_view(within_deadline(request)).await).map(|_| ())
    }

    /// The node's status document, JSON as text.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn status(&self) -> Result<String, Error> {
        let request = within_deadline(v1::GetStatusRequest {});
        Ok(read(self.admin().get_status(request).await)?.json)
    }

    /// Forgets an entity. Answers when its rows are deleted and then once for each stage of erasing their values, which
    /// goes on if nobody listens. Without a deadline, for it may be long.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn forget(&self, request: v1::ForgetRequest) -> Result<Stages, Error> {
        write(self.admin().forget(request).await).map(Stages)
    }

    /// The replica set as the node sees it.
    ///
    /// # Errors
    /// As the node or the transport reports.
    pub async fn replica_set(&self) -> Result<v1::GetReplicaSetResponse, Error> {
        let request = within_deadline(v1::GetReplicaSetRequest {});
        read(self.admin().get_replica_set(request).await)
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
        Ok(write(self.admin().issue_join_token(request).await)?.secret)
    }

    /// Has a member leave for good. That goes on after the answer.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn remove_member(&self, number: u64) -> Result<(), Error> {
        let request = within_deadline(v1::RemoveMemberRequest { number });
        write(self.admin().remove_member(request).await).map(|_| ())
    }

    /// Has a member that joined take the place of another, which leaves for good. That goes on after the answer.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn replace_member(&self, old: u64, new: u64) -> Result<(), Error> {
        let request = within_deadline(v1::ReplaceMemberRequest { old, new });
        write(self.admin().replace_member(request).await).map(|_| ())
    }

    /// Makes another member the primary, the best one if none is named; to be asked of the primary.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn switch_over(&self, to: Option<u64>) -> Result<(), Error> {
        let mut request = Request::new(v1::SwitchOverRequest { to });
        request.set_timeout(SWITCH_DEADLINE);
        write(self.admin().switch_over(request).await).map(|_| ())
    }

    /// Lets the node replace the primary of an open epoch.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn approve_failover(&self, epoch: u64) -> Result<(), Error> {
        let request = within_deadline(v1::ApproveFailoverRequest { epoch });
        write(self.admin().approve_failover(request).await).map(|_| ())
    }

    /// Changes those settings of the set that are given, and answers with all.
    ///
    /// # Errors
    /// As the node or the transport reports; without an answer the outcome is unknown.
    pub async fn set_settings(
        &self,
        changes: v1::SetSettingsRequest,
    ) -> Result<v1::Settings, Error> {
        let answer = write(self.admin().set_settings(within_deadline(changes)).await)?;
        let settings = answer.settings;
        settings.ok_or_else(|| Error::bad_answer("the node answered without the settings"))
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    fn features(&self) -> FeatureServiceClient<Channel> {
        FeatureServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES)
    }

    fn views(&self) -> ViewServiceClient<Channel> {
        ViewServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES)
    }
}

/// The acknowledgements of an ingest stream.
#[derive(Debug)]
pub struct Acks(Streaming<v1::IngestFeaturesResponse>);

impl Acks {
    /// The next acknowledgement; `None` when the node has answered all batches and ended the stream.
    ///
    /// # Errors
    /// If the stream broke; the outcome of batches not acknowledged is unknown.
    pub async fn next(&mut self) -> Result<Option<v1::IngestFeaturesResponse>, Error> {
        self.0
            .message()
            .await
            .map_err(|status| Error::from_status(&status, Effect::Writes))
    }
}

/// The rows of a scan, some at a time.
#[derive(Debug)]
pub struct Pages(Streaming<v1::ScanFeaturesResponse>);

impl Pages {
    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// If the stream broke.
    pub async fn next(&mut self) -> Result<Option<v1::ScanFeaturesResponse>, Error> {
        self.0
            .message()
            .await
            .map_err(|status| Error::from_status(&status, Effect::Reads))
    }
}

/// The stages of forgetting.
#[derive(Debug)]
pub struct Stages(Streaming<v1::ForgetResponse>);

impl Stages {
    /// The next stage that is done; `None` when all are.
    ///
    /// # Errors
    /// If a stage failed or the stream broke.
    pub async fn next(&mut self) -> Result<Option<v1::ForgetResponse>, Error> {
        self.0
            .message()
            .await
            .map_err(|status| Error::from_status(&status, Effect::Writes))
    }
}

async fn connect_one(endpoint: &str) -> Result<Client, String> {
    let parsed = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|_| "not of the form host:port".to_owned())?;
    let channel = parsed
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|error| innermost(&error))?;
    Ok(Client {
        endpoint: endpoint.to_owned(),
        channel,
    })
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |cause| cause.source());
    chain.last().unwrap_or(error).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Kind;

    #[tokio::test]
    async fn every_endpoint_that_cannot_be_reached_is_named() {
        let error = Client::connect(&["127.0.0.1:1", "no port"])
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.reason.as_str()),
            (Kind::Unavailable, "UNAVAILABLE")
        );
        assert!(error.message.contains("127.0.0.1:1: "), "{error}");
        assert!(
            error.message.contains("no port: not of the form host:port"),
            "{error}"
        );
    }
}
