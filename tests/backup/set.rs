//! A set as a bucket knows it: a store that grows, restore points of it, and an archive of what is written.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rand::Rng as _;
use steadfast::backup::bucket::{Bucket, Listed};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::records;
use steadfast::backup::repository::Repository;
use steadfast::backup::stretch::Stretch;
use steadfast::backup::take::{How, Progress, Source, take};
use steadfast::base::disk::RealDisk;
use steadfast::base::{
    Epoch, Hlc, IncarnationId, LineageId, LogId, Micros, NodeNumber, RegionId, Seq, Stamp,
    VersionVector,
};
use steadfast::control::{ControlState, LogState, OpenConfig};
use steadfast::engine::{Engine, Options, Recovered, ReplayProgress};
use steadfast::model::record::{RowGroup, RowWrite, Rows};
use steadfast::model::{
    Body, Digest, EntityKey, KeyValue, Logged, MergeMode, Order, Record, ViewId,
};
use steadfast::{storage, wal};
use tempfile::TempDir;

const REGION: RegionId = RegionId(5);
const EPOCH: Epoch = Epoch(3);
const HOUR_MILLIS: u64 = 3_600_000;
/// When the first restore point was begun.
const BEGUN_MILLIS: u64 = 1_795_000_000_000;

pub struct Set {
    pub repository: Repository,
    pub lineage: LineageId,
    engine: Engine,
    dir: TempDir,
    /// Of the last record.
    stamp: Stamp,
    chain: Digest,
    /// Not archived yet.
    written: Vec<Logged>,
    backups: u64,
}

impl Set {
    pub async fn new(bucket: Bucket) -> Set {
        let dir = tempfile::tempdir().unwrap();
        let lineage = LineageId(rand::random());
        let disk = Arc::new(RealDisk);
        let (wal, store) = (wal::Options::default(), storage::Options::default());
        let options = Options::default();
        let recovered = Recovered::open(disk, dir.path(), lineage, &options, wal, &store);
        let mut recovered = recovered.unwrap();
        recovered.replay(&ReplayProgress::default()).unwrap();
        let repository = Repository::new(bucket);
        let since = Hlc::from_millis(BEGUN_MILLIS);
        let stretch = Stretch {
            since,
            epoch: EPOCH,
            base: VersionVector::new(),
            unfinished: [log()].into(),
        };
        repository.put_stretch(lineage, &stretch).await.unwrap();
        Set {
            repository,
            lineage,
            engine: recovered.start().unwrap(),
            dir,
            stamp: Stamp {
                hlc: since,
                region: REGION,
                epoch: EPOCH,
                seq: Seq::NONE,
            },
            chain: Digest::EMPTY,
            written: Vec::new(),
            backups: 0,
        }
    }

    /// Writes rows of random entities.
    pub async fn write(&mut self, records: usize) {
        for _ in 0..records {
            self.stamp.hlc.0 += rand::rng().random_range(1..1_000_000);
            self.stamp.seq = self.stamp.seq.next();
            let record = Logged::new(Record {
                stamp: self.stamp,
                chain_before: self.chain,
                request: None,
                body: rows(),
            });
            self.chain = record.chain_after;
            self.written.push(record.clone());
            let end = self.engine.append(record, None).unwrap();
            self.engine.applied().reached(end).await.unwrap();
        }
    }

    /// Archives what is not archived yet, in objects of a few records.
    pub async fn archive(&mut self) {
        while !self.written.is_empty() {
            let some = rand::rng().random_range(1..=self.written.len().min(4));
            let some: Vec<Logged> = self.written.drain(..some).collect();
            let (segment, object) = records::encode(self.lineage, &some);
            let put = self.repository.put_records(self.lineage, segment, object);
            put.await.unwrap();
        }
    }

    /// Makes a restore point, an hour later than the last one by its name.
    pub async fn back_up(&mut self, full: bool) -> Manifest {
        let checkpoint = self.dir.path().join("checkpoint");
        let made = self.engine.checkpoint(checkpoint, |_| Vec::new());
        let mut control = ControlState::new(self.lineage, REGION, IncarnationId(2));
        control.logs.insert(EPOCH, LogState::Active);
        control.open = Some(OpenConfig {
            epoch: EPOCH,
            members: BTreeSet::new(),
        });
        let source = Source {
            checkpoint: made.unwrap(),
            control,
            member: NodeNumber::FIRST,
        };
        let how = How {
            full,
            now_millis: BEGUN_MILLIS + self.backups * HOUR_MILLIS,
            random: rand::random(),
        };
        self.backups += 1;
        let taken = take(&self.repository, &source, how, &Progress::default()).await;
        taken.unwrap()
    }

    /// Some restore points in two generations, with records before, between and behind them, all archived.
    pub async fn with_history(bucket: Bucket) -> (Set, Vec<Manifest>) {
        let mut set = Set::new(bucket).await;
        let mut made = Vec::new();
        for round in 0..4 {
            set.write(rand::rng().random_range(5..15)).await;
            set.archive().await;
            made.push(set.back_up(round == 2).await);
        }
        set.write(5).await;
        set.archive().await;
        (set, made)
    }

    /// The time by the bucket's clock, so many hours from now.
    pub async fn in_hours(&self, hours: i64) -> Micros {
        let now = self.repository.now(self.lineage).await.unwrap();
        Micros(now.0 + hours * 3_600_000_000)
    }

    pub async fn names(&self) -> BTreeSet<String> {
        names(self.repository.bucket()).await
    }
}

fn log() -> LogId {
    LogId {
        region: REGION,
        epoch: EPOCH,
    }
}

fn rows() -> Body {
    let mut random = rand::rng();
    let rows = (0..20).map(|_| RowWrite {
        key: EntityKey::encode([&KeyValue::Int64(random.random())]),
        event_time: Micros(random.random_range(0..1_000_000)),
        cells: None,
    });
    let group = RowGroup {
        view: ViewId(77),
        merge: MergeMode::Row,
        order: Order::EventTime,
        rows: rows.collect(),
    };
    Body::Rows(Rows {
        older: 0,
        folded: 0,
        groups: vec![group],
    })
}

/// The names of all that is in a bucket.
pub async fn names(bucket: &Bucket) -> BTreeSet<String> {
    let (mut listing, mut names) = (bucket.list(None, None), BTreeSet::new());
    while let Some(entry) = listing.next().await.unwrap() {
        names.insert(match entry {
            Listed::Object { name, .. } => name.to_string(),
            Listed::Foreign { key, .. } => key,
        });
    }
    names
}

/// Every file below a directory.
pub fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
