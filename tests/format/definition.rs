//! Definitions as logged, and the ids that follow from them.

use std::time::Duration;

use steadfast::base::ReadLevel;
use steadfast::model::definition::{Alteration, Definition};
use steadfast::model::view_file::parse_view;
use steadfast::model::{Value, View, ViewId};

const VIEW_FILE: &str = r#"
name = "aircraft_stats"
entity = [{ name = "tailnum", type = "string" }, { name = "day", type = "int32" }]
ttl = "30d"
max_lateness = "2d"
merge = "cell"
order = "arrival"
[[feature]]
name = "mean_delay"
type = "double"
default = nan
max_age = "12h"
[[feature]]
name = "recent"
type = "list<timestamp>"
default = [2013-01-01T00:00:00Z]
[[feature]]
name = "flights"
type = "int64"
"#;

const CREATE: &str = concat!(
    r#"{"change":"create","name":"aircraft_stats","generation":2,"#,
    r#""entity":[{"name":"tailnum","type":"string"},{"name":"day","type":"int32"}],"#,
    r#""ttl_us":2592000000000,"max_lateness_us":172800000000,"merge":"cell","order":"arrival","#,
    r#""features":[{"name":"mean_delay","type":"double","default":"NaN","max_age_us":43200000000},"#,
    r#"{"name":"recent","type":"list<timestamp>","default":["2013-01-01T00:00:00Z"],"max_age_us":null},"#,
    r#"{"name":"flights","type":"int64","default":null,"max_age_us":null}]}"#,
);
const ADD_FEATURE: &str = concat!(
    r#"{"change":"add_feature","view":43981,"#,
    r#""feature":{"name":"flights","type":"int64","default":7,"max_age_us":null}}"#,
);
const ALTER: &str = concat!(
    r#"{"change":"alter","view":43981,"ttl_us":60000000,"max_lateness_us":null,"#,
    r#""features":[{"name":"flights","type":"int64","default":7,"max_age_us":null}],"dropped":[1502531131]}"#,
);
const ALTER_LITTLE: &str =
    r#"{"change":"alter","view":43981,"ttl_us":null,"features":[],"dropped":[]}"#;
const ALTER_LEVEL: &str =
    r#"{"change":"alter","view":43981,"read_level":"bounded:500ms","features":[],"dropped":[]}"#;
const DROP: &str = r#"{"change":"drop","view":18446744073709551615}"#;

/// Holds version 1 of the format to both directions. Through Debug, so that NaN equals itself.
fn check(definition: &Definition, golden: &str) {
    assert_eq!(definition.to_json(), golden);
    let read = Definition::from_json(golden).unwrap();
    assert_eq!(format!("{read:?}"), format!("{definition:?}"));
}

#[test]
fn definitions_are_as_in_version_1() {
    let spec = parse_view(VIEW_FILE).unwrap();
    let mut feature = spec.features[2].clone();
    feature.default = Some(Value::Int64(7));
    let create = Definition::Create {
        generation: 2,
        spec,
    };
    check(&create, CREATE);
    let view = ViewId(0xabcd);
    let alteration = Alteration {
        ttl: Some(Some(Duration::from_secs(60))),
        max_lateness: Some(None),
        read_level: None,
        features: vec![feature.clone()],
        dropped: vec![feature.id],
    };
    check(&Definition::AddFeature { view, feature }, ADD_FEATURE);
    check(&Definition::Alter { view, alteration }, ALTER);
    let alteration = Alteration {
        ttl: Some(None),
        ..Alteration::default()
    };
    check(&Definition::Alter { view, alteration }, ALTER_LITTLE);
    let bounded = ReadLevel::Bounded(Duration::from_millis(500));
    let alteration = Alteration {
        read_level: Some(Some(bounded)),
        ..Alteration::default()
    };
    check(&Definition::Alter { view, alteration }, ALTER_LEVEL);
    let view = ViewId(u64::MAX);
    check(&Definition::Drop { view }, DROP);
}

#[test]
fn ids_are_as_in_version_1() {
    let view = View::new(parse_view(VIEW_FILE).unwrap(), 2);
    assert_eq!(view.id.to_string(), "657e14b79bfcfc27");
    let features = view.spec.features.iter();
    let ids: Vec<_> = features.map(|feature| feature.id.to_string()).collect();
    assert_eq!(ids, ["5ce06619", "d8b4f6f4", "598ece3b"]);
}

#[test]
fn a_definition_with_an_unknown_key_is_refused() {
    let newer = DROP.replace("}", r#","reason":"gone"}"#);
    assert!(Definition::from_json(&newer).is_err());
}
