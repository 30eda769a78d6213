//! Pure: the catalogue, the views in force as the definition records that have been applied make them.
//!
//! **Invariants** (M10). Applying definitions is order-free: the same set of records makes the same catalogue. A drop
//! marks its view's id for ever; creating the name again is the next generation. Ids that collide are refused before
//! they are logged. A name belongs to its greatest generation, and within it to the greatest stamp.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::json::{value_from_json, value_to_json};
use super::limits;
use super::value::ValueType;
use super::version::Order;
use super::view::{Feature, FeatureId, JoinKey, MergeMode, View, ViewId, ViewSpec};
use crate::base::Stamp;
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
    /// A view goes out of force; its rows are dead whatever their stamps.
    Drop {
        /// The view.
        view: ViewId,
    },
}

/// Why a change of the catalogue is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The name is taken.
    #[error("view {name:?} exists already")]
    ViewExists {
        /// The view's name.
        name: String,
    },
    /// No view in force has this name.
    #[error("there is no view {name:?}")]
    UnknownView {
        /// The name.
        name: String,
    },
    /// The view has a feature of this name.
    #[error("view {view:?} has a feature {feature:?} already")]
    FeatureExists {
        /// The view's name.
        view: String,
        /// The feature's name.
        feature: String,
    },
    /// The view has as many features as a view may have.
    #[error("view {view:?} has {max} features, the most a view may have")]
    TooManyFeatures {
        /// The view's name.
        view: String,
        /// The limit.
        max: usize,
    },
    /// Two definitions have the same id, which a hash makes possible though unlikely; another name avoids it.
    #[error("the id of {name:?} is that of {other:?}: choose another name")]
    IdCollision {
        /// The new name.
        name: String,
        /// The name that has the id.
        other: String,
    },
}

/// The views in force, and the marks of those that are not.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: BTreeMap<ViewId, Entry>,
    names: BTreeMap<String, ViewId>,
}

/// What the applied definitions say of one view id.
#[derive(Debug, Clone, Default)]
struct Entry {
    created: Option<(Stamp, u32, ViewSpec)>,
    /// By feature id: where the definition stands that counts, and what it says.
    features: BTreeMap<FeatureId, (Stamp, usize, Feature)>,
    dropped: bool,
    /// The view as made of the above; `None` before its creation is known.
    view: Option<Arc<View>>,
}

impl Catalogue {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// The view in force of this name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.names.get(name).and_then(|id| self.by_id(*id))
    }

    /// The view in force with this id, whoever owns its name.
    #[must_use]
    pub fn by_id(&self, id: ViewId) -> Option<&Arc<View>> {
        self.entries
            .get(&id)
            .filter(|entry| !entry.dropped)
            .and_then(|entry| entry.view.as_ref())
    }

    /// The views in force that own their names, by name.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.names.values().filter_map(|id| self.by_id(*id))
    }

    /// Has the view with this id been dropped?
    #[must_use]
    pub fn is_dropped(&self, id: ViewId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.dropped)
    }

    /// The definition that creates a view of this spec.
    ///
    /// # Errors
    /// If the name is taken or an id collides.
    pub fn create(&self, spec: ViewSpec) -> Result<Definition, CatalogueError> {
        if self.view(&spec.name).is_some() {
            return Err(CatalogueError::ViewExists { name: spec.name });
        }
        let of_name = |entry: &&Entry| {
            entry
                .created
                .as_ref()
                .is_some_and(|(_, _, held)| held.name == spec.name)
        };
        let generations = self
            .entries
            .values()
            .filter(of_name)
            .filter_map(|entry| entry.created.as_ref());
        let generation = generations
            .map(|(_, generation, _)| generation + 1)
            .max()
            .unwrap_or(0);
        for (at, feature) in spec.features.iter().enumerate() {
            check_feature_id(spec.features.iter().take(at), feature)?;
        }
        let view = View::new(spec, generation);
        if let Some((_, _, other)) = self
            .entries
            .get(&view.id)
            .and_then(|entry| entry.created.as_ref())
        {
            return Err(CatalogueError::IdCollision {
                name: view.spec.name,
                other: other.name.clone(),
            });
        }
        Ok(Definition::Create {
            generation,
            spec: view.spec,
        })
    }

    /// The definition that adds a feature to the view of this name.
    ///
    /// # Errors
    /// If there is no such view, or it has such a feature, or too many, or an id collides.
    pub fn add_feature(&self, name: &str, feature: Feature) -> Result<Definition, CatalogueError> {
        let view = self.known(name)?;
        if view.feature(&feature.name).is_some() {
            return Err(CatalogueError::FeatureExists {
                view: name.into(),
                feature: feature.name,
            });
        }
        if view.spec.features.len() >= limits::FEATURES {
            return Err(CatalogueError::TooManyFeatures {
                view: name.into(),
                max: limits::FEATURES,
            });
        }
        check_feature_id(view.spec.features.iter(), &feature)?;
        Ok(Definition::AddFeature {
            view: view.id,
            feature,
        })
    }

    /// The definition that drops the view of this name.
    ///
    /// # Errors
    /// If there is no such view.
    pub fn drop_view(&self, name: &str) -> Result<Definition, CatalogueError> {
        Ok(Definition::Drop {
            view: self.known(name)?.id,
        })
    }

    fn known(&self, name: &str) -> Result<&Arc<View>, CatalogueError> {
        self.view(name).ok_or_else(|| CatalogueError::UnknownView {
            name: name.chars().take(limits::NAME_BYTES).collect(),
        })
    }

    /// Takes in an applied definition record.
    pub fn apply(&mut self, stamp: Stamp, definition: &Definition) {
        match definition {
            Definition::Create { generation, spec } => {
                let entry = self
                    .entries
                    .entry(View::new(spec.clone(), *generation).id)
                    .or_default();
                for (at, feature) in spec.features.iter().enumerate() {
                    entry.put_feature(stamp, at, feature);
                }
                if entry
                    .created
                    .as_ref()
                    .is_none_or(|(held, ..)| stamp > *held)
                {
                    entry.created = Some((stamp, *generation, spec.clone()));
                }
                entry.rebuild();
            }
            Definition::AddFeature { view, feature } => {
                let entry = self.entries.entry(*view).or_default();
                entry.put_feature(stamp, usize::MAX, feature);
                entry.rebuild();
            }
            Definition::Drop { view } => self.entries.entry(*view).or_default().dropped = true,
        }
        self.assign_names();
    }

    fn assign_names(&mut self) {
        let mut owners: BTreeMap<&str, (u32, Stamp, ViewId)> = BTreeMap::new();
        for (id, entry) in self.entries.iter().filter(|(_, entry)| !entry.dropped) {
            if let Some((stamp, generation, spec)) = &entry.created {
                let claim = (*generation, *stamp, *id);
                let owner = owners.entry(&spec.name).or_insert(claim);
                *owner = claim.max(*owner);
            }
        }
        self.names = owners
            .into_iter()
            .map(|(name, (_, _, id))| (name.to_owned(), id))
            .collect();
    }
}

impl Entry {
    fn put_feature(&mut self, stamp: Stamp, at: usize, feature: &Feature) {
        let held = self
            .features
            .entry(feature.id)
            .or_insert_with(|| (stamp, at, feature.clone()));
        if stamp > held.0 {
            *held = (stamp, at, feature.clone());
        }
    }

    fn rebuild(&mut self) {
        let Some((_, generation, spec)) = &self.created else {
            return;
        };
        let mut features: Vec<_> = self.features.values().collect();
        features.sort_by_key(|(stamp, at, feature)| (*stamp, *at, feature.id));
        let features = features
            .into_iter()
            .map(|(_, _, feature)| feature.clone())
            .collect();
        self.view = Some(Arc::new(View::new(
            ViewSpec {
                features,
                ..spec.clone()
            },
            *generation,
        )));
    }
}

fn check_feature_id<'a>(
    held: impl IntoIterator<Item = &'a Feature>,
    new: &Feature,
) -> Result<(), CatalogueError> {
    match held.into_iter().find(|feature| feature.id == new.id) {
        Some(other) => Err(CatalogueError::IdCollision {
            name: new.name.clone(),
            other: other.name.clone(),
        }),
        None => Ok(()),
    }
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
        features: Vec<LoggedFeature>,
    },
    AddFeature {
        view: ViewId,
        feature: LoggedFeature,
    },
    Drop {
        view: ViewId,
    },
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
                features: spec.features.iter().map(LoggedFeature::of).collect(),
            },
            Definition::AddFeature { view, feature } => Logged::AddFeature {
                view: *view,
                feature: LoggedFeature::of(feature),
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
                    features,
                };
                Definition::Create { generation, spec }
            }
            Logged::AddFeature { view, feature } => Definition::AddFeature {
                view,
                feature: feature.into_feature()?,
            },
            Logged::Drop { view } => Definition::Drop { view },
        })
    }
}

#[cfg(test)]
#[path = "catalogue_test.rs"]
mod tests;
