//! Pure: what is left of the last segment after a crash.
//!
//! Pages that were not synced reach the disk in any order, so a valid frame behind an invalid one proves nothing by
//! itself. What it says was durable does: invalid bytes below the highest such mark are damage, above it a torn tail.

use super::frame::{FRAME_HEADER_BYTES, Frame, Kind, Seal, claimed_bytes, frame_bytes, may_begin};
use crate::base::Lsn;
use crate::base::codec::DecodeError;

/// The valid beginning of a tail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Behind the last valid frame.
    pub(super) end: Lsn,
    /// Is the last valid frame one that vouches for all before it, or is there none?
    pub(super) marked: bool,
    /// How many bytes behind `end` were written and are to be cut.
    pub(super) torn_bytes: u64,
}

/// Damage below a durable mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where the first invalid frame begins.
    pub(super) at: Lsn,
    /// Up to which place the log was durable.
    pub(super) durable: Lsn,
    /// What is wrong with it.
    pub(super) error: DecodeError,
}

/// Reads the frames of the last segment, which begins at `base`. The log is known to have been durable up to `known` at
/// least, and up to whatever the frames say.
pub(super) fn examine(seal: &Seal, base: Lsn, known: Lsn, frames: &[u8]) -> Result<Tail, Damage> {
    let mut tail = Tail {
        end: base,
        marked: true,
        torn_bytes: 0,
    };
    let mut rest = frames;
    let error = loop {
        match seal.decode(tail.end, rest) {
            Ok(frame) => {
                tail.end = tail.end.advance(frame_bytes(frame.payload));
                tail.marked = vouches_for_all_before(frame);
                rest = behind(frame, rest);
            }
            Err(error) => break error,
        }
    };
    let torn = written_bytes(rest);
    let durable = highest_mark(seal, tail.end, rest, torn).max(known);
    if durable > tail.end {
        return Err(Damage {
            at: tail.end,
            durable,
            error,
        });
    }
    tail.torn_bytes = u64::try_from(torn).expect("a usize fits into 64 bits");
    Ok(tail)
}

fn vouches_for_all_before(frame: Frame<'_>) -> bool {
    frame.kind == Kind::Mark && frame.durable_upto == frame.position
}

fn behind<'a>(frame: Frame<'_>, bytes: &'a [u8]) -> &'a [u8] {
    bytes
        .get(FRAME_HEADER_BYTES + frame.payload.len()..)
        .unwrap_or_default()
}

/// How many bytes there are up to the last that is not zero, as space that was only reserved is.
fn written_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// The highest durable place named by a valid frame that begins, anywhere, in the first `written` of `bytes`.
fn highest_mark(seal: &Seal, start: Lsn, bytes: &[u8], written: usize) -> Lsn {
    let mut highest = Lsn::ZERO;
    let mut position = start;
    let mut rest = bytes;
    for _ in 0..written {
        if may_begin(position, rest)
            && let Ok(frame) = seal.decode(position, rest)
        {
            highest = highest.max(frame.durable_upto);
        }
        position = position.advance(1);
        rest = rest.get(1..).unwrap_or_default();
    }
    highest
}

/// Seals the frames in `bytes`, all of which are valid, for another segment.
pub(super) fn reseal(seal: &Seal, mut bytes: &mut [u8]) {
    while let Ok(frame) = claimed_bytes(bytes) {
        let Some((front, rest)) = bytes.split_at_mut_checked(frame) else {
            return;
        };
        seal.seal(front);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LineageId;
    use crate::wal::segment::SegmentId;

    const BASE: Lsn = Lsn(1000);

    fn seal(id: u64) -> Seal {
        Seal::new(LineageId(1), SegmentId(id))
    }

    /// Frames of these payloads, each saying that all before the position beside it was durable.
    fn frames(contents: &[(&[u8], Lsn)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (payload, durable_upto) in contents {
            let frame = Frame {
                kind: Kind::Payload,
                durable_upto: *durable_upto,
                position: BASE.advance(out.len() as u64),
                payload,
            };
            seal(1).encode(frame, &mut out);
        }
        out
    }

    #[test]
    fn reserved_space_behind_the_last_frame_is_not_torn() {
        let mut bytes = frames(&[(b"one", BASE), (b"zeros\0\0", BASE)]);
        let end = BASE.advance(bytes.len() as u64);
        bytes.resize(4096, 0);
        let expected = Tail {
            end,
            marked: false,
            torn_bytes: 0,
        };
        assert_eq!(examine(&seal(1), BASE, BASE, &bytes), Ok(expected));
    }

    #[test]
    fn a_torn_tail_is_cut_even_where_a_later_frame_is_valid() {
        let bytes = frames(&[(b"one", BASE), (b"two", BASE), (b"three\0", BASE)]);
        for torn_at in 28..56 {
            let mut torn = bytes.clone();
            torn[torn_at] ^= 0x40;
            let tail = examine(&seal(1), BASE, BASE, &torn).unwrap();
            assert_eq!((tail.end, tail.torn_bytes), (BASE.advance(28), 28 + 30));
        }
    }

    #[test]
    fn damage_below_a_later_durable_mark_is_refused() {
        let durable = BASE.advance(56);
        let bytes = frames(&[(b"one", BASE), (b"two", BASE), (b"three\0", durable)]);
        for flipped in 28..56 {
            let mut damaged = bytes.clone();
            damaged[flipped] ^= 0x40;
            let damage = examine(&seal(1), BASE, BASE, &damaged).unwrap_err();
            assert_eq!((damage.at, damage.durable), (BASE.advance(28), durable));
        }
    }

    #[test]
    fn an_end_below_what_is_known_to_be_durable_is_damage() {
        let bytes = frames(&[(b"one", BASE)]);
        let end = BASE.advance(28);
        assert_eq!(examine(&seal(1), BASE, end, &bytes).unwrap().end, end);
        let damage = examine(&seal(1), BASE, end.advance(1), &bytes).unwrap_err();
        assert_eq!((damage.at, damage.durable), (end, end.advance(1)));
    }

    #[test]
    fn frames_of_another_segment_end_the_log() {
        let bytes = frames(&[(b"stale", BASE)]);
        let tail = examine(&seal(2), BASE, BASE, &bytes).unwrap();
        assert_eq!((tail.end, tail.torn_bytes), (BASE, 30));
    }

    #[test]
    fn resealed_frames_are_those_of_the_other_segment() {
        let mut bytes = frames(&[(b"one", BASE), (b"", BASE)]);
        reseal(&seal(2), &mut bytes);
        let end = BASE.advance(bytes.len() as u64);
        assert_eq!(examine(&seal(2), BASE, BASE, &bytes).unwrap().end, end);
        assert_eq!(examine(&seal(1), BASE, BASE, &bytes).unwrap().end, BASE);
    }
}
