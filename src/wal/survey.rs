//! Looking at a log that nobody uses: all of it, segment by segment, whatever is damaged.
//!
//! **Invariants.** Nothing is written, and nothing is cut. What is found in one segment does not keep the others from
//! being read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Error, IoFailure, failed};
use super::frame::{FRAME_HEADER_BYTES, Kind, Seal, frame_bytes};
use super::recovery::{check_chain, damaged, read_header};
use super::segment::{Header, SEGMENT_HEADER_BYTES, file_offset, parse_file_name};
use super::segments::Segments;
use super::tail;
use crate::base::codec::DecodeError;
use crate::base::disk::{self, Disk};
use crate::base::{LineageId, Lsn};

/// A log as its files' names and heads tell it.
#[derive(Debug)]
pub struct Survey {
    segments: Arc<Segments>,
    /// Of the files whose heads can be read, oldest first; each with where the next file begins.
    headers: Vec<(Header, Option<Lsn>)>,
    /// What is wrong with heads, and where segments are missing.
    findings: Vec<Error>,
}

/// What one segment file holds.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// Its own number, different for each file of a log.
    pub id: u64,
    /// Where its first frame begins.
    pub base: Lsn,
    /// Behind its last valid frame.
    pub end: Lsn,
    /// Is it the one that was written to last?
    pub is_last: bool,
    /// Size of the file, reserved space included.
    pub bytes: u64,
    /// All frames up to the first that is not valid.
    pub frames: Vec<Frame>,
    /// Bytes behind the last valid frame that a start would cut.
    pub torn_bytes: u64,
    /// Why the frames end before they should.
    pub damage: Option<Error>,
}

/// A valid frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins.
    pub begin: Lsn,
    /// Directly behind it.
    pub end: Lsn,
    /// Where in its file it begins.
    pub offset: u64,
    /// Everything before this place was durable when it was written.
    pub durable_upto: Lsn,
    /// What was appended; `None` for a mark.
    pub payload: Option<Bytes>,
}

impl Survey {
    /// Reads the heads of all segments in `dir`.
    ///
    /// # Errors
    /// If the directory cannot be listed. Whatever is wrong with its files is a [finding](Self::findings).
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, lineage: LineageId) -> Result<Survey, IoFailure> {
        let names = disk.list(dir).map_err(failed("list", dir))?;
        let bases: Vec<Lsn> = names
            .iter()
            .filter_map(|name| parse_file_name(name))
            .collect();
        let segments = Arc::new(Segments::new(disk, dir, lineage));
        let (mut headers, mut findings) = (Vec::new(), Vec::new());
        let next = bases.iter().skip(1).copied().map(Some).chain([None]);
        for (base, next) in bases.iter().zip(next) {
            match read_header(&segments, *base) {
                Ok(header) => headers.push((header, next)),
                Err(error) => findings.push(error),
            }
        }
        // A segment whose head is lost is a finding already; that its neighbours miss it is none of its own.
        if findings.is_empty() {
            let chain: Vec<Header> = headers.iter().map(|(header, _)| *header).collect();
            findings.extend(check_chain(&segments, &chain).err());
        }
        Ok(Survey {
            segments,
            headers,
            findings,
        })
    }

    /// What is wrong with heads of segments, and which segments are missing.
    #[must_use]
    pub fn findings(&self) -> &[Error] {
        &self.findings
    }

    /// Where the log begins; `None` if it has no segment.
    #[must_use]
    pub fn first(&self) -> Option<Lsn> {
        self.headers.first().map(|(header, _)| header.base)
    }

    /// Reads the segments, oldest first, each when it is asked for. The log is known to have been durable up to `known`.
    pub fn segments(&self, known: Lsn) -> impl Iterator<Item = Result<Segment, Error>> + '_ {
        let segment =
            move |(header, next): &(Header, Option<Lsn>)| self.segment(*header, *next, known);
        self.headers.iter().map(segment)
    }

    fn segment(&self, header: Header, next: Option<Lsn>, known: Lsn) -> Result<Segment, Error> {
        let path = self.segments.path(header.base);
        let file = disk::read_all(self.segments.disk.as_ref(), &path);
        let file = Bytes::from(file.map_err(failed("read", &path))?);
        let seal = Seal::new(header.lineage, header.id);
        let body = file.slice(SEGMENT_HEADER_BYTES.min(file.len())..);
        let frames = frames(&seal, header.base, &body);
        let end = frames.last().map_or(header.base, |last| last.end);
        // All of a segment was durable before the next one got its name.
        let known = next.unwrap_or(known);
        let (torn_bytes, damage) = match tail::examine(&seal, header.base, known, &body) {
            Ok(_) if next.is_some_and(|next| end > next) => {
                let (field, value) = ("segment end", end.0);
                let error = DecodeError::Invalid { field, value };
                let damage = tail::Damage {
                    at: next.unwrap_or(end),
                    durable: end,
                    error,
                };
                (0, Some(damaged(&path, header.base, damage)))
            }
            Ok(tail) => (tail.torn_bytes, None),
            Err(damage) => (0, Some(damaged(&path, header.base, damage))),
        };
        Ok(Segment {
            id: header.id.0,
            base: header.base,
            end,
            is_last: next.is_none(),
            bytes: u64::try_from(file.len()).expect("a usize fits into 64 bits"),
            frames,
            torn_bytes,
            damage,
            path,
        })
    }
}

/// The valid frames at the front of a segment's body.
fn frames(seal: &Seal, base: Lsn, body: &Bytes) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut place, mut at) = (base, 0);
    while let Some(Ok(frame)) = body.get(at..).map(|rest| seal.decode(place, rest)) {
        let begin = at + FRAME_HEADER_BYTES;
        at = begin + frame.payload.len();
        let end = place.advance(frame_bytes(frame.payload));
        frames.push(Frame {
            begin: place,
            end,
            offset: file_offset(base, place),
            durable_upto: frame.durable_upto,
            payload: (frame.kind == Kind::Payload).then(|| body.slice(begin..at)),
        });
        place = end;
    }
    frames
}

#[cfg(test)]
#[path = "survey_test.rs"]
mod tests;
