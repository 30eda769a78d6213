//! Pure: what a view says, whatever it is called and whenever it was written: the content digest.
//!
//! ```text
//! content digest := sum over present and null values of BLAKE3(
//!     key (length u32, bytes) | feature name (length u32, text) | event time i64 | tag u8 | payload)
//! ```
//! Tag and payload as in [`cells`](super::cells), the key as in [`key`](super::key). The sum is that of
//! [`Digest::plus`]: the order of rows and features does not matter. Stamps, the view's name and its modes do not enter,
//! so that a view and its copy elsewhere have the same digest.

use bytes::BufMut;

use super::cells::put_value;
use super::digest::Digest;
use super::key::EntityKey;
use super::value::{Value, ValueType};
use crate::base::Micros;
use crate::base::codec::put_blob;

/// The digest of one value of one entity, to be [added](Digest::plus) to that of the others.
#[must_use]
pub fn of_value(
    key: &EntityKey,
    feature: &str,
    value_type: ValueType,
    value: &Value,
    event_time: Micros,
) -> Digest {
    let mut bytes = Vec::new();
    put_blob(&mut bytes, key.as_bytes());
    put_blob(&mut bytes, feature.as_bytes());
    bytes.put_i64_le(event_time.0);
    put_value(&mut bytes, value_type, value);
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::typed_values;
    use crate::model::{KeyValue, Scalar};
    use proptest::prelude::*;

    fn digest(
        key: i64,
        feature: &str,
        (value_type, value): &(ValueType, Value),
        at: i64,
    ) -> Digest {
        let key = EntityKey::encode([&KeyValue::Int64(key)]);
        of_value(&key, feature, *value_type, value, Micros(at))
    }

    #[test]
    fn the_layout_is_fixed() {
        let value = (ValueType::Scalar(Scalar::Int32), Value::Int32(5));
        let bytes = b"\x08\0\0\0\x80\0\0\0\0\0\0\x01\x01\0\0\0f\x09\0\0\0\0\0\0\0\x02\x05\0\0\0";
        assert_eq!(digest(1, "f", &value, 9), Digest::of(bytes));
    }

    proptest! {
        #[test]
        fn key_feature_type_value_and_event_time_count(a in typed_values(), b in typed_values(), key in 0..2i64, at in 0..2i64, feature in "[fg]") {
            let same = format!("{a:?}") == format!("{b:?}") && key == 0 && at == 0 && feature == "f";
            prop_assert_eq!(digest(0, "f", &a, 0) == digest(key, &feature, &b, at), same);
        }
    }
}
