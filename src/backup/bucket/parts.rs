//! Pure: into how many parts an upload is cut, and how many of them are under way at once.
//!
//! Parts of S3 are requests, so they are large. What goes into a directory goes in small pieces, so that lookups on the same machine
//! do not wait for much of it.

/// What is no larger is put by one request.
const PART: u64 = 8 * MIB;
/// What goes into a directory at once.
const PIECE: u64 = MIB / 2;
/// Stores take no more parts of one object.
const MOST: u64 = 10_000;
/// At the most so much of one upload is in memory, or one part if that is larger.
const IN_MEMORY: u64 = 32 * MIB;
const MIB: u64 = 1024 * 1024;

/// The parts of one upload: all of one size but for the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    bytes: u64,
    size: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// From 0.
    pub index: usize,
    pub offset: u64,
    pub bytes: usize,
}

impl Parts {
    /// Cuts so many bytes; `None` if they are few enough for one request.
    pub fn of(bytes: u64) -> Option<Parts> {
        let size = bytes.div_ceil(MOST).next_multiple_of(MIB).max(PART);
        (bytes > PART).then_some(Parts { bytes, size })
    }

    /// Cuts so many bytes into pieces.
    pub fn pieces(bytes: u64) -> Parts {
        Parts { bytes, size: PIECE }
    }

    /// All of them together.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// How many are under way at once.
    pub fn at_once(self) -> usize {
        let fit = (IN_MEMORY / self.size).max(1);
        usize::try_from(fit).unwrap_or(1)
    }

    /// All of them, in order.
    pub fn all(self) -> impl Iterator<Item = Part> {
        let count = usize::try_from(self.bytes.div_ceil(self.size)).unwrap_or(usize::MAX);
        let offsets = (0_u64..).map(move |index| index * self.size);
        (0..count).zip(offsets).map(move |(index, offset)| {
            let bytes = self.size.min(self.bytes - offset);
            Part {
                index,
                offset,
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            }
        })
    }
}

impl Part {
    /// What needs no cutting.
    pub fn whole(bytes: u64) -> Part {
        Part {
            index: 0,
            offset: 0,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_is_not_cut() {
        assert_eq!(Parts::of(0), None);
        assert_eq!(Parts::of(PART), None);
    }

    #[test]
    fn parts_follow_each_other_to_the_end() {
        let uploads = [PART + 1, 3 * PART, 3 * PART + 7, 81_920 * MIB + 3];
        let uploads = uploads.map(|bytes| (bytes, Parts::of(bytes).unwrap()));
        let pieces = [PIECE + 1, 9 * PIECE].map(|bytes| (bytes, Parts::pieces(bytes)));
        for (bytes, parts) in uploads.into_iter().chain(pieces) {
            let parts: Vec<Part> = parts.all().collect();
            let mut end = 0;
            for (at, part) in parts.iter().enumerate() {
                assert_eq!((part.index, part.offset), (at, end));
                end += u64::try_from(part.bytes).unwrap();
            }
            assert_eq!(end, bytes);
            assert!(parts.len() <= 10_000 && parts.len() > 1);
            let (last, others) = parts.split_last().unwrap();
            assert!(others.iter().all(|part| part.bytes == others[0].bytes));
            assert!(last.bytes <= others[0].bytes && last.bytes > 0);
        }
    }

    #[test]
    fn memory_is_bounded_and_something_is_always_under_way() {
        assert_eq!(Parts::of(PART + 1).unwrap().at_once(), 4);
        let of_largest = Parts::of(5 * 1024 * 1024 * MIB).unwrap();
        assert_eq!(of_largest.at_once(), 1);
        assert!(of_largest.size <= 5 * 1024 * MIB, "S3 takes no larger part");
    }
}
