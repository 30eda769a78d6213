//! Pure: the rows of a view as the lines of a file, and what they add up to.
//!
//! **Invariants.** A line has one event time: the features of a `merge = cell` row make as many lines as they have event
//! times. Values that have expired are left out, and so are rows without any value; both are counted.

use std::collections::BTreeMap;

use super::super::error::CliError;
use crate::base::Micros;
use crate::client::Column;
use crate::model::resolve::Status;
use crate::model::{Digest, EntityKey, Feature, JoinKey, KeyValue, Value, View, content};

/// The names that the column of event times may have, as import knows them.
const EVENT_TIME_NAMES: [&str; 2] = ["event_time", "event_timestamp"];

/// The columns of a file: join keys, features, and the event time last.
#[derive(Debug, Clone)]
pub struct Columns {
    /// The join keys.
    pub entity: Vec<JoinKey>,
    /// The features.
    pub features: Vec<Feature>,
    /// The name of the column of event times.
    pub event_time: &'static str,
}

impl Columns {
    /// Those for some features of a view; all of them if none is named.
    ///
    /// # Errors
    /// If the view has no such feature, or no name is left for the event time.
    pub fn new(view: &View, names: &[String]) -> Result<Columns, CliError> {
        let spec = &view.spec;
        let find = |name: &String| {
            view.feature(name).cloned().ok_or_else(|| {
                let message = format!("view {:?} has no feature {name:?}", spec.name);
                CliError::wrong("UNKNOWN_FEATURE", message)
            })
        };
        let features = match names {
            [] => spec.features.clone(),
            names => names.iter().map(find).collect::<Result<_, _>>()?,
        };
        let is_taken = |name: &str| {
            view.feature(name).is_some() || spec.entity.iter().any(|key| key.name == name)
        };
        let event_time = EVENT_TIME_NAMES.into_iter().find(|name| !is_taken(name));
        Ok(Columns {
            entity: spec.entity.clone(),
            features,
            event_time: event_time.ok_or_else(|| {
                let [one, other] = EVENT_TIME_NAMES;
                let message = format!(
                    "view {:?} has columns {one:?} and {other:?}: no name is left for the event time",
                    spec.name
                );
                CliError::wrong("INVALID_ARGUMENT", message)
            })?,
        })
    }

    /// The names of all columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let keys = self.entity.iter().map(|key| key.name.as_str());
        let features = self.features.iter().map(|feature| feature.name.as_str());
        keys.chain(features).chain([self.event_time])
    }
}

/// What one entity's features were at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Values of all join keys.
    pub key: Vec<KeyValue>,
    /// One for each feature; `None` is absent.
    pub values: Vec<Option<Value>>,
    /// When it became true.
    pub event_time: Micros,
}

/// What an export has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of the view.
    pub rows: u64,
    /// Lines that they made.
    pub lines: u64,
    /// Rows without any value, which make no line.
    pub empty: u64,
    /// Values left out because they had expired.
    pub expired: u64,
    /// Places of lines without a value.
    pub absent: u64,
    /// Digest over keys, features, values and event times.
    pub content: Digest,
}

impl Tally {
    /// The lines of one row, given the row's place in its columns. They count from now on.
    pub fn lines(
        &mut self,
        of: &Columns,
        key: Vec<KeyValue>,
        columns: &[Column],
        at: usize,
    ) -> Vec<Line> {
        let entity = EntityKey::encode(&key);
        let mut by_time: BTreeMap<Micros, Vec<Option<Value>>> = BTreeMap::new();
        for (place, (feature, column)) in of.features.iter().zip(columns).enumerate() {
            let Some(cell) = column.cells().get(at) else {
                continue;
            };
            self.expired += u64::from(cell.status == Status::Expired);
            let is_kept = matches!(cell.status, Status::Present | Status::Null);
            let Some(event_time) = cell.event_time.filter(|_| is_kept) else {
                continue;
            };
            let digest = content::of_value(
                &entity,
                &feature.name,
                feature.value_type,
                &cell.value,
                event_time,
            );
            self.content = self.content.plus(digest);
            let values = by_time
                .entry(event_time)
                .or_insert_with(|| vec![None; of.features.len()]);
            if let Some(value) = values.get_mut(place) {
                *value = Some(cell.value.clone());
            }
        }
        self.rows += 1;
        self.empty += u64::from(by_time.is_empty());
        self.lines += count(by_time.len());
        let line = |(event_time, values)| Line {
            key: key.clone(),
            values,
            event_time,
        };
        let lines: Vec<Line> = by_time.into_iter().map(line).collect();
        let values = lines.iter().flat_map(|line| &line.values);
        self.absent += count(values.filter(|value| value.is_none()).count());
        lines
    }
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
