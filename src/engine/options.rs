//! How the engine uses memory and when it makes the store's state survive a crash.

use serde::{Deserialize, Serialize};

/// Settings of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Bytes of rows, with their keys, kept in memory as they are stored. The hot set should fit.
    pub row_cache_bytes: u64,
    /// Bytes of WAL beyond the flushed position after which the store is flushed. Bounds the WAL on disk and the time
    /// that a restart takes to replay it.
    pub flush_after_wal_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            row_cache_bytes: 256 << 20,
            flush_after_wal_bytes: 256 << 20,
        }
    }
}
