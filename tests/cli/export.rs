//! What is exported is what was stored, and import reads it back.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value as Json, json};

use crate::node::{Node, text};

const TYPES: [&str; 8] = [
    "bool",
    "int32",
    "int64",
    "float",
    "double",
    "string",
    "bytes",
    "timestamp",
];

/// Features of every type, `s_` and its list `l_`; one is called as the usual column of event times.
fn view(name: &str, merge: &str) -> String {
    let feature =
        |name: String, of: String| format!("[[feature]]\nname = \"{name}\"\ntype = \"{of}\"\n");
    let scalars = TYPES.map(|of| feature(format!("s_{of}"), of.to_owned()));
    let lists = TYPES.map(|of| feature(format!("l_{of}"), format!("list<{of}>")));
    format!(
        "name = \"{name}\"\nmerge = \"{merge}\"\nentity = [{{ name = \"k\", type = \"string\" }}, {{ name = \"t\", type = \"timestamp\" }}]\n\
         {}[[feature]]\nname = \"event_time\"\ntype = \"int64\"\n",
        [scalars, lists].concat().concat()
    )
}

fn scalar(rng: &mut SmallRng, of: &str, may_be_empty: bool) -> Json {
    let length = rng.random_range(usize::from(!may_be_empty)..5);
    match of {
        "bool" => rng.random::<bool>().into(),
        "int32" => rng.random::<i32>().into(),
        "int64" => rng.random::<i64>().into(),
        "float" => match rng.random_range(0..5) {
            0 => "-Infinity".into(),
            1 => "NaN".into(),
            _ => rng.random_range(-1_000..1_000).into(),
        },
        "double" => rng.random_range(-1e300..1e300).into(),
        "string" => (0..length)
            .map(|_| rng.random_range('\u{1}'..'\u{2fff}'))
            .collect::<String>()
            .into(),
        "bytes" => ["", "AA==", "AP8=", "qrvM"][length.min(3)].into(),
        _ => json!(rng.random_range(-1_000_000_000_000_000..4_000_000_000_000_000i64)),
    }
}

fn row(rng: &mut SmallRng, absents: bool, empties: bool) -> Json {
    let mut row = Map::new();
    row.insert("k".into(), scalar(rng, "string", false));
    row.insert("t".into(), scalar(rng, "timestamp", false));
    let times = [
        0,
        1,
        rng.random_range(-1_000_000_000_000_000..1_300_000_000_000_000i64),
    ];
    row.insert(
        "event_timestamp".into(),
        times[rng.random_range(0..3)].into(),
    );
    for of in TYPES {
        let list: Vec<Json> = (0..rng.random_range(0..4))
            .map(|_| scalar(rng, of, true))
            .collect();
        row.insert(format!("s_{of}"), scalar(rng, of, empties));
        row.insert(format!("l_{of}"), list.into());
    }
    row.insert("event_time".into(), scalar(rng, "int64", true));
    let names: Vec<String> = row
        .keys()
        .filter(|name| name.contains("_"))
        .cloned()
        .collect();
    for name in names.iter().filter(|name| *name != "event_timestamp") {
        match rng.random_range(0..8) {
            0 if absents => drop(row.remove(name)),
            1 => drop(row.insert(name.clone(), Json::Null)),
            _ => {}
        }
    }
    row.into()
}

fn fill(node: &Node, rng: &mut SmallRng, name: &str, merge: &str, absents: bool, empties: bool) {
    create(node, name, merge);
    let rows = (0..300).map(|_| row(rng, absents, empties).to_string() + "\n");
    let mut lines: Vec<String> = rows.collect();
    for at in 0..60 {
        // A second write to some entities, at another time.
        let mut again: Json = serde_json::from_str(&lines[at]).unwrap();
        let more = row(rng, absents, empties);
        let kept = ["k", "t"];
        again = more
            .as_object()
            .unwrap()
            .iter()
            .fold(again, |mut again, (name, value)| {
                if !kept.contains(&name.as_str()) {
                    again[name] = value.clone();
                }
                again
            });
        lines.push(again.to_string() + "\n");
    }
    let file = node.file("rows.jsonl", &lines.concat());
    let done = node.json(&["import", name, file.to_str().unwrap()]);
    assert_eq!(done["read"], 360);
}

fn create(node: &Node, name: &str, merge: &str) {
    let file = node.file("view.toml", &view(name, merge));
    node.json(&["view", "create", file.to_str().unwrap()]);
}

#[test]
fn an_export_imported_elsewhere_has_the_same_content_digest() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let rng = &mut SmallRng::seed_from_u64(seed);
    let (source, target) = (Node::start(), Node::start());
    for (name, merge, extension, absents, empties) in [
        ("rows_jsonl", "row", "jsonl", true, true),
        ("cells_jsonl", "cell", "jsonl", true, true),
        ("rows_parquet", "row", "parquet", false, true),
        ("cells_parquet", "cell", "parquet", false, true),
        ("rows_csv", "row", "csv", false, false),
    ] {
        fill(&source, rng, name, merge, absents, empties);
        create(&target, name, merge);
        let file = source.directory.path().join(format!("{name}.{extension}"));
        let file = file.to_str().unwrap();
        let exported = source.json(&["export", name, file]);
        assert_eq!(
            (&exported["made_null"], &exported["empty"]),
            (&json!(0), &json!(0)),
            "{name}"
        );
        assert_eq!(
            exported["bytes"],
            std::fs::metadata(file).unwrap().len(),
            "{name}"
        );
        let imported = target.json(&["import", name, file]);
        assert_eq!(imported["read"], exported["lines"], "{name}");
        let digest =
            |node: &Node| node.json(&["export", name, "--digest-only"])["content_digest"].clone();
        assert_eq!(digest(&source), exported["content_digest"], "{name}");
        assert_eq!(digest(&target), exported["content_digest"], "{name}");
    }
}

#[test]
fn what_a_format_cannot_hold_is_counted() {
    let node = Node::with_aircraft();
    for row in [
        r#"{"tailnum":"N1","flights":1}"#,
        r#"{"tailnum":"N2","flights":null,"delays":[1.5]}"#,
    ] {
        node.json(&[
            "put",
            "aircraft",
            "--json",
            row,
            "--event-time",
            "1970-01-01T00:00:00Z",
        ]);
    }
    let to_stdout = |format: &str| {
        let output = node.run(
            &[
                "export", "aircraft", "-", "--format", format, "--output", "json",
            ],
            "",
        );
        let done: Json = serde_json::from_slice(&output.stderr).unwrap();
        let counts = [
            &done["rows"],
            &done["lines"],
            &done["empty"],
            &done["made_null"],
        ];
        (
            text(&output.stdout),
            counts.map(|count| count.as_u64().unwrap()),
        )
    };
    let (lines, counts) = to_stdout("jsonl");
    assert_eq!(counts, [2, 2, 0, 0]);
    assert_eq!(
        lines.lines().next(),
        Some(r#"{"tailnum":"N1","flights":1,"event_time":"1970-01-01T00:00:00Z"}"#)
    );
    let (lines, counts) = to_stdout("csv");
    assert_eq!(counts, [2, 2, 0, 1]);
    assert_eq!(
        lines,
        "tailnum,flights,delays,event_time\nN1,1,,1970-01-01T00:00:00Z\nN2,,[1.5],1970-01-01T00:00:00Z\n"
    );
    let delays = node.json(&["export", "aircraft", "delays.csv", "--feature", "delays"]);
    assert_eq!((&delays["lines"], &delays["empty"]), (&json!(1), &json!(1)));
    let (code, line) = node.failure(&["export", "aircraft", "-", "--format", "parquet"]);
    assert!(
        code == 2 && line.starts_with("USAGE: parquet goes to a file"),
        "{line}"
    );
}

#[test]
fn an_export_writes_the_rows_and_features_asked_for() {
    let node = Node::with_aircraft();
    for row in [
        r#"{"tailnum":"N1","flights":1,"delays":[]}"#,
        r#"{"tailnum":"N2","flights":2}"#,
    ] {
        node.json(&["put", "aircraft", "--json", row]);
    }
    let arguments = [
        "export",
        "aircraft",
        "n2.jsonl",
        "--prefix",
        "tailnum=N2",
        "--feature",
        "flights",
    ];
    assert_eq!(node.json(&arguments)["lines"], 1);
    let written = std::fs::read_to_string(node.directory.path().join("n2.jsonl")).unwrap();
    let line: Json = serde_json::from_str(&written).unwrap();
    assert_eq!(
        (&line["tailnum"], &line["flights"]),
        (&json!("N2"), &json!(2))
    );
    assert!(line.get("delays").is_none());
    let (code, line) = node.failure(&["export", "aircraft", "x.csv", "--feature", "wings"]);
    assert!(code == 2 && line.contains("no feature \"wings\""), "{line}");
}
