//! What the log tells of itself.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Counts and distributions of one log's work.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How long writing and syncing a batch took.
    sync_seconds: Histogram,
    /// Payloads made durable by one sync: the group size.
    sync_payloads: Histogram,
    /// Bytes made durable by one sync, frames' heads included.
    sync_bytes: Histogram,
    /// Bytes of torn tail discarded when the log was opened.
    pub(super) cut_bytes: Counter,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        Metrics {
            // 50 us to 13 s: from a battery-backed cache to a disk about to be given up.
            sync_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, 19)),
            sync_payloads: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
            sync_bytes: Histogram::new(exponential_buckets(64.0, 4.0, 11)),
            cut_bytes: Counter::default(),
        }
    }

    /// Takes note of one sync.
    pub(super) fn observe(&self, took: Duration, payloads: usize, bytes: u64) {
        let sample = |count: Option<u32>| f64::from(count.unwrap_or(u32::MAX));
        self.sync_seconds.observe(took.as_secs_f64());
        self.sync_payloads.observe(sample(payloads.try_into().ok()));
        self.sync_bytes.observe(sample(bytes.try_into().ok()));
    }

    /// Registers everything under names that begin with `wal_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("wal");
        registry.register_with_unit(
            "sync",
            "Time to write and sync a batch",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        registry.register(
            "sync_payloads",
            "Payloads made durable by one sync",
            self.sync_payloads.clone(),
        );
        registry.register(
            "sync_bytes",
            "Bytes made durable by one sync",
            self.sync_bytes.clone(),
        );
        registry.register(
            "cut_bytes",
            "Bytes of torn tail discarded when the log was opened",
            self.cut_bytes.clone(),
        );
    }
}
