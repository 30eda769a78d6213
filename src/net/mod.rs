//! Wires between the members of a set: who calls whom, and what becomes of a message on its way.
//!
//! ```text
//!   Wires::send ── Outbox, bounded ── dial ══════ peer port ══════ Incoming ── inbox of the other member
//! ```
//! Each member dials every other and sends its own messages there; answers come back by the other's own dial. So a
//! message has one queue and one way, and what a member hears never depends on whom it could reach. A peer that calls is
//! called back at once.
//!
//! **Invariants.** [`Wires::send`] never waits. What waits for a peer is bounded in bytes, and in time once a connection
//! is there; what does not fit is dropped and counted, for whoever sent it asks again. A peer is [`Inbound::Gone`] only if
//! its established connection has ended and a new one was refused: silence is not the end of a process. Who a peer is
//! decides its incarnation, never its address, which is looked up at every connect.
//!
//! What members ask each other about their agreement goes by [`RaftLines`], a question and its answer at a time, and so do
//! the questions of a quorum read, by [`RowLines`].
//!
//! Nothing here knows what a message means; nothing is encrypted yet, and nobody is asked to prove who they are: both
//! belong into `dial::endpoint` and the peer port's listener.

mod backoff;
mod dial;
mod hello;
mod incoming;
mod lines;
mod metrics;
mod outbox;
mod raft;
mod rows;
mod snapshots;
mod wires;

pub use backoff::Waits;
pub use hello::{FORMATS, Hello, Me, Refusal};
pub use incoming::Incoming;
pub use lines::Lines;
pub use raft::{RAFT_MESSAGE_BYTES, RaftLines, Unreachable, join};
pub use rows::{RowLines, Unnamed};
pub use snapshots::{
    CHUNK_BYTES, CHUNKS_READY, CallError, Chunks, FILES_AT_ONCE, SNAPSHOT_BYTES, SnapshotPeer,
};
pub use wires::{Inbound, PeerStatus, STALL, Wires};

/// The greatest message: one record at least, however large, and what goes beside it.
pub const MESSAGE_BYTES: usize = 34 << 20;
/// Bytes of one stream that may be on their way: as many as a primary sends ahead of a member's reports.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of one connection: a stream that is not read leaves the others room.
pub const CONNECTION_WINDOW_BYTES: u32 = 9 << 20;
/// Connections that peers may have to one member, half of them from one address.
pub const CONNECTIONS: usize = 32;
/// Bytes of messages that peers may have in memory while they are decoded, half of them from one address.
pub const IN_FLIGHT_BYTES: u64 = 128 << 20;
