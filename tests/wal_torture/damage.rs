//! Bytes that changed, went or came: what was durable and marked is never silently shortened.

use std::ops::Range;
use std::path::{Path, PathBuf};

use steadfast::base::{LineageId, Lsn};
use steadfast::wal::{Entry, Error, Log};

use super::disk::SimDisk;
use super::history::{
    DIR, History, LINEAGE, SEGMENT_HEADER_BYTES, Step, open, open_known, read_all,
};

const SEGMENT_BYTES: u64 = 220;

/// A log of several segments, each payload synced by itself, and what was put into it.
fn small_log(steps_at_end: &[Step]) -> (SimDisk, Vec<Entry>) {
    let disk = SimDisk::new(512, 0);
    let (mut log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    let mut history = History::new();
    for number in 0..12u8 {
        let payload = vec![number; usize::from(number) * 3];
        let steps = [Step::Append(payload), Step::Sync];
        history.play(&mut log, &steps).unwrap();
        if number % 5 == 0 {
            history.play(&mut log, &[Step::Mark]).unwrap();
        }
    }
    history.play(&mut log, steps_at_end).unwrap();
    (disk, history.durable_from(Lsn::ZERO))
}

/// A segment file as it stands on the disk, taken apart without the help of the code under test.
struct Segment {
    name: String,
    bytes: Vec<u8>,
    base: u64,
    is_last: bool,
    frames: Vec<Range<usize>>,
}

impl Segment {
    fn path(&self) -> PathBuf {
        Path::new(DIR).join(&self.name)
    }

    fn frame_at(&self, offset: usize) -> Option<&Range<usize>> {
        self.frames.iter().find(|frame| frame.contains(&offset))
    }

    fn frames_end(&self) -> usize {
        self.frames
            .last()
            .map_or(SEGMENT_HEADER_BYTES, |frame| frame.end)
    }

    /// Does a later frame, or a later segment, say that this one was durable?
    fn is_vouched_for(&self, frame: &Range<usize>) -> bool {
        !self.is_last || self.frames.last() != Some(frame)
    }

    /// Where in the log the frame stands.
    fn position(&self, frame: &Range<usize>) -> Lsn {
        Lsn(self.base + (frame.start - SEGMENT_HEADER_BYTES) as u64)
    }
}

fn segments(disk: &SimDisk) -> Vec<Segment> {
    let mut files = disk.contents();
    files.retain(|name, _| name.ends_with(".wal"));
    let last = files.keys().last().unwrap().clone();
    files
        .into_iter()
        .map(|(name, bytes)| Segment {
            base: u64::from_str_radix(&name[..16], 16).unwrap(),
            is_last: name == last,
            frames: frames(&bytes),
            name,
            bytes,
        })
        .collect()
}

fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut frames: Vec<Range<usize>> = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while bytes.get(at + 8).is_some_and(|kind| *kind != 0) {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        frames.push(at..at + 25 + length);
        at += 25 + length;
    }
    frames
}

/// Everything that can be read after opening the log with one file replaced.
fn reread(disk: &SimDisk, name: &str, bytes: Option<Vec<u8>>) -> Result<Vec<Entry>, Error> {
    let disk = disk.copy();
    disk.set(name, bytes);
    let (log, recovery) = open(&disk, SEGMENT_BYTES)?;
    read_all(&log, recovery.first)
}

fn assert_corrupt(outcome: Result<Vec<Entry>, Error>, segment: &Segment, begin: usize) {
    let Err(Error::Corrupt { path, offset, .. }) = outcome else {
        panic!("{}: {begin}: {outcome:?}", segment.name)
    };
    assert_eq!((path, offset), (segment.path(), begin as u64));
}

fn assert_header_refused(outcome: Result<Vec<Entry>, Error>, segment: &Segment) {
    let Err(
        Error::Corrupt { path, .. }
        | Error::NotASegment { path }
        | Error::NewerVersion { path, .. },
    ) = outcome
    else {
        panic!("{}: {outcome:?}", segment.name)
    };
    assert_eq!(path, segment.path());
}

/// All entries but those from `position` on.
fn before(entries: &[Entry], position: Lsn) -> Vec<Entry> {
    let before = entries.iter().filter(|entry| entry.begin < position);
    before.cloned().collect()
}

fn flip_every_bit(disk: &SimDisk, entries: &[Entry]) {
    for segment in segments(disk) {
        for at in 0..segment.bytes.len() {
            for bit in 0..8 {
                let mut bytes = segment.bytes.clone();
                bytes[at] ^= 1 << bit;
                let outcome = reread(disk, &segment.name, Some(bytes));
                match segment.frame_at(at) {
                    _ if at < SEGMENT_HEADER_BYTES => assert_header_refused(outcome, &segment),
                    None => assert_eq!(outcome.unwrap(), entries),
                    Some(frame) if segment.is_vouched_for(frame) => {
                        assert_corrupt(outcome, &segment, frame.start);
                    }
                    Some(frame) => {
                        let cut = before(entries, segment.position(frame));
                        assert_eq!(outcome.unwrap(), cut);
                    }
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_marked_log_is_found_or_harmless() {
    let (disk, entries) = small_log(&[Step::Mark]);
    flip_every_bit(&disk, &entries);
}

#[test]
fn every_flipped_bit_of_a_recovered_log_is_found_or_harmless() {
    let (disk, entries) = small_log(&[]);
    open(&disk, SEGMENT_BYTES).unwrap();
    let last = segments(&disk).pop().unwrap();
    assert_eq!(last.frames.last().unwrap().len(), 25, "no mark");
    flip_every_bit(&disk, &entries);
}

#[test]
fn every_flipped_bit_of_an_unmarked_log_costs_at_most_the_last_batch() {
    let (disk, entries) = small_log(&[]);
    flip_every_bit(&disk, &entries);
}

#[test]
fn a_frame_that_became_zeros_is_damage_if_a_later_one_vouches_for_it() {
    let (disk, _) = small_log(&[Step::Mark]);
    for segment in segments(&disk) {
        for frame in &segment.frames {
            let mut bytes = segment.bytes.clone();
            bytes[frame.clone()].fill(0);
            let outcome = reread(&disk, &segment.name, Some(bytes));
            if segment.is_vouched_for(frame) {
                assert_corrupt(outcome, &segment, frame.start);
            } else {
                outcome.unwrap();
            }
        }
    }
}

#[test]
fn a_frame_written_to_the_place_of_another_is_damage() {
    let disk = SimDisk::new(512, 0);
    let (mut log, _) = open(&disk, 1000).unwrap();
    for payload in [b"one", b"two", b"six"] {
        log.append(payload).unwrap();
        log.sync().unwrap();
    }
    let segment = segments(&disk).pop().unwrap();
    let [one, two, _] = segment.frames.as_slice() else {
        panic!("{:?}", segment.frames)
    };
    let mut bytes = segment.bytes.clone();
    bytes.copy_within(one.clone(), two.start);
    assert_corrupt(
        reread(&disk, &segment.name, Some(bytes)),
        &segment,
        two.start,
    );
}

#[test]
fn truncation_at_every_length_is_found_in_sealed_segments_and_cut_in_the_last() {
    let (disk, entries) = small_log(&[]);
    for segment in segments(&disk) {
        for length in 0..segment.bytes.len() {
            let bytes = segment.bytes[..length].to_vec();
            let outcome = reread(&disk, &segment.name, Some(bytes));
            let cut_frame = segment.frames.iter().find(|frame| frame.end > length);
            match cut_frame {
                _ if length < SEGMENT_HEADER_BYTES => assert_header_refused(outcome, &segment),
                None => assert_eq!(outcome.unwrap(), entries),
                Some(frame) if segment.is_last => {
                    let cut = before(&entries, segment.position(frame));
                    assert_eq!(outcome.unwrap(), cut);
                }
                Some(frame) => assert_corrupt(outcome, &segment, frame.start),
            }
        }
    }
}

#[test]
fn a_truncated_tail_that_is_known_to_have_been_durable_is_refused_and_left_alone() {
    let (disk, entries) = small_log(&[]);
    let known = entries.last().unwrap().end;
    let last = segments(&disk).pop().unwrap();
    for length in 0..last.frames_end() {
        let disk = disk.copy();
        disk.set(&last.name, Some(last.bytes[..length].to_vec()));
        let before = disk.contents();
        let refused = open_known(&disk, SEGMENT_BYTES, known);
        assert!(matches!(refused, Err(Error::Corrupt { path, .. }) if path == last.path()));
        assert_eq!(disk.contents(), before);
    }
    disk.set(&last.name, None);
    let refused = open_known(&disk, SEGMENT_BYTES, known);
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
}

#[test]
fn every_missing_segment_but_the_first_and_the_last_is_named() {
    let (disk, entries) = small_log(&[]);
    let segments = segments(&disk);
    assert!(segments.len() > 3);
    for (number, segment) in segments.iter().enumerate() {
        let outcome = reread(&disk, &segment.name, None);
        if number == 0 {
            assert_eq!(outcome.unwrap().last(), entries.last());
        } else if segment.is_last {
            assert_eq!(outcome.unwrap(), before(&entries, Lsn(segment.base)));
        } else {
            let Err(Error::MissingSegment { path, next }) = outcome else {
                panic!("{outcome:?}")
            };
            let after = &segments[number + 1];
            assert_eq!((path, next), (segment.path(), after.path()));
        }
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_refused() {
    let (disk, _) = small_log(&[]);
    let segments = segments(&disk);
    let outcome = reread(&disk, &segments[1].name, Some(segments[2].bytes.clone()));
    assert_corrupt(outcome, &segments[1], 0);
}

#[test]
fn magic_version_and_lineage_each_have_their_error() {
    let (disk, _) = small_log(&[]);
    let segment = &segments(&disk)[1];
    let with = |at: usize, byte: u8| {
        let mut bytes = segment.bytes.clone();
        bytes[at] = byte;
        reread(&disk, &segment.name, Some(bytes))
            .unwrap_err()
            .to_string()
    };
    let path = segment.path().display().to_string();
    assert_eq!(
        with(0, b'X'),
        format!("{path} is not a log segment: it does not begin with the magic")
    );
    assert_eq!(
        with(8, 2),
        format!("{path} has format version 2; this release reads up to 1")
    );
    let shared = std::sync::Arc::new(disk.copy());
    let other = Log::open(
        shared,
        Path::new(DIR),
        LineageId(1),
        SEGMENT_BYTES,
        Lsn::ZERO,
    );
    let Err(Error::OtherLineage {
        found, expected, ..
    }) = other
    else {
        panic!("{other:?}")
    };
    assert_eq!((found, expected), (LINEAGE, LineageId(1)));
}

/// Reopening gives the last segment another id and leaves each frame at its place. So the frames of the former file fit
/// a recycled one in everything but the id.
#[test]
fn stale_frames_of_a_recycled_segment_never_pass() {
    let (disk, entries) = small_log(&[Step::Mark]);
    let old = segments(&disk).pop().unwrap();
    open(&disk, SEGMENT_BYTES).unwrap();
    let new = segments(&disk).pop().unwrap();
    assert_eq!((&old.name, &old.frames), (&new.name, &new.frames));
    for kept in 0..=new.frames.len() {
        let end = new.frames[..kept]
            .last()
            .map_or(SEGMENT_HEADER_BYTES, |frame| frame.end);
        let recycled = [&new.bytes[..end], &old.bytes[end..]].concat();
        let outcome = reread(&disk, &new.name, Some(recycled)).unwrap();
        let stale = new.frames.get(kept).map(|frame| new.position(frame));
        assert_eq!(outcome, before(&entries, stale.unwrap_or(Lsn(u64::MAX))));
    }
    assert!(old.frames_end() > SEGMENT_HEADER_BYTES);
}
