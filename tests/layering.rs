//! Holds the code to the layers: each module imports only from those below it, pure files stay pure, and each foreign
//! library has its place.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic where the repository is not as expected"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module with those it may import, lower ones first.
const LAYERS: &[(&str, &str)] = &[
    ("base", ""),
    ("model", "base"),
    ("proto", "base model"),
    ("wal", "base"),
    ("storage", "base model"),
    ("net", "base proto"),
    ("engine", "base model wal storage"),
    ("control", "base proto net"),
    ("backup", "base model wal storage engine control"),
    (
        "config",
        "base model proto wal storage net engine control backup",
    ),
    ("replication", "base model proto control"),
    ("epoch", "base control replication"),
    ("read", "base model control replication"),
    ("replica", "base model control replication epoch read"),
    (
        "node",
        "base model proto wal storage net engine control backup config replication epoch read replica",
    ),
    (
        "server",
        "base model proto wal storage net engine control backup config replication epoch read replica node",
    ),
    ("client", "base model proto"),
    (
        "cli",
        "base model proto wal storage net engine control backup config node server client",
    ),
];

/// What a file that opens with `//! Pure:` may not name.
const IMPURE: &[&str] = &[
    "async fn",
    "async move",
    "async {",
    ".await",
    "tokio",
    "SystemTime",
    "Instant",
    "clock::now",
    "std::fs",
    "File",
    "std::io",
    "std::net",
    "std::thread",
    "std::sync::Mutex",
    "rand::",
    "std::env",
    "std::process",
];

/// Each name that belongs into some places only, with the beginnings of their paths.
const PLACES: &[(&str, &[&str])] = &[
    // The baselines of `bench compare` use what the node uses, without the node.
    (
        "rocksdb::",
        &["storage/", "control/raft/store.rs", "cli/bench/bare.rs"],
    ),
    ("openraft", &["control/raft/"]),
    ("object_store", &["backup/bucket/"]),
    (
        "tonic::",
        &[
            "proto/",
            "server/",
            "net/",
            "client/",
            "cli/bench/grpc.rs",
            "cli/bench/empty.rs",
        ],
    ),
    ("SystemTime", &["base/clock.rs"]),
    ("Instant::now", &["base/clock.rs"]),
    ("tokio::spawn", &["base/task.rs"]),
    ("fs::rename", &["base/disk.rs"]),
];

/// What is wrong with a file of `src/`, given its path there.
fn faults(path: &str, source: &str) -> Vec<String> {
    let code = production(source);
    let module = path.split(['/', '.']).next().unwrap();
    let allowed = LAYERS.iter().find(|(name, _)| *name == module);
    let mut faults = Vec::new();
    for imported in imports(&code) {
        let may = |list: &str| list.split(' ').any(|name| name == imported);
        if imported != module && allowed.is_some_and(|(_, list)| !may(list)) {
            faults.push(format!("{path}: {module} may not import {imported}"));
        }
    }
    if allowed.is_none() && !matches!(path, "lib.rs" | "main.rs") {
        faults.push(format!("{path}: {module} is not among the layers"));
    }
    if source.starts_with("//! Pure:") {
        let named = IMPURE.iter().filter(|name| names(&code, name));
        faults.extend(named.map(|name| format!("{path}: a pure file names {name}")));
    }
    for (name, places) in PLACES {
        if names(&code, name) && !places.iter().any(|place| path.starts_with(place)) {
            faults.push(format!("{path}: {name} belongs into {places:?}"));
        }
    }
    faults
}

/// The code without comments and without its test module, which stands last.
fn production(source: &str) -> String {
    let tests = source
        .find("\n#[cfg(test)]\nmod ")
        .or_else(|| source.find("\n#[cfg(test)]\n#[path"));
    let code = &source[..tests.unwrap_or(source.len())];
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that the code names, in `use` lines or inline, also as `use crate::{a, b::c}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let path = &code[at + prefix.len()..];
        match path.strip_prefix('{') {
            None => found.push(identifier(path)),
            Some(group) => found.extend(heads(group)),
        }
    }
    found
}

/// The first identifier of each path in a `{…}` group, given what follows its opening brace.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut is_start) = (0, Vec::new(), true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' => is_start = depth == 0,
            _ if is_start && !char.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_');
    text[..end.unwrap_or(text.len())].to_owned()
}

/// Does the code hold this name, not as a part of a longer one?
fn names(code: &str, name: &str) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let ends = |part: bool| !part || !name.ends_with(is_part);
        let starts = |part: bool| !part || !name.starts_with(is_part);
        starts(before.ends_with(is_part)) && ends(after.starts_with(is_part))
    })
}

/// The files of `src/` that are not tests, by their paths there.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs: Vec<PathBuf> = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if name.ends_with(".rs")
                && !name.ends_with("_test.rs")
                && !name.ends_with("/testing.rs")
            {
                sources.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    sources.sort();
    sources
}

#[test]
fn every_module_keeps_to_its_layer() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were found: {sources:?}");
    let faults: Vec<_> = sources
        .iter()
        .flat_map(|(path, source)| faults(path, source))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_layer_may_import_one_above_it() {
    for (at, (name, allowed)) in LAYERS.iter().enumerate() {
        let below = &LAYERS[..at];
        let is_below = |name: &&str| below.iter().any(|(other, _)| other == name);
        assert!(
            allowed.split_whitespace().all(|name| is_below(&name)),
            "{name}"
        );
    }
}

#[test]
fn an_import_from_a_higher_layer_is_caught_however_it_is_written() {
    for source in [
        "use crate::engine::Engine;",
        "pub(crate) use crate::engine;",
        "use crate::{base::{Lsn, Seq}, engine};",
        "use crate::{\n    base::Lsn,\n    engine::Engine,\n};",
        "fn f() -> crate::engine::Lag { todo() }",
    ] {
        let found = faults("wal/x.rs", source);
        assert_eq!(found, ["wal/x.rs: wal may not import engine"], "{source}");
    }
}

#[test]
fn what_is_allowed_is_not_a_fault() {
    for source in [
        "use crate::{base::{engine, Seq}, wal::Lsn};",
        "use crate::base::Lsn;\n\n#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}",
        "use super::frame;\n#[cfg(test)]\n#[path = \"x_test.rs\"]\nmod tests;",
        "/// See [`crate::engine`].\nfn f() {}",
    ] {
        assert_eq!(faults("wal/x.rs", source), [""; 0], "{source}");
    }
}

#[test]
fn a_pure_file_that_is_not_is_caught() {
    for impure in [
        "async fn f() {}",
        "use std::time::Instant;",
        "use std::fs;",
        "fn f() { File::open(p) }",
        "use rand::Rng;",
        "std::thread::park();",
    ] {
        let pure = format!("//! Pure: claims.\n\n{impure}");
        assert_eq!(faults("storage/x.rs", &pure).len(), 1, "{impure}");
    }
    let pure =
        "//! Pure: no async.\n\n// An Instant, a File.\nfn profile(instants: u8) -> Profile {}";
    assert_eq!(faults("storage/x.rs", pure), [""; 0]);
}

#[test]
fn a_foreign_library_outside_its_place_is_caught() {
    let source = "fn f(db: &rocksdb::DB) {}";
    assert_eq!(faults("storage/store.rs", source), [""; 0]);
    assert_eq!(faults("engine/x.rs", source).len(), 1);
    assert_eq!(faults("node/x.rs", "use tonic::Status;").len(), 1);
    let clock = "use std::time::SystemTime;";
    assert_eq!(faults("base/clock.rs", clock), [""; 0]);
    assert_eq!(faults("base/task.rs", clock).len(), 1);
}

#[test]
fn a_module_without_a_layer_is_caught() {
    assert_eq!(
        faults("util/mod.rs", ""),
        ["util/mod.rs: util is not among the layers"]
    );
}
