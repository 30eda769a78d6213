//! Pure: view files, the TOML in which owners define views.
//!
//! ```toml
//! name = "aircraft_stats"
//! entity = [{ name = "tailnum", type = "string" }]
//! ttl = "30d"             # 0 = never (the default)
//! max_lateness = "2d"     # 0 = without bound (the default)
//! merge = "row"           # or "cell"
//! order = "event_time"    # or "arrival"
//! read_level = "quorum"   # of lookups that name none; "default" (the default) is what the node is configured to
//! [[feature]]
//! name = "mean_arr_delay_last10"
//! type = "double"
//! default = 0.0
//! max_age = "12h"         # not above the view's ttl
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::definition::AlterationSpec;
use super::json::{value_from_json, value_to_json};
use super::key::KeyType;
use super::limits;
use super::value::{Value, ValueType};
use super::version::Order;
use super::view::{Feature, JoinKey, MergeMode, ViewSpec};
use crate::base::{ReadLevel, UnknownLevel};

/// In place of a read level: what the node is configured to.
pub const NODE_DEFAULT: &str = "default";

/// Why a view file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewFileError {
    /// It is no TOML, or has unknown, missing or mistyped keys.
    #[error("{0}")]
    Syntax(String),
    /// A name is empty, too long or holds other characters.
    #[error(
        "{what} {name:?} is not a name: 1 to {} of a-z A-Z 0-9 _ - . are",
        limits::NAME_BYTES
    )]
    BadName {
        /// What is named.
        what: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// Two parts share a name.
    #[error("{what} {name:?} is defined twice")]
    Duplicate {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There are too few or too many of something.
    #[error("{count} {what}: 1 to {max} are allowed")]
    Count {
        /// What there are.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A type has no meaning where it stands.
    #[error("{what} {name:?}: {problem}")]
    BadType {
        /// What has the type.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A duration is none or too long.
    #[error(
        "{key} = {text:?} is not a duration: expected such as \"30d\", \"12h\", \"500ms\" or \"0\""
    )]
    BadDuration {
        /// The key.
        key: &'static str,
        /// What it holds.
        text: String,
    },
    /// A read level is none.
    #[error("read_level = {0}, or default")]
    BadLevel(#[from] UnknownLevel),
    /// A feature's default is not of its type.
    #[error("default of feature {feature:?}: {problem}")]
    BadDefault {
        /// The feature.
        feature: String,
        /// What is wrong.
        problem: String,
    },
    /// A feature would outlive its row (M9).
    #[error("max_age of feature {feature:?} is above the view's ttl")]
    MaxAgeAboveTtl {
        /// The feature.
        feature: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewFile {
    name: String,
    entity: Vec<JoinKeyEntry>,
    ttl: Option<String>,
    max_lateness: Option<String>,
    #[serde(default)]
    merge: MergeMode,
    #[serde(default)]
    order: Order,
    read_level: Option<String>,
    #[serde(default)]
    feature: Vec<FeatureEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinKeyEntry {
    name: String,
    #[serde(rename = "type")]
    key_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureEntry {
    name: String,
    #[serde(rename = "type")]
    value_type: String,
    default: Option<toml::Value>,
    max_age: Option<String>,
}

/// A feature table under its `[[feature]]` heading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureFile {
    feature: Vec<FeatureEntry>,
}

/// Reads a view file.
///
/// # Errors
/// What is wrong first; syntax errors say where.
pub fn parse_view(text: &str) -> Result<ViewSpec, ViewFileError> {
    let file: ViewFile = toml::from_str(text).map_err(|error| syntax(&error))?;
    check_name("view", &file.name)?;
    check_count("join keys", file.entity.len(), limits::JOIN_KEYS)?;
    check_count("features", file.feature.len(), limits::FEATURES)?;
    check_distinct(
        "join key",
        file.entity.iter().map(|entry| entry.name.as_str()),
    )?;
    check_distinct(
        "feature",
        file.feature.iter().map(|entry| entry.name.as_str()),
    )?;
    let ttl = parse_span("ttl", file.ttl.as_deref())?;
    let max_lateness = parse_span("max_lateness", file.max_lateness.as_deref())?;
    Ok(ViewSpec {
        name: file.name,
        entity: file
            .entity
            .into_iter()
            .map(join_key)
            .collect::<Result<_, _>>()?,
        ttl,
        max_lateness,
        merge: file.merge,
        order: file.order,
        read_level: parse_level(file.read_level.as_deref())?,
        features: file
            .feature
            .into_iter()
            .map(|entry| feature(entry, ttl))
            .collect::<Result<_, _>>()?,
    })
}

/// The view file of a view, from which the same definition is read.
///
/// # Errors
/// If a default cannot be written as TOML.
pub fn view_file(spec: &ViewSpec) -> Result<String, toml::ser::Error> {
    let mut file = toml::Table::new();
    let mut set = |key: &str, value: toml::Value| file.insert(key.to_owned(), value);
    set("name", spec.name.clone().into());
    set("merge", toml::Value::try_from(spec.merge)?);
    set("order", toml::Value::try_from(spec.order)?);
    set("ttl", span_text(spec.ttl).into());
    set("max_lateness", span_text(spec.max_lateness).into());
    let level = spec.read_level.map(|level| level.to_string());
    set(
        "read_level",
        level.as_deref().unwrap_or(NODE_DEFAULT).into(),
    );
    let entity: Result<Vec<_>, _> = spec.entity.iter().map(toml::Value::try_from).collect();
    set("entity", entity?.into());
    let features: Result<Vec<_>, _> = spec.features.iter().map(feature_table).collect();
    set("feature", features?.into());
    toml::to_string(&file)
}

fn feature_table(feature: &Feature) -> Result<toml::Value, toml::ser::Error> {
    let mut table = toml::Table::new();
    table.insert("name".to_owned(), feature.name.clone().into());
    table.insert("type".to_owned(), feature.value_type.to_string().into());
    table.insert("max_age".to_owned(), span_text(feature.max_age).into());
    if let Some(default) = &feature.default {
        let default = toml::Value::try_from(value_to_json(default))?;
        table.insert("default".to_owned(), default);
    }
    Ok(table.into())
}

/// As [`parse_span`] reads it.
fn span_text(span: Option<Duration>) -> String {
    span.map_or_else(
        || "0".to_owned(),
        |span| humantime::format_duration(span).to_string(),
    )
}

/// Reads the definition of one feature, with or without its `[[feature]]` heading, for a view with this ttl.
///
/// # Errors
/// What is wrong first, in the form that the text has.
pub fn parse_feature(text: &str, ttl: Option<Duration>) -> Result<Feature, ViewFileError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error))?;
    if !table.contains_key("feature") {
        return feature(toml::from_str(text).map_err(|error| syntax(&error))?, ttl);
    }
    let file: FeatureFile = toml::from_str(text).map_err(|error| syntax(&error))?;
    let count = |entries: Vec<FeatureEntry>| ViewFileError::Count {
        what: "features",
        count: entries.len(),
        max: 1,
    };
    let [entry] = file.feature.try_into().map_err(count)?;
    feature(entry, ttl)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlterationFile {
    ttl: Option<String>,
    max_lateness: Option<String>,
    read_level: Option<String>,
    #[serde(default)]
    default: BTreeMap<String, toml::Value>,
    #[serde(default)]
    remove_default: Vec<String>,
    #[serde(default)]
    drop_feature: Vec<String>,
}

/// Reads what is to change in a view:
///
/// ```toml
/// ttl = "60d"
/// max_lateness = "3d"
/// read_level = "bounded:500ms"
/// remove_default = ["last_origin"]
/// drop_feature = ["cancelled_total"]
/// [default]
/// flights_total = 0
/// ```
///
/// # Errors
/// What is wrong first. Whether features exist and values fit is left to the catalogue.
pub fn parse_alteration(text: &str) -> Result<AlterationSpec, ViewFileError> {
    let file: AlterationFile = toml::from_str(text).map_err(|error| syntax(&error))?;
    let set = |key, text: Option<String>| text.map(|text| parse_span(key, Some(&text))).transpose();
    let removed = file.remove_default.iter().map(String::as_str);
    check_distinct(
        "default",
        file.default.keys().map(String::as_str).chain(removed),
    )?;
    check_distinct("feature", file.drop_feature.iter().map(String::as_str))?;
    let mut defaults = BTreeMap::new();
    for (feature, value) in file.default {
        let json =
            serde_json::to_value(Plain(value)).map_err(|error| ViewFileError::BadDefault {
                feature: feature.clone(),
                problem: error.to_string(),
            })?;
        defaults.insert(feature, json);
    }
    let removed = file.remove_default.into_iter();
    defaults.extend(removed.map(|feature| (feature, serde_json::Value::Null)));
    Ok(AlterationSpec {
        ttl: set("ttl", file.ttl)?,
        max_lateness: set("max_lateness", file.max_lateness)?,
        read_level: file
            .read_level
            .map(|text| parse_level(Some(&text)))
            .transpose()?,
        defaults,
        drop_features: file.drop_feature,
    })
}

/// `None` is what the node is configured to.
fn parse_level(text: Option<&str>) -> Result<Option<ReadLevel>, ViewFileError> {
    match text {
        None | Some(NODE_DEFAULT) => Ok(None),
        Some(text) => Ok(Some(text.parse()?)),
    }
}

fn syntax(error: &toml::de::Error) -> ViewFileError {
    ViewFileError::Syntax(error.to_string().trim_end().to_owned())
}

fn check_name(what: &'static str, name: &str) -> Result<(), ViewFileError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(allowed) {
        return Err(ViewFileError::BadName {
            what,
            name: name.chars().take(limits::NAME_BYTES).collect(),
        });
    }
    Ok(())
}

fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), ViewFileError> {
    if (1..=max).contains(&count) {
        Ok(())
    } else {
        Err(ViewFileError::Count { what, count, max })
    }
}

fn check_distinct<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ViewFileError> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(what, name)?;
        if !seen.insert(name) {
            return Err(ViewFileError::Duplicate {
                what,
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

fn join_key(entry: JoinKeyEntry) -> Result<JoinKey, ViewFileError> {
    match entry.key_type.parse::<KeyType>() {
        Ok(key_type) => Ok(JoinKey {
            name: entry.name,
            key_type,
        }),
        Err(error) => Err(ViewFileError::BadType {
            what: "join key",
            name: entry.name,
            problem: error.to_string(),
        }),
    }
}

fn feature(entry: FeatureEntry, ttl: Option<Duration>) -> Result<Feature, ViewFileError> {
    check_name("feature", &entry.name)?;
    let value_type: ValueType =
        entry
            .value_type
            .parse()
            .map_err(|error: super::value::UnknownType| ViewFileError::BadType {
                what: "feature",
                name: entry.name.clone(),
                problem: error.to_string(),
            })?;
    let default = entry
        .default
        .map(|default| default_value(&entry.name, value_type, default))
        .transpose()?;
    let max_age = parse_span("max_age", entry.max_age.as_deref())?;
    if max_age.zip(ttl).is_some_and(|(age, ttl)| age > ttl) {
        return Err(ViewFileError::MaxAgeAboveTtl {
            feature: entry.name,
        });
    }
    Ok(Feature::new(entry.name, value_type, default, max_age))
}

fn default_value(
    feature: &str,
    value_type: ValueType,
    default: toml::Value,
) -> Result<Value, ViewFileError> {
    let problem = |problem: String| ViewFileError::BadDefault {
        feature: feature.to_owned(),
        problem,
    };
    let json = serde_json::to_value(Plain(default)).map_err(|error| problem(error.to_string()))?;
    let value = value_from_json(&json, value_type).map_err(|error| problem(error.to_string()))?;
    let mut encoded = Vec::new();
    super::cells::put_cell(&mut encoded, super::view::FeatureId(0), value_type, &value);
    if encoded.len() > limits::VALUE_BYTES {
        return Err(problem(format!(
            "larger than {} bytes",
            limits::VALUE_BYTES
        )));
    }
    Ok(value)
}

/// A TOML value written as the JSON that means the same: times as texts, numbers that JSON lacks as theirs.
struct Plain(toml::Value);

impl serde::Serialize for Plain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            toml::Value::Datetime(time) => serializer.collect_str(time),
            toml::Value::Float(number) if number.is_nan() => serializer.serialize_str("NaN"),
            toml::Value::Float(number) if number.is_infinite() => {
                serializer.serialize_str(if *number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                })
            }
            toml::Value::Array(items) => serializer.collect_seq(items.iter().cloned().map(Plain)),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Table(_) => self.0.serialize(serializer),
        }
    }
}

/// Some 3,000 years: whatever is longer is meant to be for ever.
const LONGEST: Duration = Duration::from_secs(100_000_000_000);

fn parse_span(key: &'static str, text: Option<&str>) -> Result<Option<Duration>, ViewFileError> {
    let Some(text) = text else { return Ok(None) };
    if text.trim() == "0" {
        return Ok(None);
    }
    let whole_micros =
        |span: &Duration| *span <= LONGEST && span.subsec_nanos().is_multiple_of(1000);
    match humantime::parse_duration(text) {
        Ok(span) if whole_micros(&span) => Ok((!span.is_zero()).then_some(span)),
        _ => Err(ViewFileError::BadDuration {
            key,
            text: text.chars().take(40).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{features, specs};
    use proptest::prelude::*;

    const FILE: &str = r#"
name = "aircraft_stats"
entity = [{ name = "tailnum", type = "string" }]
ttl = "30d"
[[feature]]
name = "mean_arr_delay_last10"
type = "double"
default = nan
max_age = "12h"
[[feature]]
name = "recent"
type = "list<timestamp>"
default = [2013-01-01T00:00:00Z]
"#;

    #[test]
    fn a_view_file_says_what_the_view_is() {
        let spec = parse_view(FILE).unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.merge, spec.order),
            ("aircraft_stats", MergeMode::Row, Order::EventTime)
        );
        assert_eq!(
            (spec.ttl, spec.max_lateness),
            (Some(Duration::from_secs(30 * 86_400)), None)
        );
        let defaults: Vec<_> = spec
            .features
            .iter()
            .map(|feature| format!("{:?}", feature.default))
            .collect();
        assert_eq!(
            defaults,
            [
                "Some(Double(NaN))",
                "Some(List(Timestamp([1356998400000000])))"
            ]
        );
    }

    #[test]
    fn a_view_may_say_at_which_level_it_is_read() {
        let bounded = ReadLevel::Bounded(Duration::from_millis(500));
        for (text, level) in [
            ("bounded:500ms", Some(bounded)),
            ("primary", Some(ReadLevel::Primary)),
            (NODE_DEFAULT, None),
        ] {
            let line = format!("read_level = \"{text}\"");
            let file = FILE.replace("ttl = \"30d\"", &line);
            assert_eq!(parse_view(&file).unwrap().read_level, level);
            let altered = parse_alteration(&line).unwrap();
            assert_eq!(altered.read_level, Some(level));
        }
        assert_eq!(parse_view(FILE).unwrap().read_level, None);
        let wrong = parse_alteration("read_level = \"newest\"").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "read_level = \"newest\" is not a level: expected local, bounded:DURATION (such as bounded:500ms), quorum or \
             primary, or default"
        );
    }

    #[test]
    fn a_max_age_may_be_as_long_as_the_ttl() {
        let view = parse_view(&FILE.replace("12h", "30d")).unwrap();
        assert!(
            view.features
                .iter()
                .any(|feature| feature.max_age == view.ttl)
        );
    }

    #[test]
    fn each_mistake_is_named() {
        let with =
            |from: &str, to: &str| parse_view(&FILE.replace(from, to)).unwrap_err().to_string();
        for (from, to, expected) in [
            (
                "name = \"aircraft_stats\"",
                "name = \"air craft\"",
                "view \"air craft\" is not a name",
            ),
            (
                "type = \"string\"",
                "type = \"double\"",
                "join key \"tailnum\": \"double\" is not a key type",
            ),
            (
                "30d",
                "thirty days",
                "ttl = \"thirty days\" is not a duration",
            ),
            (
                "12h",
                "31d",
                "max_age of feature \"mean_arr_delay_last10\" is above",
            ),
            (
                "default = nan",
                "default = \"x\"",
                "default of feature \"mean_arr_delay_last10\": \"x\" is not of type double",
            ),
            (
                "\"recent\"",
                "\"mean_arr_delay_last10\"",
                "feature \"mean_arr_delay_last10\" is defined twice",
            ),
            (
                "type = \"double\"",
                "type = \"decimal\"",
                "\"decimal\" is not a type",
            ),
            ("ttl =", "tll =", "unknown field `tll`"),
            (
                "entity = [{ name = \"tailnum\", type = \"string\" }]",
                "entity = []",
                "0 join keys: 1 to 16",
            ),
        ] {
            let message = with(from, to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_feature_may_stand_with_or_without_its_heading() {
        let bare = "name = \"x\"\ntype = \"int32\"";
        let headed = format!("[[feature]]\n{bare}");
        assert_eq!(parse_feature(bare, None), parse_feature(&headed, None));
    }

    #[test]
    fn a_mistake_in_a_feature_is_told_of_the_form_it_stands_in() {
        let bare = "name = \"x\"\ntype = \"int32\"";
        for (text, expected) in [
            ("name = \"x\"".to_owned(), "missing field `type`"),
            (
                "[[feature]]\nname = \"x\"".to_owned(),
                "missing field `type`",
            ),
            (
                format!("[[feature]]\n{bare}\nmin_age = \"1h\""),
                "unknown field `min_age`",
            ),
            (
                format!("[[feature]]\n{bare}\n[[feature]]\n{bare}"),
                "2 features: 1 to 1",
            ),
            ("feature = []".to_owned(), "0 features: 1 to 1"),
            (
                format!("ttl = \"1h\"\n[[feature]]\n{bare}"),
                "unknown field `ttl`, expected `feature`",
            ),
            ("[[feature]\n".to_owned(), "line 1"),
        ] {
            let message = parse_feature(&text, None).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn an_alteration_sets_what_it_names_and_nothing_else() {
        let text =
            "ttl = \"0\"\nremove_default = [\"b\"]\ndrop_feature = [\"c\"]\n[default]\na = inf";
        let spec = parse_alteration(text).unwrap();
        assert_eq!((spec.ttl, spec.max_lateness), (Some(None), None));
        let defaults = [
            ("a", serde_json::json!("Infinity")),
            ("b", serde_json::Value::Null),
        ];
        let defaults = defaults.map(|(name, json)| (name.to_owned(), json));
        assert_eq!(spec.defaults, BTreeMap::from(defaults));
        assert_eq!(spec.drop_features, ["c"]);
        for (text, expected) in [
            (
                "remove_default = [\"a\"]\n[default]\na = 1",
                "default \"a\" is defined twice",
            ),
            ("ttl = 5", "expected a string"),
            ("order = \"arrival\"", "unknown field `order`"),
        ] {
            let message = parse_alteration(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    /// A view as a view file may define it, given any.
    fn possible(mut spec: ViewSpec) -> ViewSpec {
        let span = |span: Option<Duration>| {
            let span = span.map(|span| span.min(LONGEST));
            span.filter(|span| !span.is_zero())
        };
        spec.name = "v".to_owned();
        spec.ttl = span(spec.ttl);
        spec.max_lateness = span(spec.max_lateness);
        for (at, key) in spec.entity.iter_mut().enumerate() {
            key.name = format!("k{at}");
        }
        let features = spec.features.into_iter().enumerate();
        let features = features.map(|(at, feature)| {
            let max_age =
                span(feature.max_age).filter(|age| spec.ttl.is_none_or(|ttl| *age <= ttl));
            Feature::new(
                format!("f{at}"),
                feature.value_type,
                feature.default,
                max_age,
            )
        });
        spec.features = features.collect();
        spec
    }

    proptest! {
        #[test]
        fn a_view_comes_back_from_its_file(spec in specs(), extra in features()) {
            let mut spec = possible(spec);
            spec.features.push(Feature::new("last".into(), extra.value_type, extra.default, None));
            let text = view_file(&spec).unwrap();
            // NaN equals nothing, not even itself.
            prop_assert_eq!(format!("{:?}", parse_view(&text).unwrap()), format!("{spec:?}"));
        }

        #[test]
        fn no_text_makes_parsing_panic(text: String, at in any::<prop::sample::Index>()) {
            let _random = parse_view(&text);
            let mut file = FILE.to_owned();
            file.insert_str(at.index(FILE.len()), &text);
            let _spoiled = parse_view(&file);
        }
    }
}
