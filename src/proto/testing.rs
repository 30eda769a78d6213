//! Pure: a catalogue and random messages for the tests of conversions.

use proptest::prelude::*;

use super::v1;
use super::values::value_to_proto;
use crate::base::{Epoch, Hlc, RegionId, Seq, Stamp};
use crate::model::testing::typed_values;
use crate::model::view_file::parse_view;
use crate::model::{Catalogue, Value};

/// Two views: `legs` with two join keys and features of several types, `users` with one numeric key.
pub(super) fn catalogue() -> Catalogue {
    let legs = r#"
        name = "legs"
        entity = [{ name = "carrier", type = "string" }, { name = "number", type = "int32" }]
        feature = [
            { name = "delay", type = "double", default = 1.5 },
            { name = "seats", type = "int64", max_age = "1h" },
            { name = "tags", type = "list<string>" },
            { name = "photo", type = "bytes" },
        ]
    "#;
    let users = r#"
        name = "users"
        entity = [{ name = "user", type = "int64" }]
        ttl = "2h"
        feature = [{ name = "age", type = "int32" }]
    "#;
    let mut catalogue = Catalogue::new();
    for (seq, file) in (1..).zip([legs, users]) {
        let stamp = Stamp {
            hlc: Hlc(seq),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(seq),
        };
        let created = catalogue.create(parse_view(file).unwrap()).unwrap();
        catalogue.apply(stamp, &created);
    }
    catalogue
}

pub(super) fn text(text: &str) -> v1::Value {
    value_to_proto(Value::String(text.into()))
}

pub(super) fn int32(number: i32) -> v1::Value {
    value_to_proto(Value::Int32(number))
}

pub(super) fn double(number: f64) -> v1::Value {
    value_to_proto(Value::Double(number))
}

pub(super) fn absent() -> v1::Value {
    v1::Value { kind: None }
}

pub(super) fn untyped_list() -> v1::Value {
    let kind = v1::value::Kind::ListValue(v1::Items { kind: None });
    v1::Value { kind: Some(kind) }
}

/// Names of views, features and join keys, and some that are none.
pub(super) fn names() -> impl Strategy<Value = String> {
    let known = [
        "legs", "users", "carrier", "number", "user", "delay", "seats", "tags", "photo", "age", "",
        "none",
    ];
    prop_oneof![
        30 => (0..known.len()).prop_map(move |at| known[at].to_owned()),
        1 => Just("x".repeat(1_000)),
    ]
}

/// Values of all kinds, and of none.
pub(super) fn values() -> impl Strategy<Value = v1::Value> {
    prop_oneof![
        6 => typed_values().prop_map(|(_, value)| value_to_proto(value)),
        1 => Just(text("UA")),
        1 => Just(int32(7)),
        1 => Just(absent()),
        1 => Just(untyped_list()),
    ]
}
