use std::fs;

use tempfile::TempDir;

use super::*;
use crate::base::disk::{ReadOnlyDisk, RealDisk};
use crate::wal::Log;

const LINEAGE: LineageId = LineageId(9);
/// Room for four payloads of four bytes.
const SEGMENT_BYTES: u64 = 56 + 4 * 29;

/// A log of three segments, all of it marked as durable.
fn written() -> (TempDir, Lsn) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(
        Arc::new(RealDisk),
        dir.path(),
        LINEAGE,
        SEGMENT_BYTES,
        Lsn::ZERO,
    )
    .unwrap();
    for payload in 0..10u32 {
        log.append(&payload.to_le_bytes()).unwrap();
        log.sync().unwrap();
    }
    log.mark().unwrap();
    (dir, log.end())
}

fn survey(dir: &TempDir) -> Survey {
    Survey::new(Arc::new(ReadOnlyDisk), dir.path(), LINEAGE).unwrap()
}

fn segments(survey: &Survey) -> Vec<Segment> {
    survey.segments(Lsn::ZERO).map(Result::unwrap).collect()
}

fn path_of(error: &Error) -> &Path {
    match error {
        Error::Corrupt { path, .. }
        | Error::NotASegment { path }
        | Error::NewerVersion { path, .. }
        | Error::OtherLineage { path, .. }
        | Error::MissingSegment { path, .. } => path,
        Error::Io(_)
        | Error::Poisoned(_)
        | Error::TooLarge { .. }
        | Error::Released { .. }
        | Error::Beyond { .. } => panic!("names no file: {error}"),
    }
}

#[test]
fn a_sound_log_is_read_whole_and_without_findings() {
    let (dir, end) = written();
    let survey = survey(&dir);
    assert!(survey.findings().is_empty() && survey.first() == Some(Lsn::ZERO));
    let segments = segments(&survey);
    assert_eq!(
        segments.iter().map(|one| one.is_last).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert!(
        segments
            .iter()
            .all(|one| one.damage.is_none() && one.torn_bytes == 0)
    );
    assert_eq!(segments.last().unwrap().end, end);
    let frames = segments.iter().flat_map(|one| &one.frames);
    let payloads: Vec<Bytes> = frames.filter_map(|frame| frame.payload.clone()).collect();
    let expected: Vec<_> = (0..10u32)
        .map(|payload| Bytes::copy_from_slice(&payload.to_le_bytes()))
        .collect();
    assert_eq!(payloads, expected);
}

#[test]
fn a_flipped_bit_is_found_in_its_file_wherever_it_matters() {
    let (dir, _) = written();
    for sound in segments(&survey(&dir)) {
        let bytes = fs::read(&sound.path).unwrap();
        let used = usize::try_from(file_offset(sound.base, sound.end)).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&sound.path, damaged).unwrap();
            let survey = survey(&dir);
            let segments = segments(&survey);
            let findings = survey.findings().iter();
            let findings: Vec<&Error> = findings
                .chain(segments.iter().filter_map(|one| one.damage.as_ref()))
                .collect();
            let torn = segments
                .iter()
                .any(|one| one.path == sound.path && one.torn_bytes > 0);
            // Nothing vouches for the last mark itself, and nobody reads behind the frames.
            let matters = at < used - if sound.is_last { FRAME_HEADER_BYTES } else { 0 };
            assert_eq!(!findings.is_empty(), matters, "{at} of {used}");
            assert!(
                findings.iter().all(|error| path_of(error) == sound.path),
                "{at}: {findings:?}"
            );
            assert_eq!(torn, !matters && sound.is_last, "{at} of {used}");
        }
        fs::write(&sound.path, bytes).unwrap();
    }
}

#[test]
fn what_is_known_to_be_durable_and_a_segment_that_is_gone_are_missed() {
    let (dir, end) = written();
    let known = end.advance(1);
    let damage = survey(&dir).segments(known).last().unwrap().unwrap().damage;
    assert!(matches!(damage, Some(Error::Corrupt { durable, .. }) if durable == known));
    let path = segments(&survey(&dir))[1].path.clone();
    fs::remove_file(&path).unwrap();
    let survey = survey(&dir);
    assert!(
        matches!(survey.findings(), [Error::MissingSegment { path: missing, .. }] if *missing == path)
    );
}
