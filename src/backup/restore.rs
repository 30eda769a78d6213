//! From a bucket to a store: the files of a restore point, then the archived records that follow it.
//!
//! **Invariants.** Nothing from the bucket is used that is not what its manifest or its name promised. Names in a manifest are
//! those of files of a store, so none of them leads anywhere else. What has arrived stays, so that a restore that was broken off
//! goes on where it was.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::follow::{Follow, Fork};
use super::manifest::Manifest;
use super::plan::{LogPlan, Plan};
use super::repository::{self, Repository};
use crate::base::{LogId, Lsn, Seq};
use crate::engine::{self, DigestMismatch, Engine};
use crate::model::{Digest, Logged};
use crate::storage::{self, Incoming, Part, Received, StoreFile, Whole};

/// So many files are fetched at once.
const FILES_AT_ONCE: usize = 4;
/// So many objects of records are fetched ahead.
const RECORDS_AHEAD: usize = 4;

/// Why nothing is restored. What has arrived stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket, or what is in it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The store that is made, or a file that is not what the manifest names.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// The records cannot be applied.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Archived records do not follow what is there.
    #[error(transparent)]
    Fork(#[from] Fork),
    /// The log ends before the plan does.
    #[error("log {log} was to be taken up to record {to}, and ends at {last}")]
    Short {
        /// The log.
        log: LogId,
        /// The last record taken.
        last: Seq,
        /// The last one planned.
        to: Seq,
    },
    /// The rows are not what a marker among the records says.
    #[error("the restored rows are not what the records say they were: {0}")]
    Mismatch(DigestMismatch),
    /// The rows are not what the store says of them.
    #[error("the rows of the restore point have digest {found}, its manifest says {expected}")]
    OtherRows {
        /// What they add up to.
        found: Digest,
        /// What was written down.
        expected: Digest,
    },
    /// Rows are damaged.
    #[error("the restore point holds damaged rows: {first}, and {more} more")]
    Damaged {
        /// The first of them.
        first: storage::Error,
        /// How many more.
        more: usize,
    },
    /// The process is stopping.
    #[error("it was given up")]
    GivenUp,
}

/// How far a restore has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of all files.
    pub total: AtomicU64,
    /// Bytes of files that are here.
    pub done: AtomicU64,
    /// Objects of records that are planned.
    pub objects: AtomicU64,
    /// Those that are applied.
    pub applied: AtomicU64,
    /// Records that were applied.
    pub records: AtomicU64,
}

/// Fetches the store of a restore point into `dir`, as far as it is not there, and checks that it is that store, but for its rows.
///
/// # Errors
/// If it cannot be fetched, or is not what was written.
pub async fn fetch(
    repository: &Repository,
    manifest: &Manifest,
    dir: &Path,
    progress: &Progress,
) -> Result<Received, Error> {
    let (dir, snapshot) = (dir.to_owned(), manifest.snapshot.clone());
    let incoming = blocking(move || Incoming::open(&dir, snapshot)).await??;
    progress
        .total
        .store(incoming.missing_bytes(), Ordering::Relaxed);
    let mut missing: Vec<StoreFile> = incoming.missing().cloned().collect();
    // So that none of the large ones is left alone at the end.
    missing.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let incoming = Arc::new(incoming);
    let receiving = missing.into_iter().map(|file| {
        let incoming = Arc::clone(&incoming);
        receive(repository, manifest, incoming, file, progress)
    });
    let receiving = stream::iter(receiving).buffer_unordered(FILES_AT_ONCE);
    let wholes: Vec<Whole> = receiving.try_collect().await?;
    let mut incoming = Arc::into_inner(incoming).ok_or(Error::GivenUp)?;
    wholes.into_iter().for_each(|whole| incoming.take(whole));
    let lineage = manifest.control.lineage;
    Ok(blocking(move || incoming.complete(lineage)).await??)
}

/// Receives a file, going on with what there is of it; once more from its beginning, if that turns out to be something else.
async fn receive(
    repository: &Repository,
    manifest: &Manifest,
    incoming: Arc<Incoming>,
    file: StoreFile,
    progress: &Progress,
) -> Result<Whole, Error> {
    let part = opened(&incoming, &file).await?;
    let goes_on = part.offset() > 0 && !part.is_complete();
    match fetch_file(repository, manifest, part, &file, progress).await {
        Err(Error::Store(storage::Error::Differs { .. })) if goes_on => {
            progress.done.fetch_sub(file.bytes, Ordering::Relaxed);
            let part = opened(&incoming, &file).await?;
            fetch_file(repository, manifest, part, &file, progress).await
        }
        outcome => outcome,
    }
}

async fn opened(incoming: &Arc<Incoming>, file: &StoreFile) -> Result<Part, Error> {
    let (incoming, file) = (Arc::clone(incoming), file.clone());
    Ok(blocking(move || incoming.part(&file)).await??)
}

/// Fetches what is missing of a file.
async fn fetch_file(
    repository: &Repository,
    manifest: &Manifest,
    mut part: Part,
    file: &StoreFile,
    progress: &Progress,
) -> Result<Whole, Error> {
    progress.done.fetch_add(part.offset(), Ordering::Relaxed);
    if !part.is_complete() {
        let mut reading = repository.file(manifest, file, part.offset()).await?;
        while let Some(chunk) = reading.next().await.map_err(repository::Error::from)? {
            let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            part = blocking(move || part.write(&chunk).map(|()| part)).await??;
            progress.done.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    Ok(blocking(move || part.finish()).await??)
}

/// Reads all rows of a store that was received, and checks that they are those of the manifest.
///
/// # Errors
/// If they are not.
pub async fn check_rows(manifest: &Manifest, received: &Received) -> Result<(), Error> {
    let (dir, expected) = (received.dir().to_owned(), manifest.snapshot.state.digest);
    let read = blocking(move || {
        let store = storage::Store::open_read_only(&dir)?;
        let found = store.digest()?;
        if found == expected {
            return Ok(());
        }
        // Which ones are wrong takes a closer look.
        let mut damaged = store.contents()?.damaged.into_iter();
        Err(match damaged.next() {
            None => Error::OtherRows { found, expected },
            Some(first) => {
                let more = damaged.count();
                Error::Damaged { first, more }
            }
        })
    });
    read.await?
}

/// Appends and applies the archived records of a plan to an engine that holds the restore point, log by log.
///
/// # Errors
/// If they cannot be fetched, do not follow, or do not make the rows that they say they make.
pub async fn apply(
    repository: &Repository,
    manifest: &Manifest,
    plan: &Plan,
    engine: &Arc<Engine>,
    progress: &Progress,
) -> Result<(), Error> {
    let objects = u64::try_from(plan.segments().count()).unwrap_or(u64::MAX);
    progress.objects.store(objects, Ordering::Relaxed);
    for log in &plan.logs {
        let end = apply_log(repository, manifest, log, plan, engine, progress).await?;
        engine.applied().reached(end).await?;
    }
    match engine.quarantined() {
        Some(mismatch) => Err(Error::Mismatch(mismatch.clone())),
        None => Ok(()),
    }
}

async fn apply_log(
    repository: &Repository,
    manifest: &Manifest,
    of: &LogPlan,
    plan: &Plan,
    engine: &Arc<Engine>,
    progress: &Progress,
) -> Result<Lsn, Error> {
    let lineage = manifest.control.lineage;
    let chains = &manifest.snapshot.state.chains;
    let chain = chains.get(&of.log).copied().unwrap_or(Digest::EMPTY);
    let mut follow = Follow::new(of.log, of.after, chain, plan.until);
    let fetching = of.segments.iter();
    let fetching = fetching.map(|segment| repository.records(lineage, segment));
    let mut fetched = stream::iter(fetching).buffered(RECORDS_AHEAD);
    let mut end = engine.applied().get();
    while let Some(records) = fetched.try_next().await? {
        let taken = follow.take(records)?;
        let count = u64::try_from(taken.len()).unwrap_or(u64::MAX);
        let engine = Arc::clone(engine);
        end = blocking(move || append(&engine, taken))
            .await??
            .unwrap_or(end);
        progress.records.fetch_add(count, Ordering::Relaxed);
        progress.applied.fetch_add(1, Ordering::Relaxed);
    }
    let to = of.segments.last().map_or(of.after, |segment| segment.to);
    if !follow.is_done() && follow.last() < to {
        let (log, last) = (of.log, follow.last());
        return Err(Error::Short { log, last, to });
    }
    Ok(end)
}

/// Returns where the last of them ends in the WAL.
fn append(engine: &Engine, records: Vec<Logged>) -> Result<Option<Lsn>, engine::Error> {
    let mut end = None;
    for record in records {
        engine.make_room()?;
        end = Some(engine.append(record, None)?);
    }
    Ok(end)
}

/// Does what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::GivenUp)
}
