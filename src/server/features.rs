//! The feature service: lookups and writes.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming};

use super::admission::{Intake, intake};
use super::deadline::budget;
use super::edge::Edge;
use super::ingest::{self, Acknowledgements};
use super::metrics::{ServedLevel, TimedByHandler};
use super::scan::{self, Pages};
use super::slow::{Asked, Timed};
use super::status::Failure;
use crate::base::clock::now_monotonic;
use crate::base::{CommitLevel, Held, ReadLevel};
use crate::model::limits::ANSWER_BYTES;
use crate::node::{
    Answered, LookupRequest, Node, Selection, Session, Spent, WriteRequest, Written,
};
use crate::proto::v1::feature_service_server::FeatureService;
use crate::proto::{self, Invalid, Reason, Write, v1};

pub(super) struct Features(pub(super) Edge);

#[tonic::async_trait]
impl FeatureService for Features {
    type IngestFeaturesStream = Acknowledgements;
    type ScanFeaturesStream = Pages;

    async fn get_features(
        &self,
        request: Request<v1::GetFeaturesRequest>,
    ) -> Result<Response<v1::GetFeaturesResponse>, Status> {
        let limit = budget(request.metadata());
        if request.get_ref().on_unavailable() == v1::OnUnavailable::Fail {
            return self.at_level(request, limit).await;
        }
        let begun = now_monotonic();
        let intake = intake(&request);
        let local = v1::GetFeaturesRequest {
            level: v1::ReadLevel::Local.into(),
            session: None,
            ..request.get_ref().clone()
        };
        let answered = self.at_level(request, limit / 2).await;
        if !answered.as_ref().is_err_and(is_unavailable) {
            return answered;
        }
        let left = limit.saturating_sub(begun.elapsed());
        // Where there are no rows, there is no such answer.
        let Ok((mut local, level)) = self.look_up(local, left, &intake).await else {
            return answered;
        };
        local.info.get_or_insert_default().degraded = true;
        Ok(lookup_response(local, level))
    }

    async fn put_features(
        &self,
        request: Request<v1::PutFeaturesRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = budget(request.metadata());
        let intake = intake(&request);
        let (timed, memory) = (intake.decoded("PutFeatures"), intake.take());
        let written = put(&self.0, request.into_inner(), deadline, memory, timed).await?;
        Ok(write_response(written))
    }

    async fn delete_features(
        &self,
        request: Request<v1::DeleteFeaturesRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = budget(request.metadata());
        let memory = intake(&request).take();
        let catalogue = self.0.catalogue_of_changes()?;
        let mut write =
            proto::write_of_delete(request.into_inner(), &catalogue).map_err(Failure::from)?;
        let session = open_session(&self.0, write.session.take())?;
        let request = write_request(write, deadline, memory);
        let written = self.0.node.write(request).await;
        let written = written.map_err(Failure::of_delete)?;
        Ok(write_response(Acknowledged::new(&self.0, written, session)))
    }

    async fn ingest_features(
        &self,
        request: Request<Streaming<v1::IngestFeaturesRequest>>,
    ) -> Result<Response<Self::IngestFeaturesStream>, Status> {
        let intake = intake(&request);
        let acknowledgements = ingest::serve(self.0.clone(), request.into_inner(), intake);
        let mut response = Response::new(acknowledgements);
        response.extensions_mut().insert(TimedByHandler);
        Ok(response)
    }

    async fn scan_features(
        &self,
        request: Request<v1::ScanFeaturesRequest>,
    ) -> Result<Response<Self::ScanFeaturesStream>, Status> {
        let mut response = Response::new(scan::begin(&self.0, request).await?);
        response.extensions_mut().insert(TimedByHandler);
        Ok(response)
    }
}

impl Features {
    /// Looks up as is asked for, here or at the primary.
    async fn at_level(
        &self,
        request: Request<v1::GetFeaturesRequest>,
        limit: Duration,
    ) -> Result<Response<v1::GetFeaturesResponse>, Status> {
        if let Some(way) = self.0.forwarding.of_lookup(&request, limit) {
            return way.look_up(request).await;
        }
        let intake = intake(&request);
        // What a session has seen and has not come here yet is at the primary, if it is anywhere.
        let elsewhere = self
            .0
            .forwarding
            .of_session(&request, |get| get.session.as_ref());
        let begun = now_monotonic();
        match self.look_up(request.into_inner(), limit, &intake).await {
            Ok((answer, level)) => Ok(lookup_response(answer, level)),
            Err(Failure {
                reason: Reason::SessionBehind,
                ..
            }) if let Some((mut way, again)) = elsewhere => {
                way.limit = limit.saturating_sub(begun.elapsed());
                way.look_up(again).await
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn look_up(
        &self,
        request: v1::GetFeaturesRequest,
        deadline: Duration,
        intake: &Intake,
    ) -> Result<(v1::GetFeaturesResponse, ReadLevel), Failure> {
        let timed = intake.decoded("GetFeatures");
        let level = level_of_lookup(&self.0.node, &request)?;
        let catalogue = self.0.catalogue_of_reads(level)?;
        let lookup = proto::lookup_of_get(request, level, &catalogue);
        let lookup = judged(&self.0, level, lookup)?;
        let entities = lookup
            .selections
            .iter()
            .map(|selection| selection.keys.len());
        let entities = entities.max().unwrap_or(0);
        let names: Vec<String> = lookup
            .selections
            .iter()
            .map(|selection| selection.view.spec.name.clone())
            .collect();
        let request = LookupRequest {
            selections: lookup.selections.into_iter().map(selection).collect(),
            level: lookup.level,
            wanted: lookup.wanted,
            session: open_session(&self.0, lookup.session)?,
            deadline,
            memory: intake.take(),
        };
        let level = read_level_name(request.level);
        let answered = self.0.node.lookup(request).await;
        let answered = answered.map_err(|error| {
            let failure = Failure::from(error);
            let is_of_session = failure.reason == Reason::Unrecovered;
            let field = if is_of_session { "session" } else { "entities" };
            failure.in_field(field)
        });
        let asked = || Asked {
            views: names.join(","),
            entities,
            level,
        };
        log_slow(&self.0, timed, &answered, |answered| &answered.spent, asked);
        let answered = answered?;
        let info = answer_info(&answered);
        let columns = names.into_iter().zip(answered.answer);
        let answer = v1::GetFeaturesResponse {
            views: columns
                .map(|(view, columns)| proto::view_columns(view, columns))
                .collect(),
            info: Some(info),
        };
        check_size(answer.encoded_len())?;
        intake.leave(answered.memory);
        Ok((answer, answered.level))
    }
}

/// The level at which a lookup is to be answered.
pub(super) fn level_of_lookup(
    node: &Node,
    request: &v1::GetFeaturesRequest,
) -> Result<ReadLevel, Invalid> {
    let asked = proto::read_level(request.level, request.max_staleness_ms)?;
    let views = request.views.iter().map(|selected| selected.view.as_str());
    Ok(asked.unwrap_or_else(|| node.default_level(views)))
}

/// What is asked for at a level, unless it is wrong.
pub(super) fn judged<T>(
    edge: &Edge,
    level: ReadLevel,
    asked: Result<T, Invalid>,
) -> Result<T, Failure> {
    let asked = asked.map_err(Failure::from);
    if level == ReadLevel::Quorum && asked.as_ref().is_err_and(is_unknown) {
        // A majority may know it, and this node not yet: only the primary can tell.
        edge.node.check_answers(ReadLevel::Primary)?;
    }
    asked
}

/// The level at which a scan is to be carried out.
pub(super) fn level_of_scan(
    node: &Node,
    request: &v1::ScanFeaturesRequest,
) -> Result<ReadLevel, Invalid> {
    let asked = proto::read_level(request.level, request.max_staleness_ms)?;
    let view = std::iter::once(request.view.as_str());
    Ok(node.scan_level(asked.unwrap_or_else(|| node.default_level(view))))
}

fn lookup_response(
    answer: v1::GetFeaturesResponse,
    level: ReadLevel,
) -> Response<v1::GetFeaturesResponse> {
    let mut response = Response::new(answer);
    let level = ServedLevel(read_level_name(level));
    response.extensions_mut().insert(level);
    response
}

fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::UnknownView | Reason::UnknownFeature)
}

/// Might the same lookup be answered at another level?
fn is_unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= ANSWER_BYTES {
        return Ok(());
    }
    let message = format!(
        "the answer of {bytes} bytes exceeds the limit of {ANSWER_BYTES}: ask for fewer entities or features at once"
    );
    Err(Failure::new(Reason::TooLarge, message).in_field("entities"))
}

fn selection(selection: proto::Selection) -> Selection {
    Selection {
        view: selection.view,
        features: selection.features,
        keys: selection.keys,
    }
}

fn answer_info<T>(answered: &Answered<T>) -> v1::AnswerInfo {
    v1::AnswerInfo {
        level: proto::read_level_to_proto(answered.level).into(),
        node: answered.node.to_string(),
        epoch: answered.epoch.0,
        staleness_ms: staleness_ms(answered.staleness),
        session: answered
            .session
            .as_ref()
            .map(Session::seal)
            .unwrap_or_default(),
        degraded: false,
    }
}

/// Never less than the staleness is.
fn staleness_ms(staleness: Duration) -> u64 {
    u64::try_from(staleness.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Checks a put and hands it to the node.
pub(super) async fn put(
    edge: &Edge,
    request: v1::PutFeaturesRequest,
    deadline: Duration,
    memory: Held,
    timed: Timed,
) -> Result<Acknowledged, Failure> {
    let mut write = proto::write_of_put(request, &*edge.catalogue_of_changes()?)?;
    let level = write.level.map_or("default", commit_level_name);
    let groups = write.batch.groups.iter();
    let rows = groups.map(|group| (Arc::clone(&group.view), group.rows.len()));
    let rows: Vec<_> = rows.collect();
    let session = open_session(edge, write.session.take())?;
    let request = write_request(write, deadline, memory);
    let written = edge.node.write(request).await.map_err(Failure::of_put);
    let asked = || Asked {
        views: rows
            .iter()
            .map(|(view, _)| view.spec.name.as_str())
            .collect::<Vec<_>>()
            .join(","),
        entities: rows.iter().map(|(_, rows)| rows).sum(),
        level,
    };
    log_slow(edge, timed, &written, |written| &written.spent, asked);
    Ok(Acknowledged::new(edge, written?, session))
}

/// The session of a call, if it is of one.
pub(super) fn open_session(edge: &Edge, token: Option<String>) -> Result<Option<Session>, Failure> {
    let session = token.map(|text| edge.node.open_session(&text));
    let session = session.transpose();
    session.map_err(|error| Failure::from(error).in_field("session"))
}

/// A write that was acknowledged, and the session that it is of.
pub(super) struct Acknowledged {
    written: Written,
    session: String,
}

impl Acknowledged {
    fn new(edge: &Edge, written: Written, session: Option<Session>) -> Acknowledged {
        let session = session.map(|mut session| {
            edge.node.wrote(&mut session, &written.stamp, written.level);
            session.seal()
        });
        Acknowledged {
            session: session.unwrap_or_default(),
            written,
        }
    }

    /// The level reached.
    pub fn level(&self) -> CommitLevel {
        self.written.level
    }
}

fn log_slow<T>(
    edge: &Edge,
    request: Timed,
    outcome: &Result<T, Failure>,
    spent: impl FnOnce(&T) -> &Spent,
    asked: impl FnOnce() -> Asked,
) {
    match outcome {
        Ok(answer) => edge.slow.ended(request, spent(answer), "OK", asked),
        Err(failure) => {
            let outcome = failure.reason.name();
            edge.slow.ended(request, &Spent::default(), outcome, asked);
        }
    }
}

fn write_request(write: Write, deadline: Duration, memory: Held) -> WriteRequest {
    WriteRequest {
        batch: write.batch,
        level: write.level,
        // Clients have no identity yet, so that all share one space of request ids.
        request_id: write.request_id.map(|id| (String::new(), id)),
        deadline,
        memory,
    }
}

fn write_response(acknowledged: Acknowledged) -> Response<v1::WriteResponse> {
    let level = ServedLevel(commit_level_name(acknowledged.level()));
    let mut response = Response::new(acknowledged.into());
    response.extensions_mut().insert(level);
    response
}

impl From<Acknowledged> for v1::WriteResponse {
    fn from(acknowledged: Acknowledged) -> v1::WriteResponse {
        let Acknowledged { written, session } = acknowledged;
        v1::WriteResponse {
            applied: written.applied,
            older: written.older,
            folded: written.folded,
            stamp: written.stamp.to_string(),
            epoch: written.stamp.epoch.0,
            copies: written.copies,
            level: proto::commit_level_to_proto(written.level).into(),
            repeated: written.repeated,
            session,
        }
    }
}

pub(super) fn read_level_name(level: ReadLevel) -> &'static str {
    match level {
        ReadLevel::Local => "local",
        ReadLevel::Bounded(_) => "bounded",
        ReadLevel::Quorum => "quorum",
        ReadLevel::Primary => "primary",
    }
}

pub(super) fn commit_level_name(level: CommitLevel) -> &'static str {
    match level {
        CommitLevel::Async => "async",
        CommitLevel::Quorum => "quorum",
        CommitLevel::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staleness_that_is_claimed_is_never_less_than_the_true_one() {
        for nanos in [0, 1, 999_999, 1_000_000, 1_000_001, 5_900_000] {
            let staleness = Duration::from_nanos(nanos);
            let claimed = Duration::from_millis(staleness_ms(staleness));
            assert!(claimed >= staleness, "{staleness:?}");
            assert!(claimed - staleness < Duration::from_millis(1));
        }
        assert_eq!(staleness_ms(Duration::MAX), u64::MAX);
    }
}
