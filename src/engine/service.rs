//! The engine as others use it: appending, reading, flushing, stopping.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{SendError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::error;

use super::applier::{Fate, Item, Published};
use super::cache::{KeyedRow, RowCache, Ticket};
use super::checkpoint::{Checkpoint, Pins};
use super::durable::Durable;
use super::error::{DigestMismatch, Error};
use super::log_writer::LogWriter;
use super::metrics::Metrics;
use super::options::Options;
use super::records;
use super::recovered::Recovered;
use super::retention::{Need, Release, releasable};
use super::sweeper::Pace;
use super::tail;
use super::worker::{self, Fold, Work};
use crate::base::task::{self, thread};
use crate::base::{
    AppliedVv, DurableVv, Epoch, FlushedVv, Hlc, LogId, Lsn, Missing, RegionId, Seq, Stamp,
    VersionVector, Watermark,
};
use crate::model::{Body, Catalogue, EntityKey, Logged, Purge, RequestId, ViewId};
use crate::storage::{InMemory, RequestEntry, RowKeys, ScanStart, State, Store};
use crate::wal::Wal;

/// Records that may wait for the applier before [`Engine::make_room`] waits.
const QUEUE_RECORDS: usize = 1_024;
/// Bytes of rows after which a lookup reads no more of them at once.
const LOOKUP_BYTES: usize = 4 << 20;
/// Rows that are first read from files at once, whatever they hold, and at the most, once many turned out to be small.
/// RocksDB reads no more than these together.
const FILE_ROWS: std::ops::RangeInclusive<usize> = 4..=32;

/// A WAL and a store with the applier between them.
#[derive(Debug)]
pub struct Engine {
    wal: Arc<Wal>,
    durable: Durable,
    pub(super) store: Arc<Store>,
    cache: Arc<RowCache>,
    published: Arc<Published>,
    flushed: ArcSwap<State>,
    pins: Pins,
    applied: Watermark<Lsn, Error>,
    metrics: Metrics,
    options: Options,
    retain_bytes: u64,
    /// Guards the order of appending: records reach the applier in the order of the WAL. `None` once stopped.
    queue: Mutex<Option<Queue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Tells by its end that nothing is open any more; so it is dropped last.
    open: watch::Sender<()>,
}

/// The way to the applier.
#[derive(Debug)]
struct Queue {
    work: Sender<Work>,
    /// Where the records end that wait for it.
    waiting: VecDeque<Lsn>,
}

/// A row that is to be read.
struct Absent<'a> {
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

impl Engine {
    /// Starts the applier on what was recovered.
    pub(super) fn new(recovered: Recovered) -> Result<Engine, Error> {
        let Recovered {
            wal,
            durable,
            mut applier,
            options,
            retain_bytes,
        } = recovered;
        let mut pace = Pace::new(options.sweep_rows_per_second);
        let applied = Watermark::new(applier.published.state.load().lsn);
        let (queue, work) = channel();
        let queue = Queue {
            work: queue,
            waiting: VecDeque::new(),
        };
        let engine = Engine {
            wal: Arc::clone(&wal),
            durable,
            store: Arc::clone(&applier.store),
            cache: Arc::clone(&applier.cache),
            published: Arc::clone(&applier.published),
            flushed: ArcSwap::from_pointee(State::default()),
            pins: Pins::default(),
            applied: applied.clone(),
            metrics: applier.metrics.clone(),
            options,
            retain_bytes,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(None),
            open: watch::Sender::new(()),
        };
        engine.flush_store()?;
        let work = move || {
            // Lookups go first.
            task::give_way();
            worker::run(&mut applier, &mut pace, &wal, &work, &applied);
        };
        let handle = thread("applier", work).map_err(|_| Error::Stopped)?;
        *engine.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(engine)
    }

    /// How many more records the applier has room for. Who appends more lets memory grow with them.
    #[must_use]
    pub fn room(&self) -> usize {
        let applied = self.applied.get();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Queue { waiting, .. }) = queue.as_mut() else {
            return QUEUE_RECORDS;
        };
        while waiting.pop_front_if(|end| *end <= applied).is_some() {}
        QUEUE_RECORDS.saturating_sub(waiting.len())
    }

    /// Waits until the applier has room for a record.
    ///
    /// # Errors
    /// If it has stopped.
    pub fn make_room(&self) -> Result<(), Error> {
        if self.room() > 0 {
            return Ok(());
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queue.as_ref().map(|queue| &queue.waiting);
        let enough = waiting.and_then(|waiting| {
            waiting
                .get(waiting.len().checked_sub(QUEUE_RECORDS)?)
                .copied()
        });
        drop(queue);
        if let Some(enough) = enough {
            self.applied.reached_blocking(enough)?;
        }
        Ok(())
    }

    /// Appends a record to the WAL, wherever it was made, and once it is durable there, to the store. `fate` hears what it
    /// did, or why it is not known. Waits only for room in the WAL's queue. Returns where it ends in the WAL.
    ///
    /// # Errors
    /// If the WAL or the applier has stopped, or the WAL refuses the record; nothing has been appended then.
    pub fn append(&self, record: Logged, fate: Option<Fate>) -> Result<Lsn, Error> {
        let (log, seq) = (record.log(), record.seq());
        let malformed = |source| Error::Malformed { log, seq, source };
        let (chain, whole) = (record.chain_after, record.record().map_err(malformed)?);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_mut().ok_or(Error::Stopped)?;
        if let Some(cause) = self.applied.closed() {
            return Err(cause);
        }
        let end = self.durable.append(&self.wal, log, seq, record.bytes)?;
        let item = Item {
            record: whole,
            chain,
            end,
            fate,
        };
        // In the WAL it may survive, so this is no failure to append: its fate is unknown.
        queue.waiting.push_back(end);
        if let Err(SendError(work)) = queue.work.send(Work::Apply(item)) {
            work.give_up(&self.failure());
        }
        Ok(end)
    }

    /// Why nothing is applied any more.
    fn failure(&self) -> Error {
        self.applied.closed().unwrap_or(Error::Stopped)
    }

    /// Folds every log of `region` up to `through`: they are closed and applied to their ends. Durable on return, behind
    /// everything appended before.
    ///
    /// # Errors
    /// If the applier has stopped, or stops at this.
    pub fn fold(&self, region: RegionId, through: Epoch) -> Result<(), Error> {
        let (done, told) = sync_channel(1);
        let work = Work::Fold(Fold {
            region,
            through,
            done,
        });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let to_applier = queue.as_ref().map(|queue| queue.work.clone());
        drop(queue);
        let sent = to_applier.ok_or(Error::Stopped)?.send(work);
        sent.map_err(|_| self.failure())?;
        told.recv().map_err(|_| self.failure())??;
        self.durable.fold(region, through);
        Ok(())
    }

    /// Reads records that others lack out of the WAL, in its order: what of them is durable here, about `max_bytes` at the
    /// most but one at least. `None` if the WAL no longer reaches back to some of it. Blocks while files are read.
    ///
    /// # Errors
    /// If the WAL is damaged.
    pub fn records(
        &self,
        missing: &[Missing],
        max_bytes: usize,
    ) -> Result<Option<Vec<Logged>>, Error> {
        records::read(&self.wal, &self.durable, missing, max_bytes)
    }

    /// How far each log is durable at this moment, applied or not. [`Watermark::watch`] of the WAL's durable mark tells
    /// when to look again; what watches must not look by itself.
    #[must_use]
    pub fn durable(&self) -> VersionVector {
        self.durable.vector(&self.wal)
    }

    /// The first marker here that says that these rows are not what they should be (I22).
    #[must_use]
    pub fn quarantined(&self) -> Option<&DigestMismatch> {
        self.published.mismatch.get()
    }

    /// Appends a record to `log`: to the WAL, and once it is durable there, to the store. `fate` hears what it did, or
    /// why it is not known. Waits for room in the queues. Returns the record's stamp and where it ends in the WAL.
    ///
    /// # Errors
    /// If the WAL or the applier has stopped, or the WAL refuses the record; the log is as it was then.
    pub fn append_next(
        &self,
        log: &mut LogWriter,
        hlc: Hlc,
        request: Option<RequestId>,
        body: Body,
        fate: Option<Fate>,
    ) -> Result<(Stamp, Lsn), Error> {
        let record = log.next(hlc, request, body);
        let (stamp, chain) = (record.stamp, record.chain_after);
        self.make_room()?;
        let end = self.append(record, fate)?;
        log.advance(stamp, chain);
        Ok((stamp, end))
    }

    /// How far the WAL has been applied; ends with the cause when the engine fails.
    #[must_use]
    pub fn applied(&self) -> &Watermark<Lsn, Error> {
        &self.applied
    }

    /// Why nothing more is logged or applied, if that is so.
    #[must_use]
    pub fn ended(&self) -> Option<Error> {
        let logged = || self.wal.durable().closed().map(Error::from);
        self.applied.closed().or_else(logged)
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
            durable: DurableVv(self.durable()),
            applied: state.applied.clone(),
            flushed: FlushedVv(flushed.applied.0.clone()),
            durable_lsn: self.wal.durable().get(),
            applied_lsn: state.lsn,
            flushed_lsn: flushed.lsn,
        }
    }

    /// The rows of some keys, in their order, as far as they are in memory: `None` where a file would have to be read,
    /// and behind 4 MiB that are not cached. Never waits for a disk.
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

    /// Reads from the store what is missing among the rows of some keys. Where that is more than 4 MiB it
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
    fn missing<'a>(&self, keys: &'a RowKeys, rows: &[Option<KeyedRow>]) -> Vec<Absent<'a>> {
        let keyed = keys.iter().zip(rows).enumerate();
        let unknown = keyed.filter(|(_, (_, row))| row.is_none());
        let missing = unknown.map(|(at, (key, _))| Absent {
            at,
            key,
            ticket: self.cache.ticket(key),
        });
        missing.collect()
    }

    fn found(&self, missing: Absent<'_>, row: Option<&[u8]>, rows: &mut [Option<KeyedRow>]) {
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
        self.flush_keeping(|_, _| Need::Nobody)
    }

    /// Like [`flush`](Self::flush), but keeps of the WAL what others need: see [`Need`]. Asked are the last records of the
    /// logs in each segment.
    ///
    /// # Errors
    /// If the store fails, or a segment cannot be removed.
    pub fn flush_keeping(&self, need: impl Fn(LogId, Seq) -> Need) -> Result<(), Error> {
        let flushed = self.pins.below(self.flush_store()?);
        let Release {
            below,
            unspread_bytes,
        } = releasable(&self.wal, &self.durable, flushed, self.retain_bytes, need);
        self.metrics.wal_unspread_bytes.set(unspread_bytes);
        // Before the files are gone, so that nobody looks for what was in them.
        self.durable.release_below(below);
        Ok(self.wal.release_below(below)?)
    }

    /// Returns up to where the WAL is no longer needed by the store.
    fn flush_store(&self) -> Result<Lsn, Error> {
        let state = self.state();
        self.store.flush()?;
        self.metrics.flushes.inc();
        let flushed = state.lsn;
        self.flushed.store(state);
        Ok(flushed)
    }

    /// Makes a checkpoint of the store in `dir`; see [`Store::checkpoint`]. As long as it is kept, the WAL keeps what has not
    /// been applied in it. `unspread` says which records of what it has applied may be on no other disk: they go with it.
    ///
    /// # Errors
    /// If the store, the WAL or the file system fails; what there is of the checkpoint is removed.
    pub fn checkpoint(
        &self,
        dir: PathBuf,
        unspread: impl FnOnce(&VersionVector) -> Vec<Missing>,
    ) -> Result<Checkpoint, Error> {
        let pin = self.pins.pin(self.state().lsn);
        Checkpoint::new(dir, pin, |dir| {
            let mut snapshot = self.store.checkpoint(dir)?;
            let records = unspread(&snapshot.state.applied.0);
            if !records.is_empty() {
                let path = tail::path_in(dir);
                tail::write(&path, &self.wal, &self.durable, records)?;
                snapshot.add(&path)?;
            }
            Ok(snapshot)
        })
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

    /// Ends once nobody has this engine any more, so that its files may be replaced.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
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
        self.flush_store()?;
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

#[cfg(test)]
#[path = "service_test.rs"]
mod tests;
