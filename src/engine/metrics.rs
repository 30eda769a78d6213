//! What the engine counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the applier. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Records applied.
    pub records: Counter,
    /// Rows that became what was written.
    pub rows_applied: Counter,
    /// Rows that lost against what was stored.
    pub rows_older: Counter,
    /// Batches committed to the store.
    pub commits: Counter,
    /// Flushes of the store.
    pub flushes: Counter,
    /// Rows that sweeps have looked at.
    pub rows_swept: Counter,
    /// Rows, and deletions of rows, that sweeps have taken away.
    pub rows_purged: Counter,
    /// Cells, and deletions, that sweeps have taken out of rows that stay.
    pub cells_purged: Counter,
    /// Markers whose digest was compared and found equal.
    pub markers_equal: Counter,
    /// Markers whose digest was compared and found different.
    pub markers_different: Counter,
    /// Markers that could not be compared, because the positions differ.
    pub markers_skipped: Counter,
    /// Bytes of WAL beyond what is to be retained, kept because they may be the only copy of some record.
    pub wal_unspread_bytes: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Names the counters.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter =
            |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter("applied_records", "Records applied", &self.records);
        counter(
            "applied_rows",
            "Rows that became what was written",
            &self.rows_applied,
        );
        counter(
            "conflicts_older_rows",
            "Rows that lost against a newer version stored",
            &self.rows_older,
        );
        counter(
            "store_commits",
            "Batches committed to the store",
            &self.commits,
        );
        counter("store_flushes", "Flushes of the store", &self.flushes);
        counter(
            "swept_rows",
            "Rows that sweeps have looked at",
            &self.rows_swept,
        );
        counter(
            "purged_rows",
            "Rows and tombstones that sweeps have taken away",
            &self.rows_purged,
        );
        counter(
            "purged_cells",
            "Cells and tombstones that sweeps have taken out of rows that stay",
            &self.cells_purged,
        );
        counter(
            "markers_equal",
            "Markers whose digest equals that of the rows here",
            &self.markers_equal,
        );
        counter(
            "markers_different",
            "Markers whose digest is not that of the rows here",
            &self.markers_different,
        );
        counter(
            "markers_skipped",
            "Markers not compared because positions differ",
            &self.markers_skipped,
        );
        registry.register(
            "wal_unspread_bytes",
            "Bytes of WAL beyond retain_bytes, kept because they may be the only copy of some record",
            self.wal_unspread_bytes.clone(),
        );
    }
}
