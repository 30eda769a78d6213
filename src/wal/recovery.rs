//! What happens before a log is used: its files are checked, its tail is cut where it is torn and written anew.
//!
//! **Invariants.** Nothing is reported before the tail has been read back, copied to a file with a new segment id and
//! synced with its directory: the page cache may show what an earlier, failed sync never brought to the disk. A crash
//! at any place in between leaves what was there, to be recovered again.

use std::path::Path;

use super::error::{Error, failed};
use super::frame::{Frame, Kind, Seal};
use super::log::Active;
use super::segment::{
    FORMAT_VERSION, Header, HeaderError, SEGMENT_HEADER_BYTES, SegmentId, file_offset,
    parse_file_name,
};
use super::segments::{Segment, Segments, TEMPORARY_ENDING};
use super::tail::{self, Damage};
use crate::base::codec::DecodeError;
use crate::base::{Lsn, disk};

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The oldest place that can be read.
    pub first: Lsn,
    /// The end of the log. Everything below it is durable.
    pub end: Lsn,
    /// How many bytes of a torn tail were discarded; none of them had been reported durable.
    pub cut_bytes: u64,
    /// There was no log; an empty one has been created.
    pub created: bool,
}

/// Makes the log ready for writing, unless it has lost something below `known`.
pub(super) fn recover(
    segments: &Segments,
    segment_bytes: u64,
    known: Lsn,
) -> Result<(Active, Recovery), Error> {
    let found = read_headers(segments, clean_dir(segments)?)?;
    check_chain(segments, &found)?;
    let rebuilt = match found.last() {
        Some(last) => rebuild_tail(segments, *last, known)?,
        None => Rebuilt::empty_log(segments, known)?,
    };
    let spare = segments.create_spare(segment_bytes)?;
    let id = found.iter().map(|header| header.id).max();
    let header = Header {
        id: id.map_or(SegmentId(1), SegmentId::next),
        ..rebuilt.header
    };
    let mut frames = rebuilt.frames;
    tail::reseal(&Seal::new(header.lineage, header.id), &mut frames);
    let active = Active::install(segments, spare, header, &frames)?;
    let recovery = Recovery {
        first: segments.first(),
        end: active.written,
        cut_bytes: rebuilt.cut_bytes,
        created: found.is_empty(),
    };
    Ok((active, recovery))
}

/// Removes what an earlier attempt left unfinished; returns where the segments begin, in order.
fn clean_dir(segments: &Segments) -> Result<Vec<Lsn>, Error> {
    let (disk, dir) = (&segments.disk, &segments.dir);
    disk.create_dir(dir).map_err(failed("create", dir))?;
    let names = disk.list(dir).map_err(failed("list", dir))?;
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY_ENDING)) {
        let path = dir.join(name);
        disk.remove(&path).map_err(failed("remove", &path))?;
    }
    Ok(names
        .iter()
        .filter_map(|name| parse_file_name(name))
        .collect())
}

fn read_headers(segments: &Segments, bases: Vec<Lsn>) -> Result<Vec<Header>, Error> {
    bases
        .into_iter()
        .map(|base| read_header(segments, base))
        .collect()
}

/// Reads the head of one segment and takes note of the segment.
pub(super) fn read_header(segments: &Segments, base: Lsn) -> Result<Header, Error> {
    let path = segments.path(base);
    let file = segments.disk.open(&path).map_err(failed("open", &path))?;
    let bytes = file.size().map_err(failed("measure", &path))?;
    let mut start = [0; SEGMENT_HEADER_BYTES];
    let there = usize::try_from(bytes).map_or(SEGMENT_HEADER_BYTES, |bytes| bytes.min(start.len()));
    let start = start
        .get_mut(..there)
        .expect("no longer than the whole header");
    file.read_exact_at(start, 0)
        .map_err(failed("read", &path))?;
    let header = Header::decode(start).map_err(|error| unreadable(&path, base, error))?;
    if header.lineage != segments.lineage {
        let (found, expected) = (header.lineage, segments.lineage);
        return Err(Error::OtherLineage {
            path,
            found,
            expected,
        });
    }
    if header.base != base {
        let (field, value) = ("segment base", header.base.0);
        let error = HeaderError::Damaged(DecodeError::Invalid { field, value });
        return Err(unreadable(&path, base, error));
    }
    let id = header.id;
    segments.insert(base, Segment { id, bytes });
    Ok(header)
}

fn unreadable(path: &Path, base: Lsn, error: HeaderError) -> Error {
    let path = path.to_owned();
    match error {
        HeaderError::Magic => Error::NotASegment { path },
        HeaderError::Newer(found) => Error::NewerVersion {
            path,
            found,
            supported: FORMAT_VERSION,
        },
        HeaderError::Damaged(source) => Error::Corrupt {
            path,
            offset: 0,
            lsn: base,
            durable: base,
            source,
        },
    }
}

/// Each segment but the first must follow the one it names.
pub(super) fn check_chain(segments: &Segments, found: &[Header]) -> Result<(), Error> {
    for (one, next) in found.iter().zip(found.iter().skip(1)) {
        if next.previous != one.base {
            return Err(Error::MissingSegment {
                path: segments.path(next.previous),
                next: segments.path(next.base),
            });
        }
    }
    Ok(())
}

/// What the last segment is to hold.
struct Rebuilt {
    header: Header,
    frames: Vec<u8>,
    cut_bytes: u64,
}

impl Rebuilt {
    fn empty_log(segments: &Segments, known: Lsn) -> Result<Rebuilt, Error> {
        if known > Lsn::ZERO {
            let (asked, durable) = (known, Lsn::ZERO);
            return Err(Error::Beyond { asked, durable });
        }
        let header = Header {
            lineage: segments.lineage,
            id: SegmentId(0),
            base: Lsn::ZERO,
            previous: Lsn::ZERO,
        };
        Ok(Rebuilt {
            header,
            frames: Vec::new(),
            cut_bytes: 0,
        })
    }
}

/// Reads the last segment; its valid frames, and a mark that vouches for them, are what remains.
fn rebuild_tail(segments: &Segments, header: Header, known: Lsn) -> Result<Rebuilt, Error> {
    let (path, base) = (segments.path(header.base), header.base);
    let mut frames =
        disk::read_all(segments.disk.as_ref(), &path).map_err(failed("read", &path))?;
    frames.drain(..SEGMENT_HEADER_BYTES.min(frames.len()));
    let seal = Seal::new(header.lineage, header.id);
    let tail = tail::examine(&seal, base, known, &frames)
        .map_err(|damage| damaged(&path, base, damage))?;
    let valid = usize::try_from(tail.end.bytes_since(base)).expect("the frames are in memory");
    frames.truncate(valid);
    if !tail.marked {
        let mark = Frame {
            kind: Kind::Mark,
            durable_upto: tail.end,
            position: tail.end,
            payload: &[],
        };
        seal.encode(mark, &mut frames);
    }
    Ok(Rebuilt {
        header,
        frames,
        cut_bytes: tail.torn_bytes,
    })
}

pub(super) fn damaged(path: &Path, base: Lsn, damage: Damage) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        offset: file_offset(base, damage.at),
        lsn: damage.at,
        durable: damage.durable,
        source: damage.error,
    }
}
