//! What all edges share: the node, how far its life is, and where it listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::forward::Forwarding;
use super::metrics::Metrics;
use super::slow::SlowLog;
use super::status::Failure;
use crate::base::{ReadLevel, TaskGroup};
use crate::model::Catalogue;
use crate::node::{self, Node};
use crate::proto::Reason;

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// gRPC for clients.
    pub client: SocketAddr,
    /// gRPC for other nodes.
    pub peer: SocketAddr,
    /// Health, metrics and status.
    pub http: SocketAddr,
}

impl Addresses {
    /// Where others reach the node: where it listens, at the host by which it is to be known.
    #[must_use]
    pub fn reached(&self, advertise: Option<&str>) -> node::Addresses {
        let at = |address: SocketAddr| match advertise {
            None => address.to_string(),
            Some(host) => match host.parse() {
                Ok(ip) => SocketAddr::new(ip, address.port()).to_string(),
                Err(_) => format!("{host}:{}", address.port()),
            },
        };
        node::Addresses {
            peer: at(self.peer),
            client: at(self.client),
        }
    }
}

/// What a handler needs; a handle that is cheap to clone.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) node: Node,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) tasks: TaskGroup,
    pub(super) metrics: Metrics,
    pub(super) slow: Arc<SlowLog>,
    /// Cancelled when draining begins: health says so, streams end at their next step.
    pub(super) draining: CancellationToken,
    /// Cancelled once health has said so: no new connections, the old ones end after their requests.
    pub(super) closing: CancellationToken,
    pub(super) addresses: Addresses,
    pub(super) insecure: bool,
    /// For how long a client may stop in the middle of a message.
    pub(super) stall: Duration,
    /// Seen the node started; it never goes back.
    pub(super) started: Arc<AtomicBool>,
}

impl Edge {
    /// The catalogue, once the node has replayed its log: before, a view that is there would seem not to be.
    pub(super) fn catalogue(&self) -> Result<Arc<Catalogue>, Failure> {
        if !self.started.load(Ordering::Relaxed) {
            let health = self.node.health();
            if !health.started {
                let message = health.ready.err().unwrap_or_default();
                return Err(Failure::new(Reason::Starting, message));
            }
            self.started.store(true, Ordering::Relaxed);
        }
        Ok(self.node.catalogue())
    }

    /// The catalogue by which a change is judged, which is the primary's: another member may lack a view that is there.
    pub(super) fn catalogue_of_changes(&self) -> Result<Arc<Catalogue>, Failure> {
        self.catalogue()?;
        self.node.check_writable()?;
        self.catalogue()
    }

    /// The catalogue by which a lookup or scan is judged, which at level primary is the primary's, too.
    pub(super) fn catalogue_of_reads(&self, level: ReadLevel) -> Result<Arc<Catalogue>, Failure> {
        self.catalogue()?;
        self.node.check_answers(level)?;
        self.catalogue()
    }

    /// Why the node is not to be sent requests, if it is not.
    pub(super) fn readiness(&self) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("the node is stopping".to_owned());
        }
        self.node.health().ready
    }

    /// The status document: the node's, and how it is reached.
    pub(super) fn status(&self) -> Json {
        let mut status = self.node.status();
        if let Some(fields) = status.as_object_mut() {
            let addresses = serde_json::to_value(self.addresses);
            fields.insert("listen".to_owned(), addresses.unwrap_or_default());
            fields.insert("insecure".to_owned(), self.insecure.into());
            let draining = self.draining.is_cancelled();
            fields.insert("draining".to_owned(), draining.into());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_the_advertised_host_with_the_ports_in_use() {
        let listen = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let addresses = Addresses {
            client: listen(1),
            peer: listen(2),
            http: listen(3),
        };
        for (host, peer, client) in [
            (None, "0.0.0.0:2", "0.0.0.0:1"),
            (Some("node1"), "node1:2", "node1:1"),
            (Some("10.0.0.7"), "10.0.0.7:2", "10.0.0.7:1"),
            (Some("fe80::7"), "[fe80::7]:2", "[fe80::7]:1"),
        ] {
            let reached = addresses.reached(host);
            assert_eq!(
                (reached.peer.as_str(), reached.client.as_str()),
                (peer, client)
            );
        }
    }
}
