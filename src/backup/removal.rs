//! Pure: what goes from a bucket when restore points are not kept any more, and in which order.
//!
//! ```text
//!   files that no manifest names, and archived objects that no way takes ─► manifests ─► marks
//! ```
//! **Invariants.** Needed are the restore points that are kept, and those that were dropped less than [`GRACE`] ago: all of their
//! files stay, and every plan from one of them to any moment is after the removal what it was before, however far the removal
//! came. Nothing younger than [`GRACE`] goes. A generation of which files are left has its manifest, too, unless it never had one:
//! so nothing that is being removed looks like an upload that was broken off, and a removal that was broken off is ended by the
//! next one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::inventory::{FileDigest, Object};
use super::layout::{Named, PointId, Segment, StretchId};
use super::manifest::Manifest;
use super::plan::{Archive, Impossible, Plan};
use super::retention::{Choice, GRACE};
use super::stretch::Stretch;
use crate::base::{Hlc, LogId, Micros};

/// An upload that was broken off stays for so long after it was begun. It is taken up again for a quarter of that.
pub const BROKEN_OFF: Duration = Duration::from_secs(48 * 3_600);

/// Finds what goes, in the order in which it is to go: by [`stages`].
///
/// Given are all objects of a lineage, what becomes of its restore points, the manifests of those that are
/// [needed](Choice::needed), all that is archived, and the time by the bucket's clock.
#[must_use]
pub fn removal(
    objects: &[Object],
    choice: &Choice,
    needed: &[Manifest],
    archive: &Archive,
    now: Micros,
) -> Vec<Object> {
    // A history without a restore point is none that anybody has decided upon.
    if choice.kept.is_empty() {
        return Vec::new();
    }
    let files = Files::new(objects, needed, now);
    let records = Records::new(needed, archive);
    let is_old = |object: &&Object| object.age(now) >= GRACE;
    // What is over ends with its files.
    let ends = |point: &PointId| choice.over.contains(point) && !files.stay_of(*point);
    let manifests = objects.iter().filter_map(Object::manifest_of);
    let of_old = objects
        .iter()
        .filter(is_old)
        .filter_map(Object::manifest_of);
    let ending: BTreeSet<PointId> = of_old.filter(ends).collect();
    let staying: BTreeSet<PointId> = manifests.filter(|point| !ending.contains(point)).collect();
    let goes = |object: &&Object| match object.named {
        Named::StoreFile(file) => files.goes(file.generation, file.digest.into()),
        Named::Segment(segment) => records.segment_goes(&segment),
        Named::End(end) => records.is_over(end.log),
        Named::Stretch(id) => records.stretch_goes(id),
        Named::Point(point) => ending.contains(&point),
        Named::Dropped(point) => !staying.contains(&point),
    };
    let mut going: Vec<Object> = objects
        .iter()
        .filter(is_old)
        .filter(goes)
        .copied()
        .collect();
    going.sort_by_key(|object| stage(&object.named));
    going
}

/// The stages of a removal: one is to be done before the next begins; within one the order is of no account.
pub fn stages(removal: &[Object]) -> impl Iterator<Item = &[Object]> {
    removal.chunk_by(|one, other| stage(&one.named) == stage(&other.named))
}

fn stage(named: &Named) -> u8 {
    match named {
        Named::StoreFile(_) | Named::Segment(_) | Named::End(_) | Named::Stretch(_) => 0,
        Named::Point(_) => 1,
        Named::Dropped(_) => 2,
    }
}

/// What is known of the files of stores.
struct Files {
    /// Those that are needed, by generation.
    named: BTreeMap<PointId, BTreeSet<FileDigest>>,
    /// Generations of which files stay.
    staying: BTreeSet<PointId>,
    /// Generations of which files that nobody names stay as well: one of them may be of an upload that goes on.
    growing: BTreeSet<PointId>,
}

impl Files {
    fn new(objects: &[Object], needed: &[Manifest], now: Micros) -> Files {
        let mut named: BTreeMap<PointId, BTreeSet<FileDigest>> = BTreeMap::new();
        for manifest in needed {
            let files = manifest.snapshot.files.iter();
            let digests = files.map(|file| FileDigest::from(file.digest));
            named
                .entry(manifest.generation)
                .or_default()
                .extend(digests);
        }
        let mut files = Files {
            named,
            staying: BTreeSet::new(),
            growing: BTreeSet::new(),
        };
        let mut finished: BTreeSet<PointId> = files.named.keys().copied().collect();
        finished.extend(objects.iter().filter_map(Object::manifest_of));
        for object in objects {
            let Some((generation, digest)) = object.file() else {
                continue;
            };
            let begun = Micros(0).plus(Duration::from_millis(generation.begun_millis));
            let may_be_taken_up = !finished.contains(&generation) && begun.plus(BROKEN_OFF) > now;
            if files.is_named(generation, digest) {
                files.staying.insert(generation);
            } else if may_be_taken_up || object.age(now) < GRACE {
                files.staying.insert(generation);
                files.growing.insert(generation);
            }
        }
        files
    }

    fn is_named(&self, generation: PointId, digest: FileDigest) -> bool {
        let named = self.named.get(&generation);
        named.is_some_and(|named| named.contains(&digest))
    }

    fn goes(&self, generation: PointId, digest: FileDigest) -> bool {
        !self.is_named(generation, digest) && !self.growing.contains(&generation)
    }

    /// Will there be files of this generation afterwards?
    fn stay_of(&self, generation: PointId) -> bool {
        self.staying.contains(&generation)
    }
}

/// What is known of archived records, and what plans make of them.
struct Records<'a> {
    needed: Vec<Base<'a>>,
    stretches: BTreeMap<StretchId, &'a Stretch>,
    /// Logs with two histories: somebody has to look at them.
    forked: BTreeSet<LogId>,
}

/// A restore point that plans begin at.
struct Base<'a> {
    manifest: &'a Manifest,
    /// The logs that it knows of itself.
    known: BTreeSet<LogId>,
    /// The stretches before which something is missing that it does not hold.
    gaps: BTreeSet<StretchId>,
}

impl<'a> Records<'a> {
    fn new(needed: &'a [Manifest], archive: &'a Archive) -> Records<'a> {
        let stretches = archive.stretches.iter();
        let logs = archive.segments.keys().chain(archive.ends.keys());
        let forked = logs.copied().filter(|log| {
            let segments = archive.segments.get(log).cloned().unwrap_or_default();
            let ends = archive.ends.get(log).cloned().unwrap_or_default();
            let alone = Archive {
                segments: [(*log, segments)].into(),
                ends: [(*log, ends)].into(),
                stretches: Vec::new(),
            };
            let is_forked = |base| {
                let planned = Plan::new(base, &alone, Hlc(u64::MAX));
                matches!(planned, Err(Impossible::Fork { .. }))
            };
            needed.iter().any(is_forked)
        });
        Records {
            needed: needed.iter().map(|base| Base::new(base, archive)).collect(),
            stretches: stretches.map(|stretch| (stretch.id(), stretch)).collect(),
            forked: forked.collect(),
        }
    }

    /// Does every restore point hold these?
    fn segment_goes(&self, segment: &Segment) -> bool {
        let is_held = |base: &Base<'_>| base.holds(segment);
        self.needed.iter().all(is_held) && !self.forked.contains(&segment.log)
    }

    /// Does no plan look at this log?
    fn is_over(&self, log: LogId) -> bool {
        self.needed.iter().all(|base| base.passes_over(log))
    }

    /// Would all plans be the same if there were no such stretch?
    fn stretch_goes(&self, id: StretchId) -> bool {
        let later = |other: &StretchId| other.epoch == id.epoch && *other > id;
        let is_again = self.stretches.keys().any(later);
        let tells_nothing = |base: &Base<'_>| {
            let own = base.manifest.control.log(id.epoch);
            let stretch = self.stretches.get(&id);
            let mut unfinished = stretch.iter().flat_map(|stretch| &stretch.unfinished);
            !base.gaps.contains(&id)
                && unfinished.all(|log| base.known.contains(log) || base.passes_over(*log))
                && (is_again || base.passes_over(own))
        };
        self.stretches.contains_key(&id) && self.needed.iter().all(tells_nothing)
    }
}

impl<'a> Base<'a> {
    fn new(manifest: &'a Manifest, archive: &Archive) -> Base<'a> {
        let held = manifest.snapshot.state.applied.0.logs();
        let epochs = manifest.control.logs.keys();
        let known = epochs.map(|epoch| manifest.control.log(*epoch));
        let gaps = archive.gaps(manifest).into_iter();
        Base {
            manifest,
            known: held.map(|(log, _)| log).chain(known).collect(),
            gaps: gaps.map(Stretch::id).collect(),
        }
    }

    /// Do plans from here pass a log over, whatever there is of it? It is folded here, and neither the last one that is known,
    /// nor the last one before a gap.
    fn passes_over(&self, log: LogId) -> bool {
        let order = |log: LogId| (log.epoch, log.region);
        let is_folded = self.manifest.snapshot.state.applied.0.last(log).is_none();
        let mut known = self.known.iter();
        is_folded && self.gaps.is_empty() && known.any(|other| order(*other) > order(log))
    }

    fn holds(&self, segment: &Segment) -> bool {
        match self.manifest.snapshot.state.applied.0.last(segment.log) {
            Some(last) => last >= segment.to,
            None => self.passes_over(segment.log),
        }
    }
}

#[cfg(test)]
#[path = "removal_test.rs"]
mod tests;
