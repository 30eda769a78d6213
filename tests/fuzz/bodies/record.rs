//! Records.

use bytes::Bytes;
use steadfast::base::{Epoch, Hlc, IncarnationId, LogId, Micros, RegionId, Seq, VersionVector};
use steadfast::model::definition::Definition;
use steadfast::model::record::{Horizon, Marker, Opening, RowGroup, RowWrite, Rows};
use steadfast::model::version::Order;
use steadfast::model::view_file::parse_view;
use steadfast::model::{Body, Digest, EntityKey, KeyValue, MergeMode, Record, RequestId, ViewId};

use super::{assert_same, bounded, resealed, stamp};

/// A row group of 13 bytes is ten times as large decoded; lists grow by doubling.
const MULTIPLE: u64 = 40;

pub fn check(bytes: &[u8]) {
    for input in [bytes.to_vec(), resealed(bytes)] {
        let Ok(record) = bounded(input.len(), MULTIPLE, || Record::decode(&input)) else {
            continue;
        };
        let encoded = record.encode();
        let again = Record::decode(&encoded).expect("what was encoded can be decoded");
        assert_same(&again, &record);
        assert_eq!(again.encode(), encoded);
        if let Body::Rows(rows) = &record.body {
            rows.groups
                .iter()
                .for_each(|group| check_group(group, &record));
        }
    }
}

/// Every write of a decoded record makes a row.
fn check_group(group: &RowGroup, record: &Record) {
    for write in &group.rows {
        let row = group.write(write, record.stamp).row();
        let encoded = row.expect("decoding checks cells").encode();
        steadfast::model::row::check(&encoded).expect("a write makes a valid row");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut vector = VersionVector::new();
    vector.fold(RegionId(5), Epoch(2));
    for epoch in 3..6 {
        let (region, epoch) = (RegionId(5), Epoch(epoch));
        vector.advance(LogId { region, epoch }, Seq(9));
    }
    let definition = Definition::Create {
        generation: 1,
        spec: parse_view(super::view_file::ALL_TYPES).expect("the view is valid"),
    };
    let bodies = [
        Body::Opening(Opening {
            floor: Hlc(1 << 20),
            members: vec![IncarnationId(1), IncarnationId(2)],
            recovered: vector.clone(),
        }),
        Body::Rows(rows()),
        Body::Definition(definition),
        Body::Marker(Marker {
            applied: vector.clone(),
            swept: Hlc(7),
            digest: Digest(8),
        }),
        Body::Horizon(Horizon {
            horizon: Hlc(9),
            covered: vector,
        }),
    ];
    let record = |(seq, body)| Record {
        stamp: stamp(seq),
        chain_before: Digest(u128::MAX),
        request: (seq % 2 == 0).then(|| RequestId {
            caller: "caller".into(),
            id: "id".into(),
            body_hash: Digest(3),
        }),
        body,
    };
    (1..)
        .zip(bodies)
        .map(|seed| record(seed).encode())
        .collect()
}

fn rows() -> Rows {
    let modes = [
        (MergeMode::Row, Order::EventTime),
        (MergeMode::Cell, Order::EventTime),
        (MergeMode::Row, Order::Arrival),
        (MergeMode::Cell, Order::Arrival),
    ];
    let write = |at: i64| RowWrite {
        key: EntityKey::encode(&[KeyValue::Int64(at)]),
        event_time: Micros(at),
        cells: (at != 0).then(|| Bytes::from(super::row::all_types())),
    };
    let group = |(view, (merge, order))| RowGroup {
        view: ViewId(view),
        merge,
        order,
        rows: (0..3).map(write).collect(),
    };
    Rows {
        older: 1,
        folded: 2,
        groups: (1..).zip(modes).map(group).collect(),
    }
}
