//! The log in use: many append, one thread writes, one sync serves all that waited for it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::error;

use super::Options;
use super::error::{Error, Poisoned, failed};
use super::log::{Log, check_payload};
use super::metrics::Metrics;
use super::queue::{Queue, Work};
use super::reader::Reader;
use super::recovery::Recovery;
use super::segments::Segments;
use crate::base::clock::now_monotonic;
use crate::base::disk::Disk;
use crate::base::{LineageId, Lsn, Watermark, task};

/// How long nothing may come before a mark closes the last batch's ambiguity. Promised within 100 ms.
const QUIET_LIMIT: Duration = Duration::from_millis(50);

/// A log that has been opened, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready for use.
    pub wal: Wal,
    /// What recovery found and did.
    pub recovery: Recovery,
}

/// How much the log takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of segment files.
    pub segments: u64,
    /// Their size, reserved space included.
    pub bytes: u64,
}

/// The write-ahead log of a node. Dropping it closes it.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    segments: Arc<Segments>,
    stall_limit: Duration,
    /// Guards the handle of the writer thread until somebody joins it.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer thread shares with everybody else.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    durable: Watermark<Lsn, Poisoned>,
    /// What lies below is in segments that are not written to any more.
    sealed: Watermark<Lsn, Poisoned>,
    metrics: Metrics,
    /// Guards since when the disk has been at work for the writer.
    busy_since: Mutex<Option<Instant>>,
}

impl Wal {
    /// Recovers the log in `dir`, or creates an empty one, and starts its writer. Everything that was ever reported
    /// durable is there; a torn tail is cut. The caller knows the log to be durable up to `known`, perhaps because all
    /// before was applied; that shows the loss of a tail that leaves no other trace.
    ///
    /// # Errors
    /// If the disk refuses something, or what is there is damaged below the durable mark, of another lineage or of a
    /// later format; [`Error::Beyond`] if `known` is a place in a log and there is none. Nothing has been cut then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lineage: LineageId,
        options: Options,
        known: Lsn,
    ) -> Result<Opened, Error> {
        let (log, recovery) = Log::open(disk, dir, lineage, options.segment_bytes, known)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(log.end(), log.durable().clone()),
            durable: log.durable().clone(),
            sealed: Watermark::new(Lsn::ZERO),
            metrics: Metrics::new(),
            busy_since: Mutex::default(),
        });
        shared.metrics.cut_bytes.inc_by(recovery.cut_bytes);
        let segments = Arc::clone(&log.segments);
        let end = EndOfWriter(Arc::clone(&shared));
        let writer = task::thread("wal", move || end.0.run(log))
            .map_err(failed("start a writer for", dir))?;
        let wal = Wal {
            shared,
            segments,
            stall_limit: Duration::from_millis(options.stall_limit_ms),
            writer: Mutex::new(Some(writer)),
        };
        Ok(Opened { wal, recovery })
    }

    /// Queues a payload; returns the place directly behind its frame. It is durable once [`Wal::durable`] has reached
    /// that place. Payloads get into the log in the order of these calls. Waits while too much is queued, never for a
    /// sync.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or [`Error::Poisoned`] once the log takes no more writes.
    pub fn append(&self, payload: impl Into<Bytes>) -> Result<Lsn, Error> {
        let payload = payload.into();
        check_payload(&payload)?;
        Ok(self.shared.queue.put(payload)?)
    }

    /// Ends the segment that is written to behind everything queued so far, so that it can be released without waiting
    /// for it to be full. Returns where the next one begins. Blocks until it has.
    ///
    /// # Errors
    /// [`Error::Poisoned`] once the log takes no more writes.
    pub fn seal(&self) -> Result<Lsn, Error> {
        let end = self.shared.queue.seal(self.shared.sealed.get())?;
        Ok(self.shared.sealed.reached_blocking(end)?)
    }

    /// Up to where everything is synced. Closed with the cause when the log takes no more writes.
    #[must_use]
    pub fn durable(&self) -> &Watermark<Lsn, Poisoned> {
        &self.shared.durable
    }

    /// Reads the durable payloads from `from` on: a place where a frame begins, such as the end of the one before, or
    /// the log's first. See [`Reader`].
    ///
    /// # Errors
    /// [`Error::Released`] or [`Error::Beyond`].
    pub fn read_from(&self, from: Lsn) -> Result<Reader, Error> {
        Reader::new(
            Arc::clone(&self.segments),
            self.shared.durable.clone(),
            from,
        )
    }

    /// The oldest place that can be read.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.segments.first()
    }

    /// Where the segments begin, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Lsn> {
        self.segments.bases()
    }

    /// Where the segment begins that holds `place`, or the oldest one if that has been released.
    #[must_use]
    pub fn segment_of(&self, place: Lsn) -> Lsn {
        let span = self.segments.locate(place);
        span.map_or_else(|| self.first(), |span| span.base)
    }

    /// Removes the segments that lie entirely below `place`.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the disk refuses, which ends writing as any other failure of the disk does.
    pub fn release_below(&self, place: Lsn) -> Result<(), Error> {
        if let Some(cause) = self.shared.durable.closed() {
            return Err(cause.into());
        }
        self.segments.release_below(place).map_err(|failure| {
            let cause = Poisoned::Io(failure);
            self.shared.end(cause.clone());
            cause.into()
        })
    }

    /// For how long the disk has been at work on the present batch; `None` while it has nothing to do.
    #[must_use]
    pub fn busy_for(&self) -> Option<Duration> {
        self.shared.busy_since().map(|since| since.elapsed())
    }

    /// Ends writing if the disk has not answered for longer than the limit. To be asked regularly; after an error the
    /// process ends, because nothing can end a sync that hangs.
    ///
    /// # Errors
    /// The cause, once the log takes no more writes.
    pub fn check_stall(&self) -> Result<(), Poisoned> {
        if let Some(running) = self.busy_for()
            && running > self.stall_limit
        {
            self.shared.end(Poisoned::Stalled { running });
        }
        self.shared.durable.closed().map_or(Ok(()), Err)
    }

    /// How much the log takes on disk.
    #[must_use]
    pub fn size(&self) -> Size {
        let (segments, bytes) = self.segments.size();
        Size { segments, bytes }
    }

    /// Counts and distributions, to be registered.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Makes durable what is queued and ends writing; reading goes on. Does nothing the second time. Does not wait for a
    /// disk that has stalled.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the log was poisoned before everything was durable.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.queue.close();
        let nowhere = Lsn(u64::MAX);
        let ended = self.shared.durable.reached_blocking(nowhere);
        if !matches!(ended, Err(Poisoned::Stalled { .. })) {
            self.join_writer();
        }
        match ended {
            Ok(_) | Err(Poisoned::Closed) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    fn join_writer(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take() {
            // If it panicked, that has become the cause of the log's end.
            let _panicked = writer.join();
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // Whoever cares how it ends has called `close`.
        let _outcome = self.close();
    }
}

impl Shared {
    fn busy_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends writing; the first cause stays.
    fn end(&self, cause: Poisoned) {
        self.durable.close(cause.clone());
        self.sealed.close(self.durable.closed().unwrap_or(cause));
        self.queue.wake();
    }

    /// The writer's life.
    fn run(&self, log: Log) {
        if let Err(error) = self.serve(log) {
            error!(%error, "writing to the log has ended");
        }
    }

    fn serve(&self, mut log: Log) -> Result<(), Error> {
        loop {
            let quiet_limit = (!log.is_marked()).then_some(QUIET_LIMIT);
            match self.queue.take(quiet_limit) {
                Work::Batch(payloads, end) => {
                    self.at_work(|| self.write(&mut log, &payloads, end))?;
                }
                Work::Seal => self.sealed.advance(self.at_work(|| log.seal())?),
                Work::Mark => self.at_work(|| log.mark())?,
                Work::End => return self.at_work(|| log.mark()),
            }
        }
    }

    /// Writes and syncs a batch, then sees to the next segment.
    fn write(&self, log: &mut Log, payloads: &[Bytes], end: Lsn) -> Result<(), Error> {
        let (begin, started) = (log.end(), now_monotonic());
        for payload in payloads {
            log.append(payload)?;
        }
        debug_assert_eq!(log.end(), end, "queue and log must agree on places");
        log.sync()?;
        self.metrics
            .observe(started.elapsed(), payloads.len(), end.bytes_since(begin));
        log.prepare()
    }

    /// Does `work`, during which the disk owes an answer.
    fn at_work<T>(&self, work: impl FnOnce() -> T) -> T {
        *self.busy_since() = Some(now_monotonic());
        let outcome = work();
        *self.busy_since() = None;
        outcome
    }
}

/// Whatever ends the writer, a panic included, ends the log, so that nobody waits for ever.
struct EndOfWriter(Arc<Shared>);

impl Drop for EndOfWriter {
    fn drop(&mut self) {
        self.0.end(if std::thread::panicking() {
            Poisoned::Panicked
        } else {
            Poisoned::Closed
        });
    }
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
