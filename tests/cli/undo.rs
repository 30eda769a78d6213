//! A view says again what it said at a moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value as Json, json};
use steadfast::base::clock::now_monotonic;
use tempfile::TempDir;

use crate::node::{BINARY, Node, text};

const MODES: [(&str, &str); 4] = [
    ("row", "event_time"),
    ("row", "arrival"),
    ("cell", "event_time"),
    ("cell", "arrival"),
];
const FEATURES: [(&str, &str); 5] = [
    ("n", "int64"),
    ("d", "double"),
    ("l", "list<string>"),
    ("b", "bytes"),
    ("t", "timestamp"),
];

fn view(name: &str, (merge, order): (&str, &str), features: &[(&str, &str)]) -> String {
    let features = features.iter();
    let features =
        features.map(|(name, of)| format!("[[feature]]\nname = \"{name}\"\ntype = \"{of}\"\n"));
    format!(
        "name = \"{name}\"\nmerge = \"{merge}\"\norder = \"{order}\"\n\
         entity = [{{ name = \"k\", type = \"string\" }}, {{ name = \"i\", type = \"int32\" }}]\n{}",
        features.collect::<String>()
    )
}

fn value(rng: &mut SmallRng, of: &str) -> Json {
    if rng.random_ratio(1, 5) {
        return Json::Null;
    }
    match of {
        "int64" => rng.random::<i64>().into(),
        "double" => match rng.random_range(0..4) {
            0 => "NaN".into(),
            1 => json!(-0.0),
            _ => rng.random_range(-1e300..1e300).into(),
        },
        "list<string>" => (0..rng.random_range(0..3))
            .map(|_| Json::from("x\u{0}ä"))
            .collect(),
        "bytes" => (*["", "AA==", "AP8="].choose(rng).unwrap()).into(),
        _ => rng
            .random_range(-1_000_000_000_000_000..4_000_000_000_000_000i64)
            .into(),
    }
}

/// Keys whose order is not that of their texts.
fn key(rng: &mut SmallRng) -> (String, i32) {
    let text = ["", "a", "a\u{0}", "b"].choose(rng).unwrap();
    ((*text).to_owned(), rng.random_range(-20..20))
}

fn row(rng: &mut SmallRng, (k, i): &(String, i32)) -> Json {
    let mut row = Map::new();
    row.insert("k".into(), k.as_str().into());
    row.insert("i".into(), (*i).into());
    for (name, of) in FEATURES {
        if rng.random() {
            row.insert(name.into(), value(rng, of));
        }
    }
    row.entry("n").or_insert_with(|| 7.into());
    row.into()
}

/// Puts random rows, each as of some time in the past or of now.
fn put(node: &Node, view: &str, rng: &mut SmallRng, rows: usize) {
    for _ in 0..rows / 20 {
        let lines: Vec<_> = (0..20)
            .map(|_| {
                let key = key(rng);
                row(rng, &key).to_string()
            })
            .collect();
        let time = format!("2026-0{}-01T00:00:00Z", rng.random_range(1..9));
        let mut command = vec!["put", view, "--json", "-"];
        if rng.random() {
            command.extend(["--event-time", &time]);
        }
        let output = node.run(&command, &lines.join("\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

/// Deletes random rows, whether they are there or not.
fn delete(node: &Node, view: &str, rng: &mut SmallRng) {
    for _ in 0..10 {
        let (k, i) = key(rng);
        let key = format!("k=\"{k}\",i={i}");
        // A key of the command line cannot hold a zero byte.
        if !k.contains('\u{0}') {
            node.json(&["delete", view, "--key", &key]);
        }
    }
}

/// What readers get: of each entity its values, by feature.
type Rows = BTreeMap<String, BTreeMap<String, Json>>;

fn read(node: &Node, view: &str) -> Rows {
    let scanned = node.json(&["scan", view, "--limit", "0"]);
    let rows = scanned["rows"].as_array().unwrap().iter().map(|row| {
        let features = row["features"].as_object().unwrap().iter();
        let there = features.filter(|(_, cell)| cell["status"] != "NOT_FOUND");
        let values = there.map(|(name, cell)| (name.clone(), cell["value"].clone()));
        (row["key"].to_string(), values.collect())
    });
    rows.filter(|(_, values): &(_, BTreeMap<_, _>)| !values.is_empty())
        .collect()
}

/// Counts of what has to be written so that one becomes the other: put, deleted, equal.
fn differences(then: &Rows, now: &Rows) -> [u64; 3] {
    let put = then
        .iter()
        .filter(|(key, row)| now.get(*key) != Some(row))
        .count();
    let deleted = now.keys().filter(|key| !then.contains_key(*key)).count();
    let equal = then.len() - put;
    [put, deleted, equal].map(|count| u64::try_from(count).unwrap())
}

fn counts(done: &Json) -> [u64; 3] {
    ["put", "deleted", "equal"].map(|name| done[name].as_u64().unwrap())
}

/// A place for a bucket and for what is restored.
struct Place {
    _dir: TempDir,
    url: String,
    scratch: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (bucket, scratch) = (dir.path().join("bucket"), dir.path().join("scratch"));
        std::fs::create_dir(&bucket).unwrap();
        std::fs::create_dir(&scratch).unwrap();
        let url = format!("file://{}", bucket.display());
        Place {
            _dir: dir,
            url,
            scratch,
        }
    }

    fn command<'a>(&'a self, view: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let scratch = self.scratch.to_str().unwrap();
        let mut command = vec!["backup", "restore", &self.url, "--as-new-writes"];
        command.extend(["--view", view, "--to", to, "--scratch", scratch]);
        command.extend(more);
        command
    }

    fn undo(&self, node: &Node, view: &str, to: &str, more: &[&str]) -> Json {
        let done = node.json(&self.command(view, to, more));
        assert!(self.is_tidy(), "what was restored is removed");
        assert_eq!(done["changed_meanwhile"], 0, "{done}");
        done
    }

    fn is_tidy(&self) -> bool {
        is_empty(&self.scratch)
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

/// Writes until the millisecond is over in which the last write was, and names it.
fn moment(node: &Node) -> String {
    let millis = || {
        let row = r#"{"tailnum":"N1","flights":1}"#;
        let put = node.json(&["put", "aircraft", "--json", row]);
        let stamp = put["stamp"].as_str().unwrap();
        stamp.split('.').next().unwrap().parse::<i64>().unwrap()
    };
    let first = millis();
    while millis() == first {}
    let time = jiff::Timestamp::from_millisecond(first).unwrap();
    time.to_string()
}

/// Repeats a command until what it prints is as it is to be.
fn until(node: &Node, command: &[&str], is_so: impl Fn(&Json) -> bool) {
    let begun = now_monotonic();
    let command = [command, &["--output", "json"]].concat();
    loop {
        let output = node.run(&command, "");
        if serde_json::from_slice(&output.stdout).is_ok_and(|json| is_so(&json)) {
            return;
        }
        let problem = text(&output.stderr);
        let is_soon = begun.elapsed() < Duration::from_secs(30);
        assert!(is_soon, "{command:?}: {problem}");
    }
}

/// Has the set keep itself in a bucket, from now on.
fn archive(node: &Node, url: &str) {
    let bucket = format!("backup-bucket={url}");
    node.json(&["rs", "set", &bucket, "archive-interval=1s"]);
    until(node, &["backup", "list", url], |list| {
        list.as_array().is_some_and(|points| !points.is_empty())
    });
}

/// Waits until all that was written by then is in the bucket.
fn archived(node: &Node, url: &str, time: &str) {
    let plan = ["backup", "restore", url, "--to", time, "--plan"];
    until(node, &plan, |plan| plan["final"] == true);
}

#[test]
fn a_bad_write_is_undone_in_views_of_every_kind() {
    let (node, place) = (Node::with_aircraft(), Place::new());
    archive(&node, &place.url);
    let rng = &mut SmallRng::from_os_rng();
    let names = ["v0", "v1", "v2", "v3"];
    for (name, modes) in names.into_iter().zip(MODES) {
        node.create_view(&view(name, modes, &FEATURES));
        put(&node, name, rng, 80);
        delete(&node, name, rng);
    }
    let then = names.map(|name| read(&node, name));
    let time = moment(&node);
    for name in names {
        put(&node, name, rng, 60);
        delete(&node, name, rng);
    }
    archived(&node, &place.url, &time);
    for (name, then) in names.into_iter().zip(&then) {
        let bad = read(&node, name);
        let expected = differences(then, &bad);
        let dry = place.undo(&node, name, &time, &["--dry-run"]);
        assert_eq!(counts(&dry), expected, "{name}");
        assert_eq!(read(&node, name), bad, "nothing was written");
        let done = place.undo(&node, name, &time, &[]);
        assert_eq!(counts(&done), expected, "{name}");
        assert_eq!(read(&node, name), *then, "{name}");
        let again = place.undo(&node, name, &time, &[]);
        let rows = u64::try_from(then.len()).unwrap();
        assert_eq!(counts(&again), [0, 0, rows], "{name}");
    }
    let (code, line) = node.failure(&place.command("v9", &time, &["--output", "json"]));
    assert!(
        code == 2 && line.starts_with("UNKNOWN_VIEW: there was no view \"v9\" at that moment, but aircraft, v0, v1, v2, v3"),
        "{code} {line}"
    );
    assert!(place.is_tidy());
}

#[test]
fn a_view_goes_into_another_set_if_that_has_none_or_one_that_fits() {
    let (node, other, place) = (Node::start(), Node::start(), Place::new());
    let rng = &mut SmallRng::from_os_rng();
    for (name, modes) in ["v0", "v1"].into_iter().zip([MODES[0], MODES[2]]) {
        node.create_view(&view(name, modes, &FEATURES));
        put(&node, name, rng, 60);
    }
    let then = ["v0", "v1"].map(|name| read(&node, name));
    node.json(&["backup", "create", &place.url]);
    node.stop();

    let rows = u64::try_from(then[0].len()).unwrap();
    let dry = place.undo(&other, "v0", "latest", &["--dry-run"]);
    assert_eq!(
        (counts(&dry), &dry["created"]),
        ([rows, 0, 0], &json!(true))
    );
    assert_eq!(other.json(&["view", "list"])["views"], json!([]));
    let done = place.undo(&other, "v0", "latest", &[]);
    assert_eq!(
        (counts(&done), &done["created"]),
        ([rows, 0, 0], &json!(true))
    );
    assert_eq!(read(&other, "v0"), then[0]);
    let again = place.undo(&other, "v0", "latest", &[]);
    assert_eq!(
        (counts(&again), &again["created"]),
        ([0, 0, rows], &json!(false))
    );

    // One of other modes, with features in another order and one more, which keeps its values where there are rows.
    let mut features = FEATURES;
    features.reverse();
    let features = [&features[..], &[("more", "string")]].concat();
    other.create_view(&view("v1", MODES[1], &features));
    let keys: Vec<_> = then[1].keys().cloned().collect();
    let kept = keys.choose(rng).unwrap();
    let mut row: Json = serde_json::from_str(kept).unwrap();
    row["more"] = "kept".into();
    let put = other.run(&["put", "v1", "--json", "-"], &row.to_string());
    assert!(put.status.success(), "{}", text(&put.stderr));
    place.undo(&other, "v1", "latest", &[]);
    let mut expected = then[1].clone();
    let row = expected.get_mut(kept).unwrap();
    row.insert("more".into(), "kept".into());
    assert_eq!(read(&other, "v1"), expected);
}

#[test]
fn a_view_of_another_definition_is_refused_and_nothing_is_left_behind() {
    let (node, other, place) = (Node::start(), Node::start(), Place::new());
    node.create_view(&view("v", MODES[0], &FEATURES));
    let rng = &mut SmallRng::from_os_rng();
    put(&node, "v", rng, 20);
    node.json(&["backup", "create", &place.url]);
    let mut features = FEATURES;
    features[1].1 = "float";
    other.create_view(&view("v", MODES[0], &features[..4]));
    for more in [
        &["--dry-run", "--output", "json"][..],
        &["--output", "json"],
    ] {
        let (code, line) = other.failure(&place.command("v", "latest", more));
        let expected = "OTHER_DEFINITION: what view \"v\" was cannot be written into what it is now: \
            its feature \"d\" is of type float, the restored one of type double; it has no feature \"t\" (timestamp)";
        assert_eq!((code, line.as_str()), (2, expected));
        assert!(place.is_tidy());
    }
    assert_eq!(read(&other, "v"), Rows::new());
    let (code, line) = other.failure(&[
        "backup",
        "restore",
        &place.url,
        "--to",
        "latest",
        "--as-new-writes",
    ]);
    assert!(code == 2 && line.starts_with("USAGE: "), "{code} {line}");
}

#[test]
fn an_undo_that_is_told_to_stop_leaves_nothing_behind_and_goes_on() {
    let (node, place) = (Node::start(), Place::new());
    node.create_view(&view("v", MODES[0], &FEATURES));
    let rng = &mut SmallRng::from_os_rng();
    put(&node, "v", rng, 100);
    let then = read(&node, "v");
    let made = node.json(&["backup", "create", &place.url]);
    let point = made["point"].as_str().unwrap();
    put(&node, "v", rng, 100);
    // What is archived last says nothing of what was written since.
    let (code, line) = node.failure(&place.command("v", "latest", &["--output", "json"]));
    assert!(
        code == 2 && line.starts_with("NOT_FINAL: "),
        "{code} {line}"
    );
    for _ in 0..5 {
        let mut child = Command::new(BINARY)
            .args(place.command("v", point, &["--endpoint", &node.endpoint]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while place.is_tidy() && child.try_wait().unwrap().is_none() {}
        for _ in 0..rng.random_range(0..200_000u32) {
            std::hint::spin_loop();
        }
        let pid = child.id().to_string();
        let signal = *["-INT", "-TERM"].choose(rng).unwrap();
        let _perhaps_gone = Command::new("kill").args([signal, &pid]).status().unwrap();
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        assert!(place.is_tidy(), "nothing is left");
    }
    place.undo(&node, "v", point, &[]);
    assert_eq!(read(&node, "v"), then);
}
