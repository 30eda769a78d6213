//! What clients send, as the bytes of every kind of message, decoded and checked against a catalogue of all types.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use steadfast::base::Micros;
use steadfast::model::batch::{Batch, Change};
use steadfast::model::{Catalogue, EntityKey, Items, KeyValue, Scalar, Value, cells};
use steadfast::proto::{
    entities_to_forget, items_to_proto, lookup_of_get, read_level, resume_token, scan_of_request,
    v1, value_to_proto, write_of_delete, write_of_put,
};

use super::view_file::catalogue;
use super::{assert_same, bounded, resealed};

/// Two bytes on the wire are an empty message, a row of 64 bytes in memory; lists grow by doubling, so that in all
/// twice as much is allocated, and room is left for as much again.
const MULTIPLE: u64 = 160;
/// What checks may allocate on top: keys and cells are encoded, names are quoted in errors.
const CHECKED_MULTIPLE: u64 = 200;

pub fn check(bytes: &[u8]) {
    let catalogue = catalogue();
    if let Some(request) = decoded::<v1::GetFeaturesRequest>(bytes) {
        check_lookup(request, bytes.len(), &catalogue);
    }
    if let Some(request) = decoded::<v1::PutFeaturesRequest>(bytes) {
        check_put(request, bytes.len(), &catalogue);
    }
    if let Some(v1::IngestFeaturesRequest {
        batch: Some(request),
        ..
    }) = decoded(bytes)
    {
        check_put(request, bytes.len(), &catalogue);
    }
    if let Some(request) = decoded::<v1::DeleteFeaturesRequest>(bytes) {
        let write = bounded(bytes.len(), CHECKED_MULTIPLE, || {
            write_of_delete(request, &catalogue)
        });
        if let Ok(write) = write {
            check_batch(&write.batch);
        }
    }
    if let Some(request) = decoded::<v1::ScanFeaturesRequest>(bytes) {
        check_scan(request, bytes.len(), &catalogue);
    }
    if let Some(request) = decoded::<v1::ForgetRequest>(bytes) {
        let entities = bounded(bytes.len(), CHECKED_MULTIPLE, || {
            entities_to_forget(&request, &catalogue)
        });
        drop(entities);
    }
    check_token(bytes, &catalogue);
}

/// The message, which comes back from its own bytes.
fn decoded<M: Message + Default + Debug>(bytes: &[u8]) -> Option<M> {
    let bytes = Bytes::copy_from_slice(bytes);
    let message = bounded(bytes.len(), MULTIPLE, || M::decode(bytes.clone())).ok()?;
    let again = M::decode(message.encode_to_vec().as_slice());
    assert_same(&again.expect("what was encoded can be decoded"), &message);
    Some(message)
}

fn check_lookup(request: v1::GetFeaturesRequest, len: usize, catalogue: &Catalogue) {
    let Ok(lookup) = bounded(len, CHECKED_MULTIPLE, || {
        let level = read_level(request.level, request.max_staleness_ms)?;
        lookup_of_get(request, level.unwrap_or_default(), catalogue)
    }) else {
        return;
    };
    for selection in &lookup.selections {
        assert!(!selection.features.is_empty());
        for key in selection.keys.iter() {
            let key = Bytes::copy_from_slice(key);
            EntityKey::from_bytes(key, &selection.view.key_types()).expect("a key of the view");
        }
    }
}

fn check_put(request: v1::PutFeaturesRequest, len: usize, catalogue: &Catalogue) {
    if let Ok(write) = bounded(len, CHECKED_MULTIPLE, || write_of_put(request, catalogue)) {
        check_batch(&write.batch);
    }
}

/// Keys are those of the views, cells those of features in force.
fn check_batch(batch: &Batch) {
    assert!(batch.row_count() > 0);
    assert_eq!(batch.digest(), batch.clone().digest());
    for group in &batch.groups {
        for row in &group.rows {
            row.key
                .decode(&group.view.key_types())
                .expect("a key of the view");
            let Change::Put(put) = &row.change else {
                continue;
            };
            cells::check(put).expect("cells in order");
            for cell in cells::Cells::new(put) {
                let cell = cell.expect("checked before");
                let mut features = group.view.spec.features.iter();
                let feature = features.find(|feature| feature.id == cell.feature);
                assert_eq!(
                    feature.expect("a feature of the view").value_type,
                    cell.value_type
                );
            }
        }
    }
}

fn check_scan(request: v1::ScanFeaturesRequest, len: usize, catalogue: &Catalogue) {
    let token = request.resume_token.clone();
    let Ok(scan) = bounded(len, CHECKED_MULTIPLE, || {
        let level = read_level(request.level, request.max_staleness_ms)?;
        scan_of_request(request, level.unwrap_or_default(), catalogue)
    }) else {
        return;
    };
    assert!(!scan.features.is_empty());
    assert_eq!(scan.after.is_some(), !token.is_empty());
    if let Some(after) = scan.after {
        assert!(after.as_bytes().starts_with(scan.prefix.as_bytes()));
        assert_eq!(
            resume_token(scan.view.id, &after),
            token,
            "two tokens of one place"
        );
    }
}

/// The same bytes as the token of a scan, once as they are, once with a right checksum.
fn check_token(bytes: &[u8], catalogue: &Catalogue) {
    for token in [bytes.to_vec(), resealed(bytes)] {
        let request = v1::ScanFeaturesRequest {
            view: "all".into(),
            resume_token: token.into(),
            ..Default::default()
        };
        check_scan(request, bytes.len(), catalogue);
    }
}

fn keys() -> Vec<KeyValue> {
    vec![
        KeyValue::String("entity".into()),
        KeyValue::Bytes(Bytes::from_static(&[0, 1])),
        KeyValue::Int32(-7),
        KeyValue::Int64(1 << 40),
        KeyValue::Timestamp(Micros(5)),
        KeyValue::Bool(true),
    ]
}

fn key() -> Vec<v1::Value> {
    keys()
        .iter()
        .map(|key| value_to_proto(key.to_value()))
        .collect()
}

/// A value of every type, in the order of the view's features.
fn values() -> Vec<v1::Value> {
    let order = [
        Scalar::Bool,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Float,
        Scalar::Double,
        Scalar::String,
        Scalar::Bytes,
        Scalar::Timestamp,
    ];
    let list = |scalar, count| {
        let mut items = Items::with_capacity(scalar, count);
        (0..count).for_each(|_| items.push_blank());
        items
    };
    let singles = order.map(|scalar| list(scalar, 1).into_single());
    let lists = order.map(|scalar| Value::List(list(scalar, 3)));
    singles
        .into_iter()
        .chain(lists)
        .map(value_to_proto)
        .collect()
}

fn names() -> Vec<String> {
    let catalogue = catalogue();
    let view = catalogue.view("all").expect("the view is there");
    view.spec
        .features
        .iter()
        .map(|feature| feature.name.clone())
        .collect()
}

fn get() -> v1::GetFeaturesRequest {
    let column = |(name, key): (&str, KeyValue)| {
        let mut items = Items::with_capacity(key.key_type().scalar(), 2);
        items.push(&key.to_value());
        items.push_blank();
        v1::KeyColumn {
            join_key: name.into(),
            values: Some(items_to_proto(items)),
        }
    };
    let selection = |features| v1::ViewSelection {
        view: "all".into(),
        features,
    };
    v1::GetFeaturesRequest {
        entities: ["s", "b", "i", "l", "t", "f"]
            .into_iter()
            .zip(keys())
            .map(column)
            .collect(),
        views: vec![
            selection(vec![]),
            selection(vec!["double".into(), "strings".into()]),
        ],
        use_defaults: true,
        ..Default::default()
    }
}

fn put() -> v1::PutFeaturesRequest {
    let mut null = values();
    null[0] = value_to_proto(Value::Null);
    null[1] = v1::Value { kind: None };
    let row = |values| v1::Row {
        key: key(),
        values,
        event_time_us: Some(5),
    };
    v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: "all".into(),
            features: names(),
            rows: vec![row(values()), row(null)],
        }],
        request_id: "request".into(),
        ..Default::default()
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let delete = v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: "all".into(),
            keys: vec![
                v1::Key {
                    key: key(),
                    event_time_us: None,
                };
                2
            ],
        }],
        ..Default::default()
    };
    let catalogue = catalogue();
    let view = catalogue.view("all").expect("the view is there");
    let token = resume_token(view.id, &EntityKey::encode(&keys()));
    let scan = v1::ScanFeaturesRequest {
        view: "all".into(),
        features: vec!["int32".into()],
        prefix: key()[..2].to_vec(),
        resume_token: token.clone(),
        limit: 10,
        include_event_times: true,
        level: v1::ReadLevel::Bounded.into(),
        max_staleness_ms: 7,
        session: Some("token".into()),
    };
    let ingest = v1::IngestFeaturesRequest {
        sequence: 3,
        batch: Some(put()),
    };
    let part = |(name, value): (&str, &str)| v1::KeyPart {
        join_key: name.into(),
        value: value.into(),
    };
    let parts = [
        ("s", "a"),
        ("b", "AA=="),
        ("i", "1"),
        ("l", "2"),
        ("t", "2020-01-01T00:00:00Z"),
        ("f", "true"),
    ];
    let forget = v1::ForgetRequest {
        key: parts.map(part).into(),
        view: String::new(),
    };
    vec![
        get().encode_to_vec(),
        put().encode_to_vec(),
        ingest.encode_to_vec(),
        delete.encode_to_vec(),
        scan.encode_to_vec(),
        forget.encode_to_vec(),
        token.to_vec(),
    ]
}
