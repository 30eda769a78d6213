//! Forgetting an entity by command: when it ends, no file holds the values; what stays of the key is said.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::inspect::listed;
use crate::node::{Node, text};
use crate::verify::assert_sound;

/// Views of one entity, by how long their deletions are kept.
const VIEWS: [(&str, &str); 3] = [
    ("plain", ""),
    ("expiring", "ttl = \"30d\""),
    ("arrived", "order = \"arrival\""),
];

/// Writes a new secret of an entity into every view and returns them.
fn write_secrets(node: &Node, user: u32) -> Vec<Vec<u8>> {
    let write = |(view, _): (&str, &str)| {
        let secret: [u8; 64] = rand::random();
        let row = json!({ "user": user, "secret": STANDARD.encode(secret) });
        node.json(&["put", view, "--json", &row.to_string()]);
        secret.to_vec()
    };
    VIEWS.map(write).to_vec()
}

/// Which parts of the data directory hold this secret, but for its ends, which the compressor may take for a repetition of
/// what stands beside another one. The store merges files when it likes, so a listing may name one that has gone when it
/// is read: such a listing is made anew.
fn holding(data: &Path, secret: &[u8]) -> Vec<String> {
    let bytes = &secret[8..secret.len() - 8];
    let files = loop {
        let names = listed(data);
        let read = |path: &PathBuf| Some((path.clone(), std::fs::read(path).ok()?));
        let files: Option<Vec<_>> = names.iter().map(read).collect();
        if let Some(files) = files.filter(|_| listed(data) == names) {
            break files.into_iter();
        }
    };
    let holds = files.filter(|(_, content)| content.windows(bytes.len()).any(|at| at == bytes));
    holds
        .map(|(path, _)| path.strip_prefix(data).unwrap().display().to_string())
        .collect()
}

#[test]
fn when_the_command_ends_no_file_holds_the_values_and_what_stays_of_the_key_is_said() {
    let segments = [("STEADFAST_WAL__SEGMENT_BYTES", "1048576")];
    let node = Node::start_with(tempfile::tempdir().unwrap(), &segments);
    for (name, settings) in VIEWS {
        node.create_view(&format!(
            r#"
            name = "{name}"
            entity = [{{ name = "user", type = "int64" }}]
            {settings}
            feature = [{{ name = "secret", type = "bytes" }}]
            "#
        ));
    }
    // The older secrets lie in files of the store, the newer ones in the log.
    let mut secrets = write_secrets(&node, 4711);
    let node = Node::start_with(node.stop(), &segments);
    secrets.extend(write_secrets(&node, 4711));
    let of_neighbour = write_secrets(&node, 4712);
    let data = node.directory.path().join("data");
    for (part, secret) in ["store", "wal"].iter().zip([&secrets[0], &secrets[3]]) {
        let held = holding(&data, secret);
        assert!(held.iter().any(|file| file.starts_with(part)), "{held:?}");
    }

    let output = node.run(&["forget", "--key", "user=4711"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for secret in &secrets {
        assert_eq!(holding(&data, secret), Vec::<String>::new());
    }
    let shown = text(&output.stdout);
    for (view, kept) in VIEWS.iter().zip(["for ever", "until 2", "until 2"]) {
        let line = shown.lines().find(|line| line.contains(view.0)).unwrap();
        let expected = ["erased", "in the deletion", kept];
        assert!(expected.iter().all(|part| line.contains(part)), "{line}");
    }

    let again = node.json(&["forget", "--key", "user=4711", "--view", "plain"]);
    let nothing = json!({ "view": "plain", "deleted": false, "key_kept": "for_ever" });
    assert_eq!(again, json!({ "rows": [nothing], "erased": true }));

    // As a crash would leave it.
    let node = Node::start_with(node.kill(), &segments);
    for ((view, _), secret) in VIEWS.iter().zip(&of_neighbour) {
        for (user, value) in [
            ("4711", json!(null)),
            ("4712", json!(STANDARD.encode(secret))),
        ] {
            let got = node.json(&["get", view, "--key", &format!("user={user}")]);
            assert_eq!(got["rows"][0]["features"]["secret"]["value"], value);
        }
    }
    assert_sound(&node.kill().path().join("data"));
}

#[test]
fn an_entity_is_deleted_at_once_when_nobody_waits_for_the_rest() {
    let node = Node::with_aircraft();
    node.json(&[
        "put",
        "aircraft",
        "--json",
        r#"{"tailnum":"N1","flights":7}"#,
    ]);
    let output = node.run(&["forget", "--key", "tailnum=N1", "--no-wait"], "");
    let shown = text(&output.stdout);
    assert!(shown.contains("deleted, being erased"), "{shown}");
    let got = node.json(&["get", "aircraft", "--key", "tailnum=N1"]);
    let flights = &got["rows"][0]["features"]["flights"];
    assert_eq!(flights["status"], "NOT_FOUND");
    let (code, line) = node.failure(&["forget", "--key", "tail=N1"]);
    assert!(
        code == 2 && line.starts_with("INVALID_ARGUMENT: "),
        "{line}"
    );
}
