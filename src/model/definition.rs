//! Pure: definitions, the changes of the catalogue as they are logged: JSON, so that people can read what a view was.
//!
//! **Invariant.** What is read is exactly what was written; an unknown key is refused, because it may change the meaning.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::json::{value_from_json, value_to_json};
use super::value::ValueType;
use super::version::Order;
use super::view::{Feature, FeatureId, JoinKey, MergeMode, ViewId, ViewSpec};
use crate::base::ReadLevel;
use crate::base::codec::DecodeError;

/// A change of the catalogue, as logged.
#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    /// A view comes into force.
    Create {
        /// Which generation of the name.
        generation: u32,
        /// The definition.
        spec: ViewSpec,
    },
    /// A view gets one more feature.
    AddFeature {
        /// The view.
        view: ViewId,
        /// The feature.
        feature: Feature,
    },
    /// Settings of a view change.
    Alter {
        /// The view.
        view: ViewId,
        /// What changes.
        alteration: Alteration,
    },
    /// A view goes out of force; its rows are dead whatever their stamps.
    Drop {
        /// The view.
        view: ViewId,
    },
}

/// What changes in a view; what is not set stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alteration {
    /// The new ttl; the inner `None` is for ever.
    pub ttl: Option<Option<Duration>>,
    /// The new `max_lateness`; the inner `None` is without bound.
    pub max_lateness: Option<Option<Duration>>,
    /// The new level of lookups that name none; the inner `None` is the node's default.
    pub read_level: Option<Option<ReadLevel>>,
    /// Features with new defaults.
    pub features: Vec<Feature>,
    /// Features that are no longer read or written.
    pub dropped: Vec<FeatureId>,
}

/// What an owner asks to change in a view; checked by [`view_file`](super::view_file).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlterationSpec {
    /// The new ttl; the inner `None` is for ever.
    pub ttl: Option<Option<Duration>>,
    /// The new `max_lateness`; the inner `None` is without bound.
    pub max_lateness: Option<Option<Duration>>,
    /// The new level of lookups that name none; the inner `None` is the node's default.
    pub read_level: Option<Option<ReadLevel>>,
    /// New defaults by feature name; null takes the default away.
    pub defaults: BTreeMap<String, Json>,
    /// Names of features to drop.
    pub drop_features: Vec<String>,
}

/// The logged form of a definition. Durations are in microseconds.
#[derive(Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
enum Logged {
    Create {
        name: String,
        generation: u32,
        entity: Vec<JoinKey>,
        ttl_us: Option<u64>,
        max_lateness_us: Option<u64>,
        merge: MergeMode,
        order: Order,
        /// Not there if the view has none, as older programs know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read_level: Option<ReadLevel>,
        features: Vec<LoggedFeature>,
    },
    AddFeature {
        view: ViewId,
        feature: LoggedFeature,
    },
    Alter {
        view: ViewId,
        /// Not there if it stays; null is for ever.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "double_option"
        )]
        ttl_us: Option<Option<u64>>,
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "double_option"
        )]
        max_lateness_us: Option<Option<u64>>,
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "double_option"
        )]
        read_level: Option<Option<ReadLevel>>,
        features: Vec<LoggedFeature>,
        dropped: Vec<FeatureId>,
    },
    Drop {
        view: ViewId,
    },
}

/// Tells a field that is not there from one that is null.
mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize + Copy, S: Serializer>(
        field: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        field.flatten().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggedFeature {
    name: String,
    #[serde(rename = "type")]
    value_type: ValueType,
    default: Option<Json>,
    max_age_us: Option<u64>,
}

fn to_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl LoggedFeature {
    fn of(feature: &Feature) -> LoggedFeature {
        LoggedFeature {
            name: feature.name.clone(),
            value_type: feature.value_type,
            default: feature.default.as_ref().map(value_to_json),
            max_age_us: feature.max_age.map(to_micros),
        }
    }

    fn into_feature(self) -> Result<Feature, DecodeError> {
        let invalid = |_| DecodeError::Invalid {
            field: "feature default",
            value: 0,
        };
        let default = self
            .default
            .map(|json| value_from_json(&json, self.value_type))
            .transpose()
            .map_err(invalid)?;
        Ok(Feature::new(
            self.name,
            self.value_type,
            default,
            self.max_age_us.map(Duration::from_micros),
        ))
    }
}

impl Definition {
    /// The logged text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let logged = match self {
            Definition::Create { generation, spec } => Logged::Create {
                name: spec.name.clone(),
                generation: *generation,
                entity: spec.entity.clone(),
                ttl_us: spec.ttl.map(to_micros),
                max_lateness_us: spec.max_lateness.map(to_micros),
                merge: spec.merge,
                order: spec.order,
                read_level: spec.read_level,
                features: spec.features.iter().map(LoggedFeature::of).collect(),
            },
            Definition::AddFeature { view, feature } => Logged::AddFeature {
                view: *view,
                feature: LoggedFeature::of(feature),
            },
            Definition::Alter { view, alteration } => Logged::Alter {
                view: *view,
                ttl_us: alteration.ttl.map(|ttl| ttl.map(to_micros)),
                max_lateness_us: alteration.max_lateness.map(|late| late.map(to_micros)),
                read_level: alteration.read_level,
                features: alteration.features.iter().map(LoggedFeature::of).collect(),
                dropped: alteration.dropped.clone(),
            },
            Definition::Drop { view } => Logged::Drop { view: *view },
        };
        serde_json::to_string(&logged).expect("a definition has only texts as map keys")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_json(text: &str) -> Result<Definition, DecodeError> {
        let invalid = |error: serde_json::Error| DecodeError::Invalid {
            field: "definition (at column)",
            value: u64::try_from(error.column()).unwrap_or(u64::MAX),
        };
        Ok(match serde_json::from_str(text).map_err(invalid)? {
            Logged::Create {
                name,
                generation,
                entity,
                ttl_us,
                max_lateness_us,
                merge,
                order,
                read_level,
                features,
            } => {
                let features = features
                    .into_iter()
                    .map(LoggedFeature::into_feature)
                    .collect::<Result<_, _>>()?;
                let ttl = ttl_us.map(Duration::from_micros);
                let max_lateness = max_lateness_us.map(Duration::from_micros);
                let spec = ViewSpec {
                    name,
                    entity,
                    ttl,
                    max_lateness,
                    merge,
                    order,
                    read_level,
                    features,
                };
                Definition::Create { generation, spec }
            }
            Logged::AddFeature { view, feature } => Definition::AddFeature {
                view,
                feature: feature.into_feature()?,
            },
            Logged::Alter {
                view,
                ttl_us,
                max_lateness_us,
                read_level,
                features,
                dropped,
            } => {
                let features = features.into_iter().map(LoggedFeature::into_feature);
                let spans =
                    |span: Option<Option<u64>>| span.map(|us| us.map(Duration::from_micros));
                let alteration = Alteration {
                    ttl: spans(ttl_us),
                    max_lateness: spans(max_lateness_us),
                    read_level,
                    features: features.collect::<Result<_, _>>()?,
                    dropped,
                };
                Definition::Alter { view, alteration }
            }
            Logged::Drop { view } => Definition::Drop { view },
        })
    }
}
