//! What the generator asks for and writes: one view, its entities and its requests.
//!
//! **Invariant.** Rank `k` is the same entity in every run, and ranks next to each other are far apart in the key space.

use bytes::Bytes;
use prost::Message;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::zipf::Zipf;
use crate::client::{key_columns, value_to_wire};
use crate::model::{JoinKey, KeyType, KeyValue, Value};
use crate::proto::v1;

/// The name of the view.
pub const VIEW: &str = "bench";
/// The name of its join key.
const JOIN_KEY: &str = "entity";
/// Odd, so that multiplying by it is a permutation; near the golden ratio, so that it scatters.
const SCATTER: u64 = 0x9E37_79B9_7F4A_7C15;
/// As in the Yahoo cloud serving benchmark.
const EXPONENT: f64 = 0.99;

/// Which entities are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keys {
    /// Some far more often than others, by Zipf's law with the exponent 0.99.
    Zipf,
    /// All alike.
    Uniform,
}

/// The shape of the load.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Shape {
    /// Entities in the view.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub entities: u64,
    /// Features of the view, all of type double.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub features: usize,
    /// Entities of one request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch: usize,
    /// Which entities the requests are for.
    #[arg(long, value_enum, default_value_t = Keys::Zipf)]
    pub keys: Keys,
}

/// The definition of a view with so many features.
#[must_use]
pub fn view_file(features: usize) -> String {
    let mut text =
        format!("name = \"{VIEW}\"\nentity = [{{ name = \"{JOIN_KEY}\", type = \"int64\" }}]\n");
    for name in feature_names(features) {
        text.push_str(&format!(
            "[[feature]]\nname = \"{name}\"\ntype = \"double\"\n"
        ));
    }
    text
}

/// The names of so many features.
pub fn feature_names(features: usize) -> impl Iterator<Item = String> {
    (0..features).map(|at| format!("f{at}"))
}

/// The join key's value of the entity with this rank.
#[must_use]
pub fn entity(rank: u64) -> i64 {
    rank.wrapping_mul(SCATTER).cast_signed()
}

/// A sequence of requests; the same seed makes the same.
#[derive(Debug, Clone)]
pub struct Requests {
    shape: Shape,
    zipf: Zipf,
    rng: SmallRng,
    level: v1::CommitLevel,
}

impl Requests {
    /// Requests of this shape.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Requests {
        Requests {
            shape,
            zipf: Zipf::new(shape.entities, EXPONENT),
            rng: SmallRng::seed_from_u64(seed),
            level: v1::CommitLevel::Async,
        }
    }

    /// The same, but writes are acknowledged at this level.
    #[must_use]
    pub fn at(self, level: v1::CommitLevel) -> Requests {
        Requests { level, ..self }
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The entities of the next request.
    pub fn entities(&mut self) -> Vec<i64> {
        let Requests {
            shape, zipf, rng, ..
        } = self;
        let rank = |_| match shape.keys {
            Keys::Zipf => zipf.rank(|| rng.random()),
            Keys::Uniform => rng.random_range(0..shape.entities),
        };
        (0..shape.batch).map(rank).map(entity).collect()
    }

    /// The next value of a feature.
    pub fn value(&mut self) -> f64 {
        self.rng.random()
    }

    /// The next lookup, of all features.
    pub fn lookup(&mut self) -> Bytes {
        let keys: Vec<_> = self.entities().into_iter().map(key).collect();
        let join_key = JoinKey {
            name: JOIN_KEY.to_owned(),
            key_type: KeyType::Int64,
        };
        let request = v1::GetFeaturesRequest {
            entities: key_columns(&[join_key], &keys),
            views: vec![v1::ViewSelection {
                view: VIEW.to_owned(),
                features: Vec::new(),
            }],
            ..v1::GetFeaturesRequest::default()
        };
        request.encode_to_vec().into()
    }

    /// The next write, acknowledged as soon as it is durable on the primary if no other level was asked for.
    pub fn write(&mut self) -> Bytes {
        let entities = self.entities();
        self.write_of(entities).encode_to_vec().into()
    }

    /// A write of new values to these entities.
    pub fn write_of(&mut self, entities: Vec<i64>) -> v1::PutFeaturesRequest {
        let features = self.shape.features;
        let mut row = |entity| v1::Row {
            key: vec![value_to_wire(Some(Value::Int64(entity)))],
            values: (0..features)
                .map(|_| value_to_wire(Some(Value::Double(self.value()))))
                .collect(),
            event_time_us: None,
        };
        let rows = entities.into_iter().map(&mut row).collect();
        v1::PutFeaturesRequest {
            writes: vec![v1::ViewRows {
                view: VIEW.to_owned(),
                features: feature_names(features).collect(),
                rows,
            }],
            level: self.level.into(),
            ..v1::PutFeaturesRequest::default()
        }
    }
}

fn key(entity: i64) -> Vec<KeyValue> {
    vec![KeyValue::Int64(entity)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view_file::parse_view;

    const SHAPE: Shape = Shape {
        entities: 1_000,
        features: 3,
        batch: 5,
        keys: Keys::Uniform,
    };

    #[test]
    fn the_view_has_the_features_asked_for() {
        let view = parse_view(&view_file(3)).unwrap();
        assert_eq!((view.name.as_str(), view.features.len()), (VIEW, 3));
    }

    #[test]
    fn ranks_become_different_entities() {
        let entities: std::collections::BTreeSet<_> = (0..10_000).map(entity).collect();
        assert_eq!(entities.len(), 10_000);
    }

    #[test]
    fn a_seed_makes_the_same_requests_again() {
        let first = |seed| Requests::new(SHAPE, seed).lookup();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_write_gives_every_feature_of_every_entity() {
        let bytes = Requests::new(SHAPE, 1).write();
        let write = v1::PutFeaturesRequest::decode(bytes).unwrap();
        let rows = &write.writes[0].rows;
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.values.len() == 3));
    }
}
