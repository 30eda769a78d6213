//! Forwarding: what only the primary answers goes on to it, once.
//!
//! Of calls that change something the path says so; their bytes go to the primary as they come, and its answer's bytes
//! back: nothing is decoded on the way, and a stream is forwarded like any call. Of a lookup its message says so, so that
//! its handler decides. An arbiter, which holds no rows, forwards every lookup.
//!
//! **Invariants.** A forwarded call says that it is one, and is answered where it arrives. Nothing is sent twice. Once a
//! change may have left and no answer has come, its outcome is unknown; before, nothing has happened.

mod body;
mod way;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::metadata::MetadataMap;
use tower::{Layer, Service};

use self::way::{Effect, FORWARDED, Way};
use super::admission::intake;
use super::deadline::budget;
use super::features::{level_of_lookup, level_of_scan};
use crate::base::ReadLevel;
use crate::net::Lines;
use crate::node::Node;
use crate::proto::v1;

const INGEST: &str = "/steadfast.v1.FeatureService/IngestFeatures";
const SWITCH_OVER: &str = "/steadfast.v1.AdminService/SwitchOver";
/// The methods by which a member that holds rows tells of its views.
const READS: [&str; 2] = [
    "/steadfast.v1.ViewService/ListViews",
    "/steadfast.v1.ViewService/GetView",
];
/// The methods by which only the primary changes something.
const CHANGES: [&str; 10] = [
    INGEST,
    "/steadfast.v1.FeatureService/PutFeatures",
    "/steadfast.v1.FeatureService/DeleteFeatures",
    "/steadfast.v1.ViewService/CreateView",
    "/steadfast.v1.ViewService/AddFeature",
    "/steadfast.v1.ViewService/AlterView",
    "/steadfast.v1.ViewService/DropView",
    "/steadfast.v1.AdminService/Forget",
    SWITCH_OVER,
    "/steadfast.v1.AdminService/Shrink",
];

/// Finds the way to the primary.
#[derive(Debug)]
pub(super) struct Forwarding {
    node: Node,
    is_on: bool,
    /// The line to where the primary was last.
    line: Lines<()>,
}

impl Forwarding {
    pub fn new(node: Node, is_on: bool) -> Forwarding {
        Forwarding {
            node,
            is_on,
            line: Lines::default(),
        }
    }

    /// The way of a lookup that this node cannot answer and the primary may.
    pub fn of_lookup(
        &self,
        request: &tonic::Request<v1::GetFeaturesRequest>,
        limit: Duration,
    ) -> Option<Way> {
        let asked = request.get_ref();
        let level = level_of_lookup(&self.node, asked).ok()?;
        let is_known = |asked: &v1::ViewSelection| self.is_known(&asked.view, &asked.features);
        let are_known = level != ReadLevel::Quorum || asked.views.iter().all(is_known);
        if self.node.answers(level) && are_known {
            return None;
        }
        let way = self.way(request.metadata().as_ref(), Effect::Reads)?;
        Some(Way { limit, ..way })
    }

    /// The way of a scan that this node cannot answer and the primary may.
    pub fn of_scan(&self, request: &tonic::Request<v1::ScanFeaturesRequest>) -> Option<Way> {
        let asked = request.get_ref();
        let level = level_of_scan(&self.node, asked).ok()?;
        let is_known = level != ReadLevel::Quorum || self.is_known(&asked.view, &asked.features);
        if self.node.answers(level) && is_known {
            return None;
        }
        self.way(request.metadata().as_ref(), Effect::Reads)
    }

    /// The way of a session's read, if what the session has seen does not come here in time; and the read.
    pub fn of_session<T: Clone>(
        &self,
        request: &tonic::Request<T>,
        session: impl FnOnce(&T) -> Option<&String>,
    ) -> Option<(Way, tonic::Request<T>)> {
        session(request.get_ref())?;
        let way = self.way(request.metadata().as_ref(), Effect::Reads)?;
        let mut again = tonic::Request::new(request.get_ref().clone());
        again.extensions_mut().insert(intake(request));
        Some((way, again))
    }

    /// Has this node heard of what is asked for? What a quorum read asks for may be defined at a majority and not here.
    fn is_known(&self, view: &str, features: &[String]) -> bool {
        let catalogue = self.node.catalogue();
        let view = catalogue.view(view);
        let has = |feature: &String| view.is_some_and(|view| view.feature(feature).is_some());
        view.is_some() && features.iter().all(has)
    }

    /// The way of a call that is not this node's, whatever its message says.
    fn of_call(&self, request: &Request<Body>) -> Option<Way> {
        let path = request.uri().path();
        if path == SWITCH_OVER {
            self.way(request.headers(), Effect::ChangesPrimary)
        } else if CHANGES.contains(&path) {
            self.way(request.headers(), Effect::Changes)
        } else if READS.contains(&path) && !self.node.holds_rows() {
            self.way(request.headers(), Effect::Reads)
        } else {
            None
        }
    }

    fn way(&self, headers: &HeaderMap, effect: Effect) -> Option<Way> {
        if !self.is_on || headers.contains_key(FORWARDED) {
            return None;
        }
        let primary = self.node.elsewhere()?;
        Some(Way {
            node: self.node.clone(),
            channel: self.line.to((), &primary.address)?,
            primary,
            effect,
            limit: budget(&MetadataMap::from_headers(headers.clone())),
        })
    }
}

/// Forwards calls as they come.
#[derive(Debug, Clone)]
pub(super) struct ForwardLayer(pub(super) Arc<Forwarding>);

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;

    fn layer(&self, inner: S) -> Forward<S> {
        Forward {
            inner,
            forwarding: Arc::clone(&self.0),
        }
    }
}

/// A service of which the primary's calls go there if that is elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Forward<S> {
    inner: S,
    forwarding: Arc<Forwarding>,
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Forward<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.forwarding.of_call(&request) {
            Some(way) => Box::pin(async move { Ok(way.pass(request).await) }),
            None => Box::pin(self.inner.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Methods that every member carries out by itself.
    const EVERYWHERE: [&str; 15] = [
        "GetFeatures",
        "ScanFeatures",
        "ListViews",
        "GetView",
        "GetStatus",
        "GetReplicaSet",
        "GetHistory",
        "CompareRows",
        "CreateBackup",
        // Agreed on by the set, whoever is asked.
        "IssueJoinToken",
        "RemoveMember",
        "ReplaceMember",
        "EvictMember",
        "SetSettings",
        // Meant for who is to take over.
        "ApproveFailover",
    ];

    #[test]
    fn of_each_method_it_is_decided_who_carries_it_out() {
        let descriptors: prost_types::FileDescriptorSet =
            prost::Message::decode(v1::DESCRIPTORS).unwrap();
        let services = descriptors.file.iter().flat_map(|file| &file.service);
        let for_clients = ["FeatureService", "ViewService", "AdminService"];
        let mut changes = 0;
        for service in services.filter(|service| for_clients.contains(&service.name())) {
            for method in &service.method {
                let path = format!("/steadfast.v1.{}/{}", service.name(), method.name());
                let is_change = CHANGES.contains(&path.as_str());
                assert_ne!(is_change, EVERYWHERE.contains(&method.name()), "{path}");
                changes += usize::from(is_change);
            }
        }
        assert_eq!(changes, CHANGES.len());
    }
}
