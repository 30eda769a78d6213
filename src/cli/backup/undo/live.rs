//! The view that is written: its rows as the primary has them, and what is written into it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::super::super::error::CliError;
use super::super::super::scan::unpack;
use super::ahead::{Pages, Row};
use super::decide::{Changes, Facts, When};
use super::facts::facts_of;
use crate::client::{Client, Column, Error, key_columns, key_to_wire, value_to_wire};
use crate::model::{EntityKey, KeyValue, View};
use crate::proto::{Reason, v1};

/// So many rows are read at once.
const PAGE_ROWS: u64 = 1_000;
/// Requests are cut here, well below what a node takes; a row of the greatest size fits into one of its own.
const REQUEST_BYTES: usize = 2 << 20;

/// A view of a set that runs.
#[derive(Clone)]
pub struct Live {
    /// The set.
    pub client: Client,
    /// The view's definition.
    pub view: Arc<View>,
}

impl Live {
    fn name(&self) -> String {
        self.view.spec.name.clone()
    }

    fn features(&self) -> Vec<String> {
        let features = self.view.spec.features.iter();
        features.map(|feature| feature.name.clone()).collect()
    }

    fn values(&self, key: &EntityKey) -> Result<Vec<KeyValue>, CliError> {
        let values = key.decode(&self.view.key_types());
        values.map_err(|error| CliError::failed("DAMAGED", format!("a key: {error}")))
    }

    /// All its rows in key order.
    #[must_use]
    pub fn rows(&self) -> LiveRows {
        LiveRows {
            of: self.clone(),
            resume_token: Some(Bytes::new()),
        }
    }

    /// What is known of these entities now.
    ///
    /// # Errors
    /// If the primary cannot be asked.
    pub async fn look<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a EntityKey>,
    ) -> Result<Vec<Facts>, CliError> {
        let count = keys.len();
        let keys: Result<Vec<_>, _> = keys.map(|key| self.values(key)).collect();
        let request = v1::GetFeaturesRequest {
            entities: key_columns(&self.view.spec.entity, &keys?),
            views: vec![v1::ViewSelection {
                view: self.name(),
                features: self.features(),
            }],
            level: v1::ReadLevel::Primary.into(),
            include_event_times: true,
            ..v1::GetFeaturesRequest::default()
        };
        let answer = self.client.get(request).await?;
        let columns = answer.views.into_iter().flat_map(|view| view.columns);
        let columns: Result<Vec<Column>, _> = columns.map(Column::from_wire).collect();
        let columns = columns.map_err(Error::bad_answer)?;
        Ok((0..count).map(|at| facts_of(&columns, at)).collect())
    }

    /// Writes what was decided: deletions, then puts. Of what is too late or too far ahead for the set nothing is written, and nothing
    /// said.
    ///
    /// # Errors
    /// If the set cannot be asked, or refuses it otherwise.
    pub async fn write(&self, changes: &[(&EntityKey, Changes)]) -> Result<(), CliError> {
        let (mut keys, mut timed, mut now) = (Vec::new(), Vec::new(), Vec::new());
        for (key, changes) in changes {
            let key: Vec<_> = self.values(key)?.into_iter().map(key_to_wire).collect();
            if let Some(when) = changes.delete {
                let event_time_us = when.to_wire();
                let key = key.clone();
                keys.push(v1::Key { key, event_time_us });
            }
            for put in &changes.puts {
                let rows = match put.at {
                    When::At(_) => &mut timed,
                    When::Now => &mut now,
                };
                rows.push(v1::Row {
                    key: key.clone(),
                    values: put.values.iter().cloned().map(value_to_wire).collect(),
                    event_time_us: put.at.to_wire(),
                });
            }
        }
        by_halves(keys, async |keys| self.delete(keys).await).await?;
        for rows in requests(timed) {
            by_halves(rows, async |rows| self.put(rows, false).await).await?;
        }
        for rows in requests(now) {
            self.put(rows, true).await?;
        }
        Ok(())
    }

    async fn delete(&self, keys: Vec<v1::Key>) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let view = self.name();
        let request = v1::DeleteFeaturesRequest {
            deletes: vec![v1::ViewKeys { view, keys }],
            level: v1::CommitLevel::Quorum.into(),
            ..v1::DeleteFeaturesRequest::default()
        };
        self.client.delete(request).await.map(|_| ())
    }

    async fn put(&self, rows: Vec<v1::Row>, override_stored: bool) -> Result<(), Error> {
        let (view, features) = (self.name(), self.features());
        let request = v1::PutFeaturesRequest {
            writes: vec![v1::ViewRows {
                view,
                features,
                rows,
            }],
            level: v1::CommitLevel::Quorum.into(),
            override_stored,
            ..v1::PutFeaturesRequest::default()
        };
        self.client.put(request).await.map(|_| ())
    }
}

/// Rows of a view, page by page.
pub struct LiveRows {
    of: Live,
    /// Where the next page begins; `None` at the end.
    resume_token: Option<Bytes>,
}

impl LiveRows {
    /// Those of a view that is not there.
    #[must_use]
    pub fn none(of: Live) -> LiveRows {
        LiveRows {
            of,
            resume_token: None,
        }
    }
}

impl Pages for LiveRows {
    // Each page is the first message of a scan of its own: a scan of which nobody takes anything for some seconds, as while a batch
    // waits for a new primary, would be cut off.
    async fn next(&mut self) -> Result<Vec<Row>, CliError> {
        let mut rows = Vec::new();
        while rows.is_empty()
            && let Some(resume_token) = self.resume_token.take()
        {
            let request = v1::ScanFeaturesRequest {
                view: self.of.name(),
                features: self.of.features(),
                resume_token,
                limit: PAGE_ROWS,
                include_event_times: true,
                level: v1::ReadLevel::Primary.into(),
                ..v1::ScanFeaturesRequest::default()
            };
            let mut pages = self.of.client.scan(request).await?;
            let Some(page) = pages.next().await? else {
                break;
            };
            self.resume_token = Some(page.resume_token.clone());
            let (keys, columns) = unpack(page)?;
            rows.extend(keys.iter().enumerate().map(|(at, key)| Row {
                key: EntityKey::encode(key),
                facts: facts_of(&columns, at),
            }));
        }
        Ok(rows)
    }
}

impl When {
    fn to_wire(self) -> Option<i64> {
        match self {
            When::At(time) => Some(time.0),
            When::Now => None,
        }
    }
}

/// Rows as they go into requests.
fn requests(rows: Vec<v1::Row>) -> Vec<Vec<v1::Row>> {
    let (mut requests, mut bytes) = (Vec::<Vec<v1::Row>>::new(), 0);
    for row in rows {
        let row_bytes = row.encoded_len();
        bytes += row_bytes;
        match requests.last_mut() {
            Some(request) if bytes <= REQUEST_BYTES => request.push(row),
            _ => {
                bytes = row_bytes;
                requests.push(vec![row]);
            }
        }
    }
    requests
}

/// Sends what is all refused if the event time of one item is; then that one alone is not sent, which is written as of now after the
/// next look at it.
async fn by_halves<T: Clone>(
    items: Vec<T>,
    send: impl AsyncFn(Vec<T>) -> Result<(), Error>,
) -> Result<(), Error> {
    let of_time = [Reason::TooLate, Reason::EventTimeTooFarAhead].map(Reason::name);
    let mut left = vec![items];
    while let Some(mut items) = left.pop() {
        match send(items.clone()).await {
            Err(error) if of_time.contains(&error.reason.as_str()) => {
                if items.len() > 1 {
                    let behind = items.split_off(items.len() / 2);
                    left.extend([behind, items]);
                }
            }
            sent => sent?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Value;

    fn row(bytes: usize) -> v1::Row {
        let value = Value::Bytes(vec![7; bytes].into());
        v1::Row {
            values: vec![value_to_wire(Some(value))],
            ..v1::Row::default()
        }
    }

    proptest! {
        #[test]
        fn only_what_is_refused_is_not_sent(refused: Vec<bool>) {
            let sent = RefCell::new(Vec::new());
            let items: Vec<_> = refused.iter().copied().enumerate().collect();
            let send = async |items: Vec<(usize, bool)>| {
                if items.iter().any(|(_, is_refused)| *is_refused) {
                    let reason = Reason::TooLate.name().to_owned();
                    return Err(Error { reason, ..Error::unavailable(String::new()) });
                }
                sent.borrow_mut().extend(items);
                Ok(())
            };
            block_on(by_halves(items.clone(), send)).unwrap();
            let expected: Vec<_> = items.into_iter().filter(|(_, is_refused)| !is_refused).collect();
            prop_assert_eq!(sent.into_inner(), expected);
        }
    }

    #[test]
    fn requests_hold_all_rows_in_order_and_are_bounded_but_for_a_large_row() {
        assert_eq!(requests(Vec::new()), Vec::<Vec<v1::Row>>::new());
        let sizes = [
            1,
            REQUEST_BYTES / 2,
            REQUEST_BYTES / 3,
            REQUEST_BYTES / 2,
            REQUEST_BYTES * 2,
            1,
        ];
        let rows: Vec<_> = sizes.into_iter().map(row).collect();
        let cut = requests(rows.clone());
        let counts: Vec<_> = cut.iter().map(Vec::len).collect();
        assert_eq!(counts, [3, 1, 1, 1]);
        assert_eq!(cut.concat(), rows);
    }
}
