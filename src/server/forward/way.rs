//! The way of one call to the primary, and what is said if it is lost there.

use std::convert::Infallible;
use std::iter::successors;
use std::time::Duration;

use futures::StreamExt as _;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::transport::{self, Channel};
use tonic::{ConnectError, Status, TimeoutExpired};
use tower::{ServiceExt as _, service_fn};

use super::INGEST;
use super::body::{Answering, Asking};
use crate::base::clock::timeout;
use crate::base::{Held, explained};
use crate::model::limits::ANSWER_BYTES;
use crate::node::{self, Node, Primary};
use crate::proto::{Reason, v1};
use crate::server::admission::{Intake, intake};
use crate::server::metrics::{ServedLevel, TimedByHandler};
use crate::server::scan::Pages;
use crate::server::status::Failure;
use v1::feature_service_client::FeatureServiceClient;

/// The header of a call that was forwarded. A client that sends it is told NOT_PRIMARY instead.
pub(super) const FORWARDED: &str = "steadfast-forwarded";
const TIMEOUT: &str = "grpc-timeout";
/// As what forwarded calls are timed.
const LEVEL: ServedLevel = ServedLevel("forwarded");

/// What a call does that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Changes,
    /// Changes who is primary.
    ChangesPrimary,
}

/// The way of one call to the primary.
#[derive(Debug, Clone)]
pub(in crate::server) struct Way {
    pub(super) node: Node,
    pub(super) primary: Primary,
    pub(super) channel: Channel,
    pub(super) effect: Effect,
    /// When an answer is due.
    pub limit: Duration,
}

impl Way {
    /// Has the primary answer a lookup.
    pub async fn look_up(
        self,
        request: tonic::Request<v1::GetFeaturesRequest>,
    ) -> Result<tonic::Response<v1::GetFeaturesResponse>, Status> {
        let intake = intake(&request);
        let mut memory = intake.take();
        let primary = FeatureServiceClient::new(self.service());
        let mut primary = primary.max_decoding_message_size(ANSWER_BYTES);
        let mut answer = primary.get_features(request.into_inner()).await?;
        let bytes = answer.get_ref().encoded_len();
        let grown = memory.grow(bytes).map_err(node::Error::from);
        grown.map_err(Failure::from)?;
        intake.leave(memory);
        answer.extensions_mut().insert(LEVEL);
        Ok(answer)
    }

    /// Has the primary answer a scan. `memory` is held for as long as it goes on.
    pub async fn scan(
        self,
        request: v1::ScanFeaturesRequest,
        memory: Held,
    ) -> Result<Pages, Status> {
        let mut primary = FeatureServiceClient::new(self.service());
        let pages = primary.scan_features(request).await?.into_inner();
        Ok(Box::pin(pages.inspect(move |_| {
            let _held = &memory;
        })))
    }

    /// The primary, as a service.
    fn service(
        self,
    ) -> impl tower::Service<
        Request<Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send,
    > + Clone {
        service_fn(move |request| {
            let way = self.clone();
            async move { Ok::<_, Infallible>(way.ask(request).await) }
        })
    }

    /// Has the primary answer a call as it comes from the client.
    pub async fn pass(self, request: Request<Body>) -> Response<Body> {
        let intake = request.extensions().get::<Intake>().cloned();
        let intake = intake.expect("the admission layer stands before this one");
        let call = intake.take();
        let is_stream = request.uri().path() == INGEST;
        let asking = |body| Body::new(Asking::new(body, intake.clone()));
        let mut answer = self.ask(request.map(asking)).await;
        if is_stream {
            answer.extensions_mut().insert(TimedByHandler);
        } else {
            answer.extensions_mut().insert(LEVEL);
            intake.leave(call);
        }
        answer
    }

    async fn ask(self, mut request: Request<Body>) -> Response<Body> {
        let headers = request.headers_mut();
        headers.insert(FORWARDED, HeaderValue::from_static("true"));
        // No call may take longer than a minute, so that this fits into the eight digits there are.
        if let Ok(limit) = HeaderValue::from_str(&format!("{}u", self.limit.as_micros())) {
            headers.insert(TIMEOUT, limit);
        }
        let asked = timeout(self.limit, self.channel.clone().oneshot(request));
        let asked = tokio::select! {
            biased;
            asked = asked => asked,
            // It may hang for ever.
            () = self.replaced() => {
                let lost = self.lost("it is primary no more");
                return Status::from(lost).into_http();
            }
        };
        match asked {
            Ok(Ok(answer)) => answer.map(|body| Body::new(Answering::new(body, self))),
            Ok(Err(cause)) => Status::from(self.unanswered(&cause)).into_http(),
            Err(_) => Status::from(self.too_late()).into_http(),
        }
    }

    /// Waits until no answer is to be expected, because another member is primary.
    async fn replaced(&self) {
        match self.effect {
            Effect::Reads | Effect::Changes => self.node.replaced(&self.primary).await,
            Effect::ChangesPrimary => std::future::pending().await,
        }
    }

    fn unanswered(&self, cause: &transport::Error) -> Failure {
        let why = explained(cause);
        if causes(cause).any(|cause| cause.is::<TimeoutExpired>()) {
            self.too_late()
        } else if causes(cause).any(|cause| cause.is::<ConnectError>()) {
            self.unreached(&why)
        } else {
            self.lost(&why)
        }
    }

    fn unreached(&self, why: &str) -> Failure {
        let message = format!("the primary, {}, does not answer: {why}", self.primary);
        Failure {
            primary: self.node.elsewhere().map(|primary| primary.address),
            ..Failure::new(Reason::NotPrimary, message)
        }
    }

    /// What becomes of a call when the primary is lost that may have it.
    pub fn lost(&self, why: &str) -> Failure {
        match self.effect {
            Effect::Reads => self.unreached(why),
            Effect::Changes | Effect::ChangesPrimary => {
                let primary = &self.primary;
                let message = format!("the primary, {primary}, was lost before it answered: {why}");
                Failure::new(Reason::OutcomeUnknown, message)
            }
        }
    }

    fn too_late(&self) -> Failure {
        let reason = match self.effect {
            Effect::Reads => Reason::DeadlineExceeded,
            Effect::Changes | Effect::ChangesPrimary => Reason::OutcomeUnknown,
        };
        let (primary, limit) = (&self.primary, self.limit);
        let message = format!("the primary, {primary}, did not answer within {limit:.1?}");
        Failure::new(reason, message)
    }
}

fn causes<'a>(
    error: &'a transport::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first = std::error::Error::source(error);
    successors(first, |cause| cause.source())
}
