//! Records of every kind.

use bytes::Bytes;
use steadfast::base::codec::{DecodeError, put_checksum};
use steadfast::base::{Hlc, IncarnationId, Micros};
use steadfast::model::definition::Definition;
use steadfast::model::record::{Horizon, Marker, Opening, RowGroup, RowWrite, Rows};
use steadfast::model::{
    Body, Digest, EntityKey, KeyValue, MergeMode, Order, Record, RequestId, ViewId,
};

use crate::{VERSION_VECTOR, bytes, stamp, version_vector};

/// Region, epoch, seq, stamp time, chain digest.
const PLACE: &str = "8877665544332211030000000000000007000000000000000200e80300000000100f0e0d0c0b0a090807060504030201";

/// Without a request id.
fn record(body: Body) -> Record {
    Record {
        stamp: stamp(7),
        chain_before: Digest(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        request: None,
        body,
    }
}

/// Holds version 1 of the format to both directions.
fn check(record: &Record, golden: &[&str]) {
    assert_eq!(hex::encode(record.encode()), golden.concat());
    assert_eq!(Record::decode(&bytes(golden)).as_ref(), Ok(record));
}

fn marker() -> Record {
    record(Body::Marker(Marker {
        applied: version_vector(),
        swept: Hlc::from_millis(1000),
        digest: Digest(0x30),
    }))
}

#[test]
fn an_opening_record_is_as_in_version_1() {
    let opening = Opening {
        floor: Hlc::from_millis(1000),
        members: vec![IncarnationId(0xa1)],
        recovered: version_vector(),
    };
    let golden = [
        "0101",
        PLACE,
        // no request id
        "00",
        // floor
        "0000e80300000000",
        // one member
        "01000000a1000000000000000000000000000000",
        VERSION_VECTOR,
        "5e19d750",
    ];
    check(&record(Body::Opening(opening)), &golden);
}

#[test]
fn a_record_of_rows_is_as_in_version_1() {
    let key = |id| EntityKey::encode(&[KeyValue::Int64(id)]);
    let put = RowWrite {
        key: key(7),
        event_time: Micros(5),
        cells: Some(Bytes::from(bytes(&["0900000005000000000000f83f"]))),
    };
    let delete = RowWrite {
        key: key(-1),
        event_time: Micros(-2),
        cells: None,
    };
    let cell_view = RowGroup {
        view: ViewId(0xabcd),
        merge: MergeMode::Cell,
        order: Order::Arrival,
        rows: vec![put, delete],
    };
    let row_view = RowGroup {
        view: ViewId(1),
        merge: MergeMode::Row,
        order: Order::EventTime,
        rows: vec![],
    };
    let rows = Rows {
        older: 1,
        folded: 2,
        groups: vec![cell_view, row_view],
    };
    let request = RequestId {
        caller: "app".into(),
        id: "r1".into(),
        body_hash: Digest(0x20),
    };
    let golden = [
        "0102",
        PLACE,
        // request id: caller, id, hash of the body
        "01",
        "03000000617070",
        "020000007231",
        "20000000000000000000000000000000",
        // older, folded, two groups
        "010000000200000002000000",
        // view, merge = cell and order = arrival, two rows
        "cdab0000000000000302000000",
        // key, event time, put of a double
        "0800000080000000000000070500000000000000",
        "010d0000000900000005000000000000f83f",
        // key, event time, delete
        "080000007ffffffffffffffffeffffffffffffff",
        "00",
        // view, merge = row and order = event time, no rows
        "01000000000000000000000000",
        "c3ddc13f",
    ];
    let record = Record {
        request: Some(request),
        ..record(Body::Rows(rows))
    };
    check(&record, &golden);
}

#[test]
fn a_record_of_a_definition_is_as_in_version_1() {
    let definition = Definition::Drop {
        view: ViewId(0xabcd),
    };
    let text = hex::encode(r#"{"change":"drop","view":43981}"#);
    // The length of the text stands before it.
    let golden = ["0103", PLACE, "00", "1e000000", &text, "e3606ded"];
    check(&record(Body::Definition(definition)), &golden);
}

#[test]
fn a_marker_record_is_as_in_version_1() {
    let golden = [
        "0104",
        PLACE,
        "00",
        VERSION_VECTOR,
        // swept horizon, digest
        "0000e80300000000",
        "30000000000000000000000000000000",
        "59697d5f",
    ];
    check(&marker(), &golden);
}

#[test]
fn a_horizon_record_is_as_in_version_1() {
    let horizon = Horizon {
        horizon: Hlc::from_millis(1000),
        covered: version_vector(),
    };
    let golden = [
        "0105",
        PLACE,
        "00",
        "0000e80300000000",
        VERSION_VECTOR,
        "76863cc8",
    ];
    check(&record(Body::Horizon(horizon)), &golden);
}

#[test]
fn a_record_of_a_newer_format_is_refused_by_its_number() {
    let mut newer = marker().encode();
    newer.truncate(newer.len() - 4);
    newer[0] = 2;
    put_checksum(&mut newer, 0);
    let refused = Record::decode(&newer);
    let expected = DecodeError::Invalid {
        field: "record format",
        value: 2,
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn the_chain_digest_of_a_record_is_as_in_version_1() {
    let after = Record::chain_after(&marker().encode());
    assert_eq!(after.to_string(), "aec7072ad4748ad551a3009920f965d4");
}
