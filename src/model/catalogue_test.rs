//! What the catalogue promises.

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, Hlc, RegionId, Seq};
use crate::model::key::KeyType;
use crate::model::testing::definitions;
use crate::model::value::Scalar;

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
