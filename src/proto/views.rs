//! Pure: views as messages.

use std::time::Duration;

use super::v1;
use super::values::value_to_proto;
use crate::model::version::Order;
use crate::model::{Feature, MergeMode, View};

/// The message of a view that holds so many rows.
#[must_use]
pub fn view_to_proto(view: &View, rows: u64) -> v1::View {
    let spec = &view.spec;
    let join_key = |join_key: &crate::model::JoinKey| v1::JoinKey {
        name: join_key.name.clone(),
        r#type: join_key.key_type.to_string(),
    };
    v1::View {
        name: spec.name.clone(),
        entity: spec.entity.iter().map(join_key).collect(),
        features: spec.features.iter().map(feature_to_proto).collect(),
        merge: match spec.merge {
            MergeMode::Row => "row",
            MergeMode::Cell => "cell",
        }
        .to_owned(),
        order: match spec.order {
            Order::EventTime => "event_time",
            Order::Arrival => "arrival",
        }
        .to_owned(),
        ttl_us: micros(spec.ttl),
        max_lateness_us: micros(spec.max_lateness),
        id: view.id.to_string(),
        generation: view.generation,
        rows,
    }
}

fn feature_to_proto(feature: &Feature) -> v1::Feature {
    v1::Feature {
        name: feature.name.clone(),
        r#type: feature.value_type.to_string(),
        default: feature.default.clone().map(value_to_proto),
        max_age_us: micros(feature.max_age),
        id: feature.id.to_string(),
    }
}

fn micros(span: Option<Duration>) -> u64 {
    span.map_or(0, |span| {
        u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
    })
}
