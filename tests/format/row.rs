//! Rows in each mode, and cells of every type.

use bytes::Bytes;
use steadfast::base::Micros;
use steadfast::base::codec::DecodeError;
use steadfast::model::cells::put_cell;
use steadfast::model::row::{RowRef, Write};
use steadfast::model::{
    Digest, FeatureId, Items, MergeMode, Order, Row, Scalar, Value, ValueType, Version,
};

use crate::{bytes, stamp};

fn version(event_time: i64, seq: u64) -> Version {
    Version {
        event_time: Micros(event_time),
        stamp: stamp(seq),
    }
}

/// Event time 5, stamp time, region, epoch of [`version`]; the seq follows.
const VERSION_5: &str = "05000000000000000200e8030000000088776655443322110300000000000000";
/// The same with event time -6.
const VERSION_MINUS_6: &str = "faffffffffffffff0200e8030000000088776655443322110300000000000000";
const SEQ_7: &str = "0700000000000000";
const SEQ_8: &str = "0800000000000000";
const SEQ_9: &str = "0900000000000000";

/// Feature 9, double 1.5.
const CELL_9: &str = "0900000005000000000000f83f";
/// Feature 10, null of type int32.
const CELL_10: &str = "0a00000082";

/// Holds version 1 of the format to both directions.
fn check(row: &Row, golden: &[&str]) {
    assert_eq!(hex::encode(row.encode()), golden.concat());
    assert_eq!(Row::decode(&bytes(golden)).as_ref(), Ok(row));
}

fn write(merge: MergeMode, order: Order, version: Version, cells: Option<&[&str]>) -> Row {
    let cells = cells.map(|cells| Bytes::from(bytes(cells)));
    Write {
        merge,
        order,
        version,
        cells: cells.as_deref(),
    }
    .row()
    .unwrap()
}

#[test]
fn a_put_in_a_row_view_is_as_in_version_1() {
    let (row, by_time) = (MergeMode::Row, Order::EventTime);
    let put = write(row, by_time, version(5, 7), Some(&[CELL_9, CELL_10]));
    check(&put, &["0100", VERSION_5, SEQ_7, CELL_9, CELL_10]);
}

#[test]
fn a_put_in_order_of_arrival_is_as_in_version_1() {
    let (row, arrival) = (MergeMode::Row, Order::Arrival);
    let put = write(row, arrival, version(5, 7), Some(&[]));
    check(&put, &["0102", VERSION_5, SEQ_7]);
}

#[test]
fn a_tombstone_is_as_in_version_1() {
    let version = version(5, 7);
    let dead = |merge, order| write(merge, order, version, None);
    let whole = dead(MergeMode::Row, Order::EventTime);
    check(&whole, &["0104", VERSION_5, SEQ_7]);
    let whole = dead(MergeMode::Row, Order::Arrival);
    check(&whole, &["0106", VERSION_5, SEQ_7]);
    // No versions of cells follow.
    let cells = dead(MergeMode::Cell, Order::EventTime);
    check(&cells, &["0105", VERSION_5, SEQ_7, "0000"]);
    let cells = dead(MergeMode::Cell, Order::Arrival);
    check(&cells, &["0107", VERSION_5, SEQ_7, "0000"]);
}

#[test]
fn a_row_of_cells_is_as_in_version_1() {
    let order = Order::EventTime;
    let write = |version, cells| write(MergeMode::Cell, order, version, cells);
    let dead = write(version(-6, 7), None);
    let one = write(version(-6, 9), Some(&[CELL_10]));
    let other = write(version(5, 8), Some(&[CELL_9]));
    let golden = [
        "0105",
        // tombstone
        VERSION_MINUS_6,
        SEQ_7,
        // two versions, in order
        "0200",
        VERSION_MINUS_6,
        SEQ_9,
        VERSION_5,
        SEQ_8,
        // each cell behind the index of its version
        "0100",
        CELL_9,
        "0000",
        CELL_10,
    ];
    check(&dead.merge(other).merge(one), &golden);
}

/// A value of every type with its tag and payload.
fn values() -> Vec<(Value, &'static str)> {
    vec![
        (Value::Bool(true), "0101"),
        (Value::Int32(-2), "02feffffff"),
        (Value::Int64(-2), "03feffffffffffffff"),
        (Value::Float(1.5), "040000c03f"),
        (Value::Double(1.5), "05000000000000f83f"),
        (Value::String("é".into()), "0602000000c3a9"),
        (Value::Bytes(Bytes::from_static(&[0, 1])), "07020000000001"),
        (Value::Timestamp(Micros(3)), "080300000000000000"),
        // Lists: bytes that follow, count, items.
        (
            Value::List(Items::Bool(vec![true, false])),
            "4106000000020000000100",
        ),
        (Value::List(Items::Int32(vec![])), "420400000000000000"),
        (
            Value::List(Items::Int64(vec![1])),
            "430c000000010000000100000000000000",
        ),
        (
            Value::List(Items::Float(vec![1.5])),
            "4408000000010000000000c03f",
        ),
        (
            Value::List(Items::Double(vec![1.5])),
            "450c00000001000000000000000000f83f",
        ),
        (
            Value::List(Items::String(vec!["a".into(), String::new()])),
            "460d00000002000000010000006100000000",
        ),
        (
            Value::List(Items::Bytes(vec![Bytes::from_static(&[7])])),
            "4709000000010000000100000007",
        ),
        (
            Value::List(Items::Timestamp(vec![3])),
            "480c000000010000000300000000000000",
        ),
    ]
}

#[test]
fn cells_of_every_type_are_as_in_version_1() {
    let mut encoded = Vec::new();
    let mut golden = String::new();
    for (feature, (value, expected)) in (0x0100_u32..).zip(values()) {
        let value_type = value.value_type().unwrap();
        put_cell(&mut encoded, FeatureId(feature), value_type, &value);
        golden.push_str(&hex::encode(feature.to_le_bytes()));
        golden.push_str(expected);
        let null = FeatureId(0x0200);
        let mut tag = Vec::new();
        put_cell(&mut tag, null, value_type, &Value::Null);
        // The tag of null is that of the type plus 128.
        let own = u8::from_str_radix(&expected[..2], 16).unwrap();
        assert_eq!(tag, [0, 2, 0, 0, own | 0x80]);
    }
    assert_eq!(hex::encode(&encoded), golden);
    let read: Vec<_> = steadfast::model::cells::Cells::new(&encoded)
        .map(|cell| steadfast::model::cells::decode_value(&cell.unwrap()).unwrap())
        .collect();
    let values: Vec<_> = values().into_iter().map(|(value, _)| value).collect();
    assert_eq!(read, values);
    assert_eq!(Scalar::ALL.len() * 2, values.len());
}

#[test]
fn a_row_of_a_newer_format_or_with_unknown_flags_is_refused_by_its_number() {
    let refused = |head: &str| RowRef::parse(&bytes(&[head, VERSION_5, SEQ_7])).unwrap_err();
    let invalid = |field, value| DecodeError::Invalid { field, value };
    assert_eq!(refused("0200"), invalid("row format", 2));
    assert_eq!(refused("0108"), invalid("row flags", 8));
}

#[test]
fn the_digest_of_a_row_is_as_in_version_1() {
    let double = ValueType::Scalar(Scalar::Double);
    let mut cell = Vec::new();
    put_cell(&mut cell, FeatureId(9), double, &Value::Double(1.5));
    assert_eq!(hex::encode(&cell), CELL_9);
    let digest = Digest::of_row(b"key", &cell);
    assert_eq!(digest.to_string(), "56465475045379f570a9a9bfa170f9ea");
}
