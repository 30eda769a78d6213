//! Pruning: what no restore point needs that is kept goes from a bucket.
//!
//! ```text
//!   list ─► choose (retention) ─► read what is needed ─► find what goes (removal)  = Pruning
//!        ─► mark what is dropped ─► remove, stage by stage ─► look whether somebody needs it meanwhile
//! ```
//! **Invariants.** Nothing is removed as long as anything cannot be read that says what is needed. Ages are told by the bucket's
//! clock alone: this machine's may be a day wrong, and what is removed too early is lost. A restore point that somebody makes
//! meanwhile of files that go is dropped, either here or by [`take`](super::take), whoever looks later; none is kept that lacks
//! a file.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::inventory::{Holdings, Object};
use super::layout::{Named, PointId};
use super::manifest::Manifest;
use super::plan::Archive;
use super::removal::{removal, stages};
use super::repository::{self, Repository};
use super::retention::{Choice, Keep};
use crate::base::{LineageId, Micros, explained};
use crate::storage::StoreFile;

/// So many objects are removed, and manifests read, at once.
const AT_ONCE: usize = 8;

/// Why nothing is removed, or not everything. What is left the next one removes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket, or what is in it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// What says what is needed cannot be read.
    #[error("nothing is removed, because restore points that are kept cannot be read: {}", .0.join("; "))]
    Unreadable(Vec<String>),
    /// A restore point was made meanwhile of what was being removed.
    #[error(
        "restore point {point} was made just now and needs {name}, which is removed: it is dropped, make another one"
    )]
    Overtaken {
        /// The restore point.
        point: PointId,
        /// A file that it names.
        name: String,
    },
}

/// What is to be done in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Of which history.
    pub lineage: LineageId,
    /// What becomes of its restore points.
    pub choice: Choice,
    /// What goes, in this order.
    pub removal: Vec<Object>,
    /// How many objects stay, marks that are to be written among them.
    pub left: u64,
    /// Bytes of that.
    pub left_bytes: u64,
    /// Why nothing goes yet: manifests of restore points that were dropped just now, and cannot be read.
    pub held_up: Vec<String>,
}

impl Pruning {
    /// Finds what is to be done at a time of the bucket's clock. Changes nothing.
    ///
    /// # Errors
    /// If a restore point that is kept cannot be read, or the archive, or the bucket cannot be listed.
    pub async fn plan(
        repository: &Repository,
        lineage: LineageId,
        keep: Keep,
        now: Micros,
    ) -> Result<Pruning, Error> {
        let objects = repository.objects(lineage).await?;
        let choice = Choice::new(keep, &objects, now);
        let (mut needed, mut kept_unreadable, mut held_up) = (Vec::new(), Vec::new(), Vec::new());
        for (point, read) in manifests(repository, lineage, choice.needed()).await {
            match read {
                Ok(manifest) => needed.push(manifest),
                Err(cause) if choice.kept.contains(&point) => {
                    kept_unreadable.push(unreadable(point, &cause));
                }
                Err(cause) => held_up.push(unreadable(point, &cause)),
            }
        }
        if !kept_unreadable.is_empty() {
            return Err(Error::Unreadable(kept_unreadable));
        }
        let archive = archive(repository, lineage, &objects).await?;
        let removal = match held_up.is_empty() {
            true => removal(&objects, &choice, &needed, &archive, now),
            false => Vec::new(),
        };
        let bytes = |objects: &[Object]| objects.iter().map(|object| object.bytes).sum::<u64>();
        let left = objects.len() + choice.dropped.len() - removal.len();
        Ok(Pruning {
            lineage,
            choice,
            left: u64::try_from(left).unwrap_or(u64::MAX),
            left_bytes: bytes(&objects).saturating_sub(bytes(&removal)),
            removal,
            held_up,
        })
    }

    /// Does it. `removed` counts the objects that are gone.
    ///
    /// # Errors
    /// If something cannot be removed, or was needed meanwhile.
    pub async fn carry_out(
        &self,
        repository: &Repository,
        removed: &AtomicU64,
    ) -> Result<(), Error> {
        let lineage = self.lineage;
        for point in &self.choice.dropped {
            repository.mark(lineage, Named::Dropped(*point)).await?;
        }
        for stage in stages(&self.removal) {
            let named: Vec<Named> = stage.iter().map(|object| object.named).collect();
            let removing = named
                .into_iter()
                .map(|named| remove(repository, lineage, named, removed));
            let removing = stream::iter(removing).buffer_unordered(AT_ONCE);
            let done = removing.try_collect::<()>().await;
            self.look_again(repository, stage).await?;
            done?;
        }
        Ok(())
    }

    /// After files were removed: drops the restore points that were made of them since it was found what is needed.
    async fn look_again(&self, repository: &Repository, stage: &[Object]) -> Result<(), Error> {
        if stage.iter().all(|object| object.file().is_none()) {
            return Ok(());
        }
        let lineage = self.lineage;
        let there = repository.points(lineage).await?;
        let new = there
            .points()
            .filter(|point| !self.choice.kept.contains(point));
        let mut outcome = Ok(());
        for (point, read) in manifests(repository, lineage, new).await {
            let manifest = read?;
            let is_gone = |file: &&StoreFile| !there.holds(manifest.object(file), file.bytes);
            if let Some(gone) = manifest.snapshot.files.iter().find(is_gone) {
                repository.mark(lineage, Named::Dropped(point)).await?;
                let name = Named::StoreFile(manifest.object(gone)).in_lineage(lineage);
                outcome = Err(Error::Overtaken { point, name });
            }
        }
        outcome
    }
}

async fn remove(
    repository: &Repository,
    lineage: LineageId,
    named: Named,
    removed: &AtomicU64,
) -> Result<(), Error> {
    repository.remove(lineage, named).await?;
    removed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Reads manifests, several at once.
async fn manifests(
    repository: &Repository,
    lineage: LineageId,
    points: impl Iterator<Item = PointId>,
) -> Vec<(PointId, Result<Manifest, repository::Error>)> {
    let reading =
        points.map(|point| async move { (point, repository.manifest(lineage, point).await) });
    stream::iter(reading).buffered(AT_ONCE).collect().await
}

async fn archive(
    repository: &Repository,
    lineage: LineageId,
    objects: &[Object],
) -> Result<Archive, Error> {
    let mut holdings = Holdings::default();
    objects
        .iter()
        .for_each(|object| holdings.add(object.named, object.bytes));
    Ok(repository.archive(lineage, &holdings).await?)
}

fn unreadable(point: PointId, cause: &repository::Error) -> String {
    format!("{point}: {}", explained(cause))
}
