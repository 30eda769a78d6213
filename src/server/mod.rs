//! The edges of a node: gRPC for clients and peers, HTTP for probes and scrapers. They translate and decide nothing.
//!
//! **Invariants.** What comes in is checked by [`proto`](crate::proto) before the node sees it. Every failure becomes a
//! [`Reason`](crate::proto::Reason) in [`status`] and nowhere else. Every task belongs to the group that serving was
//! given. What was accepted before draining began is answered, or the client learns that its fate is unknown.

mod admin;
mod admission;
mod backup;
mod comparison;
mod connection;
mod deadline;
mod edge;
mod features;
mod forward;
mod health;
mod history;
mod http;
mod ingest;
mod lanes;
mod metrics;
mod peer;
mod port;
mod raft;
mod rows;
mod scan;
mod set;
mod slow;
mod snapshots;
pub mod status;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tower::ServiceBuilder;
use tracing::{info, warn};

use self::admission::AdmissionLayer;
use self::connection::Gate;
use self::edge::Edge;
use self::forward::{ForwardLayer, Forwarding};
use self::health::Health;
use self::lanes::LanesLayer;
use self::metrics::{Metrics, MetricsLayer};
use self::port::{Layers, Port};
use self::slow::SlowLog;
use crate::base::clock::timeout;
use crate::base::task::Background;
use crate::base::{Budget, TaskGroup};
use crate::config::{CONNECTION_WINDOW_BYTES, Config, Listen, ServerOptions};
use crate::model::limits;
use crate::net;
use crate::node::{Budgets, Node};
use crate::proto::v1;
use v1::admin_service_server::AdminServiceServer;
use v1::feature_service_server::FeatureServiceServer;
use v1::replication_service_server::ReplicationServiceServer;
use v1::row_service_server::RowServiceServer;
use v1::snapshot_service_server::SnapshotServiceServer;
use v1::view_service_server::ViewServiceServer;

pub use edge::Addresses;

/// Bytes of one stream that may be on their way before its handler has taken them: half of the connection's, so that one
/// stream that is not read does not stop the others.
const STREAM_WINDOW_BYTES: u32 = CONNECTION_WINDOW_BYTES / 2;
/// Connections of probes and scrapers.
const PROBES: usize = 64;
/// How many stall limits a connection of a probe may last: nothing else ends one that sends its request by drops.
const PROBE_LIFETIME: u32 = 4;
/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refuses the address.
    #[error("cannot listen on {key} = {address}")]
    Listen {
        /// The key that sets it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operating system refuses the threads on which writes are served.
    #[error("cannot start threads for writes")]
    Threads(#[source] std::io::Error),
    /// The descriptors for reflection do not describe our services: a bug in the build.
    #[error("the compiled service descriptors cannot be read")]
    Descriptors(#[source] tonic_reflection::server::Error),
}

/// Listeners that are bound but not served yet, so that addresses are known and refusals come before a node is opened.
#[derive(Debug)]
pub struct BoundServer {
    client: TcpListener,
    peer: TcpListener,
    http: TcpListener,
    addresses: Addresses,
    insecure: bool,
    options: ServerOptions,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    draining: CancellationToken,
    client_ended: CancellationToken,
}

impl Server {
    /// Binds all listeners of a valid configuration.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(config: &Config) -> Result<BoundServer, Error> {
        let Listen { client, peer, http } = config.listen;
        let (client, client_at) = listen("listen.client", client).await?;
        let (peer, peer_at) = listen("listen.peer", peer).await?;
        let (http, http_at) = listen("listen.http", http).await?;
        Ok(BoundServer {
            client,
            peer,
            http,
            addresses: Addresses {
                client: client_at,
                peer: peer_at,
                http: http_at,
            },
            insecure: config.insecure,
            options: config.server.clone(),
        })
    }

    /// Says NOT_SERVING, accepts no more connections, lets requests under way end for at most `limit`; says whether all
    /// did. Peers and HTTP are served on until the task group stops.
    pub async fn drain(&self, limit: Duration) -> bool {
        info!("draining");
        self.draining.cancel();
        let all = timeout(limit, self.client_ended.cancelled()).await.is_ok();
        if !all {
            warn!("connections were still open at the end of the drain limit");
        }
        all
    }
}

async fn listen(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    };
    bound.await.map_err(|source| Error::Listen {
        key,
        address,
        source,
    })
}

impl BoundServer {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves a node, which may still be starting: health says so, and so does every other answer.
    ///
    /// # Errors
    /// [`Error::Descriptors`] or [`Error::Threads`].
    pub async fn serve(self, node: Node, tasks: &TaskGroup) -> Result<Server, Error> {
        if self.insecure {
            warn!("insecure: nothing is encrypted and nobody is asked who they are");
        }
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let layer = MetricsLayer(metrics.clone());
        let stall = Duration::from_millis(self.options.stall_ms);
        let budgets = node.budgets();
        let gate =
            |places, budgets: &Budgets| Gate::new(places, stall, budgets.clone(), metrics.clone());
        let clients = Port {
            listener: self.client,
            gate: gate(self.options.connections, budgets),
            stream_window: STREAM_WINDOW_BYTES,
            connection_window: CONNECTION_WINDOW_BYTES,
        };
        let peers = Port {
            listener: self.peer,
            gate: gate(net::CONNECTIONS, &peer_budgets()),
            stream_window: net::STREAM_WINDOW_BYTES,
            connection_window: net::CONNECTION_WINDOW_BYTES,
        };
        let probes = gate(PROBES, budgets);
        let probes = probes.with_lifetime(stall.saturating_mul(PROBE_LIFETIME));
        let slow = SlowLog::new(Duration::from_millis(self.options.slow_request_ms));
        let edge = Edge {
            forwarding: Arc::new(Forwarding::new(node.clone(), self.options.forward)),
            node,
            tasks: tasks.clone(),
            metrics,
            slow: Arc::new(slow),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            addresses: self.addresses,
            insecure: self.insecure,
            stall,
            started: Arc::default(),
        };
        let (client_health, peer_health) = (Health::new().await, Health::new().await);
        let server = Server {
            draining: edge.draining.clone(),
            client_ended: CancellationToken::new(),
        };
        let lanes = LanesLayer(Arc::new(
            Background::start("writes").map_err(Error::Threads)?,
        ));
        // What is refused is counted, but crosses no threads.
        let layers = ServiceBuilder::new().layer(layer).layer(AdmissionLayer);
        let forward = ForwardLayer(Arc::clone(&edge.forwarding));
        let layers = layers.layer(forward).layer(lanes).into_inner();
        let routes = client_routes(&edge, &client_health)?;
        let ended = server.client_ended.clone();
        let served = serve_clients(clients, routes, layers.clone(), edge.clone(), ended);
        tasks.spawn("client grpc", served);
        let routes = peer_routes(&edge, &peer_health);
        let served = serve_peers(peers, routes, layers, tasks.clone());
        tasks.spawn("peer grpc", served);
        let http = http::serve(self.http, probes, edge.clone(), registry);
        tasks.spawn("http", http);
        tasks.spawn(
            "health",
            health::follow(edge, vec![client_health, peer_health]),
        );
        Ok(server)
    }
}

fn client_routes(edge: &Edge, health: &Health) -> Result<Routes, Error> {
    let features = FeatureServiceServer::new(features::Features(edge.clone()))
        .max_decoding_message_size(limits::REQUEST_BYTES)
        .max_encoding_message_size(limits::ANSWER_BYTES);
    let mut routes = health_routes(health);
    routes
        .add_service(features)
        .add_service(ViewServiceServer::new(views::Views(edge.clone())))
        .add_service(AdminServiceServer::new(admin::Admin(edge.clone())))
        .add_service(reflection().build_v1().map_err(Error::Descriptors)?)
        .add_service(reflection().build_v1alpha().map_err(Error::Descriptors)?);
    Ok(routes.routes())
}

fn peer_routes(edge: &Edge, health: &Health) -> Routes {
    let replication = ReplicationServiceServer::new(peer::Replication(edge.clone()))
        .max_decoding_message_size(net::MESSAGE_BYTES);
    let mut routes = health_routes(health);
    routes.add_service(replication);
    routes.add_service(raft::raft_service(edge.clone()));
    let snapshots = SnapshotServiceServer::new(snapshots::Snapshots(edge.clone()));
    routes.add_service(snapshots.max_decoding_message_size(net::MESSAGE_BYTES));
    let rows = RowServiceServer::new(rows::Rows(edge.clone()));
    routes.add_service(rows.max_decoding_message_size(net::MESSAGE_BYTES));
    routes.routes()
}

/// Peers have a budget of their own, so that no client keeps them from each other.
fn peer_budgets() -> Budgets {
    let budget = Budget::new(net::IN_FLIGHT_BYTES);
    Budgets {
        reads: budget.clone(),
        writes: budget,
    }
}

fn health_routes(health: &Health) -> RoutesBuilder {
    let service = HealthService::from_health_reporter(health.reporter());
    let mut routes = RoutesBuilder::default();
    routes.add_service(HealthServer::new(service));
    routes
}

fn reflection<'a>() -> tonic_reflection::server::Builder<'a> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Serves clients until draining begins and the last connection has ended, then waits for the tasks to stop.
async fn serve_clients(
    port: Port,
    routes: Routes,
    layers: Layers,
    edge: Edge,
    ended: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let stopped = edge.tasks.cancelled();
    tokio::select! {
        biased;
        () = stopped.cancelled() => return Ok(()),
        outcome = port.serve(routes, layers, edge.closing) => outcome?,
    }
    ended.cancel();
    stopped.cancelled().await;
    Ok(())
}

/// Serves peers until the tasks stop: the node needs them to hand over while it drains.
async fn serve_peers(
    port: Port,
    routes: Routes,
    layers: Layers,
    tasks: TaskGroup,
) -> Result<(), tonic::transport::Error> {
    let stopped = tasks.cancelled();
    tokio::select! {
        biased;
        () = stopped.cancelled() => Ok(()),
        outcome = port.serve(routes, layers, CancellationToken::new()) => outcome,
    }
}
