//! Pure: the frame, the unit of the log, and the seal that ties it to its place.
//!
//! ```text
//! offset  size  field
//!      0     4  length of the payload
//!      4     4  CRC-32 of lineage (16), segment id (8), length (4) and everything behind this field
//!      8     1  kind: 1 payload, 2 mark (no payload)
//!      9     8  durable_upto: everything before this position was synced when the frame was written
//!     17     8  position of the frame
//!     25     n  payload
//! ```

use bytes::BufMut;

use super::MAX_PAYLOAD_BYTES;
use super::segment::SegmentId;
use crate::base::codec::{DecodeError, Reader};
use crate::base::{LineageId, Lsn};

/// Bytes of a frame in front of its payload, and so the size of a mark.
pub(super) const FRAME_HEADER_BYTES: usize = 25;
/// Of these, the ones that the checksum covers directly.
const COVERED_HEADER_BYTES: usize = FRAME_HEADER_BYTES - 8;

/// Size of the frame around a payload.
#[must_use]
pub fn frame_bytes(payload: &[u8]) -> u64 {
    u64::try_from(FRAME_HEADER_BYTES + payload.len()).expect("a usize fits into 64 bits")
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Carries a payload.
    Payload,
    /// Only says that everything before it is durable.
    Mark,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Payload => 1,
            Kind::Mark => 2,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        [Kind::Payload, Kind::Mark]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A frame as found in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it is for.
    pub(super) kind: Kind,
    /// Everything before this place was durable when the frame was written.
    pub(super) durable_upto: Lsn,
    /// Where it begins.
    pub(super) position: Lsn,
    /// What it carries; empty in a mark.
    pub(super) payload: &'a [u8],
}

/// Computes the checksums of one segment's frames. A frame of another segment or lineage does not pass.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    start: crc32fast::Hasher,
}

impl Seal {
    pub(super) fn new(lineage: LineageId, segment: SegmentId) -> Seal {
        let mut start = crc32fast::Hasher::new();
        start.update(&lineage.0.to_le_bytes());
        start.update(&segment.0.to_le_bytes());
        Seal { start }
    }

    fn checksum(&self, length: [u8; 4], covered: &[u8]) -> u32 {
        let mut hasher = self.start.clone();
        hasher.update(&length);
        hasher.update(covered);
        hasher.finalize()
    }

    /// Appends an encoded frame to `out`.
    pub(super) fn encode(&self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let length = u32::try_from(frame.payload.len()).expect("append bounds every payload");
        let begin = out.len();
        out.put_u32_le(length);
        out.put_u32_le(0);
        out.put_u8(frame.kind.code());
        out.put_u64_le(frame.durable_upto.0);
        out.put_u64_le(frame.position.0);
        out.put_slice(frame.payload);
        self.seal(out.get_mut(begin..).expect("the frame was just appended"));
    }

    /// Sets the checksum of one encoded frame, whatever segment it was sealed for before.
    pub(super) fn seal(&self, frame: &mut [u8]) {
        let (length, rest) = frame
            .split_first_chunk_mut::<4>()
            .expect("an encoded frame is longer than its header");
        let (checksum, covered) = rest
            .split_first_chunk_mut::<4>()
            .expect("an encoded frame is longer than its header");
        *checksum = self.checksum(*length, covered).to_le_bytes();
    }

    /// Reads the frame at the front of `bytes`, which must stand at `position`.
    pub(super) fn decode<'a>(
        &self,
        position: Lsn,
        bytes: &'a [u8],
    ) -> Result<Frame<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let length = reader.array::<4>("frame length")?;
        let found = reader.u32("frame checksum")?;
        let covered = reader.bytes("frame", COVERED_HEADER_BYTES + payload_len(length)?)?;
        let computed = self.checksum(length, covered);
        if found != computed {
            let field = "frame";
            return Err(DecodeError::Checksum {
                field,
                found,
                computed,
            });
        }
        decode_covered(position, covered)
    }
}

fn decode_covered(position: Lsn, covered: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let mut reader = Reader::new(covered);
    let code = reader.u8("frame kind")?;
    let kind = Kind::from_code(code).ok_or_else(|| invalid("frame kind", u64::from(code)))?;
    let durable_upto = Lsn(reader.u64("frame durable_upto")?);
    let found = Lsn(reader.u64("frame position")?);
    if found != position {
        return Err(invalid("frame position", found.0));
    }
    if durable_upto > position {
        return Err(invalid("frame durable_upto", durable_upto.0));
    }
    let payload = reader.rest();
    Ok(Frame {
        kind,
        durable_upto,
        position,
        payload,
    })
}

/// The size of the frame at the front of `bytes` by its length field; no more than a claim until it is decoded.
pub(super) fn claimed_bytes(bytes: &[u8]) -> Result<usize, DecodeError> {
    let length = Reader::new(bytes).array::<4>("frame length")?;
    Ok(FRAME_HEADER_BYTES + payload_len(length)?)
}

fn payload_len(length: [u8; 4]) -> Result<usize, DecodeError> {
    let length = u32::from_le_bytes(length);
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_PAYLOAD_BYTES)
        .ok_or_else(|| invalid("frame length", u64::from(length)))
}

fn invalid(field: &'static str, value: u64) -> DecodeError {
    DecodeError::Invalid { field, value }
}

/// Could a frame of this `position` begin with `header`? Cheap, so that it can be asked at every byte.
pub(super) fn may_begin(position: Lsn, header: &[u8]) -> bool {
    header
        .get(8)
        .is_some_and(|code| Kind::from_code(*code).is_some())
        && header.get(17..FRAME_HEADER_BYTES) == Some(&position.0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEAL_OF: (LineageId, SegmentId) = (LineageId(7), SegmentId(3));

    fn encoded(position: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let frame = Frame {
            kind: Kind::Payload,
            durable_upto: Lsn(position / 2),
            position: Lsn(position),
            payload,
        };
        Seal::new(SEAL_OF.0, SEAL_OF.1).encode(frame, &mut out);
        out
    }

    #[test]
    fn a_frame_of_another_segment_lineage_or_place_does_not_pass() {
        let bytes = encoded(100, b"payload");
        let decode = |lineage, segment, at| {
            Seal::new(LineageId(lineage), SegmentId(segment))
                .decode(Lsn(at), &bytes)
                .map(|frame| frame.payload)
        };
        assert_eq!(decode(7, 3, 100), Ok(b"payload".as_slice()));
        assert!(decode(8, 3, 100).is_err());
        assert!(decode(7, 4, 100).is_err());
        assert_eq!(decode(7, 3, 101), Err(invalid("frame position", 100)));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        let mut bytes = encoded(0, b"");
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let expected = Err(invalid("frame length", u64::from(u32::MAX)));
        assert_eq!(
            Seal::new(SEAL_OF.0, SEAL_OF.1).decode(Lsn(0), &bytes),
            expected
        );
        assert_eq!(claimed_bytes(&bytes).map(|_| ()), expected.map(|_| ()));
    }

    #[test]
    fn zeros_are_no_frame() {
        let seal = Seal::new(LineageId(0), SegmentId(0));
        assert!(seal.decode(Lsn(0), &[0; 64]).is_err());
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_any_flipped_bit_is_found(payload: Vec<u8>, position: u64, at: prop::sample::Index, bit in 0..8u8) {
            let seal = Seal::new(SEAL_OF.0, SEAL_OF.1);
            let mut bytes = encoded(position, &payload);
            prop_assert_eq!(bytes.len(), claimed_bytes(&bytes).unwrap());
            prop_assert!(may_begin(Lsn(position), &bytes));
            prop_assert_eq!(seal.decode(Lsn(position), &bytes).unwrap().payload, payload.as_slice());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(seal.decode(Lsn(position), &bytes).is_err());
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>, position: u64) {
            let seal = Seal::new(SEAL_OF.0, SEAL_OF.1);
            prop_assert!(seal.decode(Lsn(position), &bytes).is_err());
        }
    }
}
