use super::*;
use crate::model::testing::values_of;
use crate::model::{KeyValue, Value};
use crate::proto::testing::{absent, catalogue, double, int32, names, text, untyped_list, values};
use crate::proto::{Reason, value_to_proto};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

fn row(key: Vec<v1::Value>, values: Vec<v1::Value>) -> v1::Row {
    v1::Row {
        key,
        values,
        event_time_us: Some(5),
    }
}

fn good_key() -> Vec<v1::Value> {
    vec![text("UA"), int32(1)]
}

fn legs(features: &[&str], rows: Vec<v1::Row>) -> v1::ViewRows {
    v1::ViewRows {
        view: "legs".into(),
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        rows,
    }
}

fn put(writes: Vec<v1::ViewRows>) -> v1::PutFeaturesRequest {
    v1::PutFeaturesRequest {
        writes,
        ..Default::default()
    }
}

/// Reason, path and message of a refused put.
fn refused(request: v1::PutFeaturesRequest) -> (Reason, String, String) {
    let invalid = write_of_put(request, &catalogue()).unwrap_err();
    let message = invalid.problem.to_string();
    (invalid.problem.reason(), invalid.field, message)
}

fn all_features() -> [&'static str; 4] {
    ["delay", "seats", "tags", "photo"]
}

proptest! {
    #[test]
    fn cells_hold_what_was_sent_sorted_by_feature(
        carrier: String,
        number: i32,
        (order, sent) in Just(all_features()).prop_shuffle().prop_flat_map(|order| {
            let catalogue = catalogue();
            let view = catalogue.view("legs").unwrap();
            let types = order.map(|name| view.feature(name).unwrap().value_type);
            let values: Vec<_> = types.iter().map(|value_type| prop::option::of(values_of(*value_type))).collect();
            (Just(order), values)
        }),
    ) {
        prop_assume!(carrier.len() < 300);
        let message = sent.iter().cloned().map(|value| value.map_or(absent(), value_to_proto)).collect();
        let request = put(vec![legs(&order, vec![row(vec![text(&carrier), int32(number)], message)])]);
        let write = write_of_put(request, &catalogue()).unwrap();
        let group = &write.batch.groups[0];
        let written = &group.rows[0];
        prop_assert_eq!(
            written.key.decode(&group.view.key_types()).unwrap(),
            vec![KeyValue::String(carrier), KeyValue::Int32(number)]
        );
        let Change::Put(encoded) = &written.change else { panic!("a put") };
        prop_assert_eq!(cells::check(encoded), Ok(()));
        for (name, value) in order.iter().zip(sent) {
            let id = group.view.feature(name).unwrap().id;
            let cell = cells::Cells::new(encoded).map(Result::unwrap).find(|cell| cell.feature == id);
            let found = cell.map(|cell| cells::decode_value(&cell).unwrap());
            // Through Debug, so that NaN equals itself.
            prop_assert_eq!(format!("{found:?}"), format!("{value:?}"));
        }
    }

    #[test]
    fn any_put_is_taken_whole_or_refused_by_name(
        groups in vec((names(), vec(names(), 0..4), vec((vec(values(), 0..3), vec(values(), 0..4)), 0..3)), 0..3),
        level in -1..5,
    ) {
        let writes = groups.into_iter().map(|(view, features, rows)| v1::ViewRows {
            view,
            features,
            rows: rows.into_iter().map(|(key, values)| row(key, values)).collect(),
        }).collect();
        let request = v1::PutFeaturesRequest { writes, level, ..Default::default() };
        match write_of_put(request, &catalogue()) {
            Err(invalid) => prop_assert!(!invalid.field.is_empty()),
            Ok(write) => for row in write.batch.groups.iter().flat_map(|group| &group.rows) {
                prop_assert_eq!(cells::check(cells_of(row)), Ok(()));
            },
        }
    }

    #[test]
    fn no_bytes_make_a_conversion_panic(bytes: Vec<u8>) {
        if let Ok(request) = v1::PutFeaturesRequest::decode(bytes.as_slice()) {
            let _write = write_of_put(request, &catalogue());
        }
        if let Ok(request) = v1::DeleteFeaturesRequest::decode(bytes.as_slice()) {
            let _write = write_of_delete(request, &catalogue());
        }
    }
}

#[test]
fn a_value_of_another_type_is_never_converted() {
    let rows = vec![
        row(good_key(), vec![double(1.0), int32(3)]),
        row(good_key(), vec![absent(), absent()]),
    ];
    let (reason, field, message) = refused(put(vec![legs(&["delay", "seats"], rows)]));
    assert_eq!(reason, Reason::WrongType);
    assert_eq!(field, "writes[0].rows[0].values[1]");
    assert_eq!(message, "feature \"seats\" is int64, found int32");
}

#[test]
fn a_value_that_is_null_or_absent_fits_every_type() {
    let null = value_to_proto(Value::Null);
    let rows = vec![row(good_key(), vec![null, absent()])];
    let write = write_of_put(put(vec![legs(&["delay", "seats"], rows)]), &catalogue()).unwrap();
    let encoded = cells_of(&write.batch.groups[0].rows[0]);
    let cells: Vec<_> = cells::Cells::new(encoded).map(Result::unwrap).collect();
    assert_eq!((cells.len(), cells[0].payload), (1, None));
}

#[test]
fn floating_point_numbers_are_no_keys() {
    let rows = vec![row(vec![text("UA"), double(f64::NAN)], vec![])];
    let (reason, field, message) = refused(put(vec![legs(&[], rows)]));
    assert_eq!(reason, Reason::WrongType);
    assert_eq!(field, "writes[0].rows[0].key[1]");
    assert!(
        message.starts_with("join key \"number\" is int32, found double: floating point"),
        "{message}"
    );
}

#[test]
fn every_malformed_put_names_its_field() {
    let one = |key, values| vec![legs(&["delay"], vec![row(key, values)])];
    let ok = || one(good_key(), vec![double(1.0)]);
    let second = |group: v1::ViewRows| put([ok(), vec![group]].concat());
    let of_view = |view: &str| v1::ViewRows {
        view: view.into(),
        ..legs(&[], vec![])
    };
    let long = "x".repeat(2_000);
    let cases = [
        (put(vec![]), Reason::InvalidArgument, "writes"),
        (
            put(vec![legs(&["delay"], vec![])]),
            Reason::InvalidArgument,
            "writes",
        ),
        (
            second(of_view("leg")),
            Reason::UnknownView,
            "writes[1].view",
        ),
        (second(of_view(&long)), Reason::TooLarge, "writes[1].view"),
        (
            second(legs(&["delay", "x"], vec![])),
            Reason::UnknownFeature,
            "writes[1].features[1]",
        ),
        (
            second(legs(&["delay", "delay"], vec![])),
            Reason::InvalidArgument,
            "writes[1].features[1]",
        ),
        (
            put(one(vec![text("UA")], vec![double(1.0)])),
            Reason::InvalidArgument,
            "writes[0].rows[0].key",
        ),
        (
            put(one(vec![text("UA"), text("1")], vec![double(1.0)])),
            Reason::WrongType,
            "writes[0].rows[0].key[1]",
        ),
        (
            put(one(vec![absent(), int32(1)], vec![double(1.0)])),
            Reason::WrongType,
            "writes[0].rows[0].key[0]",
        ),
        (
            put(one(vec![text(&long), int32(1)], vec![double(1.0)])),
            Reason::TooLarge,
            "writes[0].rows[0].key",
        ),
        (
            put(one(good_key(), vec![])),
            Reason::InvalidArgument,
            "writes[0].rows[0].values",
        ),
        (
            put(one(good_key(), vec![untyped_list()])),
            Reason::InvalidArgument,
            "writes[0].rows[0].values[0]",
        ),
        (
            v1::PutFeaturesRequest {
                level: 9,
                ..put(ok())
            },
            Reason::InvalidArgument,
            "level",
        ),
        (
            v1::PutFeaturesRequest {
                request_id: long.clone(),
                ..put(ok())
            },
            Reason::TooLarge,
            "request_id",
        ),
        (
            put(vec![legs(&[], vec![]); limits::BATCH_GROUPS + 1]
                .into_iter()
                .chain(ok())
                .collect()),
            Reason::TooLarge,
            "writes",
        ),
        (
            put(vec![legs(
                &[],
                vec![row(good_key(), vec![]); limits::BATCH_ROWS + 1],
            )]),
            Reason::TooLarge,
            "writes",
        ),
    ];
    for (request, reason, field) in cases {
        let (found, at, message) = refused(request);
        assert_eq!((found, at.as_str()), (reason, field), "{message}");
        assert!(message.len() < 500, "{message}");
    }
}

#[test]
fn a_value_beyond_its_limit_is_refused_and_one_at_it_is_not() {
    let photo = |bytes: usize| value_to_proto(Value::Bytes(vec![7; bytes].into()));
    let group = |bytes| legs(&["photo"], vec![row(good_key(), vec![photo(bytes)])]);
    // Feature id, tag and length belong to the cell.
    let most = limits::VALUE_BYTES - 9;
    assert!(write_of_put(put(vec![group(most)]), &catalogue()).is_ok());
    let (reason, field, _) = refused(put(vec![group(most + 1)]));
    assert_eq!(
        (reason, field.as_str()),
        (Reason::TooLarge, "writes[0].rows[0].values[0]")
    );

    let rows = vec![row(good_key(), vec![photo(most)]); limits::BATCH_BYTES / limits::VALUE_BYTES];
    let at = rows.len() - 1;
    let (reason, field, _) = refused(put(vec![legs(&["photo"], rows)]));
    assert_eq!(
        (reason, field),
        (Reason::TooLarge, format!("writes[0].rows[{at}]"))
    );
}

#[test]
fn a_delete_names_keys_and_keeps_event_times() {
    let key = |key| v1::Key {
        key,
        event_time_us: Some(-4),
    };
    let request = |view: &str, keys| v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: view.into(),
            keys,
        }],
        request_id: "once".into(),
        ..Default::default()
    };
    let write = write_of_delete(request("legs", vec![key(good_key())]), &catalogue()).unwrap();
    assert_eq!(write.request_id.as_deref(), Some("once"));
    let deleted = &write.batch.groups[0].rows[0];
    assert_eq!(
        (deleted.event_time, &deleted.change),
        (Some(Micros(-4)), &Change::Delete)
    );
    let bad = request("users", vec![key(vec![int32(1)])]);
    let invalid = write_of_delete(bad, &catalogue()).unwrap_err();
    assert_eq!(invalid.field, "deletes[0].keys[0].key[0]");
    assert_eq!(
        invalid.problem.to_string(),
        "join key \"user\" is int64, found int32"
    );
}
