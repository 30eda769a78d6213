//! Results of named writes, as stored.

use steadfast::model::Digest;
use steadfast::storage::RequestEntry;

use super::{bounded, resealed, stamp};

pub fn check(bytes: &[u8]) {
    for input in [bytes.to_vec(), resealed(bytes)] {
        if let Ok(entry) = bounded(input.len(), 1, || RequestEntry::decode(&input)) {
            assert_eq!(entry.encode(), input, "two encodings of one entry");
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let entry = |seq| RequestEntry {
        stamp: stamp(seq),
        body_hash: Digest(u128::MAX),
        applied: 1,
        older: 2,
        folded: 3,
    };
    (1..4).map(|seq| entry(seq).encode()).collect()
}
