//! The wires of one member: to whom it talks, and what comes in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Waits;
use super::dial;
use super::hello::{Hello, Me, Refusal};
use super::metrics::{Counters, Metrics};
use super::outbox::Outbox;
use crate::base::clock::now_monotonic;
use crate::base::{IncarnationId, TaskGroup};
use crate::proto::{Invalid, v1};

/// A peer that does not answer a hello, or takes nothing of what waits for it, for so long has its connection cut.
pub const STALL: Duration = Duration::from_secs(5);

/// What is heard of a member.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// It says this.
    Message(v1::PeerMessage),
    /// A connection to it is established, perhaps again: what it was sent before may be lost.
    Connected,
    /// Its process was seen to end: the established connection has ended and a new one was refused. Said again as long as
    /// that is so.
    Gone,
}

/// What takes in everything, one after the other for each stream. It must not block; an error ends the stream.
pub(super) type Inbox = Box<dyn Fn(IncarnationId, Inbound) -> Result<(), Invalid> + Send + Sync>;

/// The connections of this member with its peers. A handle that is cheap to clone; the connections end with their tasks.
#[derive(Debug, Clone)]
pub struct Wires {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub me: Me,
    pub waits: Waits,
    pub inbox: Inbox,
    pub tasks: TaskGroup,
    pub metrics: Metrics,
    /// Guards who the peers are.
    peers: Mutex<BTreeMap<IncarnationId, Arc<Peer>>>,
}

/// A member that is dialled.
#[derive(Debug)]
pub(super) struct Peer {
    pub id: IncarnationId,
    pub address: watch::Sender<String>,
    pub outbox: Outbox,
    pub counters: Counters,
    /// Cancelled when it is a peer no more.
    pub left: CancellationToken,
    /// Told when it calls: whoever waits before dialling it again need not wait longer.
    pub called: Notify,
    /// Guards what is said of it to people.
    contact: Mutex<Contact>,
}

#[derive(Debug, Default)]
struct Contact {
    connected: Option<Instant>,
    heard: Option<Instant>,
    trouble: Option<String>,
}

/// How it stands with a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// Where it is dialled.
    pub address: String,
    /// For how long there has been a connection to it.
    pub connected_for: Option<Duration>,
    /// How long ago it last said something.
    pub heard_ago: Option<Duration>,
    /// Why there is no connection to it.
    pub trouble: Option<String>,
    /// Bytes that wait for it.
    pub waiting_bytes: usize,
    /// Bytes of messages sent to it and received from it.
    pub sent_bytes: u64,
    /// Bytes of messages received from it.
    pub received_bytes: u64,
    /// Messages for it that were dropped.
    pub dropped_messages: u64,
    /// Connections to it that were established.
    pub connections: u64,
}

impl Wires {
    /// Wires that lead nowhere yet. Everything that is heard goes to `inbox`; the work belongs to `tasks`.
    #[must_use]
    pub fn start(
        me: Me,
        waits: Waits,
        inbox: impl Fn(IncarnationId, Inbound) -> Result<(), Invalid> + Send + Sync + 'static,
        tasks: &TaskGroup,
    ) -> Wires {
        let shared = Shared {
            me,
            waits,
            inbox: Box::new(inbox),
            tasks: tasks.clone(),
            metrics: Metrics::default(),
            peers: Mutex::default(),
        };
        Wires {
            shared: Arc::new(shared),
        }
    }

    /// Registers what the wires count, under names that begin with `peer_`.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Talks to these members from now on, and to no others; host:port each. This member itself may be among them.
    pub fn set_peers(&self, mut addresses: BTreeMap<IncarnationId, String>) {
        addresses.remove(&self.shared.me.incarnation);
        let mut peers = self.shared.peers();
        peers.retain(|id, peer| {
            let stays = addresses.contains_key(id);
            if !stays {
                peer.left.cancel();
                self.shared.metrics.forget(*id);
            }
            stays
        });
        for (id, address) in addresses {
            if let Some(peer) = peers.get(&id) {
                peer.redirect(address);
            } else {
                let counters = self.shared.metrics.of(id);
                let peer = Arc::new(Peer::new(id, address, counters));
                peers.insert(id, Arc::clone(&peer));
                let dialled = dial::keep(Arc::clone(&self.shared), peer);
                self.shared.tasks.spawn_finite("peer", dialled);
            }
        }
    }

    /// What this member says to another first.
    #[must_use]
    pub fn hello(&self, to: IncarnationId) -> Hello {
        self.shared.me.hello(to)
    }

    /// Is whoever says this one to talk to?
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, hello: &Hello) -> Result<(), Refusal> {
        self.shared.me.judge(hello)
    }

    /// Sends a message. It may be lost; what does not fit is dropped, and so is what is meant for no peer.
    pub fn send(&self, to: IncarnationId, message: v1::PeerMessage) {
        let Some(peer) = self.shared.peer(to) else {
            return;
        };
        if !peer.outbox.push(message) {
            peer.counters.dropped_messages.inc();
        }
    }

    /// How it stands with each peer.
    #[must_use]
    pub fn status(&self) -> BTreeMap<IncarnationId, PeerStatus> {
        let peers = self.shared.peers();
        peers
            .iter()
            .map(|(id, peer)| (*id, peer.status()))
            .collect()
    }
}

impl Shared {
    /// The peer of this incarnation.
    pub fn peer(&self, id: IncarnationId) -> Option<Arc<Peer>> {
        self.peers().get(&id).cloned()
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<IncarnationId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("me", &self.me)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl Peer {
    fn new(id: IncarnationId, address: String, counters: Counters) -> Peer {
        Peer {
            id,
            address: watch::Sender::new(address),
            outbox: Outbox::default(),
            counters,
            left: CancellationToken::new(),
            called: Notify::new(),
            contact: Mutex::default(),
        }
    }

    /// Has it dialled there from now on.
    fn redirect(&self, address: String) {
        self.address.send_if_modified(|current| {
            let is_other = *current != address;
            *current = address;
            is_other
        });
    }

    /// Takes note that it said something.
    pub fn hear(&self) {
        self.contact().heard = Some(now_monotonic());
    }

    /// Takes note that a connection to it is established.
    pub fn connect(&self) {
        self.counters.connections.inc();
        let mut contact = self.contact();
        contact.connected = Some(now_monotonic());
        contact.trouble = None;
    }

    /// Takes note that there is no connection to it, and why; says whether that is news.
    pub fn disconnect(&self, trouble: String) -> bool {
        let mut contact = self.contact();
        contact.connected = None;
        let is_news = contact.trouble.as_ref() != Some(&trouble);
        contact.trouble = Some(trouble);
        is_news
    }

    fn status(&self) -> PeerStatus {
        let contact = self.contact();
        let ago = |since: Instant| since.elapsed();
        PeerStatus {
            address: self.address.borrow().clone(),
            connected_for: contact.connected.map(ago),
            heard_ago: contact.heard.map(ago),
            trouble: contact.trouble.clone(),
            waiting_bytes: self.outbox.bytes(),
            sent_bytes: self.counters.sent_bytes.get(),
            received_bytes: self.counters.received_bytes.get(),
            dropped_messages: self.counters.dropped_messages.get(),
            connections: self.counters.connections.get(),
        }
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
