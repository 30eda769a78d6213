//! What the wires tell of themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::base::IncarnationId;

/// Counters, most of them by peer. There are as many series as the set has members.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    sent_messages: ByPeer,
    sent_bytes: ByPeer,
    received_messages: ByPeer,
    received_bytes: ByPeer,
    dropped_messages: ByPeer,
    connections: ByPeer,
    /// Calls of peers that were refused.
    pub refused_hellos: Counter,
    /// Messages that could not be read, each of which ended its stream.
    pub bad_messages: Counter,
}

type ByPeer = Family<Label, Counter>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    peer: String,
}

/// The counters of one peer.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    /// Messages on their way to it.
    pub sent_messages: Counter,
    /// Their bytes.
    pub sent_bytes: Counter,
    /// Messages that came from it.
    pub received_messages: Counter,
    /// Their bytes.
    pub received_bytes: Counter,
    /// Messages for it that did not fit, or waited when a connection failed.
    pub dropped_messages: Counter,
    /// Connections to it that were established.
    pub connections: Counter,
}

impl Metrics {
    /// The counters of a peer.
    pub fn of(&self, peer: IncarnationId) -> Counters {
        let label = Label {
            peer: peer.to_string(),
        };
        let counter = |family: &ByPeer| family.get_or_create(&label).clone();
        Counters {
            sent_messages: counter(&self.sent_messages),
            sent_bytes: counter(&self.sent_bytes),
            received_messages: counter(&self.received_messages),
            received_bytes: counter(&self.received_bytes),
            dropped_messages: counter(&self.dropped_messages),
            connections: counter(&self.connections),
        }
    }

    /// Forgets the counters of a member that left.
    pub fn forget(&self, peer: IncarnationId) {
        let label = Label {
            peer: peer.to_string(),
        };
        for family in self.families() {
            family.remove(&label);
        }
    }

    fn families(&self) -> [&ByPeer; 6] {
        [
            &self.sent_messages,
            &self.sent_bytes,
            &self.received_messages,
            &self.received_bytes,
            &self.dropped_messages,
            &self.connections,
        ]
    }

    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("peer");
        let descriptions = [
            ("sent_messages", "Messages sent to a peer"),
            ("sent_bytes", "Bytes of messages sent to a peer"),
            ("received_messages", "Messages received from a peer"),
            ("received_bytes", "Bytes of messages received from a peer"),
            (
                "dropped_messages",
                "Messages for a peer that were dropped because too much waited or its connection failed",
            ),
            ("connections", "Connections established to a peer"),
        ];
        for ((name, help), family) in descriptions.into_iter().zip(self.families()) {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "refused_hellos",
            "Calls of peers refused for their lineage, incarnation or formats",
            self.refused_hellos.clone(),
        );
        registry.register(
            "bad_messages",
            "Messages of peers that could not be read",
            self.bad_messages.clone(),
        );
    }
}
