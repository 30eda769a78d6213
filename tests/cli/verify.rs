//! `inspect verify`: a sound directory has no findings, whatever its history, and every damage that matters is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng;
use serde_json::{Value as Json, json};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::model::Record;
use steadfast::node::IdentityFile;
use steadfast::wal::Log;

use crate::inspect::{SMALL, directory, files, inspect, lines, seeded, write};
use crate::node::{AIRCRAFT, Node, text};

/// Exit code and report of `inspect verify`.
fn verify(dir: &Path) -> (i32, Json) {
    let output = inspect("verify", dir, &[]);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("no report: {}", text(&output.stderr)));
    (output.status.code().unwrap(), report)
}

fn findings(report: &Json) -> Vec<PathBuf> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["file"].as_str().unwrap().into())
        .collect()
}

pub fn assert_sound(dir: &Path) -> Json {
    let (code, report) = verify(dir);
    assert_eq!((code, findings(&report)), (0, vec![]), "{report}");
    report
}

#[test]
fn a_sound_directory_has_no_findings_however_its_node_ended() {
    let rng = &mut seeded();
    let mut node = Node::with_aircraft();
    for round in 0..6 {
        let rows = rng.random_range(1..400);
        write(&node, rng, rows);
        let is_killed = rng.random();
        let directory = if is_killed { node.kill() } else { node.stop() };
        let report = assert_sound(&directory.path().join("data"));
        assert!(
            is_killed || report["records"].as_u64() > Some(3),
            "{round}: {report}"
        );
        node = Node::start_in(directory);
    }
}

#[test]
fn a_flipped_bit_is_named_with_its_file() {
    let rng = &mut seeded();
    let (_kept, data) = directory(rng);
    let sound = files(&data);
    let rows = lines(&inspect(
        "store",
        &data,
        &["--view", "aircraft", "--limit", "0"],
    ));
    let expected = served(&data);
    let mut found = 0;
    for (path, bytes) in &sound {
        let name = path.file_name().unwrap().to_str().unwrap();
        let in_store = path.starts_with(data.join("store"));
        let is_read = match name {
            "LOCK" | "LOG" => false,
            "IDENTITY" => !in_store,
            other => {
                !other.starts_with("OPTIONS-") && !other.starts_with("LOG.") && !bytes.is_empty()
            }
        };
        if !is_read {
            continue;
        }
        // Reserved space of a segment is not interesting, the bytes before it are.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        if used == 0 {
            // Kept ready for the next segment.
            continue;
        }
        for _ in 0..12 {
            let at = rng.random_range(0..used);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << rng.random_range(0..8);
            fs::write(path, &damaged).unwrap();
            let (code, report) = verify(&data);
            let names = findings(&report);
            assert_eq!(code == 1, !names.is_empty());
            if names.is_empty() {
                let place = format!("{name} at {at} of {used}");
                assert!(
                    may_be_missed(name, in_store, at, used, bytes, &damaged),
                    "{place}: {report}"
                );
                if name.starts_with("MANIFEST-") {
                    // A damaged end reads as one that is not there: an earlier state, which the WAL completes.
                    assert_eq!(served(&data), expected, "{place}");
                    continue;
                }
                let now = lines(&inspect(
                    "store",
                    &data,
                    &["--view", "aircraft", "--limit", "0"],
                ));
                assert_eq!(now, rows, "{place}");
            } else {
                found += 1;
                let is_named = names
                    .iter()
                    .any(|file| file == path || in_store && file.starts_with(data.join("store")));
                assert!(is_named, "{name} at {at}: {report}");
            }
        }
        fs::write(path, bytes).unwrap();
    }
    assert!(found > 30, "{found}");
    assert_sound(&data);
}

/// The content digest of what a node on a copy of the directory serves.
fn served(data: &Path) -> Json {
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(data) {
        let to = copy
            .path()
            .join("data")
            .join(path.strip_prefix(data).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    let node = Node::start_with(copy, &SMALL);
    node.json(&["export", "aircraft", "--digest-only"])["content_digest"].clone()
}

#[test]
fn a_manifest_without_its_end_is_noted_with_the_files_it_lacks_while_the_log_completes_it() {
    let rng = &mut seeded();
    let (mut kept, data) = directory(rng);
    for _ in 0..8 {
        let expected = served(&data);
        assert_eq!(assert_sound(&data)["notes"], json!([]));
        let (path, bytes) = files(&data.join("store"))
            .into_iter()
            .find(|(path, _)| text_of(path).starts_with("MANIFEST-"))
            .unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let (code, report) = verify(&data);
        if code == 0 {
            assert_sound(&data);
            let note = report["notes"][0].as_str().unwrap();
            assert!(note.contains(".sst: not named by the MANIFEST"), "{note}");
            assert_eq!(served(&data), expected);
            return;
        }
        // Its end said which files were merged into others, and gone. One more start and stop adds files, of which four are merged.
        // Or up to where the store holds what the log has let go of.
        let named = findings(&report);
        let is_named = |file: &PathBuf| *file == path || *file == data.join("wal");
        assert!(named.iter().all(is_named), "{report}");
        fs::write(&path, &bytes).unwrap();
        let node = Node::start_with(kept, &SMALL);
        write(&node, rng, 3);
        kept = node.stop();
    }
    panic!("no manifest ends with a file that was added");
}

fn text_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Bytes that nothing depends on.
fn may_be_missed(
    name: &str,
    in_store: bool,
    at: usize,
    used: usize,
    before: &[u8],
    after: &[u8],
) -> bool {
    // The last mark of the WAL is cut as a torn tail.
    let is_last_mark = name.ends_with(".wal") && at + 25 >= used;
    // The head of a sealed file: hexadecimal digits in capitals say the same, and older versions are read.
    let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
    let is_head = !in_store
        && !name.ends_with(".wal")
        && (lower(before) == lower(after) || before[..at].iter().all(|byte| *byte != b'\n'));
    // Filters and statistics of a table, and the end of the manifest.
    let is_aside = name.ends_with(".sst") || name.starts_with("MANIFEST-");
    is_last_mark || is_head || is_aside
}

/// Repeats a question to the node until the answer fits.
fn until(node: &Node, fits: impl Fn(&Json) -> bool) {
    while !fits(&node.json(&["status"])) {
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_is_sound_before_in_the_middle_of_and_after_a_sweep() {
    let rng = &mut seeded();
    let purging = |rows_per_second: &'static str| {
        [
            SMALL[0],
            ("STEADFAST_PURGE__HORIZON_LAG_SECONDS", "0"),
            ("STEADFAST_ENGINE__SWEEP_ROWS_PER_SECOND", rows_per_second),
        ]
    };
    let slow = purging("20");
    let node = Node::start_with(tempfile::tempdir().unwrap(), &slow);
    node.create_view(&AIRCRAFT.replacen("[[feature]]", "ttl = \"100ms\"\n[[feature]]", 1));
    write(&node, rng, 300);
    until(&node, |status| !status["sweep"].is_null());
    let directory = node.stop();
    let data = directory.path().join("data");
    let state = |data: &Path| lines(&inspect("store", data, &[]))[0]["state"].clone();
    assert!(state(&data)["sweep"].is_object(), "half swept");
    assert!(assert_sound(&data)["rows"].as_u64() > Some(0));

    let fast = purging("100000");
    let node = Node::start_with(directory, &fast);
    until(&node, |status| status["views"][0]["rows"] == 0);
    let directory = node.kill();
    assert_sound(&data);
    let node = Node::start_with(directory, &fast);
    until(&node, |status| status["views"][0]["rows"] == 0);
    let _directory = node.stop();
    assert_sound(&data);
    let store = &lines(&inspect("store", &data, &[]))[0];
    assert_eq!(store["views"][0]["rows"], 0, "{store}");
}

#[test]
fn a_log_that_has_let_go_of_its_beginning_is_sound_until_the_store_misses_a_part() {
    let rng = &mut seeded();
    let tiny = [("STEADFAST_WAL__SEGMENT_BYTES", "4096")];
    let node = Node::start_with(tempfile::tempdir().unwrap(), &tiny);
    node.create_view(AIRCRAFT);
    write(&node, rng, 300);
    // A start needs nothing of what a stop has flushed.
    let node = Node::start_with(node.stop(), &tiny);
    // However rows are batched, these are more than a segment holds: a batch keeps one row of each of 50 entities.
    for _ in 0..10 {
        write(&node, rng, 100);
    }
    let data = node.directory.path().join("data");
    let _directory = node.kill();
    let segments = files(&data.join("wal")).into_keys();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "wal");
    let segments: Vec<PathBuf> = segments.filter(is_segment).collect();
    assert!(segments.len() > 2, "{segments:?}");
    let first = &lines(&inspect("wal", &data, &["--limit", "1"]))[0];
    assert!(first["base"].as_u64() > Some(0), "{first}");
    assert_sound(&data);

    // The first may end with what has been flushed.
    let mut gone = segments[..segments.len() - 1].iter();
    let report = loop {
        fs::remove_file(gone.next().expect("the store misses what is gone")).unwrap();
        let (code, report) = verify(&data);
        if code != 0 {
            break report;
        }
    };
    assert_eq!(findings(&report), [data.join("wal")]);
    let problem = report["findings"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("the store needs it from"), "{problem}");
}

/// Appends to the WAL what `change` makes of the record that would come next.
fn append_next(data: &Path, change: impl FnOnce(&mut Record)) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let identity = IdentityFile::open(Arc::clone(&disk), &data.join("IDENTITY"));
    let lineage = identity.unwrap().unwrap().get().lineage;
    let wal = data.join("wal");
    let known = steadfast::base::Lsn::ZERO;
    let (mut log, recovery) = Log::open(disk, &wal, lineage, 16_384, known).unwrap();
    let entries = log.read_from(recovery.first).unwrap();
    let last = entries.last().unwrap().unwrap().payload;
    let mut next = Record::decode(&last).unwrap();
    next.stamp.seq = next.stamp.seq.next();
    next.stamp.hlc = next.stamp.hlc.next();
    next.chain_before = Record::chain_after(&last);
    change(&mut next);
    log.append(&next.encode()).unwrap();
    log.sync().unwrap();
}

#[test]
fn a_fork_and_a_gap_in_the_log_are_named_where_they_stand() {
    let rng = &mut seeded();
    let (_kept, data) = directory(rng);
    append_next(&data, |_| {});
    assert_sound(&data);
    let sound = files(&data);
    type Change = fn(&mut Record);
    let fork: Change = |next| next.chain_before.0 ^= 1;
    let gap: Change = |next| next.stamp.seq = next.stamp.seq.next();
    for (change, expected) in [(fork, "follows chain digest"), (gap, "follows record")] {
        append_next(&data, change);
        let (code, report) = verify(&data);
        let [finding] = &report["findings"].as_array().unwrap()[..] else {
            panic!("one finding: {report}")
        };
        let problem = finding["problem"].as_str().unwrap();
        assert!(code == 1 && problem.contains(expected), "{report}");
        let file = Path::new(finding["file"].as_str().unwrap());
        assert!(file.starts_with(data.join("wal")) && finding["offset"].as_u64() > Some(0));
        for path in files(&data).keys() {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &sound {
            fs::write(path, bytes).unwrap();
        }
    }
    assert_sound(&data);
}
