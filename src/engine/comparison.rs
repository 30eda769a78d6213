//! What a part of this node's rows is, so that it can be compared with the same part elsewhere. See
//! [`model::comparison`](crate::model::comparison).

use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::Error;
use super::service::Engine;
use crate::base::{Hlc, VersionVector};
use crate::model::comparison::SeenRow;
use crate::model::purge::Left;
use crate::model::{Digest, Purge};
use crate::storage::{Store, view_of};

/// Which rows to look at, by their keys in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind; `None` goes to the end.
    pub until: Option<Vec<u8>>,
    /// No more rows than that.
    pub max_rows: usize,
    /// Tell of each row, not of all together only. It then ends where that takes [`LISTED_BYTES`].
    pub each: bool,
}

/// Bytes of a list of rows, more or less.
pub const LISTED_BYTES: usize = 1 << 20;
/// What a row takes in a list beside its key, and each record that it names.
const LISTED_ROW_BYTES: usize = 96;
const LISTED_RECORD_BYTES: usize = 24;

/// What there is in a span at one moment, less what may go at the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanSeen {
    /// All that is applied.
    pub applied: VersionVector,
    /// The horizon.
    pub horizon: Hlc,
    /// How many rows there are.
    pub rows: u64,
    /// The set digest over them.
    pub digest: Digest,
    /// Where the look ended before the span does.
    pub next: Option<Vec<u8>>,
    /// Each row by its key in the store, if that was asked for.
    pub each: Vec<(Vec<u8>, SeenRow)>,
}

impl Engine {
    /// Looks at the rows of a span. Blocks while files are read.
    ///
    /// # Errors
    /// If the store cannot be read. A row that cannot be decoded is no error: it differs from what it should be.
    pub fn look_at(&self, span: Span) -> Result<SpanSeen, Error> {
        look_at(&self.store, self.purge(), span)
    }
}

/// Looks at rows of a store; `purge` is what may go at some horizon, mostly the one that the store acts upon.
pub(super) fn look_at(store: &Store, purge: Arc<Purge>, span: Span) -> Result<SpanSeen, Error> {
    let moment = store.moment();
    let state = moment.state()?;
    let horizon = state.purge_horizon();
    let purge = if purge.horizon() == horizon {
        purge
    } else {
        Arc::new(Purge::new(horizon, store.catalogue_until(horizon)?))
    };
    let mut seen = SpanSeen {
        applied: state.applied.0,
        horizon,
        rows: 0,
        digest: Digest::EMPTY,
        next: None,
        each: Vec::new(),
    };
    let (mut left, mut listed) = (span.max_rows, 0);
    seen.next = moment.walk(&span.from, span.until, |key, row| {
        if left == 0 || listed >= LISTED_BYTES {
            return ControlFlow::Break(key.to_vec());
        }
        left -= 1;
        let row = match purge.of(view_of(key)).left_of(row) {
            Ok(Left::Nothing) => return ControlFlow::Continue(()),
            Ok(Left::Part(row, _)) => SeenRow::of(key, &row),
            Ok(Left::All) | Err(_) => SeenRow::of(key, row),
        };
        seen.rows += 1;
        seen.digest = seen.digest.plus(row.digest);
        if span.each {
            listed += LISTED_ROW_BYTES + key.len() + LISTED_RECORD_BYTES * row.records.len();
            seen.each.push((key.to_vec(), row));
        }
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}
