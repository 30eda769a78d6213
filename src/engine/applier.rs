//! The applier: reads, merges and puts. With the sweeper, which works on its thread, the only writer of the store.
//!
//! It takes records in the order of the WAL, in groups: one multi-get for all their rows, merges in memory, one batch
//! with the rows, requests, definitions and the state after the last of them.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tracing::{error, info};

use super::cache::{KeyedRow, RowCache};
use super::error::{DigestMismatch, Error};
use super::metrics::Metrics;
use crate::base::codec::DecodeError;
use crate::base::{Epoch, Hlc, LogId, Lsn, RegionId, Seq, Stamp};
use crate::model::definition::Definition;
use crate::model::record::{Body, Marker, RequestId, Rows};
use crate::model::row::{Merged, RowRef, merge_write};
use crate::model::{Catalogue, Digest, HeldOpening, Purge, Record, ViewId};
use crate::storage::{self, Changes, RequestEntry, RowKeys, State, Store};

/// How long the result of a named write is kept behind the horizon.
const REQUESTS_KEPT_MILLIS: u64 = 3_600_000;

/// What a record did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The record's stamp.
    pub stamp: Stamp,
    /// Rows that became what was written.
    pub applied: u64,
    /// Rows older than what was stored, those left out before logging included.
    pub older: u64,
    /// Rows folded into others of the same batch.
    pub folded: u64,
}

/// Where the fate of a record is told.
#[derive(Debug)]
pub struct Fate {
    told: oneshot::Sender<Result<Outcome, Error>>,
    held: Option<Box<dyn Any + Send>>,
}

impl Fate {
    /// To be told to the other end of `told`.
    #[must_use]
    pub fn new(told: oneshot::Sender<Result<Outcome, Error>>) -> Fate {
        Fate { told, held: None }
    }

    /// Keeps `held` for as long as the record is in memory, such as the right to take that memory.
    #[must_use]
    pub fn holding(self, held: impl Any + Send) -> Fate {
        Fate {
            held: Some(Box::new(held)),
            ..self
        }
    }

    pub(super) fn tell(self, outcome: Result<Outcome, Error>) {
        drop(self.held);
        // Whoever asked may have given up at its deadline.
        let _gone = self.told.send(outcome);
    }
}

/// A durable record to apply.
#[derive(Debug)]
pub(super) struct Item {
    pub record: Arc<Record>,
    /// The chain digest of its log with it.
    pub chain: Digest,
    /// Where its frame ends in the WAL.
    pub end: Lsn,
    pub fate: Option<Fate>,
}

/// What everybody may look at: always the state as of some commit.
#[derive(Debug)]
pub(super) struct Published {
    pub state: ArcSwap<State>,
    pub catalogue: ArcSwap<Catalogue>,
    /// What reads leave out.
    pub purge: ArcSwap<Purge>,
    /// The first marker that contradicts the rows.
    pub mismatch: OnceLock<DigestMismatch>,
}

/// The store's only writer.
#[derive(Debug)]
pub(super) struct Applier {
    pub store: Arc<Store>,
    pub cache: Arc<RowCache>,
    pub published: Arc<Published>,
    pub metrics: Metrics,
    /// What writes leave out: what may go at the horizon of the sweep under way or the last one.
    pub purge: Arc<Purge>,
}

/// The rows that a group of records touches, each once, in the order of their keys: so they are read and put, and the
/// store finds each near the one before.
struct Touched {
    rows: Vec<TouchedRow>,
    /// For each row write of the group, in the order of the log, the index of its row.
    slots: std::vec::IntoIter<usize>,
}

struct TouchedRow {
    now: KeyedRow,
    changed: bool,
}

/// What a group of records changes.
pub(super) struct Prepared<'a> {
    state: State,
    touched: Touched,
    changes: Changes<'a>,
    definitions: Vec<(Stamp, &'a Definition)>,
    outcomes: Vec<Outcome>,
}

impl Touched {
    /// The row of the next write in the order of the log.
    fn next(&mut self) -> &mut TouchedRow {
        let slot = self.slots.next().and_then(|slot| self.rows.get_mut(slot));
        slot.expect("the rows of all writes of the group have been read")
    }
}

impl Applier {
    /// The applier of a store as it is.
    pub fn new(store: Arc<Store>, cache_bytes: u64) -> Result<Applier, Error> {
        let state = store.state()?;
        let purge = purge_at(&store, state.sweep_horizon())?;
        let published = Published {
            catalogue: ArcSwap::from_pointee(store.catalogue()?),
            purge: ArcSwap::from_pointee(purge_at(&store, state.purge_horizon())?),
            state: ArcSwap::from_pointee(state),
            mismatch: OnceLock::new(),
        };
        Ok(Applier {
            store,
            cache: Arc::new(RowCache::new(cache_bytes)),
            published: Arc::new(published),
            metrics: Metrics::default(),
            purge: Arc::new(purge),
        })
    }

    /// Works out what a group of records changes. It need not be durable yet: nothing is changed before it is
    /// [committed](Self::commit), which must come before the next group is prepared.
    pub fn prepare<'a>(&'a self, items: &'a [Item]) -> Result<Prepared<'a>, Error> {
        let mut state = State::clone(&self.published.state.load());
        let mut touched = self.read_rows(items)?;
        let mut changes = self.store.changes();
        let mut definitions = Vec::new();
        let mut outcomes = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let newest = state.newest;
            follow(&mut state, item)?;
            let record = &item.record;
            let mut outcome = Outcome {
                stamp: record.stamp,
                applied: 0,
                older: 0,
                folded: 0,
            };
            match &record.body {
                Body::Opening(opening) => {
                    state.open(HeldOpening::new(record.stamp.log(), opening));
                }
                Body::Rows(rows) => {
                    self.merge(&mut state, &mut touched, record.stamp, rows, &mut outcome)?
                }
                Body::Definition(definition) => {
                    changes.put_definition(&record.stamp, definition);
                    definitions.push((record.stamp, definition));
                }
                Body::Marker(marker) => self.compare(&state, record.stamp, marker),
                Body::Horizon(horizon) => {
                    forget_requests(&mut changes, horizon.horizon)?;
                    state.pending_horizons.push(horizon.clone());
                }
            }
            state
                .applied
                .0
                .advance(record.stamp.log(), record.stamp.seq);
            // A write that was repeated elsewhere may have a later record than the one that comes with a tail.
            let (before, _) = items.split_at(at);
            if let Some(request) = &record.request
                && (record.stamp.hlc >= newest || self.is_latest(request, record.stamp, before)?)
            {
                changes.put_request(
                    &request.caller,
                    &request.id,
                    &entry(&outcome, request.body_hash),
                );
            }
            outcomes.push(outcome);
        }
        state.settle_horizon();
        state.lsn = items.last().map_or(state.lsn, |last| last.end);
        Ok(Prepared {
            state,
            touched,
            changes,
            definitions,
            outcomes,
        })
    }

    /// Has a named write no record of a greater stamp, in the store or among these?
    fn is_latest(&self, request: &RequestId, stamp: Stamp, before: &[Item]) -> Result<bool, Error> {
        let is_same =
            |other: &RequestId| (&other.caller, &other.id) == (&request.caller, &request.id);
        let is_later = |item: &Item| {
            let named = item.record.request.as_ref();
            item.record.stamp > stamp && named.is_some_and(is_same)
        };
        let stored = self.store.request(&request.caller, &request.id)?;
        Ok(!before.iter().any(is_later) && stored.is_none_or(|entry| entry.stamp <= stamp))
    }

    fn read_rows(&self, items: &[Item]) -> Result<Touched, Error> {
        let mut keys = RowKeys::default();
        for (view, key) in items.iter().flat_map(|item| row_keys(&item.record.body)) {
            keys.push(view, key.as_bytes());
        }
        let mut sorted: Vec<(&[u8], usize)> = keys.iter().zip(0..).collect();
        sorted.sort_unstable();
        let mut slots = vec![0; sorted.len()];
        let mut unique: Vec<&[u8]> = Vec::with_capacity(sorted.len());
        for (key, write) in sorted {
            if unique.last() != Some(&key) {
                unique.push(key);
            }
            if let Some(slot) = slots.get_mut(write) {
                *slot = unique.len() - 1;
            }
        }
        let mut rows = self.cache.get_all(unique.iter().copied());
        let missing = || unique.iter().zip(&rows).filter(|(_, row)| row.is_none());
        let found = self.store.rows(missing().map(|(key, _)| *key))?;
        let unknown = unique
            .iter()
            .zip(&mut rows)
            .filter(|(_, row)| row.is_none());
        for ((key, row), found) in unknown.zip(found) {
            *row = Some(KeyedRow::new(key, found.as_deref()));
        }
        let touched = |row: Option<KeyedRow>| TouchedRow {
            now: row.expect("what was not cached has been read"),
            changed: false,
        };
        Ok(Touched {
            rows: rows.into_iter().map(touched).collect(),
            slots: slots.into_iter(),
        })
    }

    fn merge(
        &self,
        state: &mut State,
        touched: &mut Touched,
        stamp: Stamp,
        rows: &Rows,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        outcome.older = u64::from(rows.older);
        outcome.folded = u64::from(rows.folded);
        for group in &rows.groups {
            let bad_row = |source| Error::BadRow {
                view: group.view,
                source,
            };
            let purge = self.purge.of(group.view);
            for write in &group.rows {
                let slot = touched.next();
                let write = group.write(write, stamp);
                if purge.lets_go(write.order, &write.version, write.cells.is_none()) {
                    outcome.older += 1;
                    continue;
                }
                match merge_write(slot.now.row(), &write).map_err(bad_row)? {
                    Merged::Older => outcome.older += 1,
                    Merged::Applied(new) => {
                        outcome.applied += 1;
                        let (key, old) = (slot.now.key(), slot.now.row());
                        replace(state, key, old, Some(&new)).map_err(bad_row)?;
                        *slot = TouchedRow {
                            now: KeyedRow::new(slot.now.key(), Some(&new)),
                            changed: true,
                        };
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares the rows with what a marker says they are (I22). A difference is an alarm and no more: what was written is
    /// sound, and so is applying it, but these rows are not to be trusted.
    fn compare(&self, state: &State, stamp: Stamp, marker: &Marker) {
        let is_comparable = state.sweep.is_none() && marker.swept == state.swept;
        if marker.applied != state.applied.0 || !is_comparable {
            self.metrics.markers_skipped.inc();
            return;
        }
        if marker.digest == state.digest {
            self.metrics.markers_equal.inc();
            return;
        }
        let mismatch = DigestMismatch {
            log: stamp.log(),
            seq: stamp.seq,
            computed: state.digest,
            marked: marker.digest,
        };
        error!(%mismatch, "the rows here are not those of the marker's writer");
        self.metrics.markers_different.inc();
        // The first one stays: it is the closest to the cause.
        let _first = self.published.mismatch.set(mismatch);
    }

    /// Makes the changes of a group visible; all of them or, on an error, none. Returns what each record did.
    pub fn commit(&self, prepared: Prepared<'_>) -> Result<Vec<Outcome>, Error> {
        let Prepared {
            state,
            touched,
            mut changes,
            definitions,
            outcomes,
        } = prepared;
        let changed = || touched.rows.iter().filter(|row| row.changed);
        for TouchedRow { now, .. } in changed() {
            changes.put_row(now.key(), now.row().unwrap_or_default());
        }
        changes.commit(&state)?;
        for TouchedRow { now, .. } in changed() {
            self.cache.update(now.clone());
        }
        if !definitions.is_empty() {
            let mut catalogue = Catalogue::clone(&self.published.catalogue.load());
            for (stamp, definition) in definitions {
                catalogue.apply(stamp, definition);
            }
            self.published.catalogue.store(Arc::new(catalogue));
        }
        self.publish(state)?;
        self.metrics.commits.inc();
        self.count(&outcomes);
        Ok(outcomes)
    }

    /// Declares that every log of `region` up to `through` is closed and applied to its end. Survives a crash on return.
    pub fn fold(&self, region: RegionId, through: Epoch) -> Result<(), Error> {
        let mut state = State::clone(&self.published.state.load());
        state.fold(region, through);
        self.store.changes().commit(&state)?;
        self.store.flush()?;
        self.publish(state)
    }

    /// Shows a state that has been committed, and what reads leave out from now on.
    pub fn publish(&self, state: State) -> Result<(), Error> {
        let horizon = state.purge_horizon();
        if horizon != self.published.purge.load().horizon() {
            let purge = purge_at(&self.store, horizon)?;
            self.published.purge.store(Arc::new(purge));
        }
        self.published.state.store(Arc::new(state));
        Ok(())
    }

    fn count(&self, outcomes: &[Outcome]) {
        self.metrics
            .records
            .inc_by(u64::try_from(outcomes.len()).unwrap_or(u64::MAX));
        self.metrics
            .rows_applied
            .inc_by(outcomes.iter().map(|outcome| outcome.applied).sum());
        self.metrics
            .rows_older
            .inc_by(outcomes.iter().map(|outcome| outcome.older).sum());
    }
}

fn row_keys(body: &Body) -> impl Iterator<Item = (ViewId, &crate::model::EntityKey)> {
    let groups = match body {
        Body::Rows(rows) => rows.groups.as_slice(),
        Body::Opening(_) | Body::Definition(_) | Body::Marker(_) | Body::Horizon(_) => &[],
    };
    groups
        .iter()
        .flat_map(|group| group.rows.iter().map(|row| (group.view, &row.key)))
}

/// Checks that a record follows the one before it in its log, and moves the log's end on (I2, I3).
fn follow(state: &mut State, item: &Item) -> Result<(), Error> {
    let Stamp { hlc, seq, .. } = item.record.stamp;
    let log = item.record.stamp.log();
    let chain = state.chains.get(&log).copied().unwrap_or(Digest::EMPTY);
    let last = state.applied.last(log);
    let follows = last.is_some_and(|last| last.next() == seq) && chain == item.record.chain_before;
    if !follows {
        return Err(fork(log, seq, last, chain));
    }
    state.chains.insert(log, item.chain);
    state.newest = state.newest.max(hlc);
    Ok(())
}

fn fork(log: LogId, seq: Seq, last: Option<Seq>, chain: Digest) -> Error {
    Error::Fork {
        log,
        seq,
        last: last.unwrap_or(Seq::NONE),
        chain,
    }
}

/// What may go at a horizon that has been applied.
fn purge_at(store: &Store, horizon: Hlc) -> Result<Purge, storage::Error> {
    Ok(Purge::new(horizon, store.catalogue_until(horizon)?))
}

/// Exchanges the row of a key in the digest and in the count of its view.
pub(super) fn replace(
    state: &mut State,
    key: &[u8],
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<(), DecodeError> {
    let is_live = |row: Option<&[u8]>| {
        let row = row.map(RowRef::parse).transpose()?;
        Ok(u64::from(row.is_some_and(|row| row.is_live())))
    };
    let (was_live, is_live) = (is_live(old)?, is_live(new)?);
    let rows = state.rows.entry(storage::view_of(key)).or_insert(0);
    *rows = (*rows + is_live).saturating_sub(was_live);
    let element = |row| Digest::of_row(key, row);
    state.digest = old.map_or(state.digest, |row| state.digest.minus(element(row)));
    state.digest = new.map_or(state.digest, |row| state.digest.plus(element(row)));
    Ok(())
}

fn entry(outcome: &Outcome, body_hash: Digest) -> RequestEntry {
    let Outcome {
        stamp,
        applied,
        older,
        folded,
    } = outcome.clone();
    RequestEntry {
        stamp,
        body_hash,
        applied,
        older,
        folded,
    }
}

fn forget_requests(changes: &mut Changes<'_>, horizon: Hlc) -> Result<(), Error> {
    let forgotten = changes.forget_requests(horizon.minus_millis(REQUESTS_KEPT_MILLIS))?;
    if forgotten > 0 {
        info!(forgotten, %horizon, "forgot the results of old named writes");
    }
    Ok(())
}
