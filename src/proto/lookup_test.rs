use super::*;
use crate::model::{EntityKey, Items, KeyValue, Scalar};
use crate::proto::testing::{catalogue, names};
use crate::proto::{Reason, items_from_proto, read_level};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

fn column(name: &str, items: Items) -> v1::KeyColumn {
    v1::KeyColumn {
        join_key: name.into(),
        values: Some(items_to_proto(items)),
    }
}

fn carriers(names: &[&str]) -> v1::KeyColumn {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    column("carrier", Items::String(names))
}

fn numbers(numbers: &[i32]) -> v1::KeyColumn {
    column("number", Items::Int32(numbers.to_vec()))
}

fn get(entities: Vec<v1::KeyColumn>, views: &[(&str, &[&str])]) -> v1::GetFeaturesRequest {
    let selection = |(view, features): &(&str, &[&str])| v1::ViewSelection {
        view: (*view).to_owned(),
        features: features.iter().map(|name| (*name).to_owned()).collect(),
    };
    v1::GetFeaturesRequest {
        entities,
        views: views.iter().map(selection).collect(),
        ..Default::default()
    }
}

/// What becomes of a lookup of views that say nothing of levels.
fn checked(request: v1::GetFeaturesRequest) -> Result<Lookup, Invalid> {
    let level = read_level(request.level, request.max_staleness_ms)?;
    lookup_of_get(request, level.unwrap_or_default(), &catalogue())
}

#[test]
fn each_view_takes_the_columns_it_needs_whatever_their_order() {
    let entities = vec![
        column("user", Items::Int64(vec![-1, 5, 5])),
        numbers(&[1, 2, 2]),
        carriers(&["UA", "\0", "\0"]),
    ];
    let request = get(entities, &[("legs", &["seats", "delay"]), ("users", &[])]);
    let lookup = checked(request).unwrap();
    let [legs, users] = &lookup.selections[..] else {
        panic!("two selections")
    };
    let encode = |values: &[KeyValue]| EntityKey::encode(values).as_bytes().to_vec();
    let keys = |selection: &Selection| {
        selection
            .keys
            .iter()
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let leg = |carrier: &str, number| {
        encode(&[KeyValue::String(carrier.into()), KeyValue::Int32(number)])
    };
    assert_eq!(keys(legs), [leg("UA", 1), leg("\0", 2), leg("\0", 2)]);
    let user = |number| encode(&[KeyValue::Int64(number)]);
    assert_eq!(keys(users), [user(-1), user(5), user(5)]);
    let names = |selection: &Selection| {
        let features = selection.features.iter();
        features
            .map(|feature| feature.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(legs), names(users)),
        (vec!["seats".into(), "delay".into()], vec!["age".into()])
    );
}

#[test]
fn every_malformed_lookup_names_its_field() {
    let both = || vec![carriers(&["UA"]), numbers(&[1])];
    let all: &[(&str, &[&str])] = &[("legs", &[])];
    let long = "x".repeat(2_000);
    let untyped = v1::KeyColumn {
        join_key: "carrier".into(),
        values: None,
    };
    let many = vec!["UA"; limits::LOOKUP_ENTITIES + 1];
    let with = |more: v1::KeyColumn| [both(), vec![more]].concat();
    let cases = [
        (get(both(), &[]), Reason::InvalidArgument, "views"),
        (
            get(both(), &[all[0]; limits::LOOKUP_VIEWS + 1]),
            Reason::TooLarge,
            "views",
        ),
        (
            get(both(), &[("legs", &[]), ("leg", &[])]),
            Reason::UnknownView,
            "views[1].view",
        ),
        (
            get(both(), &[("legs", &["delay", "age"])]),
            Reason::UnknownFeature,
            "views[0].features[1]",
        ),
        (
            get(both(), &[("legs", &["delay", "delay"])]),
            Reason::InvalidArgument,
            "views[0].features[1]",
        ),
        (
            get(both(), &[("users", &[])]),
            Reason::InvalidArgument,
            "views[0].view",
        ),
        (get(vec![], all), Reason::InvalidArgument, "views[0].view"),
        (
            get(vec![untyped], all),
            Reason::InvalidArgument,
            "entities[0].values",
        ),
        (
            get(with(carriers(&["UA"])), all),
            Reason::InvalidArgument,
            "entities[2].join_key",
        ),
        (
            get(with(column("user", Items::Int64(vec![1]))), all),
            Reason::InvalidArgument,
            "entities[2].join_key",
        ),
        (
            get(vec![carriers(&["UA"]), numbers(&[1, 2])], all),
            Reason::InvalidArgument,
            "entities[1].values",
        ),
        (
            get(
                vec![carriers(&["UA"]), column("number", Items::Int64(vec![1]))],
                all,
            ),
            Reason::WrongType,
            "entities[1].values",
        ),
        (
            get(
                vec![carriers(&["UA"]), column("number", Items::Float(vec![1.0]))],
                all,
            ),
            Reason::WrongType,
            "entities[1].values",
        ),
        (
            get(vec![carriers(&[&long]), numbers(&[1])], all),
            Reason::TooLarge,
            "entities[0].values[0]",
        ),
        (
            get(vec![carriers(&many)], all),
            Reason::TooLarge,
            "entities",
        ),
        (
            v1::GetFeaturesRequest {
                level: 9,
                ..get(both(), all)
            },
            Reason::InvalidArgument,
            "level",
        ),
        (
            v1::GetFeaturesRequest {
                max_staleness_ms: 9,
                ..get(both(), all)
            },
            Reason::InvalidArgument,
            "max_staleness_ms",
        ),
    ];
    for (request, reason, field) in cases {
        let invalid = checked(request).unwrap_err();
        let found = (invalid.problem.reason(), invalid.field.as_str());
        assert_eq!(found, (reason, field), "{invalid}");
    }
}

#[test]
fn too_many_values_are_refused_before_features_and_keys_are_looked_at() {
    let per_entity = limits::LOOKUP_VALUES / limits::LOOKUP_ENTITIES;
    let refusal = |features: usize| {
        let unknown = vec!["unknown"; features];
        let wrong = numbers(&[1; limits::LOOKUP_ENTITIES]);
        let request = get(vec![wrong], &[("users", &unknown)]);
        checked(request).unwrap_err()
    };
    let invalid = refusal(per_entity + 1);
    assert_eq!(
        (invalid.problem.reason(), invalid.field.as_str()),
        (Reason::TooLarge, "views[0]")
    );
    let reason = refusal(per_entity).problem.reason();
    assert_eq!(reason, Reason::UnknownFeature, "as many as may be");
}

#[test]
fn a_column_moves_into_its_message() {
    let catalogue = catalogue();
    let feature = catalogue.view("legs").unwrap().feature("tags").unwrap();
    let values = Items::String(vec!["a".into(), "b".into()]);
    let message = column_to_proto(Column {
        feature: feature.clone(),
        values: values.clone(),
        statuses: vec![1, 19],
        list_lengths: vec![2, 0],
        event_times: vec![7, 0],
    });
    assert_eq!(
        (message.feature.as_str(), message.r#type.as_str()),
        ("tags", "list<string>")
    );
    assert_eq!(message.values.and_then(items_from_proto), Some(values));
    assert_eq!(
        (&message.statuses[..], &message.list_lengths[..]),
        (&[1u8, 19][..], &[2u32, 0][..])
    );
    assert_eq!(message.event_times_us, [7, 0]);
}

fn items() -> impl Strategy<Value = Option<Items>> {
    (0..=Scalar::ALL.len(), 0..3usize).prop_map(|(at, count)| {
        let mut items = Items::with_capacity(*Scalar::ALL.get(at)?, count);
        (0..count).for_each(|_| items.push_blank());
        Some(items)
    })
}

proptest! {
    #[test]
    fn any_lookup_has_a_key_for_each_entity_or_is_refused_by_name(
        columns in vec((names(), items()), 0..4),
        views in vec((names(), vec(names(), 0..3)), 0..3),
        level in -1..6,
        max_staleness_ms in 0..2u32,
    ) {
        let entities: Vec<_> = columns.into_iter().map(|(join_key, items)| v1::KeyColumn { join_key, values: items.map(items_to_proto) }).collect();
        let count = entities.first().and_then(|column| items_from_proto(column.values.clone()?)).map(|items| items.len());
        let views = views.into_iter().map(|(view, features)| v1::ViewSelection { view, features }).collect();
        let request = v1::GetFeaturesRequest { entities, views, level, max_staleness_ms, ..Default::default() };
        match checked(request) {
            Err(invalid) => prop_assert!(!invalid.field.is_empty()),
            Ok(lookup) => for selection in &lookup.selections {
                prop_assert_eq!(Some(selection.keys.len()), count);
            },
        }
    }

    #[test]
    fn no_bytes_make_a_lookup_panic(bytes: Vec<u8>) {
        if let Ok(request) = v1::GetFeaturesRequest::decode(bytes.as_slice()) {
            let _lookup = checked(request);
        }
    }
}
