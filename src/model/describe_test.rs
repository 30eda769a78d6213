use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp};
use crate::model::cells::put_cell;
use crate::model::record::Rows;
use crate::model::testing::records;
use crate::model::view_file::parse_view;
use crate::model::{Digest, KeyValue, MergeMode, Order, Value};
use proptest::prelude::*;

const STAMP: Stamp = Stamp {
    hlc: Hlc(5 << 16),
    region: RegionId(1),
    epoch: Epoch(2),
    seq: Seq(3),
};

/// A catalogue of one view of aircraft, and the view.
fn aircraft() -> (Catalogue, Arc<View>) {
    let text = r#"
        name = "aircraft"
        entity = [{ name = "tailnum", type = "string" }]
        feature = [{ name = "seats", type = "int32" }]"#;
    let mut catalogue = Catalogue::new();
    let definition = catalogue.create(parse_view(text).unwrap()).unwrap();
    catalogue.apply(STAMP, &definition);
    let view = Arc::clone(catalogue.view("aircraft").unwrap());
    (catalogue, view)
}

fn put(view: &View) -> (RowGroup, RowWrite) {
    let feature = &view.spec.features[0];
    let mut cells = Vec::new();
    put_cell(
        &mut cells,
        feature.id,
        feature.value_type,
        &Value::Int32(55),
    );
    let write = RowWrite {
        key: EntityKey::encode([&KeyValue::String("N1".into())]),
        event_time: Micros(0),
        cells: Some(Bytes::from(cells)),
    };
    let group = RowGroup {
        view: view.id,
        merge: MergeMode::Row,
        order: Order::EventTime,
        rows: vec![write.clone()],
    };
    (group, write)
}

#[test]
fn a_write_is_shown_with_the_names_of_its_view() {
    let (catalogue, view) = aircraft();
    let (group, _) = put(&view);
    let record = Record {
        stamp: STAMP,
        chain_before: Digest::EMPTY,
        request: None,
        body: Body::Rows(Rows {
            older: 1,
            folded: 0,
            groups: vec![group],
        }),
    };
    let shown = record_to_json(&record, &catalogue).unwrap();
    assert_eq!((&shown["kind"], &shown["seq"]), (&json!("rows"), &json!(3)));
    let write = json!({
        "view": "aircraft", "dropped": false, "change": "put", "key": { "tailnum": "N1" },
        "event_time": "1970-01-01T00:00:00Z", "values": { "seats": 55 },
    });
    assert_eq!(
        shown["body"],
        json!({ "older": 1, "folded": 0, "writes": [write] })
    );
}

#[test]
fn a_write_of_a_dropped_view_is_shown_with_its_names_and_that_it_was_dropped() {
    let (mut catalogue, view) = aircraft();
    let (group, write) = put(&view);
    catalogue.apply(STAMP, &catalogue.drop_view("aircraft").unwrap());
    let shown = write_to_json(&group, &write, &catalogue).unwrap();
    assert_eq!(
        (&shown["view"], &shown["dropped"]),
        (&json!("aircraft"), &json!(true))
    );
    assert_eq!(
        (&shown["key"], &shown["values"]),
        (&json!({ "tailnum": "N1" }), &json!({ "seats": 55 }))
    );
}

#[test]
fn a_row_is_shown_with_its_versions_and_without_its_view_by_ids() {
    let (catalogue, view) = aircraft();
    let (group, write) = put(&view);
    let row = group.write(&write, STAMP).row().unwrap().encode();
    let shown = row_to_json(view.id, &write.key, &row, &catalogue).unwrap();
    assert_eq!(
        (&shown["view"], &shown["key"]["tailnum"]),
        (&json!("aircraft"), &json!("N1"))
    );
    assert_eq!(shown["features"]["seats"]["value"], 55);
    assert_eq!(shown["features"]["seats"]["stamp"], STAMP.to_string());
    let unknown = row_to_json(view.id, &write.key, &row, &Catalogue::new()).unwrap();
    assert_eq!(unknown["key"], hex::encode(b"N1\0\0"));
    assert_eq!(
        unknown["features"][view.spec.features[0].id.to_string()]["value"],
        55
    );
}

proptest! {
    #[test]
    fn every_record_can_be_shown(record in records()) {
        let again = Record::decode(&record.encode()).unwrap();
        prop_assert_eq!(record_to_json(&again, &Catalogue::new()).unwrap()["seq"].as_u64(), Some(record.stamp.seq.0));
    }
}
