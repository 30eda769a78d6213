//! The write-ahead log: what was appended and reported durable is there after any crash, in the same order, byte for byte.
//!
//! ```text
//!   append ──► queue ──► writer thread ──► segment file       read_from ──► Reader
//!              (bounded)  take all, write,   │                                ▲
//!                         sync once, advance │   everything below durable ────┘
//!                                            ▼
//!            0000000000000000.wal   0000000004000031.wal   0000000007fffff2.wal   spare.tmp
//!            head, frames │ sealed  head, frames │ sealed  head, frames ▏free     reserved
//!            ▲ first                                                    ▲ durable = end when idle
//! ```
//!
//! A place (`Lsn`) counts the bytes of all frames since the beginning, heads of segments left out; each segment is named
//! by the place of its first frame. The layouts stand in `segment.rs` and `frame.rs`.
//!
//! **Torn or damaged?** Pages that were not synced reach the disk in any order. So each frame carries up to where the log
//! was known to be synced when it was written, and a segment gets its name only once everything before it is. Invalid
//! bytes below the highest such mark are damage: an error that names file and place, never a cut. Above it they are a
//! torn tail, cut at the first invalid frame, later valid ones included. When nothing comes for a while, a frame without
//! payload marks the last batch.
//!
//! **Recovery** copies the valid part of the last segment to a new file with a new segment id, and syncs it, before it
//! reports anything. Frames are sealed with lineage, segment id and place: none passes anywhere else. What the caller
//! knows to be durable counts as a mark too: it shows the loss of a tail that took its marks along.
//!
//! **Invariants.** A place is reported durable only after a sync that covered everything below it. After the first
//! failed write, sync, create, rename or remove nothing is written or synced again until the log is opened anew;
//! everyone who waits gets the cause. A sync is never tried a second time. A segment is removed only as a whole and
//! oldest first.
//!
//! What it does not do: it does not know what a payload means, when a segment may go ([`Wal::release_below`] is told),
//! or how to refill what is damaged. Sealed segments are verified when they are read, not when the log is opened;
//! [`Survey`] reads all of them and changes nothing.

mod error;
mod frame;
mod log;
mod metrics;
mod queue;
mod reader;
mod recovery;
mod segment;
mod segments;
mod survey;
mod tail;
mod writer;

use serde::{Deserialize, Serialize};

pub use error::{Error, IoFailure, Poisoned};
pub use frame::frame_bytes;
pub use log::Log;
pub use metrics::Metrics;
pub use reader::{Entry, Reader};
pub use recovery::Recovery;
pub use survey::{Frame, Segment, Survey};
pub use writer::{Opened, Size, Wal};

/// The longest payload. It bounds what is allocated for a frame whose length is damaged, and lies far above the largest
/// batch that the edges let in.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// How the log uses the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Size of a segment file, the unit in which space is reserved and released. 64 MiB: a few seconds of full load.
    pub segment_bytes: u64,
    /// Bytes of log kept for other members of the set that have not taken it yet. One that lags by more needs a snapshot.
    /// 1 GiB: a few minutes of full load.
    pub retain_bytes: u64,
    /// How long the disk may take for one batch before the process gives itself up, in milliseconds. 10 s: longer than
    /// a busy disk, shorter than a dead one.
    pub stall_limit_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 << 20,
            retain_bytes: 1 << 30,
            stall_limit_ms: 10_000,
        }
    }
}
