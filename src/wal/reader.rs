//! Reading the durable part of the log, from any frame on, while it is being written.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::error::{Error, Poisoned, failed};
use super::frame::{FRAME_HEADER_BYTES, Kind, Seal, claimed_bytes};
use super::segment::file_offset;
use super::segments::{Segments, Span};
use crate::base::codec::DecodeError;
use crate::base::disk::DiskFile;
use crate::base::{Lsn, Watermark};

/// How much is read from a segment at a time, unless a frame is longer.
const WINDOW_BYTES: u64 = 256 << 10;

/// A payload and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its frame begins.
    pub begin: Lsn,
    /// Directly behind its frame.
    pub end: Lsn,
    /// What was appended.
    pub payload: Bytes,
}

/// Iterates over the payloads of the durable part of the log, in order.
///
/// It ends where the log is durable at that moment; asked again later, it goes on with what has become durable since. To
/// follow the log, wait until it is durable beyond [`Reader::position`] and ask again. After an error it has ended.
#[derive(Debug)]
pub struct Reader {
    segments: Arc<Segments>,
    durable: Watermark<Lsn, Poisoned>,
    place: Lsn,
    /// Up to where the log was durable when last asked.
    upto: Lsn,
    open: Option<OpenSegment>,
    /// Bytes of the segment from `place` on.
    window: Bytes,
    failed: bool,
}

#[derive(Debug)]
struct OpenSegment {
    span: Span,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    seal: Seal,
}

impl Reader {
    pub(super) fn new(
        segments: Arc<Segments>,
        durable: Watermark<Lsn, Poisoned>,
        from: Lsn,
    ) -> Result<Reader, Error> {
        let (first, upto) = (segments.first(), durable.get());
        if from < first {
            return Err(Error::Released { asked: from, first });
        }
        if from > upto {
            let (asked, durable) = (from, upto);
            return Err(Error::Beyond { asked, durable });
        }
        Ok(Reader {
            segments,
            durable,
            place: from,
            upto,
            open: None,
            window: Bytes::new(),
            failed: false,
        })
    }

    /// Up to where everything has been read: behind the last payload, and behind whatever followed it that is none.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.place
    }

    /// Goes on at `place`, where a frame begins, if that lies ahead.
    pub fn skip_to(&mut self, place: Lsn) {
        let skipped = place.bytes_since(self.place);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.window.advance(skipped.min(self.window.len()));
        self.place = self.place.max(place);
    }

    /// Is there anything durable left to be read?
    fn has_more(&mut self) -> bool {
        if self.place >= self.upto {
            self.upto = self.durable.get();
        }
        self.place < self.upto && !self.failed
    }

    /// Reads one frame; `None` if it carries no payload.
    fn step(&mut self) -> Result<Option<Entry>, Error> {
        if self.window.len() < FRAME_HEADER_BYTES {
            self.refill(WINDOW_BYTES)?;
        }
        let bytes = claimed_bytes(&self.window).map_err(|error| self.damaged(error))?;
        if self.window.len() < bytes {
            self.refill(u64::try_from(bytes).expect("a usize fits into 64 bits"))?;
        }
        let kind = self.decode()?;
        let frame = self.window.split_to(bytes);
        let begin = self.place;
        self.place = begin.advance(u64::try_from(bytes).expect("a usize fits into 64 bits"));
        Ok((kind == Kind::Payload).then(|| Entry {
            begin,
            end: self.place,
            payload: frame.slice(FRAME_HEADER_BYTES..),
        }))
    }

    fn decode(&self) -> Result<Kind, Error> {
        let open = self
            .open
            .as_ref()
            .expect("the window came from an open segment");
        let frame = open.seal.decode(self.place, &self.window);
        Ok(frame.map_err(|error| self.damaged(error))?.kind)
    }

    /// Reads at least `bytes` bytes from the present place on, or as many as there are up to the end of what may be read.
    fn refill(&mut self, bytes: u64) -> Result<(), Error> {
        let (place, upto) = (self.place, self.upto);
        let open = self.open_segment()?;
        let end = open.span.end.map_or(upto, |end| end.min(upto));
        let wanted = bytes.max(WINDOW_BYTES).min(end.bytes_since(place));
        let offset = file_offset(open.span.base, place);
        let left = open
            .file
            .size()
            .map_err(failed("measure", &open.path))?
            .saturating_sub(offset);
        let mut window = vec![0; usize::try_from(wanted.min(left)).unwrap_or(usize::MAX)];
        open.file
            .read_exact_at(&mut window, offset)
            .map_err(failed("read", &open.path))?;
        self.window = Bytes::from(window);
        Ok(())
    }

    /// The segment that holds the present place.
    fn open_segment(&mut self) -> Result<&OpenSegment, Error> {
        let span = self.locate()?;
        let open = match self.open.take() {
            Some(open) if open.span.base == span.base => OpenSegment { span, ..open },
            _ => self.open_file(span)?,
        };
        Ok(self.open.insert(open))
    }

    fn open_file(&self, span: Span) -> Result<OpenSegment, Error> {
        let path = self.segments.path(span.base);
        let opened = self.segments.disk.open(&path);
        if opened.is_err() {
            // It may have been released between looking and opening; that is the better reason then.
            self.locate()?;
        }
        Ok(OpenSegment {
            span,
            file: opened.map_err(failed("open", &path))?,
            path,
            seal: Seal::new(self.segments.lineage, span.id),
        })
    }

    fn locate(&self) -> Result<Span, Error> {
        self.segments.locate(self.place).ok_or(Error::Released {
            asked: self.place,
            first: self.segments.first(),
        })
    }

    fn damaged(&self, source: DecodeError) -> Error {
        let open = self
            .open
            .as_ref()
            .expect("the window came from an open segment");
        Error::Corrupt {
            path: open.path.clone(),
            offset: file_offset(open.span.base, self.place),
            lsn: self.place,
            durable: open.span.end.unwrap_or(self.upto),
            source,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.has_more() {
            match self.step() {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
