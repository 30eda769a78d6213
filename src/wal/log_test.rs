use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::base::disk::RealDisk;
use crate::wal::Recovery;

const LINEAGE: LineageId = LineageId(9);
/// Room for four payloads of four bytes.
const SEGMENT_BYTES: u64 = 56 + 4 * 29;

fn open(dir: &TempDir) -> Result<(Log, Recovery), Error> {
    open_known(dir, Lsn::ZERO)
}

fn open_known(dir: &TempDir, known: Lsn) -> Result<(Log, Recovery), Error> {
    Log::open(
        Arc::new(RealDisk),
        dir.path(),
        LINEAGE,
        SEGMENT_BYTES,
        known,
    )
}

/// A log with these payloads, synced one by one, not marked.
fn written(payloads: &[&[u8]]) -> (TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir).unwrap();
    for payload in payloads {
        log.append(payload).unwrap();
        log.sync().unwrap();
        log.prepare().unwrap();
    }
    (dir, log)
}

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    log.read_from(log.first())
        .unwrap()
        .map(|entry| entry.unwrap().payload.to_vec())
        .collect()
}

fn files(dir: &TempDir) -> Vec<PathBuf> {
    let names = RealDisk.list(dir.path()).unwrap();
    let segments = names.iter().filter(|name| name.ends_with(".wal"));
    segments.map(|name| dir.path().join(name)).collect()
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_empty_directory_becomes_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_, recovery) = open(&dir).unwrap();
    let expected = Recovery {
        first: Lsn(0),
        end: Lsn(0),
        cut_bytes: 0,
        created: true,
    };
    assert_eq!(recovery, expected);
    let again = Recovery {
        created: false,
        ..expected
    };
    assert_eq!(open(&dir).unwrap().1, again);
}

#[test]
fn what_is_synced_is_there_after_reopening_across_segments() {
    let all: Vec<Vec<u8>> = (0..11u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let (dir, log) = written(&all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(payloads(&log), all);
    let end = log.end();
    drop(log);
    let (mut log, recovery) = open(&dir).unwrap();
    assert_eq!((recovery.first, recovery.cut_bytes), (Lsn(0), 0));
    assert_eq!(recovery.end, end.advance(mark_bytes()));
    assert_eq!(payloads(&log), all);
    assert_eq!(files(&dir).len(), 3);
    log.append(b"more").unwrap();
    log.sync().unwrap();
    assert_eq!(payloads(&log).last().unwrap(), b"more");
}

#[test]
fn opening_twice_adds_one_mark_only() {
    let (dir, log) = written(&[b"one"]);
    drop(log);
    let first = open(&dir).unwrap().1;
    assert_eq!(open(&dir).unwrap().1, first);
}

#[test]
fn what_is_not_synced_is_neither_durable_nor_read() {
    let (_dir, mut log) = written(&[b"one"]);
    let durable = log.durable().get();
    assert!(log.append(b"two").unwrap() > durable);
    assert_eq!(log.durable().get(), durable);
    assert_eq!(payloads(&log), [b"one"]);
}

#[test]
fn a_payload_longer_than_a_segment_gets_one_of_its_own() {
    let long = vec![7; 1000];
    let (dir, log) = written(&[b"a", &long, b"b"]);
    drop(log);
    let (log, _) = open(&dir).unwrap();
    assert_eq!(payloads(&log), [b"a".to_vec(), long, b"b".to_vec()]);
    assert_eq!(files(&dir).len(), 3);
}

#[test]
fn a_payload_beyond_the_limit_is_refused_and_leaves_the_log_usable() {
    let (_dir, mut log) = written(&[]);
    let refused = log.append(&vec![0; MAX_PAYLOAD_BYTES + 1]);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    log.append(b"fits").unwrap();
    log.sync().unwrap();
    assert_eq!(payloads(&log), [b"fits"]);
}

#[test]
fn segments_below_a_place_go_and_the_last_one_stays() {
    let (dir, mut log) = written(&[b"aaaa".as_slice(); 9]);
    let second = log.segments.locate(Lsn(0)).unwrap().end.unwrap();
    log.release_below(second.advance(1)).unwrap();
    assert_eq!(log.first(), second);
    let asked = Lsn(0);
    assert!(matches!(log.read_from(asked), Err(Error::Released { first, .. }) if first == second));
    log.release_below(log.end().advance(1000)).unwrap();
    assert_eq!(files(&dir).len(), 1);
    drop(log);
    let (log, recovery) = open(&dir).unwrap();
    assert_eq!(payloads(&log), [b"aaaa"]);
    assert_eq!(recovery.first, Lsn(8 * 29));
}

#[test]
fn a_reader_follows_the_log_and_says_how_far_it_has_come() {
    let (_dir, mut log) = written(&[b"one"]);
    let mut reader = log.read_from(Lsn(0)).unwrap();
    let one = reader.next().unwrap().unwrap();
    assert_eq!((one.begin, one.end), (Lsn(0), Lsn(28)));
    assert!(reader.next().is_none());
    log.mark().unwrap();
    assert!(reader.next().is_none());
    assert_eq!(reader.position(), log.durable().get());
    log.append(b"two").unwrap();
    log.sync().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().payload, b"two".as_slice());
    let beyond = log.end().advance(1);
    assert!(matches!(log.read_from(beyond), Err(Error::Beyond { .. })));
}

#[test]
fn a_mark_is_written_once_per_quiet_period() {
    let (_dir, mut log) = written(&[b"one"]);
    let end = log.end();
    log.mark().unwrap();
    log.mark().unwrap();
    assert_eq!(log.end(), end.advance(mark_bytes()));
}

#[test]
fn damage_of_a_sealed_segment_is_found_where_it_is_read() {
    let (dir, log) = written(&[b"aaaa".as_slice(); 9]);
    drop(log);
    flip(&files(&dir)[1], 56 + 29 + 26);
    let (log, _) = open(&dir).unwrap();
    let mut reader = log.read_from(Lsn(0)).unwrap();
    let error = reader.find_map(Result::err).unwrap();
    let Error::Corrupt {
        path,
        offset,
        lsn,
        durable,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(path, files(&dir)[1]);
    assert_eq!((offset, lsn, durable), (56 + 29, Lsn(5 * 29), Lsn(8 * 29)));
    assert!(reader.next().is_none());
}

#[test]
fn a_log_shorter_than_it_is_known_to_be_is_refused_and_left_alone() {
    let (dir, log) = written(&[b"one"]);
    let end = log.end();
    drop(log);
    let before = fs::read(&files(&dir)[0]).unwrap();
    let refused = open_known(&dir, end.advance(1));
    assert!(matches!(refused, Err(Error::Corrupt { lsn, .. }) if lsn == end));
    assert_eq!(fs::read(&files(&dir)[0]).unwrap(), before);
    assert_eq!(open_known(&dir, end).unwrap().1.first, Lsn::ZERO);
}

#[test]
fn a_log_that_is_gone_though_it_is_known_is_not_created_anew() {
    let dir = tempfile::tempdir().unwrap();
    let refused = open_known(&dir, Lsn(1));
    assert!(matches!(refused, Err(Error::Beyond { .. })));
    assert!(files(&dir).is_empty());
}

#[test]
fn a_missing_segment_is_named() {
    let (dir, log) = written(&[b"aaaa".as_slice(); 9]);
    drop(log);
    let missing = files(&dir)[1].clone();
    fs::remove_file(&missing).unwrap();
    assert!(matches!(open(&dir), Err(Error::MissingSegment { path, .. }) if path == missing));
}

#[test]
fn a_log_of_another_lineage_is_refused_and_left_alone() {
    let (dir, log) = written(&[b"one"]);
    drop(log);
    let refused = Log::open(
        Arc::new(RealDisk),
        dir.path(),
        LineageId(10),
        SEGMENT_BYTES,
        Lsn::ZERO,
    );
    let Err(Error::OtherLineage { found, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found, LINEAGE);
    assert_eq!(payloads(&open(&dir).unwrap().0), [b"one"]);
}

#[test]
fn a_reader_skips_ahead_to_any_frame_and_never_back() {
    let (_dir, log) = written(&[
        b"aaaa", b"bbbb", b"cccc", b"dddd", b"eeee", b"ffff", b"gggg",
    ]);
    let all = log.read_from(log.first()).unwrap();
    let all: Vec<_> = all.map(Result::unwrap).collect();
    for read in 0..all.len() {
        for (at, target) in all.iter().enumerate() {
            let mut reader = log.read_from(log.first()).unwrap();
            reader.by_ref().take(read).for_each(drop);
            reader.skip_to(target.begin);
            let rest: Vec<_> = reader.map(Result::unwrap).collect();
            assert_eq!(rest, all[at.max(read)..], "{read} read, then to {at}");
        }
    }
}
