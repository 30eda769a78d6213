//! Pure: checked reading and plain writing of the little-endian binary formats on disk and wire.
//!
//! Reading never panics and never allocates by an unchecked length: every length is compared with what is left first.

use bytes::BufMut;

/// Bytes that are not what the format says they must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside `field`.
    #[error("truncated in {field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// How many bytes it takes.
        needed: usize,
        /// How many there were.
        left: usize,
    },
    /// A value that the format does not allow.
    #[error("invalid {field}: {value}")]
    Invalid {
        /// What was being read.
        field: &'static str,
        /// What was found.
        value: u64,
    },
    /// Text that is not UTF-8.
    #[error("{field} is not valid UTF-8")]
    NotUtf8 {
        /// What was being read.
        field: &'static str,
    },
    /// More bytes than the format holds.
    #[error("{left} bytes left over after {field}")]
    Trailing {
        /// What was read last.
        field: &'static str,
        /// How many bytes remain.
        left: usize,
    },
    /// The checksum does not match the bytes it covers.
    #[error("checksum of {field} is {found:08x}, computed {computed:08x}")]
    Checksum {
        /// What the checksum covers.
        field: &'static str,
        /// The stored checksum.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

/// Reads fields from the front of a byte slice. Each method names the field for its error.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Is everything read?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer are left; so do all the methods below.
    #[inline]
    pub fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated {
                field,
                needed: len,
                left: self.rest.len(),
            })?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated {
                field,
                needed: N,
                left: self.rest.len(),
            })?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// If nothing is left.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// A little-endian 16-bit number.
    ///
    /// # Errors
    /// If too little is left.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// A little-endian 32-bit number.
    ///
    /// # Errors
    /// If too little is left.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A little-endian 64-bit number.
    ///
    /// # Errors
    /// If too little is left.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A little-endian signed 64-bit number.
    ///
    /// # Errors
    /// If too little is left.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }

    /// A little-endian 128-bit number.
    ///
    /// # Errors
    /// If too little is left.
    pub fn u128(&mut self, field: &'static str) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    /// Bytes behind their 32-bit length.
    ///
    /// # Errors
    /// If the length or the bytes are cut off.
    pub fn blob(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(field)?;
        self.bytes(field, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// UTF-8 text behind its 32-bit length.
    ///
    /// # Errors
    /// If it is cut off or not UTF-8.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.blob(field)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    /// A 32-bit count of items of at least `item_bytes` each (at least 1), so that it may be used to reserve memory.
    ///
    /// # Errors
    /// If that many items cannot follow.
    pub fn count(&mut self, field: &'static str, item_bytes: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32(field)?).unwrap_or(usize::MAX);
        let needed = count.saturating_mul(item_bytes.max(1));
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated {
                field,
                needed,
                left: self.rest.len(),
            });
        }
        Ok(count)
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if something is left.
    pub fn finish(self, field: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                field,
                left: self.rest.len(),
            })
        }
    }
}

/// Appends bytes behind their 32-bit length.
///
/// # Panics
/// If `bytes` is longer than `u32::MAX`; limits at the edges keep everything far below.
pub fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a 32-bit count.
///
/// # Panics
/// If `count` exceeds `u32::MAX`; limits at the edges keep everything far below.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("the edges bound every count far below 2^32"));
}

/// Appends the CRC-32 of everything from `from` to the end of `out`.
pub fn put_checksum(out: &mut Vec<u8>, from: usize) {
    let crc = crc32fast::hash(out.get(from..).unwrap_or_default());
    out.put_u32_le(crc);
}

/// Splits the trailing CRC-32 off `bytes` and checks it.
///
/// # Errors
/// [`DecodeError::Truncated`] or [`DecodeError::Checksum`].
pub fn check_checksum<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or(DecodeError::Truncated {
            field,
            needed: 4,
            left: bytes.len(),
        })?;
    let (found, computed) = (u32::from_le_bytes(*crc), crc32fast::hash(body));
    if found == computed {
        Ok(body)
    } else {
        Err(DecodeError::Checksum {
            field,
            found,
            computed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_huge_count_is_refused_before_it_reserves_memory() {
        let bytes = u32::MAX.to_le_bytes();
        assert_eq!(
            Reader::new(&bytes).count("items", 1),
            Err(DecodeError::Truncated {
                field: "items",
                needed: 0xffff_ffff,
                left: 0
            })
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(number: u64, blob: Vec<u8>, text: String) {
            let mut out = Vec::new();
            out.put_u64_le(number);
            put_blob(&mut out, &blob);
            put_blob(&mut out, text.as_bytes());
            put_checksum(&mut out, 0);
            let mut reader = Reader::new(check_checksum("all", &out).unwrap());
            prop_assert_eq!(reader.u64("number").unwrap(), number);
            prop_assert_eq!(reader.blob("blob").unwrap(), blob.as_slice());
            prop_assert_eq!(reader.text("text").unwrap(), text.as_str());
            prop_assert_eq!(reader.finish("text"), Ok(()));
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() {
                if reader.text("text").is_err() && reader.u16("number").is_err() {
                    break;
                }
            }
            let _checked = check_checksum("all", &bytes);
        }

        #[test]
        fn a_flipped_bit_breaks_the_checksum(mut bytes in proptest::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8u8) {
            put_checksum(&mut bytes, 0);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let refused = matches!(check_checksum("all", &bytes), Err(DecodeError::Checksum { .. }));
            prop_assert!(refused);
        }
    }
}
