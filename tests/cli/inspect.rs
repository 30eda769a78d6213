//! A directory that is looked at is shown as it is and stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::node::{AIRCRAFT, BINARY, Node, text};
use crate::verify::assert_sound;

pub fn inspect(what: &str, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["inspect", what]).arg(dir).args(more);
    command.args(["--output", "json"]).output().unwrap()
}

pub fn lines(output: &Output) -> Vec<Json> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every file below a directory with its bytes.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    listed(dir).into_iter().map(read).collect()
}

/// Every file below a directory.
pub fn listed(dir: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(listed(&path));
        } else {
            all.insert(path);
        }
    }
    all
}

/// Random writes.
pub fn write(node: &Node, rng: &mut SmallRng, rows: u32) {
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

/// Settings with which a short history fills several segments, and a file is read in no time.
pub const SMALL: [(&str, &str); 1] = [("STEADFAST_WAL__SEGMENT_BYTES", "16384")];

/// A directory with a history, its node stopped in good order.
pub fn directory(rng: &mut SmallRng) -> (tempfile::TempDir, PathBuf) {
    let node = Node::start_with(tempfile::tempdir().unwrap(), &SMALL);
    node.create_view(AIRCRAFT);
    write(&node, rng, 300);
    let directory = node.stop();
    let data = directory.path().join("data");
    (directory, data)
}

pub fn seeded() -> SmallRng {
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
