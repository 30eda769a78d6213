//! Group commit of the write-ahead log, on the disk of the temporary directory: many append, each waits for its own
//! record, one sync serves all that wait.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic; criterion's macros make public items"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steadfast::base::clock::now_monotonic;
use steadfast::base::disk::RealDisk;
use steadfast::base::{LineageId, Lsn};
use steadfast::wal::{Options, Wal};

/// The record of a batch of 100 rows of 10 doubles has about so many bytes.
const PAYLOAD_BYTES: usize = 16 << 10;

/// The time in which so many writers together append `records`, each waiting for one before the next.
fn commit(wal: &Wal, payload: &Bytes, writers: u64, records: u64) -> Duration {
    let begun = now_monotonic();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let own = records / writers + u64::from(writer < records % writers);
            scope.spawn(move || {
                for _ in 0..own {
                    let end = wal.append(payload.clone()).unwrap();
                    wal.durable().reached_blocking(end).unwrap();
                }
            });
        }
    });
    let took = begun.elapsed();
    wal.release_below(wal.durable().get()).unwrap();
    took
}

fn group_commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let lineage = LineageId(1);
    let disk = Arc::new(RealDisk);
    let opened = Wal::open(disk, dir.path(), lineage, Options::default(), Lsn(0)).unwrap();
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let mut bench = criterion.benchmark_group("group commit of 16 KiB records");
    bench.throughput(Throughput::Elements(1));
    for writers in [1, 8, 32] {
        bench.bench_function(format!("{writers} writers"), |run| {
            run.iter_custom(|records| commit(&opened.wal, &payload, writers, records));
        });
    }
    bench.finish();
}

criterion_group!(benches, group_commit);
criterion_main!(benches);
