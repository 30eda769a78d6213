//! Pure: many byte strings in one piece of memory, for paths that would otherwise allocate each of them.

/// Byte strings one after the other. Appending may move all of them, so they are read by their index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackedBytes {
    bytes: Vec<u8>,
    /// Where each ends and the next one begins.
    ends: Vec<usize>,
}

impl PackedBytes {
    /// With room for so many strings of so many bytes in all.
    #[must_use]
    pub fn with_capacity(strings: usize, bytes: usize) -> PackedBytes {
        PackedBytes {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(strings),
        }
    }

    /// Appends the string that `write` appends to the buffer it is given.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How many strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at an index, if there are so many.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(begin.copied().unwrap_or(0)..end)
    }

    /// All strings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let string = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            string
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_comes_back_in_order(strings: Vec<Vec<u8>>) {
            let mut packed = PackedBytes::default();
            for string in &strings {
                packed.push_with(|out| out.extend_from_slice(string));
            }
            let by_index: Vec<_> = (0..packed.len()).map(|at| packed.get(at).unwrap()).collect();
            prop_assert_eq!(&by_index, &strings);
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), by_index);
            prop_assert_eq!(packed.get(strings.len()), None);
            prop_assert_eq!(packed.is_empty(), strings.is_empty());
        }
    }
}
