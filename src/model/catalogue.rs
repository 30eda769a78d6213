//! Pure: the catalogue, the views in force as the definition records that have been applied make them.
//!
//! **Invariants** (M10). Applying definitions is order-free: the same set of records makes the same catalogue. A drop
//! marks its view's id for ever; creating the name again is the next generation. Ids that collide are refused before
//! they are logged. A name belongs to its greatest generation, and within it to the greatest stamp.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::definition::{Alteration, AlterationSpec, Definition};
use super::json::{WrongJson, value_from_json};
use super::limits;
use super::value::Value;
use super::view::{Feature, FeatureId, View, ViewId, ViewSpec};
use crate::base::{ReadLevel, Stamp};

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
    /// The view has no feature of this name.
    #[error("view {view:?} has no feature {feature:?}")]
    UnknownFeature {
        /// The view's name.
        view: String,
        /// The feature's name.
        feature: String,
    },
    /// The view had a feature of this name and type, whose values may still be stored.
    #[error(
        "feature {feature:?} of view {view:?} was dropped with this type: take another name or type"
    )]
    FeatureDropped {
        /// The view's name.
        view: String,
        /// The feature's name.
        feature: String,
    },
    /// A view without features is none.
    #[error("view {view:?} would have no feature left: drop the view instead")]
    NoFeatureLeft {
        /// The view's name.
        view: String,
    },
    /// A feature would outlive its row (M9).
    #[error("max_age of feature {feature:?} is above the new ttl of view {view:?}")]
    MaxAgeAboveTtl {
        /// The view's name.
        view: String,
        /// The feature's name.
        feature: String,
    },
    /// What has been refused as too late must stay refused (M8).
    #[error(
        "max_lateness of view {view:?} only grows: to shorten it, drop the view and create it again"
    )]
    LatenessShrinks {
        /// The view's name.
        view: String,
    },
    /// A new default is not of the feature's type.
    #[error("default of feature {feature:?}: {problem}")]
    BadDefault {
        /// The feature's name.
        feature: String,
        /// What is wrong.
        problem: WrongJson,
    },
    /// The alteration changes nothing.
    #[error("nothing is to be altered in view {view:?}")]
    NothingAltered {
        /// The view's name.
        view: String,
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
    /// By the stamps of their records: each region may have created the same view.
    creations: BTreeMap<Stamp, (u32, ViewSpec)>,
    features: BTreeMap<FeatureId, KnownFeature>,
    /// Features that were dropped, for ever.
    dropped_features: BTreeSet<FeatureId>,
    /// New settings, by the stamps of their records.
    ttls: BTreeMap<Stamp, Option<Duration>>,
    latenesses: BTreeMap<Stamp, Option<Duration>>,
    read_levels: BTreeMap<Stamp, Option<ReadLevel>>,
    dropped: bool,
    /// The view as made of the above; `None` before its creation is known.
    view: Option<Arc<View>>,
}

/// What the applied definitions say of one feature of a view.
#[derive(Debug, Clone)]
struct KnownFeature {
    /// The first definition and the place in it: where the feature stands in the view.
    first: (Stamp, usize),
    /// The definition that counts.
    last: Stamp,
    feature: Feature,
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
        self.defined(id).filter(|_| !self.is_dropped(id))
    }

    /// The view with this id, dropped or not.
    #[must_use]
    pub fn defined(&self, id: ViewId) -> Option<&Arc<View>> {
        self.entries.get(&id).and_then(|entry| entry.view.as_ref())
    }

    /// The views in force that own their names, by name.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.names.values().filter_map(|id| self.by_id(*id))
    }

    /// The views that have been dropped.
    pub fn dropped_views(&self) -> impl Iterator<Item = &Arc<View>> {
        let dropped = self.entries.values().filter(|entry| entry.dropped);
        dropped.filter_map(|entry| entry.view.as_ref())
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
        let created = self.entries.values().filter_map(Entry::created);
        let of_name = created.filter(|(_, _, held)| held.name == spec.name);
        let generations = of_name.map(|(_, generation, _)| generation + 1);
        let generation = generations.max().unwrap_or(0);
        for (at, feature) in spec.features.iter().enumerate() {
            check_feature_id(spec.features.iter().take(at), feature)?;
        }
        let view = View::new(spec, generation);
        if let Some((_, _, other)) = self.entries.get(&view.id).and_then(Entry::created) {
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
        let entry = self.entries.get(&view.id);
        if entry.is_some_and(|entry| entry.dropped_features.contains(&feature.id)) {
            return Err(CatalogueError::FeatureDropped {
                view: name.into(),
                feature: feature.name,
            });
        }
        Ok(Definition::AddFeature {
            view: view.id,
            feature,
        })
    }

    /// The definition that alters the view of this name.
    ///
    /// # Errors
    /// If there is no such view or feature, or a new setting contradicts what holds already.
    pub fn alter(&self, name: &str, spec: AlterationSpec) -> Result<Definition, CatalogueError> {
        let view = self.known(name)?;
        if spec == AlterationSpec::default() {
            return Err(CatalogueError::NothingAltered { view: name.into() });
        }
        let feature = |wanted: &str| {
            let unknown = || CatalogueError::UnknownFeature {
                view: name.into(),
                feature: wanted.chars().take(limits::NAME_BYTES).collect(),
            };
            view.feature(wanted).ok_or_else(unknown)
        };
        if spec
            .max_lateness
            .is_some_and(|late| is_shorter(late, view.spec.max_lateness))
        {
            return Err(CatalogueError::LatenessShrinks { view: name.into() });
        }
        if let Some(Some(ttl)) = spec.ttl
            && let Some(older) = view
                .spec
                .features
                .iter()
                .find(|f| f.max_age.is_some_and(|age| age > ttl))
        {
            return Err(CatalogueError::MaxAgeAboveTtl {
                view: name.into(),
                feature: older.name.clone(),
            });
        }
        let mut alteration = Alteration {
            ttl: spec.ttl,
            max_lateness: spec.max_lateness,
            read_level: spec.read_level,
            ..Alteration::default()
        };
        for (wanted, json) in &spec.defaults {
            alteration
                .features
                .push(with_default(feature(wanted)?, json)?);
        }
        for wanted in &spec.drop_features {
            alteration.dropped.push(feature(wanted)?.id);
        }
        let stays = |held: &Feature| !alteration.dropped.contains(&held.id);
        if !view.spec.features.iter().any(stays) {
            return Err(CatalogueError::NoFeatureLeft { view: name.into() });
        }
        Ok(Definition::Alter {
            view: view.id,
            alteration,
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
                entry.creations.insert(stamp, (*generation, spec.clone()));
                entry.rebuild();
            }
            Definition::AddFeature { view, feature } => {
                let entry = self.entries.entry(*view).or_default();
                entry.put_feature(stamp, usize::MAX, feature);
                entry.rebuild();
            }
            Definition::Alter { view, alteration } => {
                let entry = self.entries.entry(*view).or_default();
                entry.alter(stamp, alteration);
                entry.rebuild();
            }
            Definition::Drop { view } => self.entries.entry(*view).or_default().dropped = true,
        }
        self.assign_names();
    }

    fn assign_names(&mut self) {
        let mut owners: BTreeMap<&str, (u32, Stamp, ViewId)> = BTreeMap::new();
        for (id, entry) in self.entries.iter().filter(|(_, entry)| !entry.dropped) {
            if let Some((stamp, generation, spec)) = entry.created() {
                let claim = (generation, stamp, *id);
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
        let first = (stamp, at);
        let known = self
            .features
            .entry(feature.id)
            .or_insert_with(|| KnownFeature {
                first,
                last: stamp,
                feature: feature.clone(),
            });
        known.first = known.first.min(first);
        if stamp > known.last {
            known.last = stamp;
            known.feature = feature.clone();
        }
    }

    fn alter(&mut self, stamp: Stamp, alteration: &Alteration) {
        if let Some(ttl) = alteration.ttl {
            self.ttls.insert(stamp, ttl);
        }
        if let Some(late) = alteration.max_lateness {
            self.latenesses.insert(stamp, late);
        }
        if let Some(level) = alteration.read_level {
            self.read_levels.insert(stamp, level);
        }
        for feature in &alteration.features {
            self.put_feature(stamp, usize::MAX, feature);
        }
        self.dropped_features.extend(&alteration.dropped);
    }

    /// The creation that counts, the last one.
    fn created(&self) -> Option<(Stamp, u32, &ViewSpec)> {
        let (stamp, (generation, spec)) = self.creations.last_key_value()?;
        Some((*stamp, *generation, spec))
    }

    /// The view as the records make it. Settings count from their stamps on and only the first creation's from the
    /// beginning, so that no floor falls when another creation of the view becomes known (M7, M8).
    fn rebuild(&mut self) {
        let Some(((_, generation, spec), (_, (_, first)))) =
            self.created().zip(self.creations.first_key_value())
        else {
            return;
        };
        let mut features: Vec<_> = self.features.values().collect();
        features.sort_by_key(|known| (known.first, known.feature.id));
        let in_force = features.into_iter().map(|known| &known.feature);
        let in_force = in_force.filter(|feature| !self.dropped_features.contains(&feature.id));
        let features = in_force.cloned().collect();
        let mut view = View::new(
            ViewSpec {
                features,
                ttl: first.ttl,
                max_lateness: first.max_lateness,
                ..spec.clone()
            },
            generation,
        );
        for (stamp, ttl) in self.later_settings(&self.ttls, |spec| spec.ttl) {
            view.ttl.push(stamp.hlc, ttl);
        }
        for (stamp, late) in self.later_settings(&self.latenesses, |spec| spec.max_lateness) {
            view.lateness.push_longer(stamp.hlc, late);
        }
        let read_levels = self.later_settings(&self.read_levels, |spec| spec.read_level);
        view.spec.read_level = read_levels
            .last_key_value()
            .map_or(first.read_level, |(_, level)| *level);
        view.spec.ttl = view.ttl.current();
        view.spec.max_lateness = view.lateness.current();
        self.view = Some(Arc::new(view));
    }

    /// What followed the first creation's setting. A creation is older than any alteration: after one it sets nothing.
    fn later_settings<T: Copy>(
        &self,
        altered: &BTreeMap<Stamp, Option<T>>,
        setting: impl Fn(&ViewSpec) -> Option<T>,
    ) -> BTreeMap<Stamp, Option<T>> {
        let first_altered = altered.keys().next();
        let created = self.creations.iter().skip(1);
        let created = created.map(|(stamp, (_, spec))| (*stamp, setting(spec)));
        let created = created.filter(|(stamp, _)| first_altered.is_none_or(|at| stamp < at));
        let altered = altered.iter().map(|(stamp, span)| (*stamp, *span));
        created.chain(altered).collect()
    }
}

/// Is one span shorter than another? None is the longest.
fn is_shorter(span: Option<Duration>, other: Option<Duration>) -> bool {
    span.is_some_and(|span| other.is_none_or(|other| span < other))
}

fn with_default(feature: &Feature, json: &Json) -> Result<Feature, CatalogueError> {
    let value = value_from_json(json, feature.value_type);
    let default = value.map_err(|problem| CatalogueError::BadDefault {
        feature: feature.name.clone(),
        problem,
    })?;
    Ok(Feature {
        default: (default != Value::Null).then_some(default),
        ..feature.clone()
    })
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

#[cfg(test)]
#[path = "catalogue_test.rs"]
mod tests;
