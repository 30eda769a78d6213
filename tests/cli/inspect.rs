//! A directory that is looked at is shown as it is, stays as it is, and every damage that matters is named.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::node::{BINARY, Node, text};

fn inspect(what: &str, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["inspect", what]).arg(dir).args(more);
    command.args(["--output", "json"]).output().unwrap()
}

fn lines(output: &Output) -> Vec<Json> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

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

/// Every file below a directory with its bytes.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Random writes to a node whose WAL has small segments.
fn write(node: &Node, rng: &mut SmallRng, rows: u32) {
    let line = |_| {
        let (tail, flights) = (rng.random_range(0..50), rng.random::<i32>());
        format!("{{\"tailnum\":\"N{tail}\",\"flights\":{flights},\"delays\":[1.5]}}\n")
    };
    let text: String = (0..rows).map(line).collect();
    let file = node.file("rows.jsonl", &text);
    node.json(&[
        "import",
        "aircraft",
        file.to_str().unwrap(),
        "--batch-rows",
        "20",
    ]);
    node.json(&[
        "put",
        "aircraft",
        "--json",
        r#"{"tailnum":"N1","flights":7}"#,
        "--request-id",
        &rows.to_string(),
    ]);
    node.json(&["delete", "aircraft", "--key", "tailnum=N2"]);
}

/// A directory with a history, its node stopped in good order.
fn directory(rng: &mut SmallRng) -> (tempfile::TempDir, PathBuf) {
    let node = Node::with_aircraft();
    write(&node, rng, 300);
    let directory = node.stop();
    let data = directory.path().join("data");
    (directory, data)
}

fn seeded() -> SmallRng {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    SmallRng::seed_from_u64(seed)
}

#[test]
fn records_and_rows_are_printed_with_names_and_nothing_is_changed() {
    let (_kept, data) = directory(&mut seeded());
    let before = files(&data);
    for path in before
        .keys()
        .chain([&data, &data.join("wal"), &data.join("store")])
    {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let wal = lines(&inspect("wal", &data, &[]));
    assert!(wal[0]["segment"].is_string() && wal[0]["durable_upto"].is_u64());
    let kinds: Vec<&str> = wal
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    assert!(
        kinds.starts_with(&["opening", "definition", "rows"]),
        "{kinds:?}"
    );
    let put = wal
        .iter()
        .find(|line| line["request"]["id"] == "300")
        .unwrap();
    let write = &put["body"]["writes"][0];
    assert_eq!(
        (&write["view"], &write["key"]),
        (&json!("aircraft"), &json!({ "tailnum": "N1" }))
    );
    assert_eq!(
        (&write["change"], &write["values"]),
        (&json!("put"), &json!({ "flights": 7 }))
    );
    let some = lines(&inspect(
        "wal",
        &data,
        &["--from", "2", "--to", "9", "--limit", "3"],
    ));
    let seqs: Vec<u64> = some
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect();
    assert_eq!(seqs, [2, 3, 4]);

    let store = &lines(&inspect("store", &data, &[]))[0];
    assert_eq!(store["views"][0]["view"], "aircraft");
    let rows = lines(&inspect(
        "store",
        &data,
        &["--view", "aircraft", "--limit", "0"],
    ));
    let live = rows.iter().filter(|row| row["deleted"].is_null()).count();
    assert_eq!(store["views"][0]["rows"], live);
    let row = &lines(&inspect(
        "store",
        &data,
        &["--view", "aircraft", "--key", "tailnum=N1"],
    ))[0];
    assert_eq!(
        (&row["key"]["tailnum"], &row["features"]["flights"]["value"]),
        (&json!("N1"), &json!(7))
    );

    let report = assert_sound(&data);
    assert_eq!(
        (&report["rows"], &report["requests"]),
        (&json!(rows.len()), &json!(1))
    );
    assert_eq!(files(&data), before);
    for path in [&data, &data.join("wal"), &data.join("store")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let node = Node::with_aircraft();
    let data = node.directory.path().join("data");
    for what in ["wal", "store", "verify"] {
        let output = inspect(what, &data, &[]);
        let line = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && line.starts_with("DIRECTORY_LOCKED: "),
            "{line}"
        );
    }
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
                    // A damaged end reads as one cut short: an earlier state, which the WAL completes.
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
    let node = Node::start_in(copy);
    node.json(&["export", "aircraft", "--digest-only"])["content_digest"].clone()
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
