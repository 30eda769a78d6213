//! A segment of the log: its head, a frame with a payload, a mark.

use std::path::Path;
use std::sync::Arc;

use steadfast::base::disk::RealDisk;
use steadfast::base::{LineageId, Lsn};
use steadfast::wal::Log;

const LINEAGE: LineageId = LineageId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
const SEGMENT_BYTES: u64 = 4096;

/// Written by format version 1.
const GOLDEN: &[&str] = &[
    // magic, version 1
    "534641535457414c01000000",
    // lineage
    "100f0e0d0c0b0a090807060504030201",
    // segment id 1, base 0, base of the one before 0
    "010000000000000000000000000000000000000000000000",
    // checksum of the head
    "fe9e93b6",
    // the payload's frame: length, checksum
    "06000000ed4d3820",
    // kind, durable_upto, position
    "0100000000000000000000000000000000",
    // payload
    "676f6c64656e",
    // the mark: length, checksum
    "00000000b4731098",
    // kind, durable_upto, position
    "021f000000000000001f00000000000000",
];

fn golden() -> Vec<u8> {
    hex::decode(GOLDEN.concat()).unwrap()
}

fn open(dir: &Path) -> Log {
    let opened = Log::open(Arc::new(RealDisk), dir, LINEAGE, SEGMENT_BYTES, Lsn::ZERO);
    opened.unwrap().0
}

#[test]
fn a_segment_is_written_as_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(b"golden").unwrap();
    log.sync().unwrap();
    log.mark().unwrap();
    let bytes = std::fs::read(dir.path().join("0000000000000000.wal")).unwrap();
    let written = log.end().0 + 56;
    let (used, free) = bytes.split_at(usize::try_from(written).unwrap());
    assert_eq!(hex::encode(used), GOLDEN.concat());
    assert!(free.iter().all(|byte| *byte == 0));
}

#[test]
fn a_segment_of_version_1_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0000000000000000.wal"), golden()).unwrap();
    let log = open(dir.path());
    let entries: Vec<_> = log
        .read_from(Lsn::ZERO)
        .unwrap()
        .map(|entry| entry.unwrap().payload)
        .collect();
    assert_eq!(entries, ["golden"]);
    assert_eq!(log.end(), Lsn(31 + 25));
}
