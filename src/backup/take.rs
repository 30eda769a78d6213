//! Taking a backup: the files of a checkpoint go into a bucket, then the manifest that names them.
//!
//! ```text
//!   look what is there ─► send what is missing, several files at once ─► look that all of it is there ─► manifest
//! ```
//! **Invariants.** A file is called by what it holds, so one that is there is not sent again: after the first backup of a
//! generation each of the others sends what has changed since, and one that was broken off goes on where it was. The manifest is
//! written last, and only if everything it names is there; what is in the bucket without one is no restore point.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::inventory::Holdings;
use super::layout::{FileId, PointId};
use super::manifest::Manifest;
use super::repository::{self, Repository};
use crate::base::{LineageId, NodeNumber};
use crate::control::ControlState;
use crate::engine::Checkpoint;
use crate::storage::StoreFile;

/// So many files are sent at once: while one is being answered, others use the way.
const FILES_AT_ONCE: usize = 4;
/// An upload that was broken off is taken up again for so long. What nobody takes up is removed much later.
pub const TAKEN_UP_MILLIS: u64 = 12 * 3_600_000;

/// Why there is no backup. What was sent of it stays for the next one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket, or what is in it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A file of the checkpoint cannot be read.
    #[error("cannot open {name} of the checkpoint")]
    File {
        /// The file.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is gone that was sent, or known to be there.
    #[error("{name} is not in the bucket any more: somebody removes what is needed there")]
    Vanished {
        /// The object.
        name: String,
    },
}

/// What a backup is made of.
#[derive(Debug)]
pub struct Source {
    /// The store.
    pub checkpoint: Checkpoint,
    /// What is agreed on, as it may be [disclosed](ControlState::disclosed).
    pub control: ControlState,
    /// Whose store it is.
    pub member: NodeNumber,
}

/// How a backup is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Send every file, whatever is there.
    pub full: bool,
    /// The wall time, in milliseconds.
    pub now_millis: u64,
    /// Tells this backup from others that are begun at once.
    pub random: u32,
}

/// How far it has come, in bytes.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of all files.
    pub total: AtomicU64,
    /// Of the files that are in the bucket.
    pub done: AtomicU64,
    /// Of the files that had to be sent.
    pub sent: AtomicU64,
}

/// Where a backup belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    point: PointId,
    generation: PointId,
    parent: Option<PointId>,
}

/// Makes a restore point. Returns its manifest.
///
/// # Errors
/// Why there is none.
pub async fn take(
    repository: &Repository,
    source: &Source,
    how: How,
    progress: &Progress,
) -> Result<Manifest, Error> {
    let lineage = source.control.lineage;
    let there = repository.points(lineage).await?;
    let parent = match there.points().next_back() {
        Some(point) if !how.full => Some(repository.manifest(lineage, point).await?),
        _ => None,
    };
    let place = Place::choose(how, &there, parent.as_ref());
    let manifest = Manifest {
        point: place.point,
        generation: place.generation,
        parent: place.parent,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        member: source.member,
        control: source.control.clone(),
        snapshot: source.checkpoint.snapshot().clone(),
    };
    progress.total.store(manifest.bytes(), Ordering::Relaxed);
    let files = manifest.snapshot.files.clone().into_iter();
    let sending = files.map(|file| send(repository, &manifest, source, file, &there, progress));
    let sending = stream::iter(sending).buffer_unordered(FILES_AT_ONCE);
    sending.try_collect::<()>().await?;
    let there = repository.points(lineage).await?;
    check(&manifest, &there, lineage)?;
    repository.put_manifest(&manifest).await?;
    Ok(manifest)
}

impl Place {
    fn choose(how: How, there: &Holdings, parent: Option<&Manifest>) -> Place {
        let new = PointId {
            begun_millis: how.now_millis,
            random: how.random,
        };
        if let Some(parent) = parent {
            return Place {
                point: new,
                generation: parent.generation,
                parent: Some(parent.point),
            };
        }
        let since = how.now_millis.saturating_sub(TAKEN_UP_MILLIS);
        let point = there.unfinished(since).unwrap_or(new);
        Place {
            point,
            generation: point,
            parent: None,
        }
    }
}

async fn send(
    repository: &Repository,
    manifest: &Manifest,
    source: &Source,
    file: StoreFile,
    there: &Holdings,
    progress: &Progress,
) -> Result<(), Error> {
    let id = manifest.object(&file);
    if !there.holds(id, file.bytes) {
        let opened = source.checkpoint.open(&file.name);
        let opened = opened.map_err(|source| Error::File {
            name: file.name.to_string(),
            source,
        })?;
        let lineage = manifest.control.lineage;
        let opened = Arc::new(opened);
        if repository
            .put_file(lineage, id, &opened, file.bytes)
            .await?
        {
            progress.sent.fetch_add(file.bytes, Ordering::Relaxed);
        }
    }
    progress.done.fetch_add(file.bytes, Ordering::Relaxed);
    Ok(())
}

/// Is everything there that the manifest names?
fn check(manifest: &Manifest, there: &Holdings, lineage: LineageId) -> Result<(), Error> {
    let is_missing = |file: &&StoreFile| !there.holds(manifest.object(file), file.bytes);
    match manifest.snapshot.files.iter().find(is_missing) {
        None => Ok(()),
        Some(file) => {
            let FileId { generation, digest } = manifest.object(file);
            let name = format!("{lineage}/files/{generation}/{digest}");
            Err(Error::Vanished { name })
        }
    }
}
