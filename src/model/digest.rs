//! Pure: 128-bit digests. A chain digest follows a log; a set digest follows a set of rows as it changes.
//!
//! Set digests add the digests of their elements modulo 2^128, so that one row can be taken out and another put in
//! without looking at the rest (Bellare and Micciancio, "A New Paradigm for Collision-free Hashing", 1997). They guard
//! against faults, not against an adversary who chooses rows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The first 128 bits of a BLAKE3 hash, or a sum of such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// Of nothing: the start of a log's chain, or the digest of an empty set.
    pub const EMPTY: Digest = Digest(0);

    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::truncated(&blake3::hash(bytes))
    }

    /// The digest of a stored row: view and key as in the store, then the row's bytes. The key's length goes first, so
    /// that no two pairs share their input.
    #[must_use]
    pub fn of_row(store_key: &[u8], row: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(
            &u64::try_from(store_key.len())
                .unwrap_or(u64::MAX)
                .to_le_bytes(),
        );
        hasher.update(store_key);
        hasher.update(row);
        Digest::truncated(&hasher.finalize())
    }

    fn truncated(hash: &blake3::Hash) -> Digest {
        let half = hash
            .as_bytes()
            .first_chunk::<16>()
            .copied()
            .unwrap_or_default();
        Digest(u128::from_le_bytes(half))
    }

    /// The set digest with this element added.
    #[must_use]
    pub fn plus(self, element: Digest) -> Digest {
        Digest(self.0.wrapping_add(element.0))
    }

    /// The set digest with this element taken away.
    #[must_use]
    pub fn minus(self, element: Digest) -> Digest {
        Digest(self.0.wrapping_sub(element.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
