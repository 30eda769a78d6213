//! Connections: how many may be open, and which are closed because nobody is at the other end, or somebody slow.
//!
//! **Invariants.** A connection has a place as long as it is open, and one client has half of all places at the most. One
//! that is silent, does not begin to speak HTTP/2, or leaves an answer untaken for longer than the stall limit is closed,
//! and with it goes everything that was kept for it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

use super::metrics::Metrics;
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{Account, Budget, Held};
use crate::node::Budgets;

/// What an HTTP/2 client says first.
const PREFACE_BYTES: usize = 24;
/// How often in the stall limit a connection is looked at.
const LOOKS: u32 = 4;

/// Lets connections in, as many as there are places.
#[derive(Clone)]
pub(super) struct Gate {
    places: Budget,
    budgets: Budgets,
    stall: Duration,
    /// No connection is older than this, if there is a limit.
    lifetime: Option<Duration>,
    metrics: Metrics,
}

/// Who sends requests over a connection: the memory they may take and the answers that were not taken yet. It is found
/// in the extensions of each request.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub address: IpAddr,
    pub reads: Account,
    pub writes: Account,
    pub answers: Arc<Answers>,
}

/// When the answers were ready that the client has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    next: AtomicU64,
    ready: Mutex<BTreeMap<u64, Instant>>,
}

/// An answer, or a part of one, in memory until the client takes it.
#[derive(Debug)]
pub(super) struct Waiting {
    answers: Arc<Answers>,
    id: u64,
    _memory: Held,
}

/// An open connection.
pub(super) struct Connection {
    io: TcpStream,
    client: Client,
    opened: Instant,
    heard: Instant,
    heard_bytes: usize,
    stall: Duration,
    lifetime: Option<Duration>,
    look: BoxFuture<'static, ()>,
    _place: Held,
}

impl Gate {
    pub fn new(places: usize, stall: Duration, budgets: Budgets, metrics: Metrics) -> Gate {
        Gate {
            places: Budget::new(u64::try_from(places).unwrap_or(u64::MAX)),
            budgets,
            stall,
            lifetime: None,
            metrics,
        }
    }

    /// The same, for connections that do not answer pings and so may not last.
    pub fn with_lifetime(self, lifetime: Duration) -> Gate {
        Gate {
            lifetime: Some(lifetime),
            ..self
        }
    }

    /// After how long a connection counts as stalled.
    pub fn stall(&self) -> Duration {
        self.stall
    }

    /// The connection, if there is a place for it.
    pub fn admit(&self, io: TcpStream) -> Option<Connection> {
        let client = io.peer_addr().ok()?.ip();
        let mut place = self.places.account(client).hold();
        if place.grow(1).is_err() {
            self.metrics.refused_connections.inc();
            return None;
        }
        let now = now_monotonic();
        Some(Connection {
            io,
            client: Client {
                address: client,
                reads: self.budgets.reads.account(client),
                writes: self.budgets.writes.account(client),
                answers: Arc::default(),
            },
            opened: now,
            heard: now,
            heard_bytes: 0,
            stall: self.stall,
            lifetime: self.lifetime,
            look: Box::pin(sleep(self.stall / LOOKS)),
            _place: place,
        })
    }
}

impl Answers {
    /// Notes an answer that is ready now and takes this memory.
    pub fn wait(self: &Arc<Self>, memory: Held) -> Waiting {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, now_monotonic());
        Waiting {
            answers: Arc::clone(self),
            id,
            _memory: memory,
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.lock().values().next().copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.id);
    }
}

impl Connection {
    /// Looks from time to time whether somebody is there. To be called whenever nothing can be read or written.
    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            self.look = Box::pin(sleep(self.stall / LOOKS));
            if let Some(fault) = self.fault() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, fault));
            }
        }
        Ok(())
    }

    fn fault(&self) -> Option<&'static str> {
        let stalled = |since: Instant| since.elapsed() > self.stall;
        if stalled(self.heard) {
            return Some("the client says nothing");
        }
        if self.heard_bytes < PREFACE_BYTES && stalled(self.opened) {
            return Some("the client does not begin to speak");
        }
        if self.client.answers.oldest().is_some_and(stalled) {
            return Some("the client does not take its answers");
        }
        let old = |limit| self.opened.elapsed() > limit;
        self.lifetime
            .is_some_and(old)
            .then_some("the connection is too old")
    }

    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_pending() {
            self.look(context)?;
        }
        outcome
    }
}

impl Connected for Connection {
    type ConnectInfo = Client;

    fn connect_info(&self) -> Client {
        self.client.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            self.heard = now_monotonic();
            self.heard_bytes = self.heard_bytes.saturating_add(bytes);
        }
        self.unless_stalled(context, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// A listener that lets in as many as there are places.
pub(super) struct GatedListener {
    pub listener: TcpListener,
    pub gate: Gate,
}

impl axum::serve::Listener for GatedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (io, address) = axum::serve::Listener::accept(&mut self.listener).await;
            if let Some(connection) = self.gate.admit(io) {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
