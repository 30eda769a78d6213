//! Pure: what is stored under a key, in one allocation with the key.

use std::sync::Arc;

/// What is stored under a key: an encoded row, or that there is none. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyedRow(
    /// Length of the key `u32` little-endian, key, row. A row is never empty, so nothing means that there is none.
    Arc<[u8]>,
);

impl KeyedRow {
    /// What its allocation takes beside key and row: the length, the two counts of the `Arc`, and what an allocator
    /// rounds up on average.
    const EXTRA_BYTES: usize = 4 + 16 + 12;
    /// Bytes that a processor fetches at once.
    const LINE_BYTES: usize = 64;

    /// The row of a key; `None` says that there is none.
    #[must_use]
    pub fn new(key: &[u8], row: Option<&[u8]>) -> KeyedRow {
        let length = u32::try_from(key.len()).expect("limits::KEY_BYTES keeps keys short");
        let parts = [&length.to_le_bytes(), key, row.unwrap_or_default()];
        KeyedRow(parts.concat().into())
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let (length, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        rest.split_at_checked(length).unwrap_or_default()
    }

    /// Whose row.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.parts().0
    }

    /// The row, if there is one.
    #[must_use]
    pub fn row(&self) -> Option<&[u8]> {
        Some(self.parts().1).filter(|row| !row.is_empty())
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.len() + Self::EXTRA_BYTES
    }

    /// Reads a little of every cache line, so that later reads find them near the processor.
    pub(super) fn touch(&self) -> u8 {
        let bytes = self.0.iter().step_by(Self::LINE_BYTES);
        bytes.fold(0, |seen, byte| seen ^ byte)
    }
}

impl std::fmt::Debug for KeyedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.row().map(<[u8]>::len);
        write!(f, "KeyedRow({}, {row:?} bytes)", hex::encode(self.key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn key_and_row_come_back(key: Vec<u8>, row in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..300))) {
            let keyed = KeyedRow::new(&key, row.as_deref());
            prop_assert_eq!((keyed.key(), keyed.row()), (&key[..], row.as_deref()));
        }
    }
}
