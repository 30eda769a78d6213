//! Pure: views, their features, and ids that follow from definitions.
//!
//! **Invariant** (M10). A view's id is a hash of its name, key types, merge mode, order and generation; a feature's id
//! is a hash of its name and type. So the same definition has the same id in every region and after every restore.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::floor::History;
use super::key::KeyType;
use super::value::{Value, ValueType};
use super::version::{Order, Version};
use crate::base::{Micros, ReadLevel};

/// Names a view in keys and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewId(pub u64);

/// Names a feature in rows and records; unique within its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeatureId(pub u32);

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for FeatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The unit of last-write-wins in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeMode {
    /// The row: a put replaces all features of the entity. For features computed together.
    #[default]
    Row,
    /// The cell: a put replaces the features it names. For features owned by several pipelines.
    Cell,
}

/// One part of an entity's identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinKey {
    /// Its name, unique within the view.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// One feature of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Hash of name and type.
    pub id: FeatureId,
    /// Its name, unique within the view.
    pub name: String,
    /// Its type.
    pub value_type: ValueType,
    /// What fills the place of a value not found, null or expired, if the reader asks for defaults.
    pub default: Option<Value>,
    /// Older values are expired to readers; not beyond the view's ttl (M9).
    pub max_age: Option<Duration>,
}

impl Feature {
    /// A feature with the id that follows from its name and type.
    #[must_use]
    pub fn new(
        name: String,
        value_type: ValueType,
        default: Option<Value>,
        max_age: Option<Duration>,
    ) -> Feature {
        let id = FeatureId::derive(&name, value_type);
        Feature {
            id,
            name,
            value_type,
            default,
            max_age,
        }
    }
}

/// What an owner writes down of a view; checked by [`view_file`](super::view_file).
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSpec {
    /// Its name, unique among the views in force.
    pub name: String,
    /// The parts of its entity key, in order.
    pub entity: Vec<JoinKey>,
    /// How long after its event time a row lives; `None` is for ever.
    pub ttl: Option<Duration>,
    /// How long after its event time a write is still admitted; `None` is without bound.
    pub max_lateness: Option<Duration>,
    /// The unit of last-write-wins.
    pub merge: MergeMode,
    /// By what versions are ordered.
    pub order: Order,
    /// The level of lookups and scans that name none; `None` is the answering node's default.
    pub read_level: Option<ReadLevel>,
    /// Its features, in the order of the definition.
    pub features: Vec<Feature>,
}

/// A view in force or dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Hash of name, key types, merge mode, order and generation.
    pub id: ViewId,
    /// How often the name has been created: 0 at first, one more after each drop.
    pub generation: u32,
    /// The definition as it is now.
    pub spec: ViewSpec,
    /// What the ttl has been.
    pub ttl: History,
    /// What `max_lateness` has been; it only grows.
    pub lateness: History,
}

impl View {
    /// The view of a definition at a generation.
    #[must_use]
    pub fn new(spec: ViewSpec, generation: u32) -> View {
        View {
            id: ViewId::derive(&spec, generation),
            generation,
            ttl: History::new(spec.ttl),
            lateness: History::new(spec.max_lateness),
            spec,
        }
    }

    /// The types of the join keys, in order.
    #[must_use]
    pub fn key_types(&self) -> Vec<KeyType> {
        self.spec
            .entity
            .iter()
            .map(|join_key| join_key.key_type)
            .collect()
    }

    /// The feature of this name.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.spec
            .features
            .iter()
            .find(|feature| feature.name == name)
    }

    /// Event times at or below this are expired at time `at` (M7).
    #[must_use]
    pub fn expiry_floor(&self, at: Micros) -> Option<Micros> {
        self.ttl.floor(at)
    }

    /// The least horizon at which a deletion of this version may go, as the view is set now; `None` if it stays for
    /// ever (P5, P6).
    #[must_use]
    pub fn tombstone_goes(&self, version: &Version) -> Option<Micros> {
        match self.spec.order {
            Order::Arrival => Some(version.stamp.hlc.micros()),
            Order::EventTime => {
                let spans = [self.spec.ttl, self.spec.max_lateness];
                let span = spans.into_iter().flatten().min()?;
                Some(version.event_time.plus(span))
            }
        }
    }

    /// Does time alone make rows or tombstones of it go?
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.spec.ttl.or(self.spec.max_lateness).is_some()
    }

    /// Writes with an event time below this are refused at time `at` (M5, M8).
    #[must_use]
    pub fn lateness_floor(&self, at: Micros) -> Option<Micros> {
        self.lateness.floor(at)
    }
}

impl ViewId {
    fn derive(spec: &ViewSpec, generation: u32) -> ViewId {
        let mut hash = NameHash::new("view");
        hash.text(&spec.name);
        for join_key in &spec.entity {
            hash.text(join_key.key_type.name());
        }
        hash.text(match spec.merge {
            MergeMode::Row => "row",
            MergeMode::Cell => "cell",
        });
        hash.text(match spec.order {
            Order::EventTime => "event_time",
            Order::Arrival => "arrival",
        });
        hash.text(&generation.to_string());
        ViewId(hash.finish())
    }
}

impl FeatureId {
    fn derive(name: &str, value_type: ValueType) -> FeatureId {
        let mut hash = NameHash::new("feature");
        hash.text(name);
        hash.text(&value_type.to_string());
        let [a, b, c, d, ..] = hash.finish().to_le_bytes();
        FeatureId(u32::from_le_bytes([a, b, c, d]))
    }
}

/// Hash of a sequence of texts, each behind its length.
struct NameHash(blake3::Hasher);

impl NameHash {
    fn new(kind: &str) -> NameHash {
        let mut hash = NameHash(blake3::Hasher::new());
        hash.text(kind);
        hash
    }

    fn text(&mut self, text: &str) {
        self.0
            .update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn finish(&self) -> u64 {
        u64::from_le_bytes(
            self.0
                .finalize()
                .as_bytes()
                .first_chunk::<8>()
                .copied()
                .unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Scalar;

    fn spec(name: &str) -> ViewSpec {
        ViewSpec {
            name: name.into(),
            entity: vec![JoinKey {
                name: "user".into(),
                key_type: KeyType::Int64,
            }],
            ttl: None,
            max_lateness: None,
            merge: MergeMode::Row,
            order: Order::EventTime,
            read_level: None,
            features: vec![],
        }
    }

    #[test]
    fn a_view_id_follows_from_name_keys_merge_order_and_generation_only() {
        let view = View::new(spec("clicks"), 0);
        let others = [
            View::new(spec("click"), 0),
            View::new(spec("clicks"), 1),
            View::new(
                ViewSpec {
                    merge: MergeMode::Cell,
                    ..spec("clicks")
                },
                0,
            ),
            View::new(
                ViewSpec {
                    order: Order::Arrival,
                    ..spec("clicks")
                },
                0,
            ),
            View::new(
                ViewSpec {
                    entity: vec![],
                    ..spec("clicks")
                },
                0,
            ),
        ];
        assert!(others.iter().all(|other| other.id != view.id));
        let renamed_key = vec![JoinKey {
            name: "person".into(),
            key_type: KeyType::Int64,
        }];
        let same = ViewSpec {
            ttl: Some(Duration::from_secs(1)),
            entity: renamed_key,
            ..spec("clicks")
        };
        assert_eq!(View::new(same, 0).id, view.id);
    }

    #[test]
    fn a_feature_id_follows_from_name_and_type() {
        let id = |name: &str, value_type| Feature::new(name.into(), value_type, None, None).id;
        let double = ValueType::Scalar(Scalar::Double);
        assert_eq!(id("delay", double), id("delay", double));
        assert_ne!(
            id("delay", double),
            id("delay", ValueType::List(Scalar::Double))
        );
        assert_ne!(id("delay", double), id("delays", double));
    }
}
