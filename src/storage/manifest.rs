//! A look at the store's manifest before RocksDB reads it: RocksDB reads for ever where the type of one of its records has
//! become one that only recycled logs have.
//!
//! ```text
//! manifest := blocks of 32 KiB of records, none across two blocks; fewer than 7 bytes at a block's end are padding
//! record   := crc32c u32 | length u16 | type u8: 0 to 4 | bytes
//! ```
//! Little-endian, as in RocksDB's `db/log_format.h`. Everything else that can be wrong with it RocksDB finds itself.

use std::path::Path;

use super::store::Error;
use crate::base::codec::DecodeError;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The last type that a record of a manifest can have.
const LAST_TYPE: u8 = 4;

/// Checks the manifest of the store in this directory, if there is one.
///
/// # Errors
/// If it holds a record of a type that manifests do not have.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    // What cannot be read is RocksDB's to tell.
    let Ok(name) = std::fs::read_to_string(path.join("CURRENT")) else {
        return Ok(());
    };
    let name = name.trim_end();
    let Ok(bytes) = std::fs::read(path.join(name)) else {
        return Ok(());
    };
    match bad_record(&bytes) {
        None => Ok(()),
        Some((at, found)) => Err(Error::Damaged {
            path: path.to_owned(),
            what: format!("{name} at {at}"),
            source: DecodeError::Invalid {
                field: "record type",
                value: u64::from(found),
            },
        }),
    }
}

/// The first record of a type that cannot be, with its place.
fn bad_record(bytes: &[u8]) -> Option<(usize, u8)> {
    bytes
        .chunks(BLOCK_BYTES)
        .enumerate()
        .find_map(|(block, records)| {
            let (at, found) = bad_record_of(records)?;
            Some((block * BLOCK_BYTES + at, found))
        })
}

fn bad_record_of(mut records: &[u8]) -> Option<(usize, u8)> {
    let all = records.len();
    while let Some(([_, _, _, _, low, high, found], rest)) =
        records.split_first_chunk::<HEADER_BYTES>()
    {
        if *found > LAST_TYPE {
            return Some((all - records.len(), *found));
        }
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        records = rest.get(length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(length: u16, kind: u8) -> Vec<u8> {
        let mut record = vec![0xff; HEADER_BYTES + usize::from(length)];
        record[4..6].copy_from_slice(&length.to_le_bytes());
        record[6] = kind;
        record
    }

    proptest! {
        #[test]
        fn the_first_record_of_an_impossible_type_is_named(lengths in proptest::collection::vec(0..9_000u16, 1..30), at: prop::sample::Index, kind in LAST_TYPE + 1..=u8::MAX) {
            let (mut bytes, mut places) = (vec![], vec![]);
            for length in lengths {
                let record = record(length, 1);
                let left = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
                if record.len() > left {
                    // The rest of the block holds one record of no interest.
                    if left >= HEADER_BYTES {
                        bytes.extend(self::record(u16::try_from(left - HEADER_BYTES).unwrap(), 2));
                    } else {
                        bytes.resize(bytes.len() + left, 0);
                    }
                }
                places.push(bytes.len());
                bytes.extend(record);
            }
            prop_assert_eq!(bad_record(&bytes), None);
            let place = *at.get(&places);
            bytes[place + 6] = kind;
            prop_assert_eq!(bad_record(&bytes), Some((place, kind)));
        }

        #[test]
        fn any_bytes_are_looked_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((place, kind)) = bad_record(&bytes) {
                prop_assert_eq!(bytes[place + 6], kind);
            }
        }
    }
}
