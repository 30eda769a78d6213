//! Golden bytes of everything that is stored or sent: a change of a format is seen here first.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "helpers of tests may panic and need no documentation for others"
)]

mod backup;
mod definition;
mod files;
mod key;
mod record;
mod row;
mod session;
mod state;
mod wal;

use steadfast::base::{Epoch, Hlc, LogId, RegionId, Seq, Stamp, VersionVector};

/// The bytes of hexadecimal parts.
fn bytes(parts: &[&str]) -> Vec<u8> {
    hex::decode(parts.concat()).unwrap()
}

fn stamp(seq: u64) -> Stamp {
    Stamp {
        hlc: Hlc(Hlc::from_millis(1000).0 + 2),
        region: RegionId(0x1122_3344_5566_7788),
        epoch: Epoch(3),
        seq: Seq(seq),
    }
}

fn version_vector() -> VersionVector {
    let mut vector = VersionVector::new();
    let region = RegionId(5);
    vector.fold(region, Epoch(2));
    let epoch = Epoch(3);
    vector.advance(LogId { region, epoch }, Seq(9));
    vector
}

/// [`version_vector`], encoded.
const VERSION_VECTOR: &str = concat!(
    // one base: region, epoch
    "01000000",
    "0500000000000000",
    "0200000000000000",
    // one log: region, epoch, seq
    "01000000",
    "0500000000000000",
    "0300000000000000",
    "0900000000000000",
);

#[test]
fn a_version_vector_is_as_in_version_1() {
    let mut encoded = Vec::new();
    version_vector().encode(&mut encoded);
    assert_eq!(hex::encode(encoded), VERSION_VECTOR);
    let golden = bytes(&[VERSION_VECTOR]);
    let mut reader = steadfast::base::codec::Reader::new(&golden);
    let read = VersionVector::decode(&mut reader).unwrap();
    assert_eq!((read, reader.is_empty()), (version_vector(), true));
}
