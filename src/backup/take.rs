//! Taking a backup: the files of a checkpoint go into a bucket, then the manifest that names them.
//!
//! ```text
//!   look what is there ─► send what is missing, several files at once ─► look that all of it is there ─► manifest
//!        ─► look once more, for what was removed before somebody could know of the manifest
//! ```
//! **Invariants.** A file is called by what it holds, so one that is there is not sent again: after the first backup of a
//! generation each of the others sends what has changed since, and one that was broken off goes on where it was. The manifest is
//! written last, and only if everything it names is there; what is in the bucket without one is no restore point. If something
//! goes at that moment the restore point is dropped at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::inventory::Holdings;
use super::layout::{Named, PointId};
use super::manifest::Manifest;
use super::repository::{self, Repository};
use crate::base::NodeNumber;
use crate::control::ControlState;
use crate::engine::Checkpoint;
use crate::storage::StoreFile;

/// So many files are sent at once: while one is being answered, others use the way.
const FILES_AT_ONCE: usize = 4;
/// Bytes of memory that they take: 32 MiB each.
pub const MEMORY_BYTES: usize = FILES_AT_ONCE * (32 << 20);
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
    check(&manifest, &repository.points(lineage).await?)?;
    conclude(repository, &manifest).await?;
    Ok(manifest)
}

/// Makes a restore point of what is there, unless some of it is gone once everybody can see that it is needed.
async fn conclude(repository: &Repository, manifest: &Manifest) -> Result<(), Error> {
    let lineage = manifest.control.lineage;
    repository.put_manifest(manifest).await?;
    let checked = check(manifest, &repository.points(lineage).await?);
    if checked.is_err() {
        let dropped = Named::Dropped(manifest.point);
        repository.mark(lineage, dropped).await?;
    }
    checked
}

impl Place {
    /// Names tell which restore point is later, whatever clocks do.
    fn choose(how: How, there: &Holdings, parent: Option<&Manifest>) -> Place {
        let last = there.points().next_back();
        let after = last.map_or(0, |last| last.begun_millis.saturating_add(1));
        let new = PointId {
            begun_millis: how.now_millis.max(after),
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
        let point = there.unfinished(since.max(after)).unwrap_or(new);
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
fn check(manifest: &Manifest, there: &Holdings) -> Result<(), Error> {
    let is_missing = |file: &&StoreFile| !there.holds(manifest.object(file), file.bytes);
    match manifest.snapshot.files.iter().find(is_missing) {
        None => Ok(()),
        Some(file) => {
            let gone = Named::StoreFile(manifest.object(file));
            let name = gone.in_lineage(manifest.control.lineage);
            Err(Error::Vanished { name })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::bucket::{Bucket, ObjectName};
    use crate::base::{IncarnationId, LineageId, RegionId};
    use crate::storage::{FileName, Snapshot, State};

    /// A restore point of some files, with these of them in a bucket.
    async fn sent(files: u8, there: impl Fn(u8) -> bool) -> (Repository, Manifest) {
        let repository = Repository::new(Bucket::in_memory());
        let point = PointId {
            begun_millis: rand::random_range(0..1_000_000_000_000),
            random: rand::random(),
        };
        let content = |file: u8| vec![file; usize::from(file)];
        let stored = (0..files).map(|file| StoreFile {
            name: FileName::parse(&format!("{file:06}.sst")).unwrap(),
            bytes: u64::from(file),
            digest: blake3::hash(&content(file)),
        });
        let lineage = LineageId(rand::random());
        let manifest = Manifest {
            point,
            generation: point,
            parent: None,
            program: String::new(),
            member: NodeNumber::FIRST,
            control: ControlState::new(lineage, RegionId(1), IncarnationId(2)),
            snapshot: Snapshot {
                state: State::default(),
                files: stored.collect(),
            },
        };
        for file in (0..files).filter(|file| there(*file)) {
            let stored = &manifest.snapshot.files[usize::from(file)];
            let name = Named::StoreFile(manifest.object(stored)).in_lineage(lineage);
            let (bucket, name) = (repository.bucket(), ObjectName::parse(&name).unwrap());
            bucket.put_new(&name, content(file).into()).await.unwrap();
        }
        (repository, manifest)
    }

    #[tokio::test]
    async fn a_restore_point_of_which_a_file_goes_at_the_last_moment_is_dropped() {
        let lost = rand::random_range(0..9);
        let (repository, manifest) = sent(9, |file| file != lost).await;
        let refused = conclude(&repository, &manifest).await.unwrap_err();
        let gone = manifest.object(&manifest.snapshot.files[usize::from(lost)]);
        assert!(
            matches!(&refused, Error::Vanished { name } if name.ends_with(&gone.digest.to_string())),
            "{refused}"
        );
        let there = repository.points(manifest.control.lineage).await.unwrap();
        assert_eq!(there.points().next(), None);
        assert!(there.dropped.contains(&manifest.point));
        assert_eq!(there.unfinished(0), None, "nobody goes on with it");
    }

    #[tokio::test]
    async fn a_restore_point_whose_files_are_there_is_kept() {
        let (repository, manifest) = sent(9, |_| true).await;
        conclude(&repository, &manifest).await.unwrap();
        let there = repository.points(manifest.control.lineage).await.unwrap();
        assert_eq!(there.points().collect::<Vec<_>>(), [manifest.point]);
    }
}
