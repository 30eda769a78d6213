//! What every other module stands on: identities and positions, levels, hybrid logical time, clocks, checked decoding,
//! durable file operations, watermarks, budgets of memory, paces and owned tasks.
//!
//! **Invariants.** Positions of different kinds never convert into each other. Only [`clock`] reads a clock, only
//! [`disk`] renames files. Nothing here knows of features, records or peers.

pub mod budget;
pub mod clock;
pub mod codec;
pub mod disk;
pub mod explain;
pub mod hlc;
pub mod ids;
pub mod level;
pub mod pace;
pub mod packed;
pub mod rule;
pub mod sealed;
pub mod task;
pub mod vv;
pub mod watermark;

pub use budget::{Account, Budget, Held};
pub use clock::{Clock, Micros};
pub use explain::explained;
pub use hlc::{Hlc, Stamp};
pub use ids::{
    BootNumber, BootToken, Epoch, IncarnationId, LineageId, LogId, Lsn, NodeNumber, RegionId, Seq,
    SnapshotId,
};
pub use level::{CommitLevel, ReadLevel, UnknownLevel};
pub use pace::Pace;
pub use packed::PackedBytes;
pub use task::TaskGroup;
pub use vv::{AppliedVv, DurableVv, FlushedVv, Missing, VersionVector};
pub use watermark::Watermark;
