//! Counts and latencies of requests, and the layer that takes them.
//!
//! **Invariant.** Labels are from fixed lists, so that no client can make the number of series grow.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::status::explain;
use crate::base::clock::now_monotonic;

const SERVICES: [(&str, &[&str]); 7] = [
    (
        "FeatureService",
        &[
            "GetFeatures",
            "PutFeatures",
            "IngestFeatures",
            "DeleteFeatures",
            "ScanFeatures",
        ],
    ),
    (
        "ViewService",
        &[
            "CreateView",
            "ListViews",
            "GetView",
            "AddFeature",
            "AlterView",
            "DropView",
        ],
    ),
    (
        "AdminService",
        &[
            "GetStatus",
            "Forget",
            "GetReplicaSet",
            "IssueJoinToken",
            "RemoveMember",
            "ReplaceMember",
            "SwitchOver",
            "ApproveFailover",
            "SetSettings",
            "EvictMember",
            "Shrink",
            "GetHistory",
            "CompareRows",
            "CreateBackup",
        ],
    ),
    ("ReplicationService", &["Exchange"]),
    ("RaftService", &["Ask", "Join"]),
    ("SnapshotService", &["OfferSnapshot", "FetchFile"]),
    ("RowService", &["NameRows", "ListKeys"]),
];

/// What requests are counted and timed in.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<MethodAndCode, Counter>,
    durations: Family<MethodAndLevel, Histogram, fn() -> Histogram>,
    /// Connections closed at once because there was no place for them.
    pub refused_connections: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodAndCode {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodAndLevel {
    method: &'static str,
    level: &'static str,
}

/// The level at which a call was served; handlers leave it in the response's extensions.
#[derive(Debug, Clone, Copy)]
pub struct ServedLevel(pub &'static str);

/// The handler has timed its parts itself: the response is a stream.
#[derive(Debug, Clone, Copy)]
pub struct TimedByHandler;

impl Metrics {
    /// Metrics under the node's names, in `registry`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Metrics {
        // From 50 us in factors of 1.6 to a minute, the greatest deadline.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(50e-6, 1.6, 31));
        let metrics = Metrics {
            requests: Family::default(),
            durations: Family::new_with_constructor(buckets),
            refused_connections: Counter::default(),
        };
        registry.register(
            "steadfast_requests",
            "Requests by method and gRPC code; a stream counts once",
            metrics.requests.clone(),
        );
        registry.register(
            "steadfast_refused_connections",
            "Connections closed at once because there was no place for them",
            metrics.refused_connections.clone(),
        );
        registry.register_with_unit(
            "steadfast_request_duration",
            "Time to the answer by method and level; of streams, to that of each batch or page",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        metrics
    }

    /// Adds one latency.
    pub fn observe(&self, method: &'static str, level: &'static str, took: Duration) {
        self.durations
            .get_or_create(&MethodAndLevel { method, level })
            .observe(took.as_secs_f64());
    }

    fn count(&self, method: &'static str, code: Code) {
        let code = code_name(code);
        self.requests
            .get_or_create(&MethodAndCode { method, code })
            .inc();
    }
}

/// The method of a path such as `/steadfast.v1.FeatureService/GetFeatures`; all that are not ours share one name.
fn method_name(path: &str) -> &'static str {
    let known = || {
        let (service, method) = path.strip_prefix("/steadfast.v1.")?.split_once('/')?;
        let (_, methods) = SERVICES.iter().find(|(name, _)| *name == service)?;
        methods.iter().find(|name| **name == method).copied()
    };
    known().unwrap_or("other")
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Counts and times every call, and gives failures of the gRPC library the details that ours have.
#[derive(Debug, Clone)]
pub struct MetricsLayer(pub Metrics);

impl<S> Layer<S> for MetricsLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured {
            inner,
            metrics: self.0.clone(),
        }
    }
}

/// A service whose calls are measured.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begun = now_monotonic();
        let method = method_name(request.uri().path());
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // A failed call has its status in the headers; otherwise it is sent behind the answer.
            let failed = Status::from_header_map(answer.headers());
            let Some(status) = failed.filter(|status| status.code() != Code::Ok) else {
                metrics.count(method, Code::Ok);
                if answer.extensions().get::<TimedByHandler>().is_none() {
                    let level = answer.extensions().get::<ServedLevel>();
                    metrics.observe(method, level.map_or("", |level| level.0), begun.elapsed());
                }
                return Ok(answer);
            };
            let status = explain(status);
            metrics.count(method, status.code());
            Ok(status.into_http())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_services_is_known_and_no_other() {
        let descriptors: prost_types::FileDescriptorSet =
            prost::Message::decode(crate::proto::v1::DESCRIPTORS).unwrap();
        let mut methods = 0;
        for service in descriptors.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let path = format!("/steadfast.v1.{}/{}", service.name(), method.name());
                assert_eq!(method_name(&path), method.name(), "{path}");
                methods += 1;
            }
        }
        assert_eq!(
            methods,
            SERVICES.iter().map(|(_, all)| all.len()).sum::<usize>()
        );
        for path in ["", "/", "/steadfast.v1.FeatureService/", "/x/GetFeatures"] {
            assert_eq!(method_name(path), "other");
        }
    }

    #[test]
    fn latencies_are_told_apart_from_fifty_microseconds_to_a_minute() {
        let buckets: Vec<f64> = exponential_buckets(50e-6, 1.6, 31).collect();
        assert!(buckets[0] <= 50e-6 && buckets[30] > 60.0 && buckets[28] < 60.0);
    }
}
