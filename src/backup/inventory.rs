//! Pure: what a bucket holds, by the names and lengths of its objects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::layout::{End, FileId, Named, PointId, Segment, StretchId};
use crate::base::{LineageId, LogId, Micros};

/// What a bucket holds, by lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// One history of data each.
    pub lineages: BTreeMap<LineageId, Holdings>,
    /// Names that nothing here is called by.
    pub strange: Vec<String>,
}

/// What a bucket holds of one lineage. Lengths are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Manifests of restore points, kept or not.
    pub manifests: BTreeMap<PointId, u64>,
    /// Restore points that are not kept any more.
    pub dropped: BTreeSet<PointId>,
    /// Files of stores, by generation.
    pub files: BTreeMap<PointId, BTreeMap<FileDigest, u64>>,
    /// Archived records.
    pub segments: BTreeMap<LogId, BTreeSet<Segment>>,
    /// Bytes of all of them.
    pub segment_bytes: BTreeMap<Segment, u64>,
    /// Ends of logs.
    pub ends: BTreeMap<LogId, BTreeSet<End>>,
    /// Beginnings of stretches of the archive.
    pub stretches: BTreeSet<StretchId>,
}

/// An object of a lineage, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub named: Named,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the bucket's clock.
    pub modified: Micros,
}

impl Object {
    /// How long it has been there at a time of the same clock.
    #[must_use]
    pub fn age(&self, now: Micros) -> Duration {
        let micros = now.0.saturating_sub(self.modified.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The restore point whose manifest it is.
    #[must_use]
    pub fn manifest_of(&self) -> Option<PointId> {
        match self.named {
            Named::Point(point) => Some(point),
            Named::Dropped(_)
            | Named::StoreFile(_)
            | Named::Segment(_)
            | Named::End(_)
            | Named::Stretch(_) => None,
        }
    }

    /// The generation and digest of the file that it is.
    #[must_use]
    pub fn file(&self) -> Option<(PointId, FileDigest)> {
        match self.named {
            Named::StoreFile(file) => Some((file.generation, file.digest.into())),
            Named::Point(_)
            | Named::Dropped(_)
            | Named::Segment(_)
            | Named::End(_)
            | Named::Stretch(_) => None,
        }
    }
}

/// The digest of a file, in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileDigest(pub [u8; blake3::OUT_LEN]);

impl From<blake3::Hash> for FileDigest {
    fn from(hash: blake3::Hash) -> FileDigest {
        FileDigest(*hash.as_bytes())
    }
}

impl Inventory {
    /// Takes note of an object.
    pub fn add(&mut self, name: &str, bytes: u64) {
        let Some((lineage, named)) = Named::parse(name) else {
            self.strange.push(name.to_owned());
            return;
        };
        self.lineages.entry(lineage).or_default().add(named, bytes);
    }

    /// The lineage of the latest restore point that is kept.
    #[must_use]
    pub fn latest_lineage(&self) -> Option<LineageId> {
        let latest = self.lineages.iter().filter_map(|(lineage, holdings)| {
            let point = holdings.points().next_back()?;
            Some((point, *lineage))
        });
        latest.max().map(|(_, lineage)| lineage)
    }
}

impl Holdings {
    /// Takes note of an object.
    pub(super) fn add(&mut self, named: Named, bytes: u64) {
        match named {
            Named::Point(point) => {
                self.manifests.insert(point, bytes);
            }
            Named::Dropped(point) => {
                self.dropped.insert(point);
            }
            Named::StoreFile(FileId { generation, digest }) => {
                let files = self.files.entry(generation).or_default();
                files.insert(digest.into(), bytes);
            }
            Named::Segment(segment) => {
                self.segments
                    .entry(segment.log)
                    .or_default()
                    .insert(segment);
                self.segment_bytes.insert(segment, bytes);
            }
            Named::End(end) => {
                self.ends.entry(end.log).or_default().insert(end);
            }
            Named::Stretch(stretch) => {
                self.stretches.insert(stretch);
            }
        }
    }

    /// The restore points that are kept, the earliest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = PointId> + '_ {
        let kept = self.manifests.keys().copied();
        kept.filter(|point| !self.dropped.contains(point))
    }

    /// A generation of which files were sent, but no manifest: an upload that was broken off, or goes on. It began no earlier
    /// than `since`, in milliseconds.
    #[must_use]
    pub fn unfinished(&self, since: u64) -> Option<PointId> {
        let mut generations = self.files.keys().rev();
        generations
            .find(|generation| !self.manifests.contains_key(generation))
            .copied()
            .filter(|generation| generation.begun_millis >= since)
    }

    /// Is the file there, in this length?
    #[must_use]
    pub fn holds(&self, file: FileId, bytes: u64) -> bool {
        let found = self.files.get(&file.generation);
        found.and_then(|files| files.get(&file.digest.into())) == Some(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(begun_millis: u64) -> PointId {
        PointId {
            begun_millis,
            random: 1,
        }
    }

    fn inventory(objects: &[(u128, Named)]) -> Inventory {
        let mut inventory = Inventory::default();
        for (lineage, named) in objects {
            inventory.add(&named.in_lineage(LineageId(*lineage)), 5);
        }
        inventory
    }

    #[test]
    fn what_is_dropped_is_no_restore_point_any_more() {
        let mut inventory = inventory(&[
            (1, Named::Point(point(10))),
            (1, Named::Point(point(30))),
            (1, Named::Dropped(point(30))),
            (2, Named::Point(point(20))),
        ]);
        inventory.add("lost+found", 0);
        assert_eq!(inventory.latest_lineage(), Some(LineageId(2)));
        let holdings = &inventory.lineages[&LineageId(1)];
        assert_eq!(holdings.points().collect::<Vec<_>>(), [point(10)]);
        assert_eq!(inventory.strange, ["lost+found"]);
    }

    #[test]
    fn an_upload_that_was_broken_off_is_found_while_it_is_young() {
        let file = |generation| {
            let digest = blake3::hash(b"x");
            FileId { generation, digest }
        };
        let objects = [
            (1, Named::StoreFile(file(point(10)))),
            (1, Named::Point(point(10))),
            (1, Named::StoreFile(file(point(20)))),
        ];
        let inventory = inventory(&objects);
        let holdings = &inventory.lineages[&LineageId(1)];
        assert_eq!(holdings.unfinished(20), Some(point(20)));
        assert_eq!(holdings.unfinished(21), None);
        assert!(holdings.holds(file(point(20)), 5));
        assert!(!holdings.holds(file(point(20)), 4), "cut off");
        assert!(!holdings.holds(file(point(30)), 5));
    }
}
