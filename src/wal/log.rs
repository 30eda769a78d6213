//! The log itself, without a thread: frames are gathered, written and synced when the caller says so.
//!
//! **Invariants.** `base <= durable <= written <= end`. A frame names as durable only what has been synced. After the
//! first error of the disk nothing more is written or synced; the durable mark is closed with the cause.

use std::path::Path;
use std::sync::Arc;

use super::MAX_PAYLOAD_BYTES;
use super::error::{Error, IoFailure, Poisoned, failed};
use super::frame::{FRAME_HEADER_BYTES, Frame, Kind, Seal, frame_bytes};
use super::reader::Reader;
use super::recovery::{self, Recovery};
use super::segment::{Header, SegmentId, file_offset};
use super::segments::Segments;
use crate::base::disk::{Disk, DiskFile};
use crate::base::{LineageId, Lsn, Watermark};

/// What the buffer for gathered frames keeps between batches.
const BUFFER_BYTES: usize = 1 << 20;

/// A write-ahead log, driven by its caller.
#[derive(Debug)]
pub struct Log {
    pub(super) segments: Arc<Segments>,
    pub(super) durable: Watermark<Lsn, Poisoned>,
    segment_bytes: u64,
    active: Active,
    /// Encoded frames that are not written yet.
    gathered: Vec<u8>,
    /// A file with reserved space, to become the next segment.
    spare: Option<Box<dyn DiskFile>>,
    marked: bool,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) seal: Seal,
    pub(super) id: SegmentId,
    pub(super) base: Lsn,
    /// Behind the last frame in the file.
    pub(super) written: Lsn,
}

impl Log {
    /// Recovers the log in `dir`, or creates an empty one, and says what was found. The caller knows it to be durable up
    /// to `known`, perhaps because all before was applied; that shows the loss of a tail that leaves no other trace.
    ///
    /// # Errors
    /// If the disk refuses something, or what is there is damaged below the durable mark, of another lineage or of a
    /// later format; [`Error::Beyond`] if `known` is a place in a log and there is none. Nothing has been cut then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lineage: LineageId,
        segment_bytes: u64,
        known: Lsn,
    ) -> Result<(Log, Recovery), Error> {
        let segments = Arc::new(Segments::new(disk, dir, lineage));
        let (active, recovery) = recovery::recover(&segments, segment_bytes, known)?;
        let log = Log {
            segments,
            durable: Watermark::new(recovery.end),
            segment_bytes,
            active,
            gathered: Vec::new(),
            spare: None,
            marked: true,
        };
        Ok((log, recovery))
    }

    /// Up to where everything is synced; closed with the cause when the log is poisoned.
    #[must_use]
    pub fn durable(&self) -> &Watermark<Lsn, Poisoned> {
        &self.durable
    }

    /// The oldest place that can be read.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.segments.first()
    }

    /// Behind the last frame, durable or not.
    #[must_use]
    pub fn end(&self) -> Lsn {
        let gathered = u64::try_from(self.gathered.len()).expect("a usize fits into 64 bits");
        self.active.written.advance(gathered)
    }

    /// Does the last frame, if any, vouch for everything before it?
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// Gathers a frame; returns the place directly behind it. Durable after [`Log::sync`].
    ///
    /// # Errors
    /// If the payload is too large, or the log is poisoned (which beginning a new segment may bring about).
    pub fn append(&mut self, payload: &[u8]) -> Result<Lsn, Error> {
        check_payload(payload)?;
        self.attempt(|log| {
            if !log.fits(frame_bytes(payload)) {
                log.begin_segment()?;
            }
            log.gather(Kind::Payload, payload);
            Ok(())
        })?;
        Ok(self.end())
    }

    /// Writes what is gathered and makes it durable.
    ///
    /// # Errors
    /// If the log is, or thereby becomes, poisoned.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.attempt(Log::write_and_sync)
    }

    /// Writes a frame that vouches for everything before it, and syncs it, unless the last frame does so already.
    /// Without it, damage of the last batch could not be told from a torn tail.
    ///
    /// # Errors
    /// If the log is, or thereby becomes, poisoned.
    pub fn mark(&mut self) -> Result<(), Error> {
        if self.marked {
            return Ok(());
        }
        self.attempt(|log| {
            log.write_and_sync()?;
            log.gather(Kind::Mark, &[]);
            log.write_and_sync()
        })
    }

    /// Creates the file of the next segment once the present one is half full, so that no batch waits for it.
    ///
    /// # Errors
    /// If the log is, or thereby becomes, poisoned.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.spare.is_some() || self.fits(self.segment_bytes / 2) {
            return Ok(());
        }
        self.attempt(|log| {
            log.spare = Some(log.segments.create_spare(log.segment_bytes)?);
            Ok(())
        })
    }

    /// Makes durable what is gathered and goes on in a new segment, unless this one is empty; returns where the one that
    /// is written to begins.
    ///
    /// # Errors
    /// If the log is, or thereby becomes, poisoned.
    pub fn seal(&mut self) -> Result<Lsn, Error> {
        self.attempt(|log| {
            if log.end() == log.active.base {
                return Ok(());
            }
            log.begin_segment()
        })?;
        Ok(self.active.base)
    }

    /// Removes the segments that lie entirely below `place`.
    ///
    /// # Errors
    /// If the log is, or thereby becomes, poisoned.
    pub fn release_below(&mut self, place: Lsn) -> Result<(), Error> {
        self.attempt(|log| log.segments.release_below(place))
    }

    /// Reads the durable frames from `from` on; see [`Reader`].
    ///
    /// # Errors
    /// If `from` has been released or lies behind everything durable.
    pub fn read_from(&self, from: Lsn) -> Result<Reader, Error> {
        Reader::new(Arc::clone(&self.segments), self.durable.clone(), from)
    }

    /// Does `work` unless the log is poisoned, and poisons it if the work fails.
    fn attempt(
        &mut self,
        work: impl FnOnce(&mut Log) -> Result<(), IoFailure>,
    ) -> Result<(), Error> {
        self.check_alive()?;
        if let Err(failure) = work(self) {
            self.durable.close(failure.into());
        }
        // Somebody else may have poisoned it meanwhile; then nothing counts that was done.
        self.check_alive()
    }

    fn check_alive(&self) -> Result<(), Error> {
        self.durable
            .closed()
            .map_or(Ok(()), |cause| Err(cause.into()))
    }

    /// Is there room for that many bytes in the segment? An empty one has room for any frame.
    fn fits(&self, bytes: u64) -> bool {
        let (base, end) = (self.active.base, self.end());
        end == base || file_offset(base, end).saturating_add(bytes) <= self.segment_bytes
    }

    fn gather(&mut self, kind: Kind, payload: &[u8]) {
        let frame = Frame {
            kind,
            durable_upto: self.durable.get(),
            position: self.end(),
            payload,
        };
        self.active.seal.encode(frame, &mut self.gathered);
        self.marked = kind == Kind::Mark;
    }

    fn write_and_sync(&mut self) -> Result<(), IoFailure> {
        let (base, written, end) = (self.active.base, self.active.written, self.end());
        if written == end {
            return Ok(());
        }
        let path = self.segments.path(base);
        let file = &self.active.file;
        file.write_all_at(&self.gathered, file_offset(base, written))
            .map_err(failed("write", &path))?;
        file.sync_data().map_err(failed("sync", &path))?;
        self.gathered.clear();
        self.gathered.shrink_to(BUFFER_BYTES);
        self.active.written = end;
        self.durable.advance(end);
        Ok(())
    }

    /// Goes on in a new segment, once everything before it is durable.
    fn begin_segment(&mut self) -> Result<(), IoFailure> {
        self.write_and_sync()?;
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.segments.create_spare(self.segment_bytes)?,
        };
        let header = Header {
            lineage: self.segments.lineage,
            id: self.active.id.next(),
            base: self.active.written,
            previous: self.active.base,
        };
        self.active = Active::install(&self.segments, spare, header, &[])?;
        self.marked = true;
        Ok(())
    }
}

impl Active {
    /// Makes a spare file the segment to write to; it begins with `frames`, sealed for it.
    pub(super) fn install(
        segments: &Segments,
        file: Box<dyn DiskFile>,
        header: Header,
        frames: &[u8],
    ) -> Result<Active, IoFailure> {
        segments.install(file.as_ref(), header, frames)?;
        let bytes = u64::try_from(frames.len()).expect("a usize fits into 64 bits");
        Ok(Active {
            file,
            seal: Seal::new(header.lineage, header.id),
            id: header.id,
            base: header.base,
            written: header.base.advance(bytes),
        })
    }
}

/// Is the payload within the limit?
pub(super) fn check_payload(payload: &[u8]) -> Result<(), Error> {
    let (bytes, limit) = (payload.len(), MAX_PAYLOAD_BYTES);
    if bytes > limit {
        return Err(Error::TooLarge { bytes, limit });
    }
    Ok(())
}

/// Size of a mark.
pub(super) fn mark_bytes() -> u64 {
    u64::try_from(FRAME_HEADER_BYTES).expect("a small constant")
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
