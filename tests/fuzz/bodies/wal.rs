//! A segment of the log with its frames: looked at, recovered, read and written on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use steadfast::base::codec::put_checksum;
use steadfast::base::{LineageId, Lsn};
use steadfast::wal::{Log, Survey};

use super::bounded;
use super::disk::MemoryDisk;

/// The file is read whole; a mark of 25 bytes becomes a frame of 80, and lists grow by doubling.
const MULTIPLE: u64 = 20;
const LINEAGE: LineageId = LineageId(0x1234);
const SEGMENT_BYTES: u64 = 4096;
const HEAD: usize = 56;
const FRAME_HEAD: usize = 25;

pub fn check(bytes: &[u8]) {
    check_segment(bytes);
    check_segment(&with_checksums(bytes));
}

fn check_segment(bytes: &[u8]) {
    let dir = Path::new("wal");
    let disk = Arc::new(MemoryDisk::default());
    disk.put(&dir.join("0000000000000000.wal"), bytes);
    let surveyed = bounded(bytes.len(), MULTIPLE, || survey(&disk, dir));
    check_frames(&surveyed, bytes);
    let Ok((mut log, recovery)) = Log::open(disk.clone(), dir, LINEAGE, SEGMENT_BYTES, Lsn::ZERO)
    else {
        return;
    };
    // A start keeps what can be looked at, and cuts only behind it.
    let kept = read(&log);
    let seen: Vec<Bytes> = surveyed.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(kept, seen);
    assert_eq!(log.durable().get(), recovery.end);
    log.append(b"more").unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, _) =
        Log::open(disk, dir, LINEAGE, SEGMENT_BYTES, Lsn::ZERO).expect("recovers what it wrote");
    let after = read(&log);
    assert_eq!(
        (&after[..seen.len()], &after[seen.len()..]),
        (&seen[..], &[Bytes::from("more")][..])
    );
}

/// Where payloads stand in the file, and what they are.
fn survey(disk: &Arc<MemoryDisk>, dir: &Path) -> Vec<(u64, Bytes)> {
    let survey = Survey::new(disk.clone(), dir, LINEAGE).expect("the directory can be listed");
    let segments = survey.segments(Lsn::ZERO).filter_map(Result::ok);
    let mut found = Vec::new();
    for segment in segments {
        let mut place = segment.base;
        for frame in segment.frames {
            assert_eq!(frame.begin, place, "frames follow one another");
            assert!(frame.end > frame.begin);
            place = frame.end;
            found.extend(frame.payload.map(|payload| (frame.offset, payload)));
        }
        assert_eq!(segment.end, place);
    }
    found
}

fn check_frames(found: &[(u64, Bytes)], file: &[u8]) {
    for (offset, payload) in found {
        let at = usize::try_from(*offset).unwrap() + FRAME_HEAD;
        assert_eq!(file.get(at..at + payload.len()), Some(&payload[..]));
    }
}

fn read(log: &Log) -> Vec<Bytes> {
    let entries = log
        .read_from(log.first())
        .expect("the beginning can be read");
    entries
        .map(|entry| entry.expect("what was recovered can be read").payload)
        .collect()
}

/// The segment with a right checksum of its head and of every frame whose length lets it have one.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let Some((head, mut rest)) = out.split_at_mut_checked(HEAD) else {
        return out;
    };
    head[12..28].copy_from_slice(&LINEAGE.0.to_le_bytes());
    let mut sealed = head[..HEAD - 4].to_vec();
    put_checksum(&mut sealed, 0);
    head.copy_from_slice(&sealed);
    while rest.len() >= FRAME_HEAD {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap());
        let end = FRAME_HEAD.saturating_add(usize::try_from(length).unwrap());
        let Some((frame, behind)) = rest.split_at_mut_checked(end) else {
            break;
        };
        let mut covered = head[12..36].to_vec();
        covered.extend_from_slice(&frame[..4]);
        covered.extend_from_slice(&frame[8..]);
        frame[4..8].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        rest = behind;
    }
    out
}

pub fn seeds() -> Vec<Vec<u8>> {
    [&[][..], &[1], &[0, 5, 40, 0, 1], &[300, 25, 31]]
        .map(seed)
        .into()
}

/// A segment with payloads of these lengths, synced and marked after every second.
fn seed(lengths: &[usize]) -> Vec<u8> {
    let (disk, dir) = (Arc::new(MemoryDisk::default()), Path::new("wal"));
    let (mut log, _) = Log::open(disk.clone(), dir, LINEAGE, SEGMENT_BYTES, Lsn::ZERO).unwrap();
    for (at, length) in lengths.iter().enumerate() {
        log.append(&vec![0x5a; *length]).unwrap();
        if at % 2 == 1 {
            log.sync().unwrap();
            log.mark().unwrap();
        }
    }
    log.sync().unwrap();
    let used = HEAD + usize::try_from(log.end().0).unwrap();
    let path = dir.join("0000000000000000.wal");
    let mut bytes = steadfast::base::disk::read_all(disk.as_ref(), &path).unwrap();
    bytes.truncate(used + 64);
    bytes
}
