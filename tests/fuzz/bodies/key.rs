//! Entity keys. An input is a byte that says how many join keys, a byte for the type of each, and the key.

use bytes::Bytes;
use steadfast::base::Micros;
use steadfast::model::{EntityKey, KeyType, KeyValue};

use super::bounded;

/// Keys of one byte become values of 40, and lists grow by doubling.
const MULTIPLE: u64 = 200;

pub fn check(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let Some((types, key)) = rest.split_at_checked(usize::from(count % 5)) else {
        return;
    };
    let types: Vec<KeyType> = types
        .iter()
        .map(|at| KeyType::ALL[usize::from(*at) % KeyType::ALL.len()])
        .collect();
    // Two keys of the same types, so that their order can be compared.
    let (one, other) = key.split_at(key.len() / 2);
    let keys: Vec<_> = [key, one, other]
        .map(|key| check_one(key, &types))
        .into_iter()
        .flatten()
        .collect();
    for (a, a_values) in &keys {
        for (b, b_values) in &keys {
            assert_eq!(
                a.cmp(b),
                a_values.cmp(b_values),
                "bytes sort otherwise than values"
            );
        }
    }
}

fn check_one(bytes: &[u8], types: &[KeyType]) -> Option<(EntityKey, Vec<KeyValue>)> {
    let bytes = Bytes::copy_from_slice(bytes);
    let key = bounded(bytes.len(), MULTIPLE, || {
        EntityKey::from_bytes(bytes.clone(), types)
    })
    .ok()?;
    let values = key.decode(types).expect("from_bytes checks");
    assert!(
        values
            .iter()
            .map(KeyValue::key_type)
            .eq(types.iter().copied())
    );
    assert_eq!(EntityKey::encode(&values), key, "two encodings of one key");
    for count in 0..values.len() {
        assert!(bytes.starts_with(EntityKey::encode(&values[..count]).as_bytes()));
    }
    Some((key, values))
}

pub fn seeds() -> Vec<Vec<u8>> {
    let values = [
        KeyValue::String("a\0b".into()),
        KeyValue::Bytes(Bytes::from_static(&[0, 0xff, 0, 0])),
        KeyValue::Int32(-1),
        KeyValue::Int64(i64::MIN),
        KeyValue::Timestamp(Micros(1)),
        KeyValue::Bool(true),
    ];
    let seed = |values: &[KeyValue]| {
        let types = values.iter().map(|value| {
            let at = KeyType::ALL
                .iter()
                .position(|key_type| *key_type == value.key_type());
            u8::try_from(at.expect("a key type")).expect("there are six")
        });
        let mut seed = vec![u8::try_from(values.len()).expect("few")];
        seed.extend(types);
        seed.extend_from_slice(EntityKey::encode(values).as_bytes());
        seed
    };
    (1..=4)
        .flat_map(|count| values.windows(count))
        .map(seed)
        .collect()
}
