//! Entity keys.

use bytes::Bytes;
use steadfast::base::Micros;
use steadfast::model::{EntityKey, KeyType, KeyValue};

use crate::bytes;

/// A value of every type with its encoding.
fn parts() -> Vec<(KeyValue, &'static str)> {
    vec![
        (KeyValue::String("a\0b".into()), "6100ff620000"),
        (
            KeyValue::Bytes(Bytes::from_static(&[0xff, 0])),
            "ff00ff0000",
        ),
        (KeyValue::Int32(-1), "7fffffff"),
        (KeyValue::Int32(1), "80000001"),
        (KeyValue::Int64(1), "8000000000000001"),
        (KeyValue::Timestamp(Micros(-1)), "7fffffffffffffff"),
        (KeyValue::Bool(true), "01"),
        (KeyValue::String(String::new()), "0000"),
    ]
}

#[test]
fn an_entity_key_is_as_in_version_1() {
    let (values, golden): (Vec<_>, Vec<_>) = parts().into_iter().unzip();
    let types: Vec<KeyType> = values.iter().map(KeyValue::key_type).collect();
    let key = EntityKey::encode(&values);
    assert_eq!(hex::encode(key.as_bytes()), golden.concat());
    let read = EntityKey::from_bytes(bytes(&golden).into(), &types).unwrap();
    assert_eq!(read.decode(&types), Ok(values));
}
