//! Pure: entity keys, from single values in writes and scans and from columns in lookups, and back into columns.

use super::invalid::{Invalid, Problem, check_bytes, shown};
use super::v1;
use super::values::{items_from_proto, items_to_proto, type_name, value_from_proto};
use crate::base::codec::DecodeError;
use crate::base::{Micros, PackedBytes};
use crate::model::key::put_key_of_columns;
use crate::model::limits;
use crate::model::{EntityKey, Items, JoinKey, KeyType, KeyValue, Scalar, Value, View};

/// The key of one entity of a view, `field` being the path of the values.
pub(super) fn entity_key(
    view: &View,
    values: Vec<v1::Value>,
    field: impl Fn() -> String,
) -> Result<EntityKey, Invalid> {
    let (expected, found) = (view.spec.entity.len(), values.len());
    if expected != found {
        let what = "key values";
        return Err(Problem::Count {
            what,
            expected,
            found,
        }
        .at(field()));
    }
    key_prefix(view, values, field)
}

/// The beginning of the keys whose first join keys have these values, `field` being their path.
pub(super) fn key_prefix(
    view: &View,
    values: Vec<v1::Value>,
    field: impl Fn() -> String,
) -> Result<EntityKey, Invalid> {
    let (max, count) = (view.spec.entity.len(), values.len());
    if count > max {
        let what = "key values";
        return Err(Problem::TooMany { what, count, max }.at(field()));
    }
    let mut parts = Vec::with_capacity(count);
    for (at, (join_key, value)) in view.spec.entity.iter().zip(values).enumerate() {
        let part = key_value(join_key, value);
        parts.push(part.map_err(|problem| problem.at(format!("{}[{at}]", field())))?);
    }
    let key = EntityKey::encode(&parts);
    check_key(key.as_bytes()).map_err(|problem| problem.at(field()))?;
    Ok(key)
}

pub(super) fn check_key(key: &[u8]) -> Result<(), Problem> {
    check_bytes("entity key", key.len(), limits::KEY_BYTES)
}

fn key_value(join_key: &JoinKey, value: v1::Value) -> Result<KeyValue, Problem> {
    let value = value_from_proto(value)?;
    match (join_key.key_type, value) {
        (KeyType::String, Some(Value::String(value))) => Ok(KeyValue::String(value)),
        (KeyType::Bytes, Some(Value::Bytes(value))) => Ok(KeyValue::Bytes(value)),
        (KeyType::Int32, Some(Value::Int32(value))) => Ok(KeyValue::Int32(value)),
        (KeyType::Int64, Some(Value::Int64(value))) => Ok(KeyValue::Int64(value)),
        (KeyType::Timestamp, Some(Value::Timestamp(value))) => Ok(KeyValue::Timestamp(value)),
        (KeyType::Bool, Some(Value::Bool(value))) => Ok(KeyValue::Bool(value)),
        (_, value) => {
            let is_float = matches!(value, Some(Value::Float(_) | Value::Double(_)));
            Err(wrong_key(join_key, type_name(value.as_ref()), is_float))
        }
    }
}

fn wrong_key(join_key: &JoinKey, found: String, is_float: bool) -> Problem {
    let name = join_key.name.clone();
    let expected = join_key.key_type.to_string();
    if is_float {
        Problem::FloatKey {
            name,
            expected,
            found,
        }
    } else {
        Problem::WrongType {
            what: "join key",
            name,
            expected,
            found,
        }
    }
}

fn scalar_of(key_type: KeyType) -> Scalar {
    match key_type {
        KeyType::String => Scalar::String,
        KeyType::Bytes => Scalar::Bytes,
        KeyType::Int32 => Scalar::Int32,
        KeyType::Int64 => Scalar::Int64,
        KeyType::Timestamp => Scalar::Timestamp,
        KeyType::Bool => Scalar::Bool,
    }
}

/// What is reserved for a key whose length is not known yet.
const TYPICAL_KEY_BYTES: usize = 16;

/// The entities of a lookup, column by column, of one length.
#[derive(Debug)]
pub(super) struct EntityColumns {
    columns: Vec<EntityColumn>,
    entities: usize,
}

#[derive(Debug)]
struct EntityColumn {
    name: String,
    items: Items,
    is_used: bool,
}

impl EntityColumns {
    /// Takes the columns of a request, which stand in its field `entities`.
    pub(super) fn new(columns: Vec<v1::KeyColumn>) -> Result<EntityColumns, Invalid> {
        let mut taken = EntityColumns {
            columns: Vec::new(),
            entities: 0,
        };
        for (at, column) in columns.into_iter().enumerate() {
            // More than this many join keys cannot all be needed: the check of unused columns would name one.
            super::invalid::check_count(
                "columns",
                at + 1,
                limits::JOIN_KEYS * limits::LOOKUP_VIEWS,
            )
            .map_err(|problem| problem.at("entities"))?;
            taken.push(at, column)?;
        }
        super::invalid::check_count("entities", taken.entities, limits::LOOKUP_ENTITIES)
            .map_err(|problem| problem.at("entities"))?;
        Ok(taken)
    }

    fn push(&mut self, at: usize, column: v1::KeyColumn) -> Result<(), Invalid> {
        let items = column
            .values
            .and_then(items_from_proto)
            .ok_or_else(|| Problem::UntypedColumn.at(format!("entities[{at}].values")))?;
        if self.columns.iter().any(|held| held.name == column.join_key) {
            return Err(Problem::Duplicate {
                what: "join key",
                name: shown(&column.join_key),
            }
            .at(format!("entities[{at}].join_key")));
        }
        if at == 0 {
            self.entities = items.len();
        } else if items.len() != self.entities {
            return Err(Problem::Count {
                what: "values",
                expected: self.entities,
                found: items.len(),
            }
            .at(format!("entities[{at}].values")));
        }
        self.columns.push(EntityColumn {
            name: column.join_key,
            items,
            is_used: false,
        });
        Ok(())
    }

    /// How many entities there are.
    pub(super) fn entities(&self) -> usize {
        self.entities
    }

    /// The encoded keys of all entities in a view, whose selection stands in `field`.
    pub(super) fn keys(
        &mut self,
        view: &View,
        field: impl Fn() -> String,
    ) -> Result<PackedBytes, Invalid> {
        let mut chosen = Vec::with_capacity(view.spec.entity.len());
        for join_key in &view.spec.entity {
            chosen.push(self.choose(view, join_key, &field)?);
        }
        let columns: Vec<&Items> = chosen
            .iter()
            .filter_map(|at| self.columns.get(*at).map(|column| &column.items))
            .collect();
        let mut keys = PackedBytes::with_capacity(self.entities, TYPICAL_KEY_BYTES * self.entities);
        for entity in 0..self.entities {
            keys.push_with(|out| {
                put_key_of_columns(out, &columns, entity)
                    .expect("the columns are of one length and of key types");
            });
        }
        for (entity, key) in keys.iter().enumerate() {
            check_key(key).map_err(|problem| {
                let first = chosen.first().copied().unwrap_or_default();
                problem.at(format!("entities[{first}].values[{entity}]"))
            })?;
        }
        Ok(keys)
    }

    /// The index of the column for a join key, checked to be of its type.
    fn choose(
        &mut self,
        view: &View,
        join_key: &JoinKey,
        field: impl Fn() -> String,
    ) -> Result<usize, Invalid> {
        let named = |(_, column): &(usize, &mut EntityColumn)| column.name == join_key.name;
        let Some((at, column)) = self.columns.iter_mut().enumerate().find(named) else {
            return Err(Problem::MissingJoinKey {
                view: view.spec.name.clone(),
                name: join_key.name.clone(),
            }
            .at(field()));
        };
        let found = column.items.scalar();
        if found != scalar_of(join_key.key_type) {
            let is_float = matches!(found, Scalar::Float | Scalar::Double);
            return Err(wrong_key(join_key, found.name().to_owned(), is_float)
                .at(format!("entities[{at}].values")));
        }
        column.is_used = true;
        Ok(at)
    }

    /// Refuses a column that no view has taken.
    pub(super) fn check_all_used(&self) -> Result<(), Invalid> {
        match self.columns.iter().position(|column| !column.is_used) {
            None => Ok(()),
            Some(at) => Err(Problem::UnknownJoinKey {
                name: self
                    .columns
                    .get(at)
                    .map(|column| shown(&column.name))
                    .unwrap_or_default(),
            }
            .at(format!("entities[{at}].join_key"))),
        }
    }
}

/// Stored keys of a view as columns, one for each join key.
///
/// # Errors
/// If a key is not one of the view's, which means that stored data is damaged.
pub fn keys_to_columns(view: &View, keys: &[EntityKey]) -> Result<Vec<v1::KeyColumn>, DecodeError> {
    let types = view.key_types();
    let mut columns: Vec<Items> = types
        .iter()
        .map(|key_type| Items::with_capacity(scalar_of(*key_type), keys.len()))
        .collect();
    for key in keys {
        for (items, value) in columns.iter_mut().zip(key.decode(&types)?) {
            items.push(&value_of_key(value));
        }
    }
    let named = view.spec.entity.iter().zip(columns);
    Ok(named
        .map(|(join_key, items)| v1::KeyColumn {
            join_key: join_key.name.clone(),
            values: Some(items_to_proto(items)),
        })
        .collect())
}

fn value_of_key(value: KeyValue) -> Value {
    match value {
        KeyValue::String(value) => Value::String(value),
        KeyValue::Bytes(value) => Value::Bytes(value),
        KeyValue::Int32(value) => Value::Int32(value),
        KeyValue::Int64(value) => Value::Int64(value),
        KeyValue::Timestamp(Micros(value)) => Value::Timestamp(Micros(value)),
        KeyValue::Bool(value) => Value::Bool(value),
    }
}
