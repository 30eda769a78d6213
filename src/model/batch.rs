//! Pure: a batch as a client asks for it, and what is decided of it before it is logged.
//!
//! Decisions that depend on when a write happens are made once, at its stamp's time, and the log holds their result:
//! event times are filled in, two rows of one entity are folded into one, writes too far ahead or too late are refused
//! as a whole, and puts that have expired already are counted and left out.
//!
//! **Invariants.** A record names no cell twice with one version. A refused batch changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cells::{self, Cells};
use super::digest::Digest;
use super::key::EntityKey;
use super::record::{RowGroup, RowWrite, Rows};
use super::version::Order;
use super::view::{FeatureId, MergeMode, View, ViewId};
use crate::base::Micros;
use crate::base::codec::DecodeError;

/// Rows of several views that are written together or not at all. Names and types are checked already.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The rows, grouped as the client grouped them.
    pub groups: Vec<ViewRows>,
    /// Puts without an event time take it as deletes do, so that they win against every stored one (M4).
    pub is_override: bool,
}

/// Rows of one view.
#[derive(Debug, Clone)]
pub struct ViewRows {
    /// The view, as it was when names and types were checked.
    pub view: Arc<View>,
    /// The rows.
    pub rows: Vec<RowChange>,
}

/// What to do with one entity's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Whose row.
    pub key: EntityKey,
    /// When the fact became true; `None` leaves it to the time of the write.
    pub event_time: Option<Micros>,
    /// Put or delete.
    pub change: Change,
}

/// Put or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Encoded cells, sorted by feature id.
    Put(Bytes),
    /// The row goes.
    Delete,
}

/// Why a whole batch is refused at its stamp's time. Positions are those in the batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The event time lies too far ahead of the write's time.
    #[error("event time {event_time} is more than {} ahead of the write's time {at}", humantime::format_duration(*bound))]
    TooFarAhead {
        /// Index of the group.
        group: usize,
        /// Index of the row in its group.
        row: usize,
        /// The event time.
        event_time: Micros,
        /// The write's time.
        at: Micros,
        /// How far ahead is admitted.
        bound: Duration,
    },
    /// The event time lies below the view's lateness floor (M5).
    #[error("event time {event_time} is below the lateness floor {floor} of view {view:?}")]
    TooLate {
        /// Index of the group.
        group: usize,
        /// Index of the row in its group.
        row: usize,
        /// The event time.
        event_time: Micros,
        /// The least event time admitted.
        floor: Micros,
        /// The view's name.
        view: String,
    },
}

/// What the decision needs to know besides the batch.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time of the write's stamp.
    pub at: Micros,
    /// How far ahead of it event times are admitted.
    pub bound_ahead: Duration,
}

impl Batch {
    /// How many rows it has.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.groups.iter().map(|group| group.rows.len()).sum()
    }

    /// About how many bytes its record will have.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        const ROW: usize = 32;
        let row = |row: &RowChange| {
            let cells = match &row.change {
                Change::Put(cells) => cells.len(),
                Change::Delete => 0,
            };
            ROW + row.key.as_bytes().len() + cells
        };
        self.groups
            .iter()
            .map(|group| ROW + group.rows.iter().map(row).sum::<usize>())
            .sum()
    }

    /// Digest of what is asked for, by which a repeated request id is compared.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        for group in &self.groups {
            bytes.extend_from_slice(&group.view.id.0.to_le_bytes());
            crate::base::codec::put_count(&mut bytes, group.rows.len());
            for row in &group.rows {
                crate::base::codec::put_blob(&mut bytes, row.key.as_bytes());
                bytes.push(u8::from(row.event_time.is_some()));
                bytes.extend_from_slice(&row.event_time.unwrap_or_default().0.to_le_bytes());
                match &row.change {
                    Change::Delete => bytes.push(0),
                    Change::Put(cells) => {
                        bytes.push(1);
                        crate::base::codec::put_blob(&mut bytes, cells);
                    }
                }
            }
        }
        if self.is_override {
            bytes.push(1);
        }
        Digest::of(&bytes)
    }

    /// Does deciding read stored rows? Deletes and overrides by event time without one of their own do (M3, M4).
    #[must_use]
    pub fn reads_stored_rows(&self) -> bool {
        let reads = |group: &ViewRows| {
            let mut rows = group.rows.iter();
            rows.any(|row| hides_stored(&group.view, row, self.is_override))
        };
        self.groups.iter().any(reads)
    }

    /// Decides what is logged. `stored_event_time` gives the greatest event time in a stored row, everything appended
    /// before being applied; it is asked only if [`reads_stored_rows`](Self::reads_stored_rows).
    ///
    /// # Errors
    /// The inner error refuses the batch; the outer one is that of `stored_event_time` or of cells that are no cells.
    pub fn decide<E: From<DecodeError>>(
        self,
        moment: Moment,
        mut stored_event_time: impl FnMut(ViewId, &EntityKey) -> Result<Option<Micros>, E>,
    ) -> Result<Result<Rows, Refusal>, E> {
        let mut decided = Rows::default();
        let mut latest = Latest::new(self.reads_stored_rows());
        let mut views: BTreeMap<ViewId, (Arc<View>, Vec<RowWrite>)> = BTreeMap::new();
        for (group_at, group) in self.groups.into_iter().enumerate() {
            let view = group.view;
            let (_, writes) = views
                .entry(view.id)
                .or_insert_with(|| (Arc::clone(&view), Vec::new()));
            for (row_at, row) in group.rows.into_iter().enumerate() {
                let event_time = match row.event_time {
                    Some(event_time) => event_time,
                    None if hides_stored(&view, &row, self.is_override) => {
                        let stored = stored_event_time(view.id, &row.key)?;
                        let before = latest.of(view.id, &row.key);
                        stored
                            .max(before)
                            .map_or(moment.at, |held| held.max(moment.at))
                    }
                    None => moment.at,
                };
                if let Some(given) = row.event_time
                    && let Err(refusal) = admit(&view, moment, (group_at, row_at), given)
                {
                    return Ok(Err(refusal));
                }
                latest.note(view.id, &row.key, event_time);
                let expired = view
                    .expiry_floor(moment.at)
                    .is_some_and(|floor| event_time <= floor);
                match row.change {
                    Change::Put(_) if expired => decided.older += 1,
                    Change::Put(cells) => writes.push(RowWrite {
                        key: row.key,
                        event_time,
                        cells: Some(cells),
                    }),
                    Change::Delete => writes.push(RowWrite {
                        key: row.key,
                        event_time,
                        cells: None,
                    }),
                }
            }
        }
        for (id, (view, writes)) in views {
            let (rows, folded) = fold(view.spec.merge, view.spec.order, writes)?;
            decided.folded += folded;
            if !rows.is_empty() {
                decided.groups.push(RowGroup {
                    view: id,
                    merge: view.spec.merge,
                    order: view.spec.order,
                    rows,
                });
            }
        }
        Ok(Ok(decided))
    }
}

/// Is the row's event time to be such that it wins against what is stored?
fn hides_stored(view: &View, row: &RowChange, is_override: bool) -> bool {
    view.spec.order == Order::EventTime
        && row.event_time.is_none()
        && (is_override || row.change == Change::Delete)
}

/// The greatest event times of the rows that stand earlier in the batch, which a delete or an override hides as it
/// hides stored ones.
struct Latest(Option<HashMap<(ViewId, EntityKey), Micros>>);

impl Latest {
    /// Notes something only if it will be asked for.
    fn new(is_needed: bool) -> Latest {
        Latest(is_needed.then(HashMap::new))
    }

    fn note(&mut self, view: ViewId, key: &EntityKey, event_time: Micros) {
        if let Some(times) = &mut self.0 {
            let held = times.entry((view, key.clone())).or_insert(event_time);
            *held = event_time.max(*held);
        }
    }

    fn of(&self, view: ViewId, key: &EntityKey) -> Option<Micros> {
        self.0.as_ref()?.get(&(view, key.clone())).copied()
    }
}

fn admit(
    view: &View,
    moment: Moment,
    at: (usize, usize),
    event_time: Micros,
) -> Result<(), Refusal> {
    let (group, row) = at;
    let Moment {
        at,
        bound_ahead: bound,
    } = moment;
    if event_time > at.plus(bound) {
        return Err(Refusal::TooFarAhead {
            group,
            row,
            event_time,
            at,
            bound,
        });
    }
    match view.lateness_floor(at) {
        Some(floor) if event_time < floor => Err(Refusal::TooLate {
            group,
            row,
            event_time,
            floor,
            view: view.spec.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Leaves one write per row, or per cell, of those that name the same one: the one with the greatest event time, and of
/// equal ones the last. Cells that a later deletion of their row kills go too. Returns what is left, in order, and how many writes are gone.
fn fold(
    merge: MergeMode,
    order: Order,
    writes: Vec<RowWrite>,
) -> Result<(Vec<RowWrite>, u32), DecodeError> {
    let total = writes.len();
    let rank = |at: usize, write: &RowWrite| match order {
        Order::EventTime => (write.event_time, at),
        Order::Arrival => (Micros(0), at),
    };
    let left = match merge {
        MergeMode::Row => {
            let mut best: HashMap<&EntityKey, (Micros, usize)> = HashMap::with_capacity(total);
            for (at, write) in writes.iter().enumerate() {
                let winner = best.entry(&write.key).or_insert(rank(at, write));
                *winner = rank(at, write).max(*winner);
            }
            if best.len() == total {
                writes
            } else {
                let winners: BTreeSet<usize> = best.into_values().map(|(_, at)| at).collect();
                let all = writes.into_iter().enumerate();
                all.filter(|(at, _)| winners.contains(at))
                    .map(|(_, write)| write)
                    .collect()
            }
        }
        MergeMode::Cell => fold_cells(writes, rank)?,
    };
    let folded = u32::try_from(total - left.len()).unwrap_or(u32::MAX);
    Ok((left, folded))
}

fn fold_cells(
    writes: Vec<RowWrite>,
    rank: impl Fn(usize, &RowWrite) -> (Micros, usize),
) -> Result<Vec<RowWrite>, DecodeError> {
    let keys: BTreeSet<&EntityKey> = writes.iter().map(|write| &write.key).collect();
    if keys.len() == writes.len() {
        return Ok(writes);
    }
    let mut best: HashMap<(EntityKey, Option<FeatureId>), (Micros, usize)> = HashMap::new();
    for (at, write) in writes.iter().enumerate() {
        for feature in named(write)? {
            let winner = best
                .entry((write.key.clone(), feature))
                .or_insert(rank(at, write));
            *winner = rank(at, write).max(*winner);
        }
    }
    let mut left = Vec::new();
    for (at, write) in writes.into_iter().enumerate() {
        let best_of = |feature| best.get(&(write.key.clone(), feature));
        // One stamp for both would let a cell stand beside the later deletion of its row.
        let is_deleted = best_of(None).is_some_and(|dead| *dead > rank(at, &write));
        let wins =
            |feature| !is_deleted && best_of(feature).is_some_and(|(_, winner)| *winner == at);
        match &write.cells {
            None if wins(None) => left.push(write),
            None => {}
            Some(encoded) => {
                let mut kept = Vec::new();
                for cell in Cells::new(encoded) {
                    let cell = cell?;
                    if wins(Some(cell.feature)) {
                        cells::put_cell_ref(&mut kept, &cell);
                    }
                }
                if !kept.is_empty() {
                    left.push(RowWrite {
                        cells: Some(kept.into()),
                        ..write
                    });
                }
            }
        }
    }
    Ok(left)
}

/// The cells a write names; a deletion counts as one of its own.
fn named(write: &RowWrite) -> Result<Vec<Option<FeatureId>>, DecodeError> {
    match &write.cells {
        None => Ok(vec![None]),
        Some(encoded) => Cells::new(encoded)
            .map(|cell| Ok(Some(cell?.feature)))
            .collect(),
    }
}

#[cfg(test)]
#[path = "batch_test.rs"]
mod tests;
