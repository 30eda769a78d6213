//! RocksDB alone: rows of the same size put with synced write batches. RocksDB commits those of all writers that wait
//! together, as the node's log does.
//!
//! It neither reads nor merges what is stored, keeps no digests and speaks no protocol: the bound of what a node on
//! RocksDB could take in.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rocksdb::{DB, WriteBatch, WriteOptions};

use super::super::error::CliError;
use super::closed_loop::Meter;
use super::generator::Span;
use super::measured::Measured;
use super::workload::{Requests, Shape, entity, view_file};
use crate::base::{Epoch, RegionId, Stamp};
use crate::base::{Hlc, Micros, Seq, task};
use crate::model::cells::put_cell;
use crate::model::row::Write;
use crate::model::view_file::parse_view;
use crate::model::{Value, Version, View};

/// Entities that are loaded with one batch.
const LOAD_BATCH: usize = 1_000;
/// Different rows, so that they do not compress better than the node's.
const ROWS: usize = 1_000;
/// The memtable that a node has by default.
const MEMTABLE_BYTES: usize = 64 << 20;

/// A database with all entities of a shape.
#[derive(Debug)]
pub struct Bare {
    db: Arc<DB>,
    shape: Shape,
    rows: Arc<Vec<Vec<u8>>>,
}

impl Bare {
    /// Makes and loads a database in `directory`.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn load(directory: &Path, shape: Shape) -> Result<Bare, CliError> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_max_background_jobs(2);
        let bare = Bare {
            db: Arc::new(DB::open(&options, directory).map_err(failed)?),
            shape,
            rows: Arc::new(rows(shape)?),
        };
        let mut rng = SmallRng::seed_from_u64(0);
        let mut ranks = 0..shape.entities;
        loop {
            let entities: Vec<_> = ranks.by_ref().take(LOAD_BATCH).map(entity).collect();
            if entities.is_empty() {
                bare.db.flush().map_err(failed)?;
                return Ok(bare);
            }
            let batch = batch(&entities, &bare.rows, &mut rng);
            bare.db.write(batch).map_err(failed)?;
        }
    }

    /// Writes with so many threads, each with one batch under way.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn ingest(&self, writers: u64, span: Span) -> Result<Measured, CliError> {
        let meter = Meter::start(span);
        let start = |seed| {
            let (db, rows, meter) = (Arc::clone(&self.db), Arc::clone(&self.rows), meter.clone());
            let requests = Requests::new(self.shape, seed);
            task::thread("bare writer", move || {
                write(&db, &rows, requests, seed, meter)
            })
        };
        let seeds = 0..writers;
        let threads: Result<Vec<_>, _> = seeds.map(start).collect();
        let threads = threads.map_err(|error| CliError::failed("NO_THREAD", error.to_string()))?;
        let mut all = meter.finish();
        for thread in threads {
            let measured = thread
                .join()
                .map_err(|_| CliError::failed("BARE_FAILED", "a writer panicked"))?;
            all.add(&measured?);
        }
        Ok(all)
    }
}

fn write(
    db: &DB,
    rows: &[Vec<u8>],
    mut requests: Requests,
    seed: u64,
    mut meter: Meter,
) -> Result<Measured, CliError> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    while let Some(begun) = meter.begin() {
        let batch = batch(&requests.entities(), rows, &mut rng);
        db.write_opt(batch, &options).map_err(failed)?;
        meter.end(begun);
    }
    Ok(meter.finish())
}

/// A batch that puts some row for each entity, under a key as long as the node's.
fn batch(entities: &[i64], rows: &[Vec<u8>], rng: &mut SmallRng) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let mut key = [0; 16];
    for entity in entities {
        let (_view, part) = key.split_at_mut(8);
        part.copy_from_slice(&entity.to_be_bytes());
        let row = rows.get(rng.random_range(0..rows.len()));
        batch.put(key, row.map_or(&[][..], Vec::as_slice));
    }
    batch
}

/// Rows as a node stores them.
fn rows(shape: Shape) -> Result<Vec<Vec<u8>>, CliError> {
    let bad = |error: &dyn std::fmt::Display| CliError::wrong("BAD_VIEW", error.to_string());
    let spec = parse_view(&view_file(0, shape.features)).map_err(|error| bad(&error))?;
    let view = View::new(spec, 0);
    let mut features: Vec<_> = view.spec.features.iter().collect();
    features.sort_by_key(|feature| feature.id);
    let version = Version {
        event_time: Micros(0),
        stamp: Stamp {
            hlc: Hlc(1),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(1),
        },
    };
    let mut rng = SmallRng::seed_from_u64(0);
    let mut row = || {
        let mut cells = Vec::new();
        for feature in &features {
            let value = Value::Double(rng.random());
            put_cell(&mut cells, feature.id, feature.value_type, &value);
        }
        let write = Write {
            merge: view.spec.merge,
            order: view.spec.order,
            version,
            cells: Some(&cells),
        };
        write.row().map(|row| row.encode())
    };
    let rows: Result<_, _> = (0..ROWS).map(|_| row()).collect();
    rows.map_err(|error| bad(&error))
}

fn failed(error: rocksdb::Error) -> CliError {
    CliError::failed("BARE_FAILED", format!("bare RocksDB: {error}"))
}
