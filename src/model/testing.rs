//! Pure: random values for property tests.

use bytes::Bytes;
use proptest::prelude::*;

use super::value::{Items, Scalar, Value, ValueType};
use super::version::Version;
use crate::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp};

pub(crate) fn value_types() -> impl Strategy<Value = ValueType> {
    (0..Scalar::ALL.len(), any::<bool>()).prop_map(|(at, list)| {
        let scalar = Scalar::ALL[at];
        if list {
            ValueType::List(scalar)
        } else {
            ValueType::Scalar(scalar)
        }
    })
}

fn items(scalar: Scalar, max: usize) -> BoxedStrategy<Items> {
    fn many<S: Strategy + 'static, T: std::fmt::Debug + 'static>(
        one: S,
        max: usize,
        wrap: fn(Vec<S::Value>) -> T,
    ) -> BoxedStrategy<T> {
        proptest::collection::vec(one, 0..=max)
            .prop_map(wrap)
            .boxed()
    }
    match scalar {
        Scalar::Bool => many(any::<bool>(), max, Items::Bool),
        Scalar::Int32 => many(any::<i32>(), max, Items::Int32),
        Scalar::Int64 => many(any::<i64>(), max, Items::Int64),
        Scalar::Float => many(any::<f32>(), max, Items::Float),
        Scalar::Double => many(any::<f64>(), max, Items::Double),
        Scalar::String => many(any::<String>(), max, Items::String),
        Scalar::Bytes => many(any::<Vec<u8>>().prop_map(Bytes::from), max, Items::Bytes),
        Scalar::Timestamp => many(any::<i64>(), max, Items::Timestamp),
    }
}

/// A value of the type, now and then null.
pub(crate) fn values_of(value_type: ValueType) -> BoxedStrategy<Value> {
    let present = match value_type {
        ValueType::List(scalar) => items(scalar, 6).prop_map(Value::List).boxed(),
        ValueType::Scalar(scalar) => match scalar {
            Scalar::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Scalar::Int32 => any::<i32>().prop_map(Value::Int32).boxed(),
            Scalar::Int64 => any::<i64>().prop_map(Value::Int64).boxed(),
            Scalar::Float => any::<f32>().prop_map(Value::Float).boxed(),
            Scalar::Double => any::<f64>().prop_map(Value::Double).boxed(),
            Scalar::String => any::<String>().prop_map(Value::String).boxed(),
            Scalar::Bytes => any::<Vec<u8>>()
                .prop_map(|bytes| Value::Bytes(bytes.into()))
                .boxed(),
            Scalar::Timestamp => any::<i64>()
                .prop_map(|time| Value::Timestamp(Micros(time)))
                .boxed(),
        },
    };
    prop_oneof![1 => Just(Value::Null), 6 => present].boxed()
}

/// A type with a value of it.
pub(crate) fn typed_values() -> impl Strategy<Value = (ValueType, Value)> {
    value_types().prop_flat_map(|value_type| (Just(value_type), values_of(value_type)))
}

/// Versions close together, so that event times and parts of stamps are often equal.
pub(crate) fn close_versions() -> impl Strategy<Value = Version> {
    (-3..3i64, 0..4u64, 0..2u64, 1..3u64, 1..4u64).prop_map(
        |(event_time, hlc, region, epoch, seq)| Version {
            event_time: Micros(event_time),
            stamp: Stamp {
                hlc: Hlc(hlc),
                region: RegionId(region),
                epoch: Epoch(epoch),
                seq: Seq(seq),
            },
        },
    )
}
