//! Pure: a column of an answer, value by value.

use crate::base::Micros;
use crate::model::resolve::{DEFAULTED, Status};
use crate::model::{Items, Scalar, Value, ValueType};
use crate::proto::{items_from_proto, v1};

/// One feature of all entities of an answer, in their order.
#[derive(Debug, Clone)]
pub struct Column {
    feature: String,
    cells: Vec<Cell>,
}

/// What an answer says of one feature of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The value, or its feature's default; null if there is neither.
    pub value: Value,
    /// Whether there is a value, and if not, why.
    pub status: Status,
    /// Is the value the feature's default?
    pub is_default: bool,
    /// When the fact became true; `None` if it was not asked for or there is no version.
    pub event_time: Option<Micros>,
}

/// A column that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column of feature {feature:?}: {problem}")]
pub struct WrongAnswer {
    feature: String,
    problem: &'static str,
}

impl Column {
    /// The column of a message.
    ///
    /// # Errors
    /// If its parts do not fit each other.
    pub fn from_wire(column: v1::FeatureColumn) -> Result<Column, WrongAnswer> {
        let v1::FeatureColumn {
            feature,
            values,
            statuses,
            list_lengths,
            event_times_us,
            r#type,
        } = column;
        let fail = |problem| WrongAnswer {
            feature: feature.clone(),
            problem,
        };
        let value_type: ValueType = r#type.parse().map_err(|_| fail("unknown type"))?;
        let items = values
            .and_then(items_from_proto)
            .unwrap_or_else(|| Items::with_capacity(scalar(value_type), 0));
        let mut values = Values {
            items,
            list_lengths: matches!(value_type, ValueType::List(_)).then_some(list_lengths),
            next: 0,
        };
        let mut cells = Vec::with_capacity(statuses.len());
        for (at, code) in statuses.iter().enumerate() {
            let status = Status::from_code(*code).ok_or_else(|| fail("unknown status"))?;
            let value = values
                .take(at)
                .ok_or_else(|| fail("fewer values than statuses"))?;
            let is_default = code & DEFAULTED != 0;
            // Where there is no version, 0 fills the place; elsewhere it is a time like any other.
            let time = event_times_us.get(at).copied();
            let time = time.filter(|_| status != Status::NotFound);
            cells.push(Cell {
                value: if is_default || status == Status::Present {
                    value
                } else {
                    Value::Null
                },
                status,
                is_default,
                event_time: time.map(Micros),
            });
        }
        Ok(Column { feature, cells })
    }

    /// The name of the feature.
    #[must_use]
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// One cell for each entity.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

/// Packed values, taken out one entity after the other.
struct Values {
    items: Items,
    /// Of lists.
    list_lengths: Option<Vec<u32>>,
    /// The first item of the next entity's list.
    next: usize,
}

impl Values {
    fn take(&mut self, entity: usize) -> Option<Value> {
        let Some(lengths) = &self.list_lengths else {
            return self.items.get(entity);
        };
        let length = usize::try_from(*lengths.get(entity)?).ok()?;
        let end = self
            .next
            .checked_add(length)
            .filter(|end| *end <= self.items.len())?;
        let mut list = Items::with_capacity(self.items.scalar(), length);
        for at in self.next..end {
            list.push(&self.items.get(at)?);
        }
        self.next = end;
        Some(Value::List(list))
    }
}

fn scalar(value_type: ValueType) -> Scalar {
    match value_type {
        ValueType::Scalar(scalar) | ValueType::List(scalar) => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::items_to_proto;

    fn column(value_type: &str, items: Items, statuses: &'static [u8]) -> v1::FeatureColumn {
        v1::FeatureColumn {
            feature: "f".into(),
            values: Some(items_to_proto(items)),
            statuses: statuses.into(),
            r#type: value_type.into(),
            ..v1::FeatureColumn::default()
        }
    }

    #[test]
    fn a_value_is_shown_only_where_there_is_one() {
        let message = v1::FeatureColumn {
            event_times_us: vec![5, 0, 7],
            ..column("int32", Items::Int32(vec![1, 0, 9]), &[1, 3, 4 + DEFAULTED])
        };
        let column = Column::from_wire(message).unwrap();
        let [present, missing, defaulted] = column.cells() else {
            panic!("three cells")
        };
        assert_eq!(
            (&present.value, present.event_time),
            (&Value::Int32(1), Some(Micros(5)))
        );
        assert_eq!(
            (&missing.value, missing.status),
            (&Value::Null, Status::NotFound)
        );
        assert_eq!(missing.event_time, None);
        assert_eq!(
            (&defaulted.value, defaulted.status),
            (&Value::Int32(9), Status::Expired)
        );
        assert!(defaulted.is_default && !present.is_default);
    }

    #[test]
    fn a_value_may_be_of_the_first_microsecond_of_1970() {
        let message = v1::FeatureColumn {
            event_times_us: vec![0, 0, 0, 0],
            ..column("int32", Items::Int32(vec![1, 0, 0, 0]), &[1, 2, 3, 4])
        };
        let column = Column::from_wire(message).unwrap();
        let times: Vec<_> = column.cells().iter().map(|cell| cell.event_time).collect();
        let first = Some(Micros(0));
        assert_eq!(times, [first, first, None, first]);
    }

    #[test]
    fn lists_are_cut_at_their_lengths() {
        let message = v1::FeatureColumn {
            list_lengths: vec![2, 0, 1],
            ..column("list<int64>", Items::Int64(vec![1, 2, 3]), &[1, 2, 1])
        };
        let column = Column::from_wire(message).unwrap();
        let values: Vec<_> = column
            .cells()
            .iter()
            .map(|cell| cell.value.clone())
            .collect();
        let list = |items| Value::List(Items::Int64(items));
        assert_eq!(values, [list(vec![1, 2]), Value::Null, list(vec![3])]);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        for (message, problem) in [
            (
                column("int32", Items::Int32(vec![1]), &[1, 1]),
                "fewer values",
            ),
            (
                column("list<int32>", Items::Int32(vec![1]), &[1]),
                "fewer values",
            ),
            (
                column("int32", Items::Int32(vec![1]), &[9]),
                "unknown status",
            ),
            (column("int", Items::Int32(vec![1]), &[1]), "unknown type"),
        ] {
            let error = Column::from_wire(message).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
