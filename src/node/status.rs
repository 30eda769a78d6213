//! What a node says of itself: health, the status document, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

use super::request::Health;
use super::{Node, Serving};
use crate::base::Hlc;
use crate::storage::{Sweep, view_of};

type UnsignedGauge = Gauge<u64, AtomicU64>;
type Labels = Vec<(&'static str, String)>;

/// Values that are looked up when somebody asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauges {
    positions: Family<Labels, UnsignedGauge>,
    memory: Family<Labels, UnsignedGauge>,
    memory_limit: Family<Labels, UnsignedGauge>,
    rows: Family<Labels, UnsignedGauge>,
    wal_bytes: UnsignedGauge,
    wal_segments: UnsignedGauge,
    disk_available: UnsignedGauge,
    epoch: UnsignedGauge,
    horizon_age: UnsignedGauge,
    swept_age: UnsignedGauge,
    sweeping: UnsignedGauge,
    writable: UnsignedGauge,
    quarantined: UnsignedGauge,
    unarchived: UnsignedGauge,
    archive_troubled: UnsignedGauge,
    backup_age: UnsignedGauge,
    backup_failed: UnsignedGauge,
    backup_verified: UnsignedGauge,
}

impl Gauges {
    pub fn register(registry: &mut Registry) -> Gauges {
        let gauges = Gauges::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What is running", build);
        registry.register(
            "wal_position_bytes",
            "Places in the local WAL: durable, applied, flushed",
            gauges.positions.clone(),
        );
        registry.register(
            "memory_bytes",
            "Memory in use, by what takes it",
            gauges.memory.clone(),
        );
        registry.register(
            "memory_limit_bytes",
            "The most memory that may be in use, by what takes it; the node takes no more than their sum",
            gauges.memory_limit.clone(),
        );
        registry.register(
            "view_rows",
            "Rows that hold features, by view",
            gauges.rows.clone(),
        );
        registry.register(
            "wal_bytes",
            "Bytes of WAL on disk",
            gauges.wal_bytes.clone(),
        );
        registry.register(
            "wal_segments",
            "Segments of WAL on disk",
            gauges.wal_segments.clone(),
        );
        registry.register(
            "disk_available_bytes",
            "Bytes left on the disk",
            gauges.disk_available.clone(),
        );
        registry.register("epoch", "The open epoch", gauges.epoch.clone());
        registry.register(
            "horizon_age_seconds",
            "How far the purge horizon lies behind",
            gauges.horizon_age.clone(),
        );
        registry.register(
            "swept_age_seconds",
            "How far the horizon lies behind to which all rows are swept",
            gauges.swept_age.clone(),
        );
        registry.register(
            "sweeping",
            "1 while rows are swept to a horizon",
            gauges.sweeping.clone(),
        );
        registry.register("writable", "1 if writes are taken", gauges.writable.clone());
        registry.register(
            "quarantined",
            "1 if the rows here are not those that the primary had at the same place",
            gauges.quarantined.clone(),
        );
        registry.register(
            "archive_unarchived_seconds",
            "How long ago the oldest record was written that is here and not archived",
            gauges.unarchived.clone(),
        );
        registry.register(
            "archive_troubled",
            "1 if archiving went wrong when it was last tried here",
            gauges.archive_troubled.clone(),
        );
        registry.register(
            "backup_age_seconds",
            "How long ago the last restore point was made in the set's bucket; 0 before the first",
            gauges.backup_age.clone(),
        );
        registry.register(
            "backup_failed",
            "1 if the last backup that the set ordered was not made",
            gauges.backup_failed.clone(),
        );
        registry.register(
            "backup_verified_timestamp_seconds",
            "When all restore points of the set were last found whole, since the Unix epoch; 0 if never",
            gauges.backup_verified.clone(),
        );
        gauges
    }
}

impl Node {
    /// How the node does.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.serving() {
            Ok(serving) => Health {
                started: true,
                replay: None,
                ready: serving.ready(),
            },
            Err(cause) => Health {
                started: false,
                replay: Some(self.replay()),
                ready: Err(cause.to_string()),
            },
        }
    }

    /// The status document.
    #[must_use]
    pub fn status(&self) -> Json {
        match self.serving() {
            Ok(serving) => serving.status(),
            Err(cause) => json!({
                "version": env!("CARGO_PKG_VERSION"),
                "role": "starting",
                "writable": false,
                "not_writable_because": cause.to_string(),
            }),
        }
    }

    /// Everything counted, in the OpenMetrics text format; nothing before the node serves.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.serving()
            .map_or_else(|_| String::new(), |serving| serving.metrics_text())
    }
}

impl Serving {
    /// Should clients come here?
    fn ready(&self) -> Result<(), String> {
        if let Some(mismatch) = self.engine.quarantined() {
            return Err(format!("quarantined: {mismatch}"));
        }
        self.check_writable().map_err(|cause| cause.to_string())
    }

    fn status(&self) -> Json {
        let (places, state) = (self.engine.places(), self.engine.state());
        let standing = self.member.standing();
        let role = if standing.serves.is_some() {
            "primary"
        } else {
            "member"
        };
        let named = |parts: &[(&str, u64)]| -> Json {
            let named = parts
                .iter()
                .map(|(part, bytes)| ((*part).to_owned(), (*bytes).into()));
            Json::Object(named.collect())
        };
        let wal = self.engine.wal().size();
        let ready = self.check_writable().map_err(|cause| cause.to_string());
        let catalogue = self.engine.catalogue();
        let views: Vec<Json> = catalogue
            .views()
            .map(|view| json!({"name": view.spec.name, "id": view.id.to_string(), "rows": self.row_count(view.id)}))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "role": role,
            "writable": ready.is_ok(),
            "not_writable_because": ready.err(),
            "lineage": self.identity.lineage,
            "region": self.identity.region,
            "incarnation": self.identity.incarnation,
            "boot": standing.boot,
            "epoch": standing.control.open_epoch(),
            "promise": standing.promise,
            "members": standing.control.open.as_ref().map_or(0, |open| open.members.len()),
            "window_ceiling": standing.control.ceiling.to_string(),
            "horizon": state.horizon.as_ref().map(|horizon| horizon.horizon.to_string()),
            "swept": (state.swept > Hlc::ZERO).then(|| state.swept.to_string()),
            "sweep": state.sweep.as_ref().map(|sweep| self.progress(sweep)),
            "digest": state.digest.to_string(),
            "quarantined_because": self.engine.quarantined().map(ToString::to_string),
            "positions": {
                "durable": places.durable.to_string(),
                "applied": places.applied.to_string(),
                "flushed": places.flushed.to_string(),
                "durable_lsn": places.durable_lsn,
                "applied_lsn": places.applied_lsn,
                "flushed_lsn": places.flushed_lsn,
            },
            "wal": {"bytes": wal.bytes, "segments": wal.segments},
            "memory_bytes": named(&self.memory_in_use()),
            "memory_limit_bytes": named(&self.memory_bound.parts()),
            "memory_bound_bytes": self.memory_bound.total(),
            "disk_available_bytes": self.disk_available.load(Ordering::Acquire),
            "views": views,
        })
    }

    /// How far a sweep has come: views are swept one after the other.
    fn progress(&self, sweep: &Sweep) -> Json {
        let view = view_of(&sweep.next);
        let name = self
            .engine
            .catalogue()
            .by_id(view)
            .map(|view| view.spec.name.clone());
        json!({"horizon": sweep.horizon.to_string(), "view": name.unwrap_or_else(|| view.to_string())})
    }

    /// Bytes by what takes them, as far as it is counted.
    fn memory_in_use(&self) -> [(&'static str, u64); 5] {
        let (row_cache, block_cache, memtables) = self.engine.memory_bytes();
        [
            ("row_cache", row_cache),
            (
                "block_cache",
                u64::try_from(block_cache).unwrap_or(u64::MAX),
            ),
            ("memtables", memtables),
            ("reads", self.budgets.reads.used()),
            ("writes", self.budgets.writes.used()),
        ]
    }

    fn metrics_text(&self) -> String {
        self.refresh_gauges();
        let mut text = String::new();
        // Writing to a text does not fail.
        let _written = encode(&mut text, &self.registry);
        text
    }

    fn refresh_gauges(&self) {
        let gauges = &self.gauges;
        let label = |name: &'static str, value: &str| vec![(name, value.to_owned())];
        let places = self.engine.places();
        for (place, lsn) in [
            ("durable", places.durable_lsn),
            ("applied", places.applied_lsn),
            ("flushed", places.flushed_lsn),
        ] {
            gauges
                .positions
                .get_or_create(&label("place", place))
                .set(lsn.0);
        }
        for (part, bytes) in self.memory_in_use() {
            gauges.memory.get_or_create(&label("part", part)).set(bytes);
        }
        for (part, bytes) in self.memory_bound.parts() {
            let limit = gauges.memory_limit.get_or_create(&label("part", part));
            limit.set(bytes);
        }
        gauges.rows.clear();
        for view in self.engine.catalogue().views() {
            gauges
                .rows
                .get_or_create(&label("view", &view.spec.name))
                .set(self.row_count(view.id));
        }
        let wal = self.engine.wal().size();
        gauges.wal_bytes.set(wal.bytes);
        gauges.wal_segments.set(wal.segments);
        gauges
            .disk_available
            .set(self.disk_available.load(Ordering::Acquire));
        let state = self.engine.state();
        let age = |at: Hlc| self.clock.wall_millis().saturating_sub(at.millis()) / 1_000;
        if let Some(agreed) = &state.horizon {
            gauges.horizon_age.set(age(agreed.horizon));
            gauges.swept_age.set(age(state.swept));
        }
        gauges.sweeping.set(u64::from(state.sweep.is_some()));
        gauges
            .epoch
            .set(self.member.standing().control.open_epoch().0);
        gauges
            .writable
            .set(u64::from(self.check_writable().is_ok()));
        let unarchived = self.archiving.unarchived_for(self.clock.wall_millis());
        gauges.unarchived.set(unarchived.as_secs());
        gauges
            .archive_troubled
            .set(u64::from(self.archiving.is_troubled()));
        let control = Arc::clone(&self.member.standing().control);
        let made = control.backups.made.as_ref().map(|made| made.at);
        let age = made.map_or(0, |at| self.clock.wall_millis().saturating_sub(at));
        gauges.backup_age.set(age / 1_000);
        gauges
            .backup_failed
            .set(u64::from(control.backups.failed.is_some()));
        let whole_at = control.backups.whole_at.unwrap_or(0);
        gauges.backup_verified.set(whole_at / 1_000);
        gauges
            .quarantined
            .set(u64::from(self.engine.quarantined().is_some()));
    }
}
