//! View files, features and alterations, and the definitions that they become in a record.

use steadfast::model::catalogue::Catalogue;
use steadfast::model::definition::Definition;
use steadfast::model::view_file::{parse_alteration, parse_feature, parse_view};

use super::{assert_same, bounded, stamp};

/// TOML of two bytes becomes a value with its place, and its line may be named in an error.
const MULTIPLE: u64 = 2_000;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let catalogue = catalogue();
    if let Ok(spec) = bounded(text.len(), MULTIPLE, || parse_view(text)) {
        let name = spec.name.clone();
        if let Ok(definition) = catalogue.create(spec) {
            let after = check_definition(&catalogue, &definition);
            assert!(after.view(&name).is_some());
        }
    }
    if let Ok(feature) = bounded(text.len(), MULTIPLE, || parse_feature(text, None))
        && let Ok(definition) = catalogue.add_feature("all", feature.clone())
    {
        let after = check_definition(&catalogue, &definition);
        let view = after.view("all").expect("it was there before");
        assert!(view.feature(&feature.name).is_some());
    }
    if let Ok(spec) = bounded(text.len(), MULTIPLE, || parse_alteration(text)) {
        let dropped = spec.drop_features.clone();
        if let Ok(definition) = catalogue.alter("all", spec) {
            let after = check_definition(&catalogue, &definition);
            let view = after.view("all").expect("it was there before");
            assert!(dropped.iter().all(|name| view.feature(name).is_none()));
        }
    }
    check_logged(text);
}

/// A definition survives being logged, and applying it twice is applying it once.
fn check_definition(catalogue: &Catalogue, definition: &Definition) -> Catalogue {
    let again = check_logged(&definition.to_json()).expect("what was written can be read");
    assert_same(&again, definition);
    let mut after = catalogue.clone();
    after.apply(stamp(2), definition);
    let mut twice = after.clone();
    twice.apply(stamp(2), definition);
    assert_same(&twice.views().collect::<Vec<_>>(), &after.views().collect());
    after
}

fn check_logged(text: &str) -> Option<Definition> {
    let definition = bounded(text.len(), MULTIPLE, || Definition::from_json(text)).ok()?;
    let again = Definition::from_json(&definition.to_json());
    assert_same(&again.expect("what was written can be read"), &definition);
    Some(definition)
}

/// A catalogue of one view with all types.
pub fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let spec = parse_view(ALL_TYPES).expect("the view is valid");
    let definition = catalogue.create(spec).expect("nothing is in its way");
    catalogue.apply(stamp(1), &definition);
    catalogue
}

/// A view with join keys and features of all types.
pub const ALL_TYPES: &str = r#"
name = "all"
entity = [
    { name = "s", type = "string" }, { name = "b", type = "bytes" }, { name = "i", type = "int32" },
    { name = "l", type = "int64" }, { name = "t", type = "timestamp" }, { name = "f", type = "bool" },
]
ttl = "30d"
max_lateness = "2d"
merge = "cell"
feature = [
    { name = "bool", type = "bool", default = true },
    { name = "int32", type = "int32", default = -1 },
    { name = "int64", type = "int64", default = 9_007_199_254_740_993 },
    { name = "float", type = "float", default = 0.1 },
    { name = "double", type = "double", default = nan },
    { name = "string", type = "string", default = "ü" },
    { name = "bytes", type = "bytes", default = "AAE=", max_age = "1h" },
    { name = "timestamp", type = "timestamp", max_age = "500ms" },
    { name = "bools", type = "list<bool>", default = [true, false] },
    { name = "int32s", type = "list<int32>" },
    { name = "int64s", type = "list<int64>" },
    { name = "floats", type = "list<float>", default = [1.5, inf] },
    { name = "doubles", type = "list<double>", default = [] },
    { name = "strings", type = "list<string>", default = ["a", ""] },
    { name = "bytess", type = "list<bytes>" },
    { name = "timestamps", type = "list<timestamp>" },
]
"#;

pub fn seeds() -> Vec<Vec<u8>> {
    let other = ALL_TYPES.replace("\"all\"", "\"other\"");
    let feature = "[[feature]]\nname = \"new\"\ntype = \"list<double>\"\ndefault = [1.0, -0.0, nan]\nmax_age = \"12h\"\n";
    let alteration = "ttl = \"60d\"\nmax_lateness = \"0\"\nremove_default = [\"bool\"]\ndrop_feature = [\"int32\"]\n[default]\nint64 = 0\nfloats = [2.5]\n";
    let logged = {
        let spec = parse_view(&other).expect("the view is valid");
        catalogue()
            .create(spec)
            .expect("its name is free")
            .to_json()
    };
    let texts = [
        other.as_str(),
        feature,
        feature.trim_start_matches("[[feature]]\n"),
        alteration,
        &logged,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
