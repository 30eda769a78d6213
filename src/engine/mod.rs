//! The local node without a cluster: a WAL, a store, and the one applier between them.
//!
//! ```text
//!  LogWriter ── append ──► WAL ── durable ──► applier ── one batch ──► store, row cache, state
//!      │  (stamp, chain)                       ▲  merges, counts, digests            │
//!      └────────────── record ─────────────────┘                 flush ──► WAL segments released
//! ```
//!
//! **Invariants.**
//! - Truth is the store up to its flushed position plus the WAL after it. A record is durable in the WAL before it is
//!   applied, and applied in the order it was appended.
//! - I3: the rows are exactly the merge of unbroken prefixes of the logs; a record that does not follow is a fork and
//!   stops the applier.
//! - I5: rows, applied version vector and digests change in one batch; a segment goes only below the flushed position, and
//!   only if no record in it may be on no other disk.
//! - A store is replaced by another member's wholly or not at all, and the WAL then begins at its place.
//! - I20: after a failure of WAL or store nothing more is acknowledged; reading goes on.
//! - I22: a marker whose position equals the store's has an equal digest; if not, that is told, and applying goes on.
//! - P3, P4: rows are swept to a horizon only while everything below it is applied; then what may go there is left out
//!   of every write, so that sweeping can be told from reads at no time.
//!
//! It does not know epochs' windows, commit levels or peers; `node` and `control` do.

mod applier;
mod cache;
mod checkpoint;
mod comparison;
mod durable;
mod error;
mod log_index;
mod log_writer;
mod metrics;
mod options;
mod records;
mod recovered;
mod refound;
mod replay;
mod reseed;
mod retention;
mod service;
mod sweeper;
mod tail;
#[cfg(test)]
mod testing;
mod worker;

pub use applier::{Fate, Outcome};
pub use cache::KeyedRow;
pub use checkpoint::Checkpoint;
pub use comparison::{LISTED_BYTES, Span, SpanSeen};
pub use error::{DigestMismatch, Error};
pub use log_writer::LogWriter;
pub use metrics::Metrics;
pub use options::Options;
pub use recovered::Recovered;
pub use replay::ReplayProgress;
pub use reseed::{incoming_dir, reseed, store_dir, wal_dir};
pub use retention::Need;
pub use service::{Engine, Places};
