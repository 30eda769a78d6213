//! What the pure steps of a write and a lookup cost: record codec, merge, resolve. `make bench` runs them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "benchmarks fail by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use steadfast::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp};
use steadfast::model::cells::put_cell;
use steadfast::model::record::{Body, Record, RowGroup, RowWrite, Rows};
use steadfast::model::resolve::{Resolver, Wanted};
use steadfast::model::row::{Row, merge_write};
use steadfast::model::view_file::parse_view;
use steadfast::model::{Digest, EntityKey, KeyValue, Value, View};
use steadfast::proto::v1::GetFeaturesResponse;
use steadfast::proto::view_columns;

const ROWS: i64 = 100;
const FEATURES: i64 = 10;

fn view(merge: &str) -> Arc<View> {
    let features: String = (0..FEATURES)
        .map(|at| format!("[[feature]]\nname = \"f{at}\"\ntype = \"double\"\n"))
        .collect();
    let head = format!(
        "name = \"v\"\nmerge = \"{merge}\"\nentity = [{{ name = \"id\", type = \"int64\" }}]\n"
    );
    Arc::new(View::new(parse_view(&(head + &features)).unwrap(), 0))
}

fn stamp(at: u64) -> Stamp {
    Stamp {
        hlc: Hlc::from_millis(at),
        region: RegionId(1),
        epoch: Epoch(1),
        seq: Seq(at),
    }
}

/// The rows of a batch of 100 entities with 10 doubles each.
fn group(view: &View) -> RowGroup {
    let mut features = view.spec.features.clone();
    features.sort_by_key(|feature| feature.id);
    let row = |id: i64| {
        let mut cells = Vec::new();
        for feature in &features {
            put_cell(
                &mut cells,
                feature.id,
                feature.value_type,
                &Value::Double(0.5),
            );
        }
        RowWrite {
            key: EntityKey::encode([&KeyValue::Int64(id)]),
            event_time: Micros(id),
            cells: Some(cells.into()),
        }
    };
    RowGroup {
        view: view.id,
        merge: view.spec.merge,
        order: view.spec.order,
        rows: (0..ROWS).map(row).collect(),
    }
}

fn rows_at(group: &RowGroup, at: u64) -> Vec<Row> {
    let rows = group.rows.iter();
    rows.map(|write| group.write(write, stamp(at)).row().unwrap())
        .collect()
}

fn records(criterion: &mut Criterion) {
    let record = Record {
        stamp: stamp(1),
        chain_before: Digest(7),
        request: None,
        body: Body::Rows(Rows {
            groups: vec![group(&view("row"))],
            ..Rows::default()
        }),
    };
    let encoded = record.encode();
    let mut bench = criterion.benchmark_group("record of 100 x 10 doubles");
    bench.throughput(Throughput::Bytes(u64::try_from(encoded.len()).unwrap()));
    bench.bench_function("encode", |run| run.iter(|| black_box(&record).encode()));
    bench.bench_function("decode", |run| {
        run.iter(|| Record::decode(black_box(&encoded)).unwrap())
    });
    bench.bench_function("chain digest", |run| {
        run.iter(|| Record::chain_after(black_box(&encoded)))
    });
    bench.finish();
}

fn merges(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("merge 100 newer rows of 10 doubles");
    bench.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    for mode in ["row", "cell"] {
        let group = group(&view(mode));
        let stored: Vec<_> = rows_at(&group, 1).iter().map(Row::encode).collect();
        bench.bench_function(mode, |run| {
            run.iter(|| {
                for (stored, write) in stored.iter().zip(&group.rows) {
                    let write = group.write(write, stamp(2));
                    black_box(merge_write(Some(stored), &write).unwrap());
                }
            });
        });
    }
    bench.finish();
}

fn resolves(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("resolve 100 rows of 10 doubles");
    bench.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    for mode in ["row", "cell"] {
        let view = view(mode);
        let stored: Vec<_> = rows_at(&group(&view), 1).iter().map(Row::encode).collect();
        bench.bench_function(mode, |run| {
            run.iter(|| {
                let features = view.spec.features.clone();
                let wanted = Wanted::default();
                let mut resolver =
                    Resolver::new(Arc::clone(&view), features, stored.len(), wanted, Micros(0));
                for row in &stored {
                    resolver.push(Some(black_box(row))).unwrap();
                }
                resolver.finish()
            });
        });
    }
    bench.finish();
}

fn answers(criterion: &mut Criterion) {
    let view = view("row");
    let features = view.spec.features.clone();
    let rows = rows_at(&group(&view), 1);
    let mut resolver = Resolver::new(view, features, rows.len(), Wanted::default(), Micros(0));
    for row in &rows {
        resolver.push(Some(&row.encode())).unwrap();
    }
    let columns = resolver.finish();
    let mut bench = criterion.benchmark_group("answer of 100 rows of 10 doubles");
    bench.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    bench.bench_function("encode", |run| {
        run.iter_batched(
            || columns.clone(),
            |columns| {
                let answer = GetFeaturesResponse {
                    views: vec![view_columns("v".to_owned(), columns)],
                    info: None,
                };
                answer.encode_to_vec()
            },
            BatchSize::SmallInput,
        );
    });
    bench.finish();
}

criterion_group!(benches, records, merges, resolves, answers);
criterion_main!(benches);
