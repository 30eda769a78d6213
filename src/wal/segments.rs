//! The segment files of one log, shared by who writes, reads and releases them.
//!
//! **Invariants.** A file has the name of a segment only once its head and all frames put into it so far are synced.
//! Segments go oldest first, each removal durable before the next, so that a crash never leaves a gap. The last one
//! stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{IoFailure, failed};
use super::segment::{Header, SEGMENT_HEADER_BYTES, SegmentId, file_name};
use crate::base::disk::{Disk, DiskFile};
use crate::base::{LineageId, Lsn};

/// The ending of files that are not yet segments; recovery removes them.
pub(super) const TEMPORARY_ENDING: &str = ".tmp";
const SPARE: &str = "spare.tmp";

/// The segment files of one log.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) lineage: LineageId,
    /// Guards the list of segments, by base. Never held while the disk works.
    known: Mutex<BTreeMap<Lsn, Segment>>,
    /// Held by whoever is removing segments, so that they go one after the other.
    releasing: Mutex<()>,
}

/// A segment file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    /// Size of the file.
    pub(super) bytes: u64,
}

/// The part of the log that one segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: SegmentId,
    pub(super) base: Lsn,
    /// Where the next segment begins; `None` for the last.
    pub(super) end: Option<Lsn>,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, lineage: LineageId) -> Segments {
        Segments {
            disk,
            dir: dir.to_owned(),
            lineage,
            known: Mutex::default(),
            releasing: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Lsn, Segment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of the segment that begins at `base`.
    pub(super) fn path(&self, base: Lsn) -> PathBuf {
        self.dir.join(file_name(base))
    }

    /// The oldest place that can be read.
    pub(super) fn first(&self) -> Lsn {
        let first = self.known().first_key_value().map(|(base, _)| *base);
        first.unwrap_or(Lsn::ZERO)
    }

    /// Where the segments begin, oldest first.
    pub(super) fn bases(&self) -> Vec<Lsn> {
        self.known().keys().copied().collect()
    }

    /// How many segments there are and how many bytes their files take.
    pub(super) fn size(&self) -> (u64, u64) {
        self.known()
            .values()
            .fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.bytes))
    }

    /// The segment that holds, or will hold, the byte at `place`; `None` if it has been released.
    pub(super) fn locate(&self, place: Lsn) -> Option<Span> {
        let known = self.known();
        let (base, segment) = known.range(..=place).next_back()?;
        let after = known.range(place.advance(1)..).next();
        Some(Span {
            id: segment.id,
            base: *base,
            end: after.map(|(next, _)| *next),
        })
    }

    /// Takes note of a segment that is there.
    pub(super) fn insert(&self, base: Lsn, segment: Segment) {
        self.known().insert(base, segment);
    }

    /// Creates a file of `bytes` reserved bytes to become a segment.
    pub(super) fn create_spare(&self, bytes: u64) -> Result<Box<dyn DiskFile>, IoFailure> {
        let path = self.dir.join(SPARE);
        let file = self.disk.create(&path).map_err(failed("create", &path))?;
        file.allocate(bytes)
            .map_err(failed("reserve space for", &path))?;
        file.sync_all().map_err(failed("sync", &path))?;
        Ok(file)
    }

    /// Makes the spare file a segment that holds `frames`, durable under its name, in place of any other of that name.
    pub(super) fn install(
        &self,
        spare: &dyn DiskFile,
        header: Header,
        frames: &[u8],
    ) -> Result<(), IoFailure> {
        let (from, to) = (self.dir.join(SPARE), self.path(header.base));
        let header_bytes = u64::try_from(SEGMENT_HEADER_BYTES).expect("a small constant");
        spare
            .write_all_at(&header.encode(), 0)
            .and_then(|()| spare.write_all_at(frames, header_bytes))
            .map_err(failed("write", &from))?;
        spare.sync_all().map_err(failed("sync", &from))?;
        let bytes = spare.size().map_err(failed("measure", &from))?;
        self.disk
            .rename(&from, &to)
            .map_err(failed("give its name to", &to))?;
        self.sync_dir()?;
        let id = header.id;
        self.insert(header.base, Segment { id, bytes });
        Ok(())
    }

    /// Removes the segments that lie entirely below `place`.
    pub(super) fn release_below(&self, place: Lsn) -> Result<(), IoFailure> {
        let _alone = self
            .releasing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while let Some(base) = self.forget_below(place) {
            let path = self.path(base);
            self.disk.remove(&path).map_err(failed("remove", &path))?;
            self.sync_dir()?;
        }
        Ok(())
    }

    /// Takes the oldest segment off the list if it lies entirely below `place`.
    fn forget_below(&self, place: Lsn) -> Option<Lsn> {
        let mut known = self.known();
        let next = *known.keys().nth(1)?;
        let (base, _) = (next <= place).then(|| known.pop_first())??;
        Some(base)
    }

    fn sync_dir(&self) -> Result<(), IoFailure> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(failed("sync", &self.dir))
    }
}
