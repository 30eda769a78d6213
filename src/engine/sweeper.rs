//! The sweeper: takes out of the store what may go at the purge horizon, a page at a time, between the groups of the
//! applier and on its thread.
//!
//! ```text
//! keys     |---- swept to the new horizon ----|---- swept to the last one ----|
//!                                            next
//! ```
//! **Invariants.** A page's rows, their digest and the place behind it change in one batch, so that a sweep goes on
//! after a crash where the rows say it was. From its first page on, writes leave out what may go at its horizon, before
//! and behind `next` alike: what is behind would be swept anyway (P4). A sweep ends at the horizon it began with; then
//! the next may begin.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::applier::{Applier, replace};
use super::cache::KeyedRow;
use super::error::Error;
use crate::base::clock::now_monotonic;
use crate::model::purge::Left;
use crate::model::row::RowRef;
use crate::model::{Purge, ViewId, ViewPurge};
use crate::storage::{State, Sweep, behind_view, view_of};

/// How often a page is swept, so that each is short work and writes wait little for it.
const PAGES_PER_SECOND: u32 = 20;
/// Stored bytes of a page at the most, more or less.
const PAGE_BYTES: usize = 1 << 20;

/// When the next page is due.
#[derive(Debug)]
pub(super) struct Pace {
    page_rows: u32,
    /// When the sweep under way began.
    began: Instant,
    due: Instant,
}

impl Pace {
    pub fn new(rows_per_second: u32) -> Pace {
        let now = now_monotonic();
        Pace {
            page_rows: rows_per_second.div_ceil(PAGES_PER_SECOND),
            began: now,
            due: now,
        }
    }

    /// How long the applier may wait for records; for ever if nothing is to be swept.
    pub fn pause(&self, applier: &Applier) -> Option<Duration> {
        next_sweep(&applier.published.state.load())?;
        Some(self.due.saturating_duration_since(now_monotonic()))
    }

    /// Sweeps a page if one is due. After a sweep comes a rest as long as it took: sweeps take half of the time at the
    /// most, and a marker finds its place between them.
    pub fn sweep(&mut self, applier: &mut Applier) -> Result<(), Error> {
        let now = now_monotonic();
        let state = applier.published.state.load_full();
        if now < self.due || next_sweep(&state).is_none() {
            return Ok(());
        }
        if state.sweep.is_none() {
            self.began = now;
        }
        applier.sweep_page(self.page_rows)?;
        let is_done = applier.published.state.load().sweep.is_none();
        let pause = if is_done {
            self.began.elapsed()
        } else {
            Duration::from_secs(1) / PAGES_PER_SECOND
        };
        self.due = now_monotonic() + pause;
        Ok(())
    }
}

/// The sweep under way, or the one to begin.
fn next_sweep(state: &State) -> Option<Sweep> {
    let horizon = state.purge_horizon();
    let begun = || Sweep {
        horizon,
        next: Vec::new(),
    };
    let sweep = state.sweep.clone();
    sweep.or_else(|| (horizon > state.swept).then(begun))
}

/// A row that a page changes, and what is left of it.
struct SweptRow {
    was: KeyedRow,
    left: KeyedRow,
}

/// Some rows in the order of their keys.
struct Page<'a> {
    purge: &'a Purge,
    /// What may go of the view that the last row was of.
    view: Option<(ViewId, ViewPurge)>,
    rows: u32,
    bytes: usize,
    cells_gone: u64,
    changed: Vec<SweptRow>,
}

impl Applier {
    /// Sweeps the next page of at most so many rows, if there is anything to sweep.
    pub(super) fn sweep_page(&mut self, max_rows: u32) -> Result<(), Error> {
        let mut state = State::clone(&self.published.state.load());
        let Some(sweep) = next_sweep(&state) else {
            return Ok(());
        };
        if state.sweep.is_none() {
            // What reads leave out already: the horizon is the same.
            self.purge = self.published.purge.load_full();
            debug!(horizon = %sweep.horizon, "a sweep begins");
        }
        let mut page = Page::new(&self.purge);
        let next = self
            .store
            .walk(&sweep.next, None, |key, row| page.visit(key, row, max_rows))?;
        let Page {
            rows,
            cells_gone,
            changed,
            ..
        } = page;
        let mut changes = self.store.changes();
        let mut rows_gone = 0;
        for SweptRow { was, left } in &changed {
            let key = was.key();
            let view = view_of(key);
            replace(&mut state, key, was.row(), left.row())
                .map_err(|source| Error::BadRow { view, source })?;
            match left.row() {
                Some(row) => changes.put_row(key, row),
                None => {
                    rows_gone += 1;
                    changes.delete_row(key);
                }
            }
        }
        state.sweep = next.flatten().map(|next| Sweep { next, ..sweep });
        if state.sweep.is_none() {
            state.swept = sweep.horizon;
            debug!(horizon = %state.swept, "a sweep ends");
        }
        changes.commit(&state)?;
        let left = changed.into_iter().map(|row| row.left);
        left.for_each(|row| self.cache.update(row));
        // Before anybody sees that they are gone.
        self.metrics.rows_swept.inc_by(u64::from(rows));
        self.metrics.rows_purged.inc_by(rows_gone);
        self.metrics.cells_purged.inc_by(cells_gone);
        self.publish(state)
    }
}

impl Page<'_> {
    fn new(purge: &Purge) -> Page<'_> {
        Page {
            purge,
            view: None,
            rows: 0,
            bytes: 0,
            cells_gone: 0,
            changed: Vec::new(),
        }
    }

    /// Takes a row in; breaks with the key at which the next page begins, or with none behind the last view.
    fn visit(&mut self, key: &[u8], row: &[u8], max_rows: u32) -> ControlFlow<Option<Vec<u8>>> {
        if self.rows >= max_rows || self.bytes >= PAGE_BYTES {
            return ControlFlow::Break(Some(key.to_vec()));
        }
        self.rows += 1;
        self.bytes += key.len() + row.len();
        let view = view_of(key);
        let purge = self.of(view);
        if RowRef::parse(row).is_ok_and(|parsed| !purge.concerns(parsed.order)) {
            return ControlFlow::Break(behind_view(view));
        }
        let left = match purge.left_of(row) {
            Ok(Left::All) => return ControlFlow::Continue(()),
            Ok(Left::Part(row, cells)) => {
                self.cells_gone += cells;
                Some(row)
            }
            Ok(Left::Nothing) => None,
            Err(cause) => {
                // Nothing is known of it, so nothing of it goes; who reads it is told.
                warn!(%view, %cause, "a damaged row is left as it is");
                return ControlFlow::Continue(());
            }
        };
        self.changed.push(SweptRow {
            was: KeyedRow::new(key, Some(row)),
            left: KeyedRow::new(key, left.as_deref()),
        });
        ControlFlow::Continue(())
    }

    fn of(&mut self, view: ViewId) -> ViewPurge {
        match self.view {
            Some((known, purge)) if known == view => purge,
            _ => {
                let purge = self.purge.of(view);
                self.view = Some((view, purge));
                purge
            }
        }
    }
}

#[cfg(test)]
#[path = "sweeper_test.rs"]
mod tests;
