//! What the generator asks for and writes: views of one kind of entity, and requests.
//!
//! **Invariant.** Rank `k` is the same entity in every run, and ranks next to each other are far apart in the key space.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::zipf::Zipf;
use crate::client::{key_columns, value_to_wire};
use crate::model::limits::LOOKUP_VIEWS;
use crate::model::{JoinKey, KeyType, KeyValue, Value};
use crate::proto::v1;

/// The name of the first view; those of the others have their number behind it.
pub const VIEW: &str = "bench";
/// The name of their join key.
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
    /// Entities in each view.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub entities: u64,
    /// Views, each with all entities.
    #[arg(long, value_name = "N", default_value = "1", value_parser = some_views)]
    pub views: usize,
    /// Views of one request, other ones for each; all of them if not given.
    #[arg(long, value_name = "N", value_parser = some_views)]
    pub views_asked: Option<usize>,
    /// Features of a view, all of type double.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub features: usize,
    /// Entities of one request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch: usize,
    /// Which entities the requests are for.
    #[arg(long, value_enum, default_value_t = Keys::Zipf)]
    pub keys: Keys,
}

fn some_views(text: &str) -> Result<usize, String> {
    let views = text.parse().ok();
    let views = views.filter(|views| (1..=LOOKUP_VIEWS).contains(views));
    views.ok_or_else(|| format!("not a number from 1 to {LOOKUP_VIEWS}"))
}

impl Shape {
    /// How many views one request is for.
    #[must_use]
    pub fn views_asked(self) -> usize {
        self.views_asked.unwrap_or(self.views).min(self.views)
    }

    /// How many rows all views have together.
    #[must_use]
    pub fn rows(self) -> u64 {
        self.entities * u64::try_from(self.views).unwrap_or(u64::MAX)
    }

    /// How many rows one lookup is for.
    #[must_use]
    pub fn rows_asked(self) -> usize {
        self.batch * self.views_asked()
    }
}

/// The name of a view, counted from 0.
#[must_use]
pub fn view_name(view: usize) -> String {
    match view {
        0 => VIEW.to_owned(),
        more => format!("{VIEW}{more}"),
    }
}

/// The definition of a view with so many features.
#[must_use]
pub fn view_file(view: usize, features: usize) -> String {
    let name = view_name(view);
    let mut text =
        format!("name = \"{name}\"\nentity = [{{ name = \"{JOIN_KEY}\", type = \"int64\" }}]\n");
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
    read_level: v1::ReadLevel,
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
            read_level: v1::ReadLevel::Local,
        }
    }

    /// The same, but writes are acknowledged at this level.
    #[must_use]
    pub fn at(self, level: v1::CommitLevel) -> Requests {
        Requests { level, ..self }
    }

    /// The same, but lookups are answered at this level.
    #[must_use]
    pub fn reading_at(self, read_level: v1::ReadLevel) -> Requests {
        Requests { read_level, ..self }
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

    /// The views of the next request: neighbours, in a ring.
    pub fn views(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (all, asked) = (self.shape.views, self.shape.views_asked());
        let first = match asked < all {
            true => self.rng.random_range(0..all),
            false => 0,
        };
        (first..first + asked).map(move |view| view % all)
    }

    /// The next value of a feature.
    pub fn value(&mut self) -> f64 {
        self.rng.random()
    }

    /// The next lookup, of all features.
    pub fn lookup(&mut self) -> v1::GetFeaturesRequest {
        let keys: Vec<_> = self.entities().into_iter().map(key).collect();
        let join_key = JoinKey {
            name: JOIN_KEY.to_owned(),
            key_type: KeyType::Int64,
        };
        let selection = |view| v1::ViewSelection {
            view: view_name(view),
            features: Vec::new(),
        };
        v1::GetFeaturesRequest {
            entities: key_columns(&[join_key], &keys),
            views: self.views().map(selection).collect(),
            level: self.read_level.into(),
            ..v1::GetFeaturesRequest::default()
        }
    }

    /// The next write, acknowledged as soon as it is durable on the primary if no other level was asked for.
    pub fn write(&mut self) -> v1::PutFeaturesRequest {
        let entities = self.entities();
        self.write_of(&entities)
    }

    /// A write of new values to these entities in every view.
    pub fn write_of(&mut self, entities: &[i64]) -> v1::PutFeaturesRequest {
        let Shape {
            features, views, ..
        } = self.shape;
        let mut row = |entity| v1::Row {
            key: vec![value_to_wire(Some(Value::Int64(entity)))],
            values: (0..features)
                .map(|_| value_to_wire(Some(Value::Double(self.value()))))
                .collect(),
            event_time_us: None,
        };
        let mut rows = |view| v1::ViewRows {
            view: view_name(view),
            features: feature_names(features).collect(),
            rows: entities.iter().copied().map(&mut row).collect(),
        };
        v1::PutFeaturesRequest {
            writes: (0..views).map(&mut rows).collect(),
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
        views: 1,
        views_asked: None,
        features: 3,
        batch: 5,
        keys: Keys::Uniform,
    };

    #[test]
    fn the_view_has_the_features_asked_for() {
        for (at, name) in [(0, "bench"), (7, "bench7")] {
            let view = parse_view(&view_file(at, 3)).unwrap();
            assert_eq!((view.name.as_str(), view.features.len()), (name, 3));
        }
    }

    #[test]
    fn all_views_are_asked_in_turn_but_only_so_many_at_once() {
        let shape = Shape {
            views: 5,
            views_asked: Some(2),
            ..SHAPE
        };
        let mut requests = Requests::new(shape, 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let views: Vec<_> = requests.views().collect();
            assert_eq!((views.len(), (views[0] + 1) % 5), (2, views[1]));
            seen.extend(views);
        }
        assert!(seen.into_iter().eq(0..5));
        assert_eq!((shape.rows_asked(), SHAPE.rows_asked()), (10, 5));
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
    fn a_write_gives_every_feature_of_every_entity_in_every_view() {
        let shape = Shape { views: 2, ..SHAPE };
        let write = Requests::new(shape, 1).write();
        assert_eq!(write.writes.len(), 2);
        for view in write.writes {
            assert_eq!(view.rows.len(), 5);
            assert!(view.rows.iter().all(|row| row.values.len() == 3));
        }
    }
}
