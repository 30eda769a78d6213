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
        read_level: spec
            .read_level
            .map_or_else(String::new, |level| level.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::catalogue;
    use crate::proto::{Problem, value_from_proto};

    #[test]
    fn a_view_says_all_that_its_file_did() {
        let catalogue = catalogue();
        let (legs, users) = (
            catalogue.view("legs").unwrap(),
            catalogue.view("users").unwrap(),
        );
        let message = view_to_proto(legs, 12);
        let keys: Vec<_> = message
            .entity
            .iter()
            .map(|key| (key.name.as_str(), key.r#type.as_str()))
            .collect();
        assert_eq!(keys, [("carrier", "string"), ("number", "int32")]);
        assert_eq!(
            (message.merge.as_str(), message.order.as_str(), message.rows),
            ("row", "event_time", 12)
        );
        assert_eq!(message.id, legs.id.to_string());
        let delay = message.features[0].clone();
        let default: Result<_, Problem> = value_from_proto(delay.default.unwrap());
        assert_eq!(default, Ok(Some(crate::model::Value::Double(1.5))));
        assert_eq!(
            (
                message.features[1].default.clone(),
                message.features[1].max_age_us
            ),
            (None, 3_600_000_000)
        );
        assert_eq!(message.features[2].r#type, "list<string>");
        assert_eq!(
            (message.ttl_us, view_to_proto(users, 0).ttl_us),
            (0, 7_200_000_000)
        );
    }
}
