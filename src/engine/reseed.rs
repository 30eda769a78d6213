//! Putting another member's store in the place of this one's.
//!
//! ```text
//!   stopped    the WAL goes on in a new segment, at its end E
//!              the received store begins at E, durably
//!              store ─► store.old            a crash before the next line: it is put back
//!              store.incoming ─► store       from here on the new one counts
//!   opened     the WAL's segments below its end go
//!              the records that came along are appended, and the store's place is behind them, durably
//!              store.old goes, then the file of those records
//! ```
//! **Invariants** (I3, I5). At every moment the directory holds the old store with the WAL as it was, or the new one, whose
//! place is a segment's beginning in the WAL or comes behind the records that came along. Nothing else is appended before
//! `store.old` is gone for good: as long as it is there, what the WAL holds is not what precedes what is appended, and the
//! opening is done anew from its beginning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::tail;
use crate::base::LineageId;
use crate::base::disk::Disk;
use crate::storage::{self, Received, Store};
use crate::wal::{self, Log, Wal};

const OLD: &str = "store.old";

/// Where the store is in a node's directory.
#[must_use]
pub fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// Where the WAL is in a node's directory.
#[must_use]
pub fn wal_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

/// Where a store is received that is to take the place of the one in a node's directory.
#[must_use]
pub fn incoming_dir(dir: &Path) -> PathBuf {
    dir.join("store.incoming")
}

/// Puts a store that was [received](incoming_dir) in the place of the one in `dir`, which must hold nothing that the new
/// one does not, and which no engine uses: the one that did is dropped. Afterwards, whatever the outcome, `dir` is opened as
/// at a start; it is the old one wholly or, always on success, the new one.
///
/// # Errors
/// If somebody uses the store, or WAL, store or disk fail.
pub fn reseed(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    lineage: LineageId,
    wal_options: wal::Options,
    store_options: &storage::Options,
    received: &Received,
) -> Result<(), Error> {
    let (store, old) = (store_dir(dir), dir.join(OLD));
    // RocksDB finds its files by their names: an engine that still used them would soon damage the new ones. This fails then.
    let known = Store::open(&store, lineage, store_options)?.state()?.lsn;
    let segment_bytes = wal_options.segment_bytes;
    let (mut log, _) = Log::open(
        Arc::clone(disk),
        &wal_dir(dir),
        lineage,
        segment_bytes,
        known,
    )?;
    received.begin_at(log.seal()?, lineage, store_options)?;
    rename(disk, &store, &old)?;
    rename(disk, received.dir(), &store)
}

/// Undoes a replacement that a crash cut short. To be called before the store is opened.
pub(super) fn put_back(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), Error> {
    let (store, old) = (store_dir(dir), dir.join(OLD));
    if store.exists() || !old.exists() {
        return Ok(());
    }
    rename(disk, &old, &store)
}

/// Ends a replacement: what the replaced store leaves behind goes, itself and the log, and what came along with the new one
/// takes its place in the log.
pub(super) fn clear(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    wal: &Wal,
    store: &Store,
) -> Result<(), Error> {
    let (old, tail) = (dir.join(OLD), tail::path_in(&store_dir(dir)));
    if old.exists() {
        wal.release_below(wal.seal()?)?;
        if let Some(place) = tail::append_all(&tail, wal)? {
            store.begin_at(place)?;
        }
        std::fs::remove_dir_all(&old)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(failed("remove", &old))?;
    }
    if tail.exists() {
        std::fs::remove_file(&tail).map_err(failed("remove", &tail))?;
    }
    Ok(())
}

/// Renames something within its directory, durably.
fn rename(disk: &Arc<dyn Disk>, from: &Path, to: &Path) -> Result<(), Error> {
    disk.rename(from, to)
        .and_then(|()| disk.sync_dir(to.parent().unwrap_or(Path::new("."))))
        .map_err(failed("give its name to", to))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Directory {
        action,
        path,
        cause: Arc::new(cause),
    }
}

#[cfg(test)]
#[path = "reseed_test.rs"]
mod tests;
