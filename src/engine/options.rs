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
    /// Rows that a sweep looks at in a second, so that it takes a few percent of one core and of the disk: 20,000 rows
    /// are some 10 ms of work, and ten million rows take nine minutes.
    pub sweep_rows_per_second: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            row_cache_bytes: 256 << 20,
            flush_after_wal_bytes: 256 << 20,
            sweep_rows_per_second: 20_000,
        }
    }
}
