//! Replicas that write at once and exchange their logs in any order: equal version vectors mean equal rows and equal
//! digests (I22), and what is deleted where it was seen stays deleted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use steadfast::base::codec::DecodeError;
use steadfast::base::{Epoch, Hlc, LogId, Micros, RegionId, Seq, Stamp, VersionVector};
use steadfast::model::batch::Moment;
use steadfast::model::cells::put_cell;
use steadfast::model::row::{Merged, RowRef, merge_write};
use steadfast::model::view_file::parse_view;
use steadfast::model::{
    Batch, Body, Change, Digest, EntityKey, FeatureId, KeyValue, Record, RowChange, Scalar, Value,
    ValueType, View, ViewId, ViewRows,
};

const BOUND: Duration = Duration::from_millis(4);

/// One view of each mode and order.
fn views() -> Vec<Arc<View>> {
    let modes = [
        ("row", "event_time"),
        ("cell", "event_time"),
        ("row", "arrival"),
        ("cell", "arrival"),
    ];
    let view = |(merge, order): (&str, &str)| {
        let text = format!(
            r#"
            name = "v"
            entity = [{{ name = "id", type = "int64" }}]
            merge = "{merge}"
            order = "{order}"
            feature = [{{ name = "f", type = "int64" }}]
            "#
        );
        Arc::new(View::new(parse_view(&text).unwrap(), 0))
    };
    modes.into_iter().map(view).collect()
}

/// A store and the log that is written there.
#[derive(Debug, Clone, Default)]
struct Replica {
    rows: BTreeMap<(ViewId, EntityKey), Vec<u8>>,
    digest: Digest,
    applied: VersionVector,
    newest: Hlc,
}

fn log(replica: usize) -> LogId {
    LogId {
        region: RegionId(u64::try_from(replica).unwrap()),
        epoch: Epoch(1),
    }
}

fn element(row: &(ViewId, EntityKey), bytes: &[u8]) -> Digest {
    let mut store_key = row.0.0.to_be_bytes().to_vec();
    store_key.extend_from_slice(row.1.as_bytes());
    Digest::of_row(&store_key, bytes)
}

impl Replica {
    /// Applies a record, in the order of its log; one already applied changes nothing.
    fn apply(&mut self, record: &[u8]) {
        let record = Record::decode(record).unwrap();
        let Body::Rows(rows) = record.body else {
            panic!("only rows are written here");
        };
        for group in &rows.groups {
            for write in &group.rows {
                let at = (group.view, write.key.clone());
                let held = self.rows.get(&at);
                let write = group.write(write, record.stamp);
                if let Merged::Applied(bytes) =
                    merge_write(held.map(Vec::as_slice), &write).unwrap()
                {
                    let old = held.map(|held| element(&at, held));
                    self.digest = old.map_or(self.digest, |old| self.digest.minus(old));
                    self.digest = self.digest.plus(element(&at, &bytes));
                    self.rows.insert(at, bytes);
                }
            }
        }
        self.applied.advance(record.stamp.log(), record.stamp.seq);
        self.newest = self.newest.max(record.stamp.hlc);
    }

    /// Decides a batch at this replica's clock and makes its record.
    fn write(&self, log: LogId, clock: u64, batch: Batch) -> Record {
        // M2: above everything applied here, whoever wrote it.
        let hlc = Hlc::from_millis(clock).max(self.newest.next());
        let moment = Moment {
            at: hlc.micros(),
            bound_ahead: BOUND,
        };
        let stored = |view: ViewId, key: &EntityKey| {
            let held = self.rows.get(&(view, key.clone()));
            let row = held
                .map(|bytes| steadfast::model::Row::decode(bytes))
                .transpose()?;
            Ok::<_, DecodeError>(row.and_then(|row| row.max_event_time()))
        };
        let rows = batch.decide(moment, stored).unwrap();
        let seq = self.applied.last(log).unwrap().next();
        Record {
            stamp: Stamp {
                hlc,
                region: log.region,
                epoch: log.epoch,
                seq,
            },
            chain_before: Digest::EMPTY,
            request: None,
            body: Body::Rows(rows.unwrap_or_default()),
        }
    }

    fn digest_of_rows(&self) -> Digest {
        self.rows.iter().fold(Digest::EMPTY, |sum, (at, bytes)| {
            sum.plus(element(at, bytes))
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A replica writes one row of each view.
    Write {
        at: usize,
        clock: u64,
        id: i64,
        ahead: Option<i64>,
        features: Option<u8>,
    },
    /// A replica applies the next records of another's log.
    Pull {
        at: usize,
        from: usize,
        records: usize,
    },
    /// A replica falls back to what it was some steps ago, as after a crash before a flush.
    FallBack { at: usize, to: Index },
}

const REPLICAS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (
        0..REPLICAS,
        1..9u64,
        0..2i64,
        proptest::option::of(-3..=3i64),
        proptest::option::weighted(0.7, 1..8u8),
    )
        .prop_map(|(at, clock, id, ahead, features)| Step::Write {
            at,
            clock,
            id,
            ahead,
            features,
        });
    let pull = (0..REPLICAS, 0..REPLICAS, 1..3usize).prop_map(|(at, from, records)| Step::Pull {
        at,
        from,
        records,
    });
    let fall_back = (0..REPLICAS, any::<Index>()).prop_map(|(at, to)| Step::FallBack { at, to });
    proptest::collection::vec(prop_oneof![4 => write, 4 => pull, 1 => fall_back], 1..40)
}

/// The replicas, the logs as they were written, and what each replica has been.
struct Cluster {
    replicas: Vec<Replica>,
    logs: Vec<Vec<Vec<u8>>>,
    flushed: Vec<Vec<Replica>>,
    values: i64,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster {
            replicas: vec![Replica::default(); REPLICAS],
            logs: vec![Vec::new(); REPLICAS],
            flushed: vec![vec![Replica::default()]; REPLICAS],
            values: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write {
                at,
                clock,
                id,
                ahead,
                features,
            } => {
                // Everything of the own log is applied before the next record of it is decided.
                self.pull(at, at, usize::MAX);
                self.values += 1;
                let rows = batch(
                    id,
                    ahead.map(|ahead| ahead + i64::try_from(clock).unwrap()),
                    features,
                    self.values,
                );
                let record = self.replicas[at].write(log(at), clock, rows);
                let encoded = record.encode();
                self.replicas[at].apply(&encoded);
                self.logs[at].push(encoded);
                if features.is_none() && ahead.is_none() {
                    self.assert_deleted(at, id);
                }
            }
            Step::Pull { at, from, records } => self.pull(at, from, records),
            Step::FallBack { at, to } => self.replicas[at] = to.get(&self.flushed[at]).clone(),
        }
        for (replica, flushed) in self.replicas.iter().zip(&mut self.flushed) {
            flushed.push(replica.clone());
        }
    }

    fn pull(&mut self, at: usize, from: usize, records: usize) {
        let held = self.replicas[at]
            .applied
            .last(log(from))
            .unwrap_or(Seq::NONE);
        // Starting one record early shows that applying twice does no harm.
        let start = usize::try_from(held.0).unwrap();
        let missing = self.logs[from].iter().skip(start.saturating_sub(1));
        for record in missing.take(records.saturating_add(1)) {
            self.replicas[at].apply(record);
        }
    }

    /// A delete that leaves its event time to the writer hides all that the writer had applied.
    fn assert_deleted(&self, at: usize, id: i64) {
        let key = EntityKey::encode(&[KeyValue::Int64(id)]);
        for view in views() {
            let row = &self.replicas[at].rows[&(view.id, key.clone())];
            assert!(!RowRef::parse(row).unwrap().is_live(), "{view:?}");
        }
    }

    fn assert_converged(&self) {
        for (at, one) in self.replicas.iter().enumerate() {
            assert_eq!(one.digest, one.digest_of_rows());
            for other in &self.replicas[..at] {
                if one.applied == other.applied {
                    assert_eq!(one.rows, other.rows);
                    assert_eq!(one.digest, other.digest);
                }
            }
        }
    }
}

/// The same change in each view; event times in milliseconds.
fn batch(id: i64, event_time: Option<i64>, features: Option<u8>, value: i64) -> Batch {
    let row = RowChange {
        key: EntityKey::encode(&[KeyValue::Int64(id)]),
        event_time: event_time.map(|millis| Micros(millis * 1000)),
        change: features.map_or(Change::Delete, |features| {
            Change::Put(cells(features, value))
        }),
    };
    let group = |view| ViewRows {
        view,
        rows: vec![row.clone()],
    };
    Batch {
        groups: views().into_iter().map(group).collect(),
        is_override: false,
    }
}

fn cells(features: u8, value: i64) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..3).filter(|at| features & (1 << at) != 0) {
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(&mut out, FeatureId(feature), int64, &Value::Int64(value));
    }
    out.into()
}

proptest! {
    #[test]
    fn equal_version_vectors_mean_equal_rows_and_digests(steps in steps()) {
        let mut cluster = Cluster::new();
        for step in steps {
            cluster.step(step);
            cluster.assert_converged();
        }
        for at in 0..REPLICAS {
            for from in (0..REPLICAS).map(|from| (from + at) % REPLICAS) {
                cluster.pull(at, from, usize::MAX);
            }
        }
        cluster.assert_converged();
        prop_assert!(cluster.replicas.iter().all(|replica| replica.applied == cluster.replicas[0].applied));
    }
}
