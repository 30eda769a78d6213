//! What must hold whatever bytes come, one file for each format: `check` panics where it does not, `seeds` are valid
//! inputs to begin from. Run briefly by `tests/fuzz`, and for as long as one likes by `fuzz/`.

pub mod config;
pub mod disk;
pub mod key;
pub mod peer_message;
pub mod record;
pub mod request;
pub mod request_entry;
pub mod row;
pub mod row_question;
pub mod sealed;
pub mod state;
pub mod view_file;
pub mod wal;

use std::fmt::Debug;

use steadfast::base::codec::put_checksum;
use steadfast::base::{Epoch, Hlc, RegionId, Seq, Stamp};

/// What is allocated whatever the length: error messages, first buffers.
const CONSTANT_BYTES: u64 = 16 << 10;

/// Decodes an input of so many bytes, allocating at most `multiple` times as much in all, and a constant.
pub fn bounded<T>(input_bytes: usize, multiple: u64, decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let allocated = allocation_counter::measure(|| decoded = Some(decode()));
    let bound = multiple * input_bytes as u64 + CONSTANT_BYTES;
    assert!(
        allocated.bytes_total <= bound,
        "{} bytes allocated for an input of {input_bytes}",
        allocated.bytes_total
    );
    decoded.expect("the closure has run")
}

/// Equal, or at least printed so: NaN is not equal to itself.
pub fn assert_same<T: Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

/// The input with a right checksum in place of its last four bytes, so that what lies behind the checksum is tried.
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes[..bytes.len().saturating_sub(4)].to_vec();
    put_checksum(&mut sealed, 0);
    sealed
}

/// A stamp of which only the sequence number differs.
pub fn stamp(seq: u64) -> Stamp {
    Stamp {
        hlc: Hlc(seq << 16),
        region: RegionId(1),
        epoch: Epoch(1),
        seq: Seq(seq),
    }
}

/// Puts the seeds of a target where libFuzzer looks for its corpus.
#[allow(dead_code, reason = "only the fuzz targets do")]
pub fn plant(manifest_dir: &str, target: &str, seeds: &[Vec<u8>]) {
    let corpus = std::path::Path::new(manifest_dir)
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&corpus).expect("the corpus directory can be made");
    for (at, seed) in seeds.iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{at}")), seed).expect("a seed can be written");
    }
}
