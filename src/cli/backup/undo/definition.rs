//! Pure: whether rows of a restored view can be written into a live one.

use crate::model::{Feature, JoinKey, ViewSpec};

/// What of the restored definition the live one lacks, or has otherwise; nothing if rows can be written. That the live one has
/// more features, other times to live, another merge mode or order is no hindrance: these are its owners' to choose.
#[must_use]
pub fn misfits(restored: &ViewSpec, live: &ViewSpec) -> Vec<String> {
    let mut misfits = Vec::new();
    if restored.entity != live.entity {
        misfits.push(format!(
            "its join keys are {}, those restored {}",
            keys(&live.entity),
            keys(&restored.entity)
        ));
    }
    let features = restored.features.iter();
    misfits.extend(features.filter_map(|feature| misfit(feature, live)));
    misfits
}

fn misfit(restored: &Feature, live: &ViewSpec) -> Option<String> {
    let Feature {
        name, value_type, ..
    } = restored;
    let mut features = live.features.iter();
    match features.find(|feature| feature.name == *name) {
        None => Some(format!("it has no feature {name:?} ({value_type})")),
        Some(found) if found.value_type != *value_type => Some(format!(
            "its feature {name:?} is of type {}, the restored one of type {value_type}",
            found.value_type
        )),
        Some(_) => None,
    }
}

fn keys(entity: &[JoinKey]) -> String {
    let keys = entity.iter();
    let keys = keys.map(|key| format!("{} {}", key.name, key.key_type.name()));
    keys.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view_file::parse_view;

    fn spec(keys: &str, features: &[(&str, &str)], settings: &str) -> ViewSpec {
        let features = features.iter();
        let features =
            features.map(|(name, of)| format!("{{ name = \"{name}\", type = \"{of}\" }}"));
        let features = features.collect::<Vec<_>>().join(", ");
        let text = format!("name = \"v\"\n{settings}\nentity = [{keys}]\nfeature = [{features}]");
        parse_view(&text).unwrap()
    }

    const USER: &str = "{ name = \"user\", type = \"int64\" }";

    #[test]
    fn other_settings_and_more_features_do_not_matter() {
        let restored = spec(USER, &[("a", "int64")], "");
        let settings = "merge = \"cell\"\norder = \"arrival\"\nttl = \"1d\"";
        let live = spec(USER, &[("b", "bool"), ("a", "int64")], settings);
        assert_eq!(misfits(&restored, &live), [""; 0]);
    }

    #[test]
    fn all_that_is_missing_or_another_is_named() {
        let restored = spec(
            USER,
            &[("a", "int64"), ("b", "list<float>"), ("c", "bool")],
            "",
        );
        let keys = "{ name = \"user\", type = \"string\" }, { name = \"day\", type = \"int32\" }";
        let live = spec(keys, &[("c", "bool"), ("b", "float")], "");
        assert_eq!(
            misfits(&restored, &live),
            [
                "its join keys are user string, day int32, those restored user int64",
                "it has no feature \"a\" (int64)",
                "its feature \"b\" is of type float, the restored one of type list<float>",
            ]
        );
    }
}
