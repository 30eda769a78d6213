//! Looking whether restore points are whole, without fetching them: what they name is there, and so is what follows them.
//!
//! **Invariants.** All that is wrong with a restore point is told, not only what is found first. That the bucket does not answer is
//! no fault of a restore point, and ends the looking. What files and archived records hold is not read here: a restore checks that.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::inventory::Holdings;
use super::layout::{FileId, Named, PointId};
use super::manifest::Manifest;
use super::plan::{Archive, Impossible, Plan};
use super::repository::{self, Repository};
use super::way::Way;
use crate::base::{Hlc, LineageId};
use crate::storage::StoreFile;

/// So many manifests are read at once.
const AT_ONCE: usize = 8;

/// Something that is wrong with a restore point.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be known what belongs to it.
    #[error(transparent)]
    Manifest(repository::Error),
    /// A file is not there.
    #[error("{name} is missing")]
    Missing {
        /// The object.
        name: String,
    },
    /// A file is cut off, or another one.
    #[error("{name} has {found} bytes, the manifest says {expected}")]
    Length {
        /// The object.
        name: String,
        /// What is there.
        found: u64,
        /// What should be.
        expected: u64,
    },
    /// It cannot be known what is archived.
    #[error("what follows it in the archive cannot be known")]
    Archive(#[source] Arc<repository::Error>),
    /// There is no way from it to what is archived last.
    #[error(transparent)]
    NoWay(Impossible),
}

/// A restore point that was looked at.
#[derive(Debug)]
pub struct Verified {
    /// Its name.
    pub point: PointId,
    /// What belongs to it, if that can be read.
    pub manifest: Option<Manifest>,
    /// The way to what is archived last, or to where the archive was begun anew.
    pub plan: Option<Plan>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

impl Verified {
    /// Was nothing found wrong?
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// The way to the latest moment that can be reached.
    #[must_use]
    pub fn way(&self, holdings: &Holdings) -> Option<Way> {
        let (manifest, plan) = (self.manifest.clone()?, self.plan.clone()?);
        Some(Way::new(manifest, plan, holdings))
    }

    /// The moments that can be restored: when its newest record was written, and the last one that follows.
    #[must_use]
    pub fn range(&self) -> Option<(Hlc, Hlc)> {
        let newest = self.manifest.as_ref()?.snapshot.state.newest;
        let plan = self.plan.as_ref()?;
        let last = plan.segments().map(|segment| segment.newest).max();
        Some((newest, last.unwrap_or(newest).min(plan.until)))
    }
}

/// From when to when moments can be restored, the earliest first, by those points in which nothing was found wrong. Between lies what
/// was never archived.
pub fn ranges<'a>(verified: impl IntoIterator<Item = &'a Verified>) -> Vec<(Hlc, Hlc)> {
    let whole = verified.into_iter().filter(|point| point.is_whole());
    joined(whole.filter_map(Verified::range).collect())
}

fn joined(mut ranges: Vec<(Hlc, Hlc)>) -> Vec<(Hlc, Hlc)> {
    ranges.sort_unstable();
    let mut joined: Vec<(Hlc, Hlc)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Looks at restore points of a lineage, of which there is so much.
///
/// # Errors
/// If the bucket does not answer.
pub async fn verify(
    repository: &Repository,
    lineage: LineageId,
    holdings: &Holdings,
    points: impl IntoIterator<Item = PointId>,
) -> Result<Vec<Verified>, repository::Error> {
    let archive = archive(repository, lineage, holdings).await?;
    let verifying = points.into_iter().map(|point| {
        let archive = &archive;
        async move {
            match repository.manifest(lineage, point).await {
                Ok(manifest) => Ok(look(manifest, holdings, archive)),
                Err(cause) if cause.is_of_the_object() => Ok(Verified {
                    point,
                    manifest: None,
                    plan: None,
                    problems: vec![Problem::Manifest(cause)],
                }),
                Err(cause) => Err(cause),
            }
        }
    });
    let verifying = stream::iter(verifying).buffered(AT_ONCE);
    verifying.try_collect().await
}

/// What is archived, or all the beginnings of stretches that cannot be read.
async fn archive(
    repository: &Repository,
    lineage: LineageId,
    holdings: &Holdings,
) -> Result<Result<Archive, Vec<Arc<repository::Error>>>, repository::Error> {
    let (mut stretches, mut damaged) = (Vec::new(), Vec::new());
    for id in &holdings.stretches {
        match repository.stretch(lineage, *id).await {
            Ok(stretch) => stretches.push(stretch),
            Err(cause) if cause.is_of_the_object() => damaged.push(Arc::new(cause)),
            Err(cause) => return Err(cause),
        }
    }
    if !damaged.is_empty() {
        return Ok(Err(damaged));
    }
    Ok(Ok(Archive {
        segments: holdings.segments.clone(),
        ends: holdings.ends.clone(),
        stretches,
    }))
}

/// Looks at one whose manifest can be read.
fn look(
    manifest: Manifest,
    holdings: &Holdings,
    archive: &Result<Archive, Vec<Arc<repository::Error>>>,
) -> Verified {
    let files = manifest.snapshot.files.iter();
    let of_file = |file| fault(&manifest, file, holdings);
    let mut problems: Vec<Problem> = files.filter_map(of_file).collect();
    let mut plan = None;
    match archive {
        Err(damaged) => {
            problems.extend(
                damaged
                    .iter()
                    .map(|cause| Problem::Archive(Arc::clone(cause))),
            );
        }
        Ok(archive) => match to_the_end(&manifest, archive) {
            Ok(found) => plan = Some(found),
            Err(why) => problems.push(Problem::NoWay(why)),
        },
    }
    Verified {
        point: manifest.point,
        manifest: Some(manifest),
        plan,
        problems,
    }
}

/// What is wrong with a file, as far as a listing tells.
fn fault(manifest: &Manifest, file: &StoreFile, holdings: &Holdings) -> Option<Problem> {
    let id: FileId = manifest.object(file);
    let name = || Named::StoreFile(id).in_lineage(manifest.control.lineage);
    let generation = holdings.files.get(&id.generation);
    match generation.and_then(|files| files.get(&id.digest.into())) {
        None => Some(Problem::Missing { name: name() }),
        Some(found) if *found != file.bytes => Some(Problem::Length {
            name: name(),
            found: *found,
            expected: file.bytes,
        }),
        Some(_) => None,
    }
}

/// The way to all that is archived; if nothing was for a while, which is no fault of what is there, to where that begins.
fn to_the_end(base: &Manifest, archive: &Archive) -> Result<Plan, Impossible> {
    match Plan::new(base, archive, Hlc(u64::MAX)) {
        Err(Impossible::Gap { reachable, .. }) if reachable < base.snapshot.state.newest => {
            Ok(Plan::nothing_after(base))
        }
        Err(Impossible::Gap { reachable, .. }) => Plan::new(base, archive, reachable),
        planned => planned,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_ranges_hold_the_same_moments_once(ranges in proptest::collection::vec((0..50u64, 0..9u64), 0..9)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, length)| (Hlc(first), Hlc(first + length))).collect();
            let moments = |ranges: &[(Hlc, Hlc)]| -> Vec<u64> {
                ranges.iter().flat_map(|(first, last)| first.0..=last.0).collect()
            };
            let once: BTreeSet<u64> = moments(&ranges).into_iter().collect();
            prop_assert_eq!(moments(&joined(ranges)), once.into_iter().collect::<Vec<_>>());
        }
    }
}
