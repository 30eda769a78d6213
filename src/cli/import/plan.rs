//! Pure: which column of a file serves which join key and feature, and a row of the file as a row for the wire.

use super::super::error::CliError;
use super::cell::{Cell, to_key, to_time, to_value};
use crate::base::Micros;
use crate::client::{key_to_wire, value_to_wire};
use crate::model::{KeyType, ValueType, View};
use crate::proto::v1;

/// Event time columns that are taken without being asked for.
const USUAL_EVENT_TIMES: [&str; 2] = ["event_time", "event_timestamp"];

/// The columns of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Their names.
    pub columns: Vec<String>,
    /// Can no row have others? So it is but in JSON lines.
    pub complete: bool,
}

/// What the caller says about the columns.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// (join key or feature, column): where the names differ.
    pub map: Vec<(String, String)>,
    /// The column of event times.
    pub event_time: Option<String>,
    /// Pass over columns that the view has no use for.
    pub ignore_extra: bool,
}

/// How rows of a file become rows of a view.
#[derive(Debug, Clone)]
pub struct Plan {
    keys: Vec<Wanted<KeyType>>,
    features: Vec<Wanted<ValueType>>,
    event_time: Option<String>,
    /// Added to every event time, in microseconds.
    shift_us: i64,
}

#[derive(Debug, Clone)]
struct Wanted<T> {
    name: String,
    column: String,
    of_type: T,
}

/// Why a row cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The column at fault; `None` if it is the whole row.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Plan {
    /// Finds the columns for a view.
    ///
    /// # Errors
    /// If a column is missing, or one is left over.
    pub fn new(view: &View, header: &Header, mapping: &Mapping) -> Result<Plan, CliError> {
        check_map(view, mapping)?;
        let column_of = |name: &String| {
            let mapped = mapping.map.iter().find(|(target, _)| target == name);
            mapped.map_or(name, |(_, column)| column).clone()
        };
        let has = |column: &String| !header.complete || header.columns.contains(column);
        let keys = view.spec.entity.iter().map(|join_key| Wanted {
            column: column_of(&join_key.name),
            name: join_key.name.clone(),
            of_type: join_key.key_type,
        });
        let features = view.spec.features.iter().map(|feature| Wanted {
            column: column_of(&feature.name),
            name: feature.name.clone(),
            of_type: feature.value_type,
        });
        let plan = Plan {
            keys: keys.collect(),
            features: features.filter(|wanted| has(&wanted.column)).collect(),
            event_time: None,
            shift_us: 0,
        };
        let plan = plan.with_event_time(header, mapping)?;
        plan.check(view, header, mapping)?;
        Ok(plan)
    }

    fn with_event_time(mut self, header: &Header, mapping: &Mapping) -> Result<Plan, CliError> {
        let usual = USUAL_EVENT_TIMES.into_iter().map(str::to_owned);
        let free = |column: &String| header.columns.contains(column) && !self.reads(column);
        self.event_time = match &mapping.event_time {
            Some(column) if header.complete && !header.columns.contains(column) => {
                return Err(missing(column, "the event time", header));
            }
            Some(column) => Some(column.clone()),
            None => usual.into_iter().find(free),
        };
        Ok(self)
    }

    fn check(&self, view: &View, header: &Header, mapping: &Mapping) -> Result<(), CliError> {
        let missing_key = self
            .keys
            .iter()
            .find(|wanted| header.complete && !header.columns.contains(&wanted.column));
        if let Some(wanted) = missing_key {
            return Err(missing(
                &wanted.column,
                &format!("join key {:?}", wanted.name),
                header,
            ));
        }
        let mapped = mapping
            .map
            .iter()
            .find(|(_, column)| header.complete && !header.columns.contains(column));
        if let Some((target, column)) = mapped {
            return Err(missing(column, &format!("feature {target:?}"), header));
        }
        if self.features.is_empty() {
            let message = format!(
                "no column of the file is a feature of view {:?}",
                view.spec.name
            );
            return Err(CliError::wrong("INVALID_ARGUMENT", message));
        }
        let extra: Vec<String> = header
            .columns
            .iter()
            .filter(|column| !mapping.ignore_extra && !self.reads(column))
            .map(|column| format!("{column:?}"))
            .collect();
        if extra.is_empty() {
            return Ok(());
        }
        let message = format!(
            "columns that are neither join key, event time nor feature of view {:?}: {}; --ignore-extra passes over \
             them, --map FEATURE=COLUMN renames them",
            view.spec.name,
            extra.join(", ")
        );
        Err(CliError::wrong("UNKNOWN_FEATURE", message))
    }

    /// Is this column of any use?
    #[must_use]
    pub fn reads(&self, column: &str) -> bool {
        self.columns().any(|wanted| wanted == column)
    }

    /// The columns to read, in the order in which [`row`](Self::row) takes their cells.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.iter().map(|wanted| wanted.column.as_str());
        let features = self.features.iter().map(|wanted| wanted.column.as_str());
        keys.chain(features).chain(self.event_time.as_deref())
    }

    /// The column of event times.
    #[must_use]
    pub fn event_time(&self) -> Option<&str> {
        self.event_time.as_deref()
    }

    /// The features that the rows give.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        self.features
            .iter()
            .map(|wanted| wanted.name.clone())
            .collect()
    }

    /// Moves all event times by so many microseconds.
    pub fn shift(&mut self, shift_us: i64) {
        self.shift_us = shift_us;
    }

    /// One row, from the cells of [`columns`](Self::columns).
    ///
    /// # Errors
    /// Which column is wrong, and why.
    pub fn row(&self, cells: Vec<Cell>) -> Result<v1::Row, Problem> {
        let mut cells = cells.into_iter();
        let mut next = || cells.next().unwrap_or(Cell::Absent);
        let mut row = v1::Row::default();
        for wanted in &self.keys {
            let key =
                to_key(next(), wanted.of_type).map_err(|problem| at(&wanted.column, problem))?;
            row.key.push(key_to_wire(key));
        }
        for wanted in &self.features {
            let value =
                to_value(next(), wanted.of_type).map_err(|problem| at(&wanted.column, problem))?;
            row.values.push(value_to_wire(value));
        }
        if let Some(column) = &self.event_time {
            let Micros(time) = to_time(next()).map_err(|problem| at(column, problem))?;
            row.event_time_us = Some(time.saturating_add(self.shift_us));
        }
        Ok(row)
    }
}

fn at(column: &str, problem: String) -> Problem {
    Problem {
        column: Some(column.to_owned()),
        problem,
    }
}

fn check_map(view: &View, mapping: &Mapping) -> Result<(), CliError> {
    let is_join_key = |name: &String| {
        view.spec
            .entity
            .iter()
            .any(|join_key| join_key.name == *name)
    };
    let unknown = mapping
        .map
        .iter()
        .find(|(name, _)| !is_join_key(name) && view.feature(name).is_none());
    match unknown {
        None => Ok(()),
        Some((name, column)) => Err(CliError::wrong(
            "UNKNOWN_FEATURE",
            format!(
                "--map {name}={column}: view {:?} has no feature or join key {name:?}",
                view.spec.name
            ),
        )),
    }
}

fn missing(column: &str, purpose: &str, header: &Header) -> CliError {
    let message = format!(
        "the file has no column {column:?} for {purpose}; it has {}",
        header.columns.join(", ")
    );
    CliError::wrong("INVALID_ARGUMENT", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use crate::model::view_file::parse_view;

    fn view() -> View {
        let text = r#"
            name = "aircraft"
            entity = [{ name = "tailnum", type = "string" }]
            feature = [{ name = "flights", type = "int64" }, { name = "seats", type = "int32" }]"#;
        View::new(parse_view(text).unwrap(), 0)
    }

    fn header(columns: &[&str]) -> Header {
        Header {
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            complete: true,
        }
    }

    fn plan(columns: &[&str], mapping: Mapping) -> Result<Plan, CliError> {
        Plan::new(&view(), &header(columns), &mapping)
    }

    fn columns(plan: &Plan) -> Vec<&str> {
        plan.columns().collect()
    }

    #[test]
    fn columns_are_found_by_name_and_the_usual_event_time_is_taken() {
        let plan = plan(&["event_timestamp", "seats", "tailnum"], Mapping::default()).unwrap();
        assert_eq!(columns(&plan), ["tailnum", "seats", "event_timestamp"]);
        assert_eq!(plan.features(), ["seats"]);
    }

    #[test]
    fn names_that_differ_are_mapped() {
        let map = vec![
            ("tailnum".into(), "tail".into()),
            ("seats".into(), "places".into()),
        ];
        let mapping = Mapping {
            map,
            event_time: Some("at".into()),
            ignore_extra: true,
        };
        let plan = plan(&["tail", "places", "at", "colour"], mapping).unwrap();
        assert_eq!(columns(&plan), ["tail", "places", "at"]);
    }

    #[test]
    fn each_mistake_is_named() {
        let mapping = |map: &[(&str, &str)], event_time: Option<&str>| Mapping {
            map: map
                .iter()
                .map(|(name, column)| ((*name).into(), (*column).into()))
                .collect(),
            event_time: event_time.map(str::to_owned),
            ignore_extra: false,
        };
        for (columns, mapping, message) in [
            (
                &["seats"][..],
                mapping(&[], None),
                "no column \"tailnum\" for join key \"tailnum\"; it has seats",
            ),
            (
                &["tailnum"],
                mapping(&[], None),
                "no column of the file is a feature of view \"aircraft\"",
            ),
            (
                &["tailnum", "seats", "x", "y"],
                mapping(&[], None),
                "view \"aircraft\": \"x\", \"y\"; --ignore-extra",
            ),
            (
                &["tailnum", "seats"],
                mapping(&[("wings", "seats")], None),
                "no feature or join key \"wings\"",
            ),
            (
                &["tailnum", "seats"],
                mapping(&[("flights", "x")], None),
                "no column \"x\" for feature \"flights\"",
            ),
            (
                &["tailnum", "seats"],
                mapping(&[], Some("at")),
                "no column \"at\" for the event time",
            ),
        ] {
            let error = plan(columns, mapping).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_row_is_typed_and_its_event_time_shifted() {
        let mut plan = plan(&["tailnum", "seats", "event_time"], Mapping::default()).unwrap();
        plan.shift(10);
        let cells = |seats: &str| {
            ["N1", seats, "5"]
                .map(|text| Cell::Text(text.into()))
                .to_vec()
        };
        let row = plan.row(cells("55")).unwrap();
        assert_eq!(row.event_time_us, Some(15));
        assert_eq!(row.values, [value_to_wire(Some(Value::Int32(55)))]);
        let problem = plan.row(cells("many")).unwrap_err();
        assert_eq!(
            (problem.column.as_deref(), problem.problem.as_str()),
            (Some("seats"), "\"many\" is not of type int32")
        );
    }
}
