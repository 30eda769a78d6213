//! Rows of an answer, as JSON and as tables.

use comfy_table::Table;
use serde_json::{Map, Value as Json, json};

use super::output::{plain, table};
use crate::client::{Cell, Column};
use crate::model::json::{key_to_json, value_to_json};
use crate::model::resolve::Status;
use crate::model::{JoinKey, KeyValue};

/// The rows of an answer: for each entity its key and a cell of each column.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The join keys of the view.
    pub entity: &'a [JoinKey],
    /// One key for each entity.
    pub keys: &'a [Vec<KeyValue>],
    /// One column for each feature.
    pub columns: &'a [Column],
}

impl Rows<'_> {
    /// `[{"key":{…},"features":{…}}]`
    #[must_use]
    pub fn to_json(&self) -> Vec<Json> {
        let row = |(at, key): (usize, &Vec<KeyValue>)| {
            let names = self.entity.iter().map(|join_key| join_key.name.clone());
            let key: Map<_, _> = names.zip(key.iter().map(key_to_json)).collect();
            let cells = self.cells(at);
            let features: Map<_, _> = cells
                .map(|(name, cell)| (name.to_owned(), cell_to_json(cell)))
                .collect();
            json!({ "key": key, "features": features })
        };
        self.keys.iter().enumerate().map(row).collect()
    }

    /// One entity as a column of features, several as one line each.
    #[must_use]
    pub fn to_table(&self, event_times: bool) -> Table {
        match self.keys {
            [key] => self.single(key, event_times),
            _ => self.several(event_times),
        }
    }

    fn single(&self, key: &[KeyValue], event_times: bool) -> Table {
        let names: Vec<String> = self
            .entity
            .iter()
            .zip(key)
            .map(|(join_key, value)| format!("{}={}", join_key.name, plain(&key_to_json(value))))
            .collect();
        let mut headings = vec![names.join(","), "value".to_owned()];
        headings.extend(event_times.then(|| "event time".to_owned()));
        let mut out = table(headings);
        for (feature, cell) in self.cells(0) {
            let mut line = vec![feature.to_owned(), cell_to_text(cell)];
            line.extend(event_times.then(|| time_to_text(cell)));
            out.add_row(line);
        }
        out
    }

    fn several(&self, event_times: bool) -> Table {
        let keys = self.entity.iter().map(|join_key| join_key.name.as_str());
        let features = self.columns.iter().map(Column::feature);
        let newest = event_times.then_some("event time");
        let mut out = table(keys.chain(features).chain(newest));
        for (at, key) in self.keys.iter().enumerate() {
            let key = key.iter().map(|value| plain(&key_to_json(value)));
            let mut line: Vec<String> = key.collect();
            line.extend(self.cells(at).map(|(_, cell)| cell_to_text(cell)));
            if event_times {
                let newest = self
                    .cells(at)
                    .map(|(_, cell)| cell)
                    .max_by_key(|cell| cell.event_time);
                line.push(newest.map(time_to_text).unwrap_or_default());
            }
            out.add_row(line);
        }
        out
    }

    fn cells(&self, at: usize) -> impl Iterator<Item = (&str, &Cell)> {
        let cell = move |column: &Column| column.cells().get(at).is_some();
        self.columns
            .iter()
            .filter(move |column| cell(column))
            .flat_map(move |column| column.cells().get(at).map(|cell| (column.feature(), cell)))
    }
}

fn cell_to_json(cell: &Cell) -> Json {
    json!({
        "value": value_to_json(&cell.value),
        "status": cell.status.name(),
        "event_time": cell.event_time.map(|time| time.to_string()),
        "default": cell.is_default,
    })
}

/// The value, or why there is none.
#[must_use]
pub fn cell_to_text(cell: &Cell) -> String {
    let value = || plain(&value_to_json(&cell.value));
    match cell.status {
        Status::Present => value(),
        Status::Null | Status::NotFound | Status::Expired if cell.is_default => {
            format!("{} (default, {})", value(), cell.status.name())
        }
        Status::Null | Status::NotFound | Status::Expired => cell.status.name().to_owned(),
    }
}

fn time_to_text(cell: &Cell) -> String {
    cell.event_time
        .map(|time| time.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::value_to_wire;
    use crate::model::{KeyType, Value};
    use crate::proto::v1;

    fn column(status: u8, event_time_us: i64) -> Column {
        Column::from_wire(v1::FeatureColumn {
            feature: "delay".into(),
            values: Some(v1::Items {
                kind: Some(v1::items::Kind::Doubles(v1::DoubleItems {
                    items: vec![1.5],
                })),
            }),
            statuses: vec![status].into(),
            event_times_us: vec![event_time_us],
            r#type: "double".into(),
            ..v1::FeatureColumn::default()
        })
        .unwrap()
    }

    fn entity() -> Vec<JoinKey> {
        vec![JoinKey {
            name: "tailnum".into(),
            key_type: KeyType::String,
        }]
    }

    #[test]
    fn a_row_as_json_has_key_value_status_event_time_and_default() {
        let rows = Rows {
            entity: &entity(),
            keys: &[vec![KeyValue::String("N1".into())]],
            columns: &[column(1, 1_356_998_400_000_000)],
        };
        assert_eq!(
            serde_json::to_string(&rows.to_json()).unwrap(),
            concat!(
                r#"[{"key":{"tailnum":"N1"},"features":{"delay":{"value":1.5,"status":"PRESENT","#,
                r#""event_time":"2013-01-01T00:00:00Z","default":false}}}]"#
            )
        );
    }

    #[test]
    fn a_value_that_is_missing_or_a_default_says_so() {
        let text = |status| cell_to_text(&column(status, 0).cells()[0]);
        assert_eq!(text(1), "1.5");
        assert_eq!(text(3), "NOT_FOUND");
        assert_eq!(text(4 + 16), "1.5 (default, EXPIRED)");
        assert_eq!(
            value_to_wire(Some(Value::Null)).kind,
            Some(v1::value::Kind::Null(true))
        );
    }
}
