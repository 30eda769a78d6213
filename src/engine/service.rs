//! The engine as others use it: opening, appending, reading, flushing, stopping.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tracing::{error, info};

use super::applier::{Applier, Fate, Item, Published};
use super::cache::{KeyedRow, RowCache, Ticket};
use super::checkpoint::{Checkpoint, Pins};
use super::error::Error;
use super::log_writer::{LogWriter, NextRecord};
use super::metrics::Metrics;
use super::options::Options;
use super::replay::{ReplayProgress, replay};
use super::reseed::{clear, put_back, store_dir, wal_dir};
use super::sweeper::Pace;
use crate::base::disk::Disk;
use crate::base::task::{self, thread};
use crate::base::{
    AppliedVv, DurableVv, Epoch, FlushedVv, Hlc, LineageId, Lsn, RegionId, Stamp, Watermark,
    explained,
};
use crate::model::{Body, Catalogue, EntityKey, Purge, RequestId, ViewId};
use crate::storage::{self, InMemory, RequestEntry, RowKeys, ScanStart, State, Store};
use crate::wal::{self, Wal};

/// Records that may wait for the applier. When it is full, writers wait.
const QUEUE_RECORDS: usize = 1_024;
/// Records that the applier takes at once.
const GROUP_RECORDS: usize = 256;
/// Bytes of rows after which a lookup reads no more of them at once.
const LOOKUP_BYTES: usize = 4 << 20;
/// Rows that are first read from files at once, whatever they hold, and at the most, once many turned out to be small.
/// RocksDB reads no more than these together.
const FILE_ROWS: std::ops::RangeInclusive<usize> = 4..=32;

/// An engine that has been opened but does not write yet: what the WAL holds is replayed first.
#[derive(Debug)]
pub struct Recovered {
    wal: Arc<Wal>,
    applier: Applier,
    options: Options,
}

/// A WAL and a store with the applier between them.
#[derive(Debug)]
pub struct Engine {
    wal: Arc<Wal>,
    store: Arc<Store>,
    cache: Arc<RowCache>,
    published: Arc<Published>,
    flushed: ArcSwap<State>,
    pins: Pins,
    applied: Watermark<Lsn, Error>,
    metrics: Metrics,
    options: Options,
    /// Guards the order of appending: records reach the applier in the order of the WAL. `None` once stopped.
    queue: Mutex<Option<SyncSender<Item>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A row that is to be read.
struct Missing<'a> {
    /// Which of the rows asked for.
    at: usize,
    key: &'a [u8],
    ticket: Ticket,
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// The engine's positions.
#[derive(Debug, Clone)]
pub struct Places {
    /// What is fdatasynced here.
    pub durable: DurableVv,
    /// What can be read here.
    pub applied: AppliedVv,
    /// What is in the store after a crash.
    pub flushed: FlushedVv,
    /// How far the WAL is fdatasynced.
    pub durable_lsn: Lsn,
    /// How far the WAL is applied.
    pub applied_lsn: Lsn,
    /// How far the WAL is no longer needed by the store.
    pub flushed_lsn: Lsn,
}

impl Recovered {
    /// Opens `dir/wal` and `dir/store`, creating them if they do not exist. Ends a [replacement](super::reseed) of the store
    /// that has begun.
    ///
    /// # Errors
    /// If either is damaged, of another lineage or later format, or the WAL lacks what the store has applied.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lineage: LineageId,
        options: &Options,
        wal_options: wal::Options,
        store_options: &storage::Options,
    ) -> Result<Recovered, Error> {
        put_back(&disk, dir)?;
        let store = Arc::new(Store::open(&store_dir(dir), lineage, store_options)?);
        let lsn = store.state()?.lsn;
        let wal::Opened { wal, recovery } =
            Wal::open(Arc::clone(&disk), &wal_dir(dir), lineage, wal_options, lsn)?;
        clear(&disk, dir, &wal, lsn)?;
        if recovery.cut_bytes > 0 {
            info!(bytes = recovery.cut_bytes, "cut the torn tail of the wal");
        }
        let applier = Applier::new(store, options.row_cache_bytes)?;
        Ok(Recovered {
            wal: Arc::new(wal),
            applier,
            options: options.clone(),
        })
    }

    /// Applies what the WAL holds beyond the store's state. Takes as long as that takes.
    ///
    /// # Errors
    /// If the WAL or the store is damaged, or the records do not follow one another.
    pub fn replay(&mut self, progress: &ReplayProgress) -> Result<(), Error> {
        replay(&self.wal, self.state().lsn, &self.applier, progress)?;
        self.applier
            .published
            .durable
            .store(Arc::new(self.state().applied.0.clone()));
        Ok(())
    }

    /// What the store is now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.applier.published.state.load_full()
    }

    /// Folds every log of `region` up to `epoch` into the base: they are closed and held whole. Durable on return.
    ///
    /// # Errors
    /// If the store fails.
    pub fn fold(&mut self, region: RegionId, epoch: Epoch) -> Result<(), Error> {
        let mut state = State::clone(&self.state());
        state.applied.0.fold(region, epoch);
        state.settle_horizon();
        state
            .chains
            .retain(|log, _| log.region != region || log.epoch > epoch);
        self.applier.store.changes().commit(&state)?;
        self.applier.store.flush()?;
        self.applier
            .published
            .durable
            .store(Arc::new(state.applied.0.clone()));
        self.applier.publish(state)
    }

    /// Starts the applier.
    ///
    /// # Errors
    /// If no thread can be started, or what was replayed cannot be flushed.
    pub fn start(self) -> Result<Engine, Error> {
        let Recovered {
            wal,
            mut applier,
            options,
        } = self;
        let mut pace = Pace::new(options.sweep_rows_per_second);
        let state = applier.published.state.load_full();
        let applied = Watermark::new(state.lsn);
        let (queue, items) = sync_channel(QUEUE_RECORDS);
        let engine = Engine {
            wal: Arc::clone(&wal),
            store: Arc::clone(&applier.store),
            cache: Arc::clone(&applier.cache),
            published: Arc::clone(&applier.published),
            flushed: ArcSwap::from_pointee(State::default()),
            pins: Pins::default(),
            applied: applied.clone(),
            metrics: applier.metrics.clone(),
            options,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(None),
        };
        engine.flush()?;
        let work = move || {
            // Lookups go first.
            task::give_way();
            run_applier(&mut applier, &mut pace, &wal, &items, &applied);
        };
        let handle = thread("applier", work).map_err(|_| Error::Stopped)?;
        *engine.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(engine)
    }
}

impl Engine {
    /// Appends a record to `log`: to the WAL, and once it is durable there, to the store. `fate` hears what it did, or
    /// why it is not known. Waits only for room in the queues. Returns the record's stamp and where it ends in the WAL.
    ///
    /// # Errors
    /// If the WAL or the applier has stopped, or the WAL refuses the record; the log is as it was then.
    pub fn append(
        &self,
        log: &mut LogWriter,
        hlc: Hlc,
        request: Option<RequestId>,
        body: Body,
        fate: Option<Fate>,
    ) -> Result<(Stamp, Lsn), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(Error::Stopped)?;
        if let Some(cause) = self.applied.closed() {
            return Err(cause);
        }
        let NextRecord {
            record,
            encoded,
            chain,
        } = log.next(hlc, request, body);
        let stamp = record.stamp;
        let end = self.wal.append(encoded)?;
        log.advance(stamp, chain);
        let item = Item {
            record,
            chain,
            end,
            fate,
        };
        // In the WAL it may survive, so this is no failure to append: its fate is unknown.
        if let Err(SendError(item)) = queue.send(item) {
            let cause = self.applied.closed().unwrap_or(Error::Stopped);
            tell_all(std::iter::once(item), &cause);
        }
        Ok((stamp, end))
    }

    /// How far the WAL has been applied; ends with the cause when the engine fails.
    #[must_use]
    pub fn applied(&self) -> &Watermark<Lsn, Error> {
        &self.applied
    }

    /// The local WAL.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// The state as of the last commit.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.published.state.load_full()
    }

    /// The views in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.published.catalogue.load_full()
    }

    /// What reads leave out.
    #[must_use]
    pub fn purge(&self) -> Arc<Purge> {
        self.published.purge.load_full()
    }

    /// All positions.
    #[must_use]
    pub fn places(&self) -> Places {
        let (state, flushed) = (self.state(), self.flushed.load());
        Places {
            durable: DurableVv(self.published.durable.load().as_ref().clone()),
            applied: state.applied.clone(),
            flushed: FlushedVv(flushed.applied.0.clone()),
            durable_lsn: self.wal.durable().get(),
            applied_lsn: state.lsn,
            flushed_lsn: flushed.lsn,
        }
    }

    /// The rows of some keys, in their order, as far as they are in memory: `None` where a file would have to be read,
    /// and behind [`LOOKUP_BYTES`] that are not cached. Never waits for a disk.
    ///
    /// # Errors
    /// If the store has failed.
    pub fn rows_in_memory(&self, keys: &RowKeys) -> Result<Vec<Option<KeyedRow>>, Error> {
        let mut rows = self.cache.get_all(keys.iter());
        let missing = self.missing(keys, &rows);
        let (all, missed) = (rows.len(), missing.len());
        self.cache.hits.inc_by(count(all - missed));
        if missing.is_empty() {
            return Ok(rows);
        }
        self.cache.misses.inc_by(count(missed));
        let look_up = self.store.in_memory();
        let mut bytes = 0;
        for missing in missing {
            if bytes >= LOOKUP_BYTES {
                break;
            }
            if let InMemory::Known(row) = look_up(missing.key)? {
                bytes += row.as_deref().map_or(0, <[u8]>::len);
                self.found(missing, row.as_deref(), &mut rows);
            }
        }
        Ok(rows)
    }

    /// Reads from the store what is missing among the rows of some keys. Where that is more than [`LOOKUP_BYTES`] it
    /// returns the first rows only, at least one. Blocks while files are read.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn complete(
        &self,
        keys: &RowKeys,
        mut rows: Vec<Option<KeyedRow>>,
    ) -> Result<Vec<Option<KeyedRow>>, Error> {
        let mut missing = self.missing(keys, &rows).into_iter();
        let (mut bytes, mut at_once) = (0, *FILE_ROWS.start());
        while bytes < LOOKUP_BYTES && missing.len() > 0 {
            let part: Vec<_> = missing.by_ref().take(at_once).collect();
            at_once = (at_once * 2).min(*FILE_ROWS.end());
            let found = self.store.rows(part.iter().map(|missing| missing.key))?;
            for (missing, row) in part.into_iter().zip(found) {
                bytes += row.as_deref().map_or(0, <[u8]>::len);
                self.found(missing, row.as_deref(), &mut rows);
            }
        }
        if let Some(unread) = missing.next() {
            rows.truncate(unread.at);
        }
        Ok(rows)
    }

    /// What is to be read for rows that are not known, with the right to cache it.
    fn missing<'a>(&self, keys: &'a RowKeys, rows: &[Option<KeyedRow>]) -> Vec<Missing<'a>> {
        let keyed = keys.iter().zip(rows).enumerate();
        let unknown = keyed.filter(|(_, (_, row))| row.is_none());
        let missing = unknown.map(|(at, (key, _))| Missing {
            at,
            key,
            ticket: self.cache.ticket(key),
        });
        missing.collect()
    }

    fn found(&self, missing: Missing<'_>, row: Option<&[u8]>, rows: &mut [Option<KeyedRow>]) {
        let row = KeyedRow::new(missing.key, row);
        self.cache.fill(row.clone(), missing.ticket);
        if let Some(slot) = rows.get_mut(missing.at) {
            *slot = Some(row);
        }
    }

    /// The row of a key. Reads the store if it is not cached, so it may block.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn row(&self, view: ViewId, entity: &EntityKey) -> Result<KeyedRow, Error> {
        let mut keys = RowKeys::default();
        keys.push(view, entity.as_bytes());
        let known = self.cache.get_all(keys.iter());
        let rows = self.complete(&keys, known)?;
        let row = rows.into_iter().next().flatten();
        Ok(row.expect("every row is known when all are completed"))
    }

    /// Visits stored rows of a view in key order; see [`Store::scan`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn scan<B>(
        &self,
        view: ViewId,
        prefix: &EntityKey,
        start: &ScanStart,
        visit: impl FnMut(EntityKey, &[u8]) -> std::ops::ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        Ok(self.store.scan(view, prefix, start, visit)?)
    }

    /// The result of a named write that has been applied.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn request(&self, caller: &str, id: &str) -> Result<Option<RequestEntry>, Error> {
        Ok(self.store.request(caller, id)?)
    }

    /// Is there so much WAL beyond the flushed position that the store should be flushed?
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.state().lsn.bytes_since(self.flushed.load().lsn) >= self.options.flush_after_wal_bytes
    }

    /// Makes all that is applied survive a crash in the store, and releases the WAL before it, except what follows a
    /// [checkpoint](Self::checkpoint). Blocks.
    ///
    /// # Errors
    /// If the store fails, or a segment cannot be removed.
    pub fn flush(&self) -> Result<(), Error> {
        let state = self.state();
        self.store.flush()?;
        self.metrics.flushes.inc();
        // Before the release, which may fail: the store need not be flushed again for that.
        self.flushed.store(Arc::clone(&state));
        Ok(self.wal.release_below(self.pins.below(state.lsn))?)
    }

    /// Makes a checkpoint of the store in `dir`; see [`Store::checkpoint`]. As long as it is kept, the WAL keeps what has not
    /// been applied in it.
    ///
    /// # Errors
    /// If the store or the file system fails; what there is of the checkpoint is removed.
    pub fn checkpoint(&self, dir: PathBuf) -> Result<Checkpoint, Error> {
        let pin = self.pins.pin(self.state().lsn);
        Ok(Checkpoint::new(dir, pin, |dir| self.store.checkpoint(dir))?)
    }

    /// Rewrites the store's files that hold these rows; see [`Store::rewrite_rows`].
    ///
    /// # Errors
    /// If the store fails.
    pub fn rewrite_rows(&self, keys: &RowKeys) -> Result<(), Error> {
        Ok(self.store.rewrite_rows(keys.iter())?)
    }

    /// Bytes in use: (row cache, block cache, memtables).
    #[must_use]
    pub fn memory_bytes(&self) -> (u64, usize, u64) {
        let (blocks, memtables) = self.store.memory_bytes();
        (self.cache.bytes(), blocks, memtables)
    }

    /// Names what is counted.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        self.wal.metrics().register(registry);
        registry.register(
            "row_cache_hits",
            "Rows found in the row cache",
            self.cache.hits.clone(),
        );
        registry.register(
            "row_cache_misses",
            "Rows not found in the row cache",
            self.cache.misses.clone(),
        );
    }

    /// Applies what is queued, flushes the store and closes the WAL. Blocks. Later calls do nothing.
    ///
    /// # Errors
    /// If the engine had failed before, or fails now; what was acknowledged is in the WAL in either case.
    pub fn stop(&self) -> Result<(), Error> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let handle = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(handle) = handle else { return Ok(()) };
        // If it panicked, that has become the cause of its end.
        let _panicked = handle.join();
        if let Some(cause) = self.applied.closed() {
            return Err(cause);
        }
        self.applied.close(Error::Stopped);
        self.flush()?;
        Ok(self.wal.close()?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(cause) = self.stop() {
            error!(%cause, "stopped after a failure");
        }
    }
}

/// Ends when the queue does, or at the first failure; then everybody who waits gets the cause. Between the groups it
/// sweeps as far as is due.
fn run_applier(
    applier: &mut Applier,
    pace: &mut Pace,
    wal: &Wal,
    items: &Receiver<Item>,
    applied: &Watermark<Lsn, Error>,
) {
    let _end = EndOfApplier(applied.clone());
    while let Some(mut group) = next_group(items, pace.pause(applier)) {
        let worked = apply_durable(applier, wal, &mut group, applied);
        if let Err(cause) = worked.and_then(|()| pace.sweep(applier)) {
            let why = explained(&cause);
            error!(why, "the applier stops; nothing more is acknowledged");
            applied.close(cause.clone());
            tell_all(group.into_iter().chain(items.try_iter()), &cause);
            return;
        }
    }
}

/// The next records, none if none come within `pause`; ends with the queue.
fn next_group(items: &Receiver<Item>, pause: Option<Duration>) -> Option<Vec<Item>> {
    let first = match pause {
        None => items.recv().ok()?,
        Some(pause) => match items.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        },
    };
    let mut group = vec![first];
    group.extend(items.try_iter().take(GROUP_RECORDS - 1));
    Some(group)
}

/// Whatever ends the applier, a panic included, ends waiting for it.
struct EndOfApplier(Watermark<Lsn, Error>);

impl Drop for EndOfApplier {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(Error::Panicked);
        }
    }
}

fn apply_durable(
    applier: &Applier,
    wal: &Wal,
    group: &mut [Item],
    applied: &Watermark<Lsn, Error>,
) -> Result<(), Error> {
    let Some(end) = group.last().map(|last| last.end) else {
        return Ok(());
    };
    // Rows are read and merged while the disk is at work on the log.
    let prepared = applier.prepare(group);
    wal.durable().reached_blocking(end)?;
    let mut durable = applier.published.durable.load().as_ref().clone();
    group
        .iter()
        .for_each(|item| durable.advance(item.record.stamp.log(), item.record.stamp.seq));
    applier.published.durable.store(Arc::new(durable));
    let outcomes = applier.commit(prepared?)?;
    for (item, outcome) in group.iter_mut().zip(outcomes) {
        if let Some(fate) = item.fate.take() {
            fate.tell(Ok(outcome));
        }
    }
    applied.advance(end);
    Ok(())
}

fn tell_all(items: impl Iterator<Item = Item>, cause: &Error) {
    for fate in items.filter_map(|item| item.fate) {
        fate.tell(Err(cause.clone()));
    }
}

#[cfg(test)]
#[path = "service_test.rs"]
mod tests;
