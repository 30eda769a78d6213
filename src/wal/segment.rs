//! Pure: the head of a segment file.
//!
//! ```text
//! offset  size  field
//!      0     8  magic "SFASTWAL"
//!      8     4  format version: 1
//!     12    16  lineage
//!     28     8  segment id: each file of a log has its own
//!     36     8  base: the position of the first frame; everything before it was durable when the file got its name
//!     44     8  base of the segment before; the own base in a log's first
//!     52     4  CRC-32 of all before
//!     56        frames, without gaps; behind the last one whatever the file system gave
//! ```
//! The file's name is its base in 16 hexadecimal digits, with the ending `.wal`. A frame at position `p` stands at offset
//! `56 + p - base`.

use bytes::BufMut;

use crate::base::codec::{self, DecodeError, Reader};
use crate::base::{LineageId, Lsn};

/// Size of the head.
pub(super) const SEGMENT_HEADER_BYTES: usize = 56;
/// The format written here, and the latest that can be read.
pub(super) const FORMAT_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"SFASTWAL";
const ENDING: &str = ".wal";

/// Names one segment file of a log for ever, also when another has taken its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId(pub(super) u64);

impl SegmentId {
    pub(super) fn next(self) -> SegmentId {
        SegmentId(self.0 + 1)
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) lineage: LineageId,
    pub(super) id: SegmentId,
    pub(super) base: Lsn,
    pub(super) previous: Lsn,
}

/// Why bytes are not the head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeaderError {
    Magic,
    Newer(u32),
    Damaged(DecodeError),
}

impl From<DecodeError> for HeaderError {
    fn from(error: DecodeError) -> Self {
        HeaderError::Damaged(error)
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u128_le(self.lineage.0);
        out.put_u64_le(self.id.0);
        out.put_u64_le(self.base.0);
        out.put_u64_le(self.previous.0);
        codec::put_checksum(&mut out, 0);
        out
    }

    /// Magic and version come before the checksum, so that a later format may have another layout.
    pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut start = Reader::new(bytes);
        if start.bytes("segment magic", MAGIC.len())? != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = start.u32("segment version")?;
        if version > FORMAT_VERSION {
            return Err(HeaderError::Newer(version));
        }
        let whole = Reader::new(bytes).bytes("segment header", SEGMENT_HEADER_BYTES)?;
        codec::check_checksum("segment header", whole)?;
        let lineage = LineageId(start.u128("segment lineage")?);
        let id = SegmentId(start.u64("segment id")?);
        if id == SegmentId(u64::MAX) {
            // No other could follow it.
            let (field, value) = ("segment id", id.0);
            return Err(DecodeError::Invalid { field, value }.into());
        }
        Ok(Header {
            lineage,
            id,
            base: Lsn(start.u64("segment base")?),
            previous: Lsn(start.u64("segment before")?),
        })
    }
}

/// The name of the segment that begins at `base`.
pub(super) fn file_name(base: Lsn) -> String {
    format!("{:016x}{ENDING}", base.0)
}

/// Where the segment of this name begins; `None` for the names of other files.
pub(super) fn parse_file_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(ENDING)?;
    let base = Lsn(u64::from_str_radix(digits, 16).ok()?);
    (file_name(base) == name).then_some(base)
}

/// Where in its file the byte at `position` stands.
pub(super) fn file_offset(base: Lsn, position: Lsn) -> u64 {
    u64::try_from(SEGMENT_HEADER_BYTES).expect("a small constant") + position.bytes_since(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            lineage: LineageId(0x0102),
            id: SegmentId(5),
            base: Lsn(0x30),
            previous: Lsn(0x10),
        }
    }

    #[test]
    fn a_header_reads_back() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Ok(header()));
    }

    #[test]
    fn magic_version_and_damage_are_told_apart() {
        let bytes = header().encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Header::decode(&bytes)
        };
        assert_eq!(with(0, b'x'), Err(HeaderError::Magic));
        assert_eq!(with(8, 2), Err(HeaderError::Newer(2)));
        for (at, byte) in bytes.iter().enumerate().skip(12) {
            let damaged = with(at, !byte);
            assert!(matches!(damaged, Err(HeaderError::Damaged(_))), "{at}");
        }
        for len in 0..SEGMENT_HEADER_BYTES {
            let cut = Header::decode(&bytes[..len]);
            assert!(matches!(cut, Err(HeaderError::Damaged(_))), "{len}");
        }
    }

    #[test]
    fn an_id_that_none_can_follow_is_damage() {
        let with_id = |id| Header {
            id: SegmentId(id),
            ..header()
        };
        let last = with_id(u64::MAX - 1);
        assert_eq!(Header::decode(&last.encode()), Ok(last));
        let refused = Header::decode(&with_id(u64::MAX).encode());
        let (field, value) = ("segment id", u64::MAX);
        let expected = DecodeError::Invalid { field, value };
        assert_eq!(refused, Err(HeaderError::Damaged(expected)));
    }

    #[test]
    fn only_names_that_are_written_here_are_segments() {
        assert_eq!(
            parse_file_name(&file_name(Lsn(0xab_cdef))),
            Some(Lsn(0xab_cdef))
        );
        for other in [
            "spare.tmp",
            "LOCK",
            "0.wal",
            "00000000000000AB.wal",
            "000000000000000+.wal",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
