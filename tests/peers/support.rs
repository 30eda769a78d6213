//! Members: a node that serves its peer port, and its wires.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use steadfast::base::clock::{SystemClock, now_monotonic, timeout};
use steadfast::base::disk::RealDisk;
use steadfast::base::{IncarnationId, LineageId, TaskGroup};
use steadfast::config::{Config, Listen};
use steadfast::net::{Inbound, Me, PeerStatus, Waits, Wires};
use steadfast::node::Node;
use steadfast::replication::Message;
use steadfast::server::Server;
use tokio::sync::mpsc;

/// Far longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(30);
pub const LINEAGE: LineageId = LineageId(77);

pub const A: IncarnationId = IncarnationId(0xa);
pub const B: IncarnationId = IncarnationId(0xb);
pub const C: IncarnationId = IncarnationId(0xc);

/// What a member heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Message(Message),
    Connected,
    Gone,
}

pub struct Member {
    pub wires: Wires,
    pub address: SocketAddr,
    pub server: Server,
    pub tasks: TaskGroup,
    heard: mpsc::UnboundedReceiver<(IncarnationId, Heard, Instant)>,
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

impl Member {
    pub async fn start(incarnation: IncarnationId) -> Member {
        Member::start_at(incarnation, LINEAGE, loopback(), |_| {}).await
    }

    /// A member that listens there, and first does `with` what it hears.
    pub async fn start_at(
        incarnation: IncarnationId,
        lineage: LineageId,
        peer: SocketAddr,
        with: impl Fn(&Message) + Send + Sync + 'static,
    ) -> Member {
        Member::start_as(incarnation, lineage, peer, Waits::default(), with).await
    }

    /// The same, which waits so long before it dials a peer again.
    pub async fn start_as(
        incarnation: IncarnationId,
        lineage: LineageId,
        peer: SocketAddr,
        waits: Waits,
        with: impl Fn(&Message) + Send + Sync + 'static,
    ) -> Member {
        let config = Config {
            data_dir: "never opened".into(),
            listen: Listen {
                client: loopback(),
                peer,
                http: loopback(),
            },
            ..Config::default()
        };
        let tasks = TaskGroup::new();
        let bound = Server::bind(&config).await.unwrap();
        let address = bound.addresses().peer;
        let node = Node::new(config, Arc::new(RealDisk), Arc::new(SystemClock::new()));
        let server = bound.serve(node.clone(), &tasks).await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let inbox = move |from, inbound| {
            let heard = match inbound {
                Inbound::Message(message) => {
                    let message = Message::try_from(message)?;
                    with(&message);
                    Heard::Message(message)
                }
                Inbound::Connected => Heard::Connected,
                Inbound::Gone => Heard::Gone,
            };
            let _listening = tell.send((from, heard, now_monotonic()));
            Ok(())
        };
        let me = Me {
            lineage,
            incarnation,
            address: address.to_string(),
        };
        let wires = Wires::start(me, waits, inbox, &tasks);
        node.connect(wires.clone());
        Member {
            wires,
            address,
            server,
            tasks,
            heard,
        }
    }

    pub fn set_peers(&self, peers: &[(IncarnationId, SocketAddr)]) {
        let peers = peers.iter().map(|(id, at)| (*id, at.to_string()));
        self.wires.set_peers(peers.collect());
    }

    pub fn send(&self, to: IncarnationId, message: &Message) {
        self.wires.send(to, message.into());
    }

    /// The next that is heard, with the time when it was.
    pub async fn hear_timed(&mut self) -> (IncarnationId, Heard, Instant) {
        let heard = timeout(LONG, self.heard.recv()).await;
        heard.expect("something is heard").unwrap()
    }

    pub async fn hear(&mut self) -> (IncarnationId, Heard) {
        let (from, heard, _) = self.hear_timed().await;
        (from, heard)
    }

    /// Waits for a message.
    pub async fn message(&mut self) -> Message {
        loop {
            if let (_, Heard::Message(message)) = self.hear().await {
                return message;
            }
        }
    }

    /// Waits until this is heard of a peer; says when it was.
    pub async fn until(&mut self, peer: IncarnationId, what: Heard) -> Instant {
        loop {
            let (from, heard, at) = self.hear_timed().await;
            if from == peer && heard == what {
                return at;
            }
        }
    }

    /// What was heard and not asked for yet.
    pub fn rest(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok())
            .map(|(_, heard, _)| heard)
            .collect()
    }

    /// The status of a peer, once it is such.
    pub async fn status(
        &self,
        peer: IncarnationId,
        is_such: impl Fn(&PeerStatus) -> bool,
    ) -> PeerStatus {
        let begun = now_monotonic();
        loop {
            let all: BTreeMap<_, _> = self.wires.status();
            if let Some(status) = all.get(&peer).filter(|status| is_such(status)) {
                return status.clone();
            }
            assert!(begun.elapsed() < LONG, "{all:?}");
            tokio::task::yield_now().await;
        }
    }

    pub async fn stop(&self) {
        assert!(self.tasks.stop(LONG).await);
    }
}

/// Two members with wires both ways, each of which has said so.
pub async fn pair() -> (Member, Member) {
    let (mut a, mut b) = (Member::start(A).await, Member::start(B).await);
    a.set_peers(&[(B, b.address)]);
    b.set_peers(&[(A, a.address)]);
    a.until(B, Heard::Connected).await;
    b.until(A, Heard::Connected).await;
    (a, b)
}
