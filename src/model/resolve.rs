//! Pure: from stored rows to the columns of an answer, in one pass over the stored bytes.
//!
//! **Invariants.** Absent, null, expired and default are different answers. A value is expired exactly from its event
//! time plus the view's ttl, or the feature's `max_age`, on (M7, M9), and not found once it may go at the purge horizon,
//! whether or not it has gone (P4). Every column gets one item and one status for each entity, duplicates included.

use std::sync::Arc;

use super::cells::{Expected, push_item, push_list};
use super::purge::{Left, ViewPurge};
use super::row::{Found, RowCells, RowRef};
use super::value::{Items, Scalar, Value, ValueType};
use super::view::{Feature, View};
use crate::base::Micros;
use crate::base::codec::{DecodeError, Reader};

/// What an answer says of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is a value.
    Present,
    /// It was written as null.
    Null,
    /// Never written, deleted, or replaced by a row without it.
    NotFound,
    /// Written, but older than its time to live.
    Expired,
}

/// The bit of a status byte that says: the value is the feature's default.
pub const DEFAULTED: u8 = 16;

impl Status {
    /// The status byte of the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Status::Present => 1,
            Status::Null => 2,
            Status::NotFound => 3,
            Status::Expired => 4,
        }
    }

    /// The name people read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Present => "PRESENT",
            Status::Null => "NULL",
            Status::NotFound => "NOT_FOUND",
            Status::Expired => "EXPIRED",
        }
    }

    /// The status of a wire byte, whether or not it is marked as defaulted.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Status> {
        let all = [
            Status::Present,
            Status::Null,
            Status::NotFound,
            Status::Expired,
        ];
        all.into_iter()
            .find(|status| status.code() == code & !DEFAULTED)
    }
}

/// One feature of many entities.
#[derive(Debug, Clone)]
pub struct Column {
    /// Which feature.
    pub feature: Feature,
    /// One item for each entity; of a list feature, all lists' items one after the other.
    pub values: Items,
    /// One status byte for each entity.
    pub statuses: Vec<u8>,
    /// Of a list feature: the length of each entity's list.
    pub list_lengths: Vec<u32>,
    /// One event time for each entity, 0 without a version; empty unless asked for.
    pub event_times: Vec<i64>,
}

/// How to answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Fill in defaults.
    pub defaults: bool,
    /// Answer event times.
    pub event_times: bool,
}

/// A feature to be looked for in rows.
#[derive(Debug)]
struct Sought {
    expected: Expected,
    /// Up to which event time its values have expired, by the view's ttl or its own `max_age`; `None` if never.
    floor: Option<Micros>,
    column: usize,
    /// The feature before is the same: a feature may be asked for twice.
    is_repeated: bool,
}

/// Builds the columns of some features of one view, row by row.
#[derive(Debug)]
pub struct Resolver {
    columns: Vec<Column>,
    /// Sorted by feature id.
    sought: Vec<Sought>,
    view: Arc<View>,
    wanted: Wanted,
    /// What is left out; `None` if nothing of the view can go.
    purge: Option<ViewPurge>,
    payload_bytes: usize,
}

impl Resolver {
    /// Columns for `features` of `view`, with room for `entities`, as of `now`.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        features: Vec<Feature>,
        entities: usize,
        wanted: Wanted,
        now: Micros,
    ) -> Resolver {
        let expiry_floor = view.expiry_floor(now);
        let sought = |(column, feature): (usize, &Feature)| Sought {
            expected: Expected::new(feature.id, feature.value_type),
            floor: expiry_floor.max(feature.max_age.map(|age| now.minus(age))),
            column,
            is_repeated: false,
        };
        let mut sought: Vec<_> = features.iter().enumerate().map(sought).collect();
        sought.sort_by_key(|sought| sought.expected.feature);
        let mut last = None;
        for sought in &mut sought {
            sought.is_repeated =
                last.replace(sought.expected.feature) == Some(sought.expected.feature);
        }
        let columns = features
            .into_iter()
            .map(|feature| Column::new(feature, entities, wanted))
            .collect();
        Resolver {
            columns,
            sought,
            view,
            wanted,
            purge: None,
            payload_bytes: 0,
        }
    }

    /// The same, but what may go is not found.
    #[must_use]
    pub fn leaving_out(self, purge: ViewPurge) -> Resolver {
        let purge = purge.concerns(self.view.spec.order).then_some(purge);
        Resolver { purge, ..self }
    }

    /// Bytes that the columns of so many entities take before any value is in them.
    #[must_use]
    pub fn blank_bytes(&self, entities: usize) -> usize {
        let cell = |column: &Column| {
            let value = match column.feature.value_type {
                ValueType::Scalar(Scalar::String | Scalar::Bytes) | ValueType::List(_) => 24,
                ValueType::Scalar(_) => 8,
            };
            // With the status.
            value + 1
        };
        let times = if self.wanted.event_times { 8 } else { 0 };
        let cells: usize = self.columns.iter().map(|column| cell(column) + times).sum();
        cells.saturating_mul(entities)
    }

    /// Adds an entity with its stored row, if there is one.
    ///
    /// # Errors
    /// If the row is damaged; the columns are then to be thrown away.
    pub fn push(&mut self, row: Option<&[u8]>) -> Result<(), DecodeError> {
        let left = match (&self.purge, row) {
            (Some(purge), Some(row)) => purge.left_of(row)?,
            _ => Left::All,
        };
        let row = match &left {
            Left::All => row,
            Left::Part(left, _) => Some(left.as_slice()),
            Left::Nothing => None,
        };
        let parsed = row.map(RowRef::parse).transpose()?;
        let mut cells = parsed.map_or_else(RowCells::none, |row| row.cells());
        let mut found = None;
        for sought in &self.sought {
            if !sought.is_repeated {
                found = cells.take_feature(&sought.expected)?;
            }
            let Some(column) = self.columns.get_mut(sought.column) else {
                continue;
            };
            self.payload_bytes += column.push(found, sought.floor, self.wanted)?;
        }
        Ok(())
    }

    /// Bytes of the stored values answered so far, by which a reader bounds an answer while it grows.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The view whose rows are resolved.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The columns, in the order of the features given.
    #[must_use]
    pub fn finish(self) -> Vec<Column> {
        self.columns
    }
}

impl Column {
    fn new(feature: Feature, entities: usize, wanted: Wanted) -> Column {
        let (scalar, lists) = match feature.value_type {
            ValueType::Scalar(scalar) => (scalar, 0),
            ValueType::List(scalar) => (scalar, entities),
        };
        Column {
            values: Items::with_capacity(scalar, entities),
            statuses: Vec::with_capacity(entities),
            list_lengths: Vec::with_capacity(lists),
            event_times: Vec::with_capacity(if wanted.event_times { entities } else { 0 }),
            feature,
        }
    }

    /// Appends what is to be said of what was found. Returns how many bytes of it are stored.
    #[inline]
    fn push(
        &mut self,
        found: Option<Found<'_>>,
        floor: Option<Micros>,
        wanted: Wanted,
    ) -> Result<usize, DecodeError> {
        let found = found.filter(|found| found.is_expected);
        let (status, event_time) = match found {
            // What most are, so it is decided first.
            Some(Found {
                payload: Some(payload),
                event_time,
                ..
            }) if Some(event_time) > floor => {
                self.push_payload(payload)?;
                self.push_status(Status::Present.code(), Some(event_time), wanted);
                return Ok(payload.len());
            }
            Some(Found { event_time, .. }) if Some(event_time) <= floor => {
                (Status::Expired, Some(event_time))
            }
            Some(Found { event_time, .. }) => (Status::Null, Some(event_time)),
            None => (Status::NotFound, None),
        };
        self.push_absent(status, event_time, wanted);
        Ok(0)
    }

    fn push_absent(&mut self, status: Status, event_time: Option<Micros>, wanted: Wanted) {
        let is_filled = wanted.defaults && self.push_default();
        if !is_filled {
            self.push_blank();
        }
        let defaulted = if is_filled { DEFAULTED } else { 0 };
        self.push_status(status.code() | defaulted, event_time, wanted);
    }

    #[inline]
    fn push_status(&mut self, code: u8, event_time: Option<Micros>, wanted: Wanted) {
        self.statuses.push(code);
        if wanted.event_times {
            self.event_times.push(event_time.map_or(0, |time| time.0));
        }
    }

    #[inline]
    fn push_payload(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        match self.feature.value_type {
            ValueType::Scalar(_) => push_item(&mut self.values, &mut Reader::new(payload))?,
            ValueType::List(_) => {
                let length = push_list(&mut self.values, payload)?;
                self.list_lengths.push(length);
            }
        }
        Ok(())
    }

    fn push_blank(&mut self) {
        match self.feature.value_type {
            ValueType::Scalar(_) => self.values.push_blank(),
            ValueType::List(_) => self.list_lengths.push(0),
        }
    }

    /// Appends the feature's default; says whether there is one.
    fn push_default(&mut self) -> bool {
        match &self.feature.default {
            None | Some(Value::Null) => return false,
            Some(Value::List(items)) => {
                self.list_lengths
                    .push(u32::try_from(items.len()).unwrap_or(u32::MAX));
                self.values.extend(items);
            }
            Some(value) => self.values.push(value),
        }
        true
    }
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
