//! What the catalogue promises.

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, Hlc, Micros, ReadLevel, RegionId, Seq};
use crate::model::key::KeyType;
use crate::model::testing::definitions;
use crate::model::value::{Scalar, ValueType};
use crate::model::version::Order;
use crate::model::view::{JoinKey, MergeMode};

fn stamp(at: u64) -> Stamp {
    Stamp {
        hlc: Hlc(at),
        region: RegionId(1),
        epoch: Epoch(1),
        seq: Seq(at),
    }
}

fn feature(name: &str) -> Feature {
    Feature::new(name.into(), ValueType::Scalar(Scalar::Double), None, None)
}

fn spec(name: &str) -> ViewSpec {
    ViewSpec {
        name: name.into(),
        entity: vec![JoinKey {
            name: "id".into(),
            key_type: KeyType::Int64,
        }],
        ttl: None,
        max_lateness: None,
        merge: MergeMode::Row,
        order: Order::EventTime,
        read_level: None,
        features: vec![feature("a")],
    }
}

#[test]
fn a_name_created_again_after_a_drop_is_the_next_generation_with_another_id() {
    let mut catalogue = Catalogue::new();
    let mut ids = Vec::new();
    for generation in 0..3 {
        let create = catalogue.create(spec("v")).unwrap();
        assert!(matches!(create, Definition::Create { generation: g, .. } if g == generation));
        catalogue.apply(stamp(u64::from(generation) * 2), &create);
        let refused = catalogue.create(spec("v"));
        assert_eq!(
            refused,
            Err(CatalogueError::ViewExists { name: "v".into() })
        );
        ids.push(catalogue.view("v").unwrap().id);
        let drop = catalogue.drop_view("v").unwrap();
        catalogue.apply(stamp(u64::from(generation) * 2 + 1), &drop);
        assert!(catalogue.view("v").is_none() && catalogue.by_id(ids[ids.len() - 1]).is_none());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(ids.into_iter().all(|id| catalogue.is_dropped(id)));
}

#[test]
fn a_feature_is_added_once_and_stands_last() {
    let mut catalogue = Catalogue::new();
    catalogue.apply(stamp(1), &catalogue.create(spec("v")).unwrap());
    catalogue.apply(stamp(2), &catalogue.add_feature("v", feature("b")).unwrap());
    let names: Vec<_> = catalogue
        .view("v")
        .unwrap()
        .spec
        .features
        .iter()
        .map(|held| held.name.clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let exists = CatalogueError::FeatureExists {
        view: "v".into(),
        feature: "b".into(),
    };
    assert_eq!(catalogue.add_feature("v", feature("b")), Err(exists));
    assert_eq!(
        catalogue.add_feature("w", feature("b")),
        Err(CatalogueError::UnknownView { name: "w".into() })
    );
}

#[test]
fn an_alteration_changes_what_it_names_and_keeps_the_order_of_features() {
    let mut catalogue = Catalogue::new();
    catalogue.apply(stamp(1), &catalogue.create(spec("v")).unwrap());
    catalogue.apply(stamp(2), &catalogue.add_feature("v", feature("b")).unwrap());
    let day = Duration::from_secs(86_400);
    let alteration = AlterationSpec {
        ttl: Some(Some(day)),
        defaults: BTreeMap::from([("a".to_owned(), Json::from(2.5))]),
        ..AlterationSpec::default()
    };
    catalogue.apply(stamp(3), &catalogue.alter("v", alteration).unwrap());
    let view = catalogue.view("v").unwrap().clone();
    let features: Vec<_> = view
        .spec
        .features
        .iter()
        .map(|held| (held.name.as_str(), held.default.clone()))
        .collect();
    assert_eq!(features, [("a", Some(Value::Double(2.5))), ("b", None)]);
    assert_eq!((view.spec.ttl, view.spec.max_lateness), (Some(day), None));
    assert_eq!(
        view.id,
        View::new(spec("v"), 0).id,
        "an alteration makes no other view"
    );

    let drop_b = AlterationSpec {
        drop_features: vec!["b".into()],
        ..AlterationSpec::default()
    };
    catalogue.apply(stamp(4), &catalogue.alter("v", drop_b).unwrap());
    assert!(catalogue.view("v").unwrap().feature("b").is_none());
    let again = catalogue.add_feature("v", feature("b"));
    assert!(
        matches!(again, Err(CatalogueError::FeatureDropped { .. })),
        "its old values would be back"
    );
    let other_type = Feature::new("b".into(), ValueType::Scalar(Scalar::Int64), None, None);
    assert!(catalogue.add_feature("v", other_type).is_ok());
}

#[test]
fn an_alteration_that_contradicts_what_holds_is_refused() {
    let mut catalogue = Catalogue::new();
    let hour = Duration::from_secs(3_600);
    let mut bounded = spec("v");
    bounded.max_lateness = Some(hour);
    bounded.features = vec![Feature {
        max_age: Some(hour),
        ..feature("a")
    }];
    catalogue.apply(stamp(1), &catalogue.create(bounded).unwrap());
    let alter = |change: fn(&mut AlterationSpec)| {
        let mut spec = AlterationSpec::default();
        change(&mut spec);
        catalogue.alter("v", spec).map(drop)
    };
    let (view, feature) = ("v".to_owned(), "x".to_owned());
    assert_eq!(
        alter(|_| {}),
        Err(CatalogueError::NothingAltered { view: view.clone() })
    );
    let shorter = alter(|spec| spec.max_lateness = Some(Some(Duration::from_secs(60))));
    assert_eq!(
        shorter,
        Err(CatalogueError::LatenessShrinks { view: view.clone() })
    );
    assert_eq!(
        alter(|spec| spec.max_lateness = Some(None)),
        Ok(()),
        "no bound is the longest"
    );
    let same = alter(|spec| spec.max_lateness = Some(Some(Duration::from_secs(3_600))));
    assert_eq!(same, Ok(()), "it need not grow");
    let outlived = alter(|spec| spec.ttl = Some(Some(Duration::from_micros(3_599_999_999))));
    assert!(matches!(
        outlived,
        Err(CatalogueError::MaxAgeAboveTtl { .. })
    ));
    let reached = alter(|spec| spec.ttl = Some(Some(Duration::from_secs(3_600))));
    assert_eq!(reached, Ok(()), "max_age may be as long");
    let unknown = CatalogueError::UnknownFeature {
        view: view.clone(),
        feature,
    };
    assert_eq!(
        alter(|spec| spec.drop_features = vec!["x".into()]),
        Err(unknown)
    );
    let last = alter(|spec| spec.drop_features = vec!["a".into()]);
    assert_eq!(last, Err(CatalogueError::NoFeatureLeft { view }));
    let wrong = alter(|spec| {
        spec.defaults.insert("a".into(), Json::from("many"));
    });
    assert!(matches!(wrong, Err(CatalogueError::BadDefault { .. })));
}

#[test]
fn of_max_latenesses_set_at_once_the_longest_counts_and_none_is_longer_than_any() {
    let mut catalogue = Catalogue::new();
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let mut bounded = spec("v");
    bounded.max_lateness = hours(1);
    catalogue.apply(stamp(1), &catalogue.create(bounded).unwrap());
    let alter = |catalogue: &Catalogue, lateness| {
        let spec = AlterationSpec {
            max_lateness: Some(lateness),
            ..AlterationSpec::default()
        };
        catalogue.alter("v", spec)
    };
    // Each was agreed to where the others were not known.
    let all = [hours(3), hours(2), None, hours(4)].map(|span| alter(&catalogue, span).unwrap());
    for (at, (definition, expected)) in (2..).zip(all.iter().zip([hours(3), hours(3), None, None]))
    {
        catalogue.apply(stamp(at), definition);
        let view = catalogue.view("v").unwrap();
        assert_eq!(view.spec.max_lateness, expected);
    }
    assert_eq!(
        alter(&catalogue, hours(1_000)),
        Err(CatalogueError::LatenessShrinks { view: "v".into() }),
        "of none"
    );
}

#[test]
fn the_same_definitions_make_the_same_catalogue_in_every_order() {
    let mut grown = Catalogue::new();
    let mut records = Vec::new();
    let mut at = 0;
    let mut log = |catalogue: &mut Catalogue, definition: Definition| {
        at += 1;
        catalogue.apply(stamp(at), &definition);
        records.push((stamp(at), definition));
    };
    let define = grown.create(spec("v")).unwrap();
    log(&mut grown, define);
    let add = grown.add_feature("v", feature("b")).unwrap();
    log(&mut grown, add);
    let other = grown.create(spec("w")).unwrap();
    log(&mut grown, other);
    let drop = grown.drop_view("v").unwrap();
    log(&mut grown, drop);
    let again = grown.create(spec("v")).unwrap();
    log(&mut grown, again);
    for seconds in [9, 3] {
        let span = Some(Some(Duration::from_secs(seconds)));
        let defaults = BTreeMap::from([("a".to_owned(), Json::from(seconds))]);
        let alteration = AlterationSpec {
            ttl: span,
            defaults,
            ..AlterationSpec::default()
        };
        let alter = grown.alter("v", alteration).unwrap();
        log(&mut grown, alter);
    }
    let add = grown.add_feature("v", feature("c")).unwrap();
    log(&mut grown, add);
    let drop_a = AlterationSpec {
        drop_features: vec!["a".into()],
        ..AlterationSpec::default()
    };
    let alter = grown.alter("v", drop_a).unwrap();
    log(&mut grown, alter);

    let shown = |catalogue: &Catalogue| {
        catalogue
            .views()
            .map(|view| format!("{view:?}"))
            .collect::<Vec<_>>()
    };
    let mut runner = proptest::test_runner::TestRunner::default();
    let order = Just(records).prop_shuffle();
    runner
        .run(&order, |records| {
            let mut catalogue = Catalogue::new();
            records
                .iter()
                .for_each(|(stamp, definition)| catalogue.apply(*stamp, definition));
            records
                .iter()
                .for_each(|(stamp, definition)| catalogue.apply(*stamp, definition));
            prop_assert_eq!(shown(&catalogue), shown(&grown));
            Ok(())
        })
        .unwrap();
}

#[test]
fn another_creation_of_a_view_lets_no_floor_fall() {
    let second = Duration::from_secs(1);
    let created = |span| Definition::Create {
        generation: 0,
        spec: ViewSpec {
            ttl: Some(span),
            max_lateness: Some(span),
            ..spec("v")
        },
    };
    let at = |millis| Stamp {
        hlc: Hlc::from_millis(millis),
        ..stamp(1)
    };
    let mut catalogue = Catalogue::new();
    catalogue.apply(at(5_000), &created(second));
    let now = Micros(10_000_000);
    let floors = |catalogue: &Catalogue| {
        let view = catalogue.view("v").unwrap();
        (view.expiry_floor(now), view.lateness_floor(now))
    };
    assert_eq!(
        floors(&catalogue),
        (Some(Micros(9_000_000)), Some(Micros(9_000_000)))
    );

    catalogue.apply(at(10_000), &created(second * 9));
    assert_eq!(
        floors(&catalogue),
        (Some(Micros(9_000_000)), Some(Micros(9_000_000)))
    );
    assert_eq!(catalogue.view("v").unwrap().spec.ttl, Some(second * 9));

    let alteration = Alteration {
        ttl: Some(Some(second * 4)),
        ..Alteration::default()
    };
    let view = catalogue.view("v").unwrap().id;
    catalogue.apply(at(7_000), &Definition::Alter { view, alteration });
    let ttl = catalogue.view("v").unwrap().spec.ttl;
    assert_eq!(
        ttl,
        Some(second * 4),
        "a creation is older than any alteration"
    );
}

#[test]
fn a_view_is_read_at_the_level_said_last() {
    let mut catalogue = Catalogue::new();
    let quorum = Some(ReadLevel::Quorum);
    let create = ViewSpec {
        read_level: quorum,
        ..spec("v")
    };
    catalogue.apply(stamp(1), &catalogue.create(create).unwrap());
    let held = |catalogue: &Catalogue| catalogue.view("v").unwrap().spec.read_level;
    assert_eq!(held(&catalogue), quorum);
    let alter = |read_level| {
        let spec = AlterationSpec {
            read_level: Some(read_level),
            ..AlterationSpec::default()
        };
        catalogue.alter("v", spec).unwrap()
    };
    let (none, primary) = (alter(None), alter(Some(ReadLevel::Primary)));
    catalogue.apply(stamp(3), &none);
    assert_eq!(held(&catalogue), None);
    // It was said before.
    catalogue.apply(stamp(2), &primary);
    assert_eq!(held(&catalogue), None);
    catalogue.apply(stamp(4), &primary);
    assert_eq!(held(&catalogue), Some(ReadLevel::Primary));
}

proptest! {
    #[test]
    fn a_definition_reads_back(definition in definitions()) {
        let read = Definition::from_json(&definition.to_json()).unwrap();
        // Through Debug, so that NaN equals itself.
        prop_assert_eq!(format!("{read:?}"), format!("{definition:?}"));
    }

    #[test]
    fn no_text_makes_decoding_panic(definition in definitions(), at: prop::sample::Index, text: String) {
        let mut spoiled = definition.to_json();
        let boundaries: Vec<usize> = spoiled.char_indices().map(|(at, _)| at).collect();
        spoiled.insert_str(boundaries[at.index(boundaries.len())], &text);
        let _spoiled = Definition::from_json(&spoiled);
        let _random = Definition::from_json(&text);
    }
}
