//! The sending end of a wire: one task for each peer, which keeps a connection to it.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::hello::{Hello, Refusal};
use super::wires::{Inbound, Peer, STALL, Shared};
use crate::base::TaskGroup;
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::proto::v1;
use v1::PeerMessage;
use v1::peer_message::Content;
use v1::replication_service_client::ReplicationServiceClient;

/// How long connecting may take. A host that is down does not refuse.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A connection is pinged so often, and given up if a ping is not answered for so long.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked whether the peer takes what waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{address:?} is not of the form host:port")]
    Address { address: String },
    #[error("{address} refuses connections")]
    Refused { address: String },
    #[error("cannot connect to {address}: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("{0}")]
    NotTaken(String),
    #[error("the connection ended: {0}")]
    Ended(String),
    #[error("the peer does not answer")]
    Silent,
    #[error("the peer takes no messages")]
    Stuck,
    #[error("{0}")]
    Stranger(#[from] Refusal),
}

/// Keeps a connection to a peer until it is none any more, or the tasks stop.
pub(super) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>) {
    let (stopped, left) = (shared.tasks.cancelled(), peer.left.clone());
    let mut address = peer.address.subscribe();
    loop {
        let there = address.borrow_and_update().clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            () = left.cancelled() => return,
            // Whatever was there is dropped, and another process may be behind the new address.
            _changed = address.changed() => {}
            never = Dialler::new(&shared, &peer, &there).dial() => match never {},
        }
    }
}

/// Keeps a connection to a peer at one address.
struct Dialler<'a> {
    shared: &'a Shared,
    peer: &'a Arc<Peer>,
    address: &'a str,
    backoff: Backoff,
    /// There has been a connection with this peer here.
    was_connected: bool,
}

impl<'a> Dialler<'a> {
    fn new(shared: &'a Shared, peer: &'a Arc<Peer>, address: &'a str) -> Dialler<'a> {
        Dialler {
            shared,
            peer,
            address,
            backoff: Backoff::new(shared.waits),
            was_connected: false,
        }
    }

    async fn dial(mut self) -> Infallible {
        loop {
            let trouble = self.talk().await;
            self.give_up(&trouble);
            tokio::select! {
                () = sleep(self.backoff.next()) => {}
                () = self.peer.called.notified() => {}
            }
        }
    }

    /// Connects, says hello, and sends what there is to send until the connection ends.
    async fn talk(&mut self) -> Trouble {
        // Dropped with this future, it ends everything that belongs to the connection.
        let end = CancellationToken::new();
        let _ends = end.clone().drop_guard();
        let tasks = self.shared.tasks.clone();
        let begun = now_monotonic();
        let mut answers = match self.greet(Owner { tasks, end }).await {
            Ok(answers) => answers,
            Err(trouble) => return trouble,
        };
        self.was_connected = true;
        self.peer.connect();
        info!(peer = %self.peer.id, address = self.address, "connected to a peer");
        self.tell(Inbound::Connected);
        let trouble = tokio::select! {
            ended = answers.message() => Trouble::Ended(match ended {
                Ok(_) => "the peer closed it".to_owned(),
                Err(status) => said(&status),
            }),
            () = stuck(self.peer) => Trouble::Stuck,
        };
        self.backoff.begin_anew(begun.elapsed());
        trouble
    }

    /// A connection over which hellos have been exchanged.
    async fn greet(&self, owner: Owner) -> Result<Streaming<v1::PeerHello>, Trouble> {
        let (me, peer) = (&self.shared.me, self.peer);
        let channel = connect(self.address, owner).await?;
        let hello = PeerMessage {
            content: Some(Content::Hello(me.hello(peer.id).into())),
        };
        let outgoing = stream::iter([hello]).chain(messages(Arc::clone(peer)));
        let mut client = ReplicationServiceClient::new(channel);
        let answered = async {
            let mut answers = client.exchange(outgoing).await?.into_inner();
            Ok((answers.message().await?, answers))
        };
        let answered = timeout(STALL, answered)
            .await
            .map_err(|_| Trouble::Silent)?;
        let (answer, answers) =
            answered.map_err(|status: Status| Trouble::NotTaken(said(&status)))?;
        let answer = Hello::try_from(answer.unwrap_or_default()).map_err(Refusal::from)?;
        me.judge_answer(peer.id, &answer)?;
        Ok(answers)
    }

    /// What waits would be late when the next connection comes, and is asked for again.
    fn give_up(&self, trouble: &Trouble) {
        let dropped = u64::try_from(self.peer.outbox.clear()).unwrap_or(u64::MAX);
        self.peer.counters.dropped_messages.inc_by(dropped);
        let is_gone = self.was_connected && matches!(trouble, Trouble::Refused { .. });
        if self.peer.disconnect(trouble.to_string()) {
            warn!(peer = %self.peer.id, %trouble, is_gone, "there is no connection to a peer");
        }
        if is_gone {
            self.tell(Inbound::Gone);
        }
    }

    /// The inbox refuses only messages.
    fn tell(&self, what: Inbound) {
        let _taken = (self.shared.inbox)(self.peer.id, what);
    }
}

/// A connection to whoever is at this address now.
async fn connect(address: &str, owner: Owner) -> Result<Channel, Trouble> {
    let endpoint = endpoint(address).ok_or_else(|| Trouble::Address {
        address: address.to_owned(),
    })?;
    let connected = endpoint.executor(owner).connect().await;
    connected.map_err(|cause| {
        let address = address.to_owned();
        match innermost(&cause) {
            cause if is_refusal(cause) => Trouble::Refused { address },
            cause => Trouble::Unreachable {
                address,
                cause: cause.to_string(),
            },
        }
    })
}

/// How peers are reached: the place for encryption and for proving who one is.
pub(super) fn endpoint(address: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    endpoint.uri().port()?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true);
    Some(endpoint)
}

/// A connection to a port of a member, made when it is needed and again after it has ended. `None`: it is no address.
pub(super) fn channel(address: &str) -> Option<Channel> {
    Some(endpoint(address)?.connect_lazy())
}

pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost
}

fn is_refusal(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// What the other side, or the library, says of a call that failed.
fn said(status: &Status) -> String {
    let cause = status.source().map(|cause| innermost(cause).to_string());
    match cause {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
}

fn messages(peer: Arc<Peer>) -> impl Stream<Item = PeerMessage> {
    stream::unfold(peer, |peer| async move {
        let (message, bytes) = peer.outbox.take().await;
        peer.counters.sent_messages.inc();
        peer.counters
            .sent_bytes
            .inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        Some((message, peer))
    })
}

/// Ends once nothing has been taken for too long of what waits.
async fn stuck(peer: &Peer) {
    while peer.outbox.stands_still() < STALL {
        sleep(LOOK_EVERY).await;
    }
}

/// Owns the tasks of one connection.
struct Owner {
    tasks: TaskGroup,
    end: CancellationToken,
}

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Owner {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let end = self.end.clone();
        let until_end = async move {
            end.run_until_cancelled(task).await;
        };
        self.tasks.spawn_finite("peer connection", until_end);
    }
}
