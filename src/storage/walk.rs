//! Rows in the order of their keys, now or as they were at one moment.

use std::ops::ControlFlow;

use rocksdb::{Direction, IteratorMode, ReadOptions, SnapshotWithThreadMode};

use super::state::State;
use super::store::{Error, ROWS, Store};

/// The store as it was when it was asked for this. RocksDB keeps what has been overwritten since, so it is not to be held for
/// long.
pub struct Moment<'a> {
    store: &'a Store,
    snapshot: SnapshotWithThreadMode<'a, rocksdb::DB>,
}

impl Store {
    /// Rows and state that belong together, whatever is committed meanwhile.
    #[must_use]
    pub fn moment(&self) -> Moment<'_> {
        Moment {
            store: self,
            snapshot: self.db.snapshot(),
        }
    }

    /// Visits the rows of all views from a key in the store on, in the order of their keys and below `end` if it is
    /// given, until `visit` says to stop.
    ///
    /// # Errors
    /// If RocksDB cannot read on.
    pub fn walk<B>(
        &self,
        from: &[u8],
        end: Option<Vec<u8>>,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        self.walk_by(ReadOptions::default(), from, end, visit)
    }

    fn walk_by<B>(
        &self,
        mut options: ReadOptions,
        from: &[u8],
        end: Option<Vec<u8>>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        options.fill_cache(false);
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let from = IteratorMode::From(from, Direction::Forward);
        for entry in self.db.iterator_cf_opt(self.family(ROWS), options, from) {
            let (key, row) = entry.map_err(|cause| self.engine_error(cause))?;
            if let ControlFlow::Break(value) = visit(&key, &row) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl Moment<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }

    /// The state that describes the rows.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn state(&self) -> Result<State, Error> {
        self.store.state_by(&self.options())
    }

    /// As [`Store::walk`].
    ///
    /// # Errors
    /// If RocksDB cannot read on.
    pub fn walk<B>(
        &self,
        from: &[u8],
        end: Option<Vec<u8>>,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        self.store.walk_by(self.options(), from, end, visit)
    }
}
