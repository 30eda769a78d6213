//! The rows of a view as they were at a moment, read out of a store that nobody else uses.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::super::super::error::CliError;
use super::ahead::{Pages, Row};
use super::facts::Reading;
use crate::base::clock::{Clock, SystemClock};
use crate::base::explained;
use crate::engine::store_dir;
use crate::model::{EntityKey, View};
use crate::storage::{ScanStart, Store};

/// So many rows are read at once, or of so many bytes.
const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;

/// A view at a moment.
#[derive(Clone)]
pub struct Restored {
    store: Arc<Store>,
    /// Its definition then.
    pub view: Arc<View>,
}

impl Restored {
    /// Opens a restored set.
    ///
    /// # Errors
    /// If there was no such view, or the store cannot be read.
    pub fn open(set: &Path, name: &str) -> Result<Restored, CliError> {
        let store = Store::open_read_only(&store_dir(set)).map_err(|error| unreadable(&error))?;
        let catalogue = store.catalogue().map_err(|error| unreadable(&error))?;
        let Some(view) = catalogue.view(name) else {
            let names: Vec<&str> = catalogue
                .views()
                .map(|view| view.spec.name.as_str())
                .collect();
            let message = format!(
                "there was no view {name:?} at that moment, but {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            );
            return Err(CliError::wrong("UNKNOWN_VIEW", message));
        };
        let view = Arc::clone(view);
        Ok(Restored {
            store: Arc::new(store),
            view,
        })
    }

    /// How many rows hold features.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn count(&self) -> Result<u64, CliError> {
        let state = self.store.state().map_err(|error| unreadable(&error))?;
        Ok(state.rows.get(&self.view.id).copied().unwrap_or(0))
    }

    /// Its rows in key order, as a live view of this definition would have them.
    #[must_use]
    pub fn rows(self, live: Arc<View>) -> RestoredRows {
        RestoredRows {
            of: self,
            live,
            after: None,
        }
    }

    /// The rows behind a key; none at the end.
    fn page(&self, live: &View, after: Option<EntityKey>) -> Result<Vec<Row>, CliError> {
        let reading = Reading::new(&self.view, live, SystemClock::new().wall());
        let start = after.map_or(ScanStart::First, ScanStart::After);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let everything = EntityKey::encode([]);
        let ended = self
            .store
            .scan(self.view.id, &everything, &start, |key, row| {
                let facts = match reading.facts(row) {
                    Ok(facts) => facts,
                    Err(damage) => return ControlFlow::Break(Err(unreadable(&damage))),
                };
                bytes += row.len();
                rows.push(Row { key, facts });
                if rows.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                    ControlFlow::Break(Ok(()))
                } else {
                    ControlFlow::Continue(())
                }
            });
        ended
            .map_err(|error| unreadable(&error))?
            .unwrap_or(Ok(()))?;
        Ok(rows)
    }
}

/// Rows of a view as they were, page by page.
pub struct RestoredRows {
    of: Restored,
    live: Arc<View>,
    after: Option<EntityKey>,
}

impl Pages for RestoredRows {
    async fn next(&mut self) -> Result<Vec<Row>, CliError> {
        let (of, live, after) = (self.of.clone(), Arc::clone(&self.live), self.after.clone());
        let read = tokio::task::spawn_blocking(move || of.page(&live, after)).await;
        let given_up = |_| CliError::failed("INTERRUPTED", "reading was given up");
        let rows = read.map_err(given_up)??;
        self.after = rows.last().map(|row| row.key.clone());
        Ok(rows)
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::failed("DAMAGED", explained(error))
}
