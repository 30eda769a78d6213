//! The command line against a real node: what scripts rely on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod bench;
mod export;
mod forget;
mod inspect;
mod node;
mod sets;
mod undo;
mod verify;

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use node::{BINARY, Node, text};

const FLIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flights");

#[test]
fn a_row_put_is_the_row_got() {
    let node = Node::with_aircraft();
    let row = r#"{"tailnum":"a,b","flights":7,"delays":[1.5]}"#;
    let put = node.json(&[
        "put",
        "aircraft",
        "--json",
        row,
        "--event-time",
        "2013-01-01T00:00:00Z",
    ]);
    let fate = [
        &put["applied"],
        &put["older"],
        &put["level"],
        &put["copies"],
    ];
    assert_eq!(fate, [&json!(1), &json!(0), &json!("quorum"), &json!(1)]);
    assert!(put["stamp"].is_string() && put["epoch"].is_u64());

    let got = node.json(&[
        "get",
        "aircraft",
        "--key",
        "tailnum=\"a,b\"",
        "--key",
        "tailnum=N2",
        "--defaults",
    ]);
    let cell = |value: Json, status: &str, time: Json, default: bool| json!({ "value": value, "status": status, "event_time": time, "default": default });
    let time = json!("2013-01-01T00:00:00Z");
    let expected = json!([
        { "key": { "tailnum": "a,b" }, "features": {
            "flights": cell(json!(7), "PRESENT", time.clone(), false),
            "delays": cell(json!([1.5]), "PRESENT", time, false),
        } },
        { "key": { "tailnum": "N2" }, "features": {
            "flights": cell(json!(0), "NOT_FOUND", Json::Null, true),
            "delays": cell(Json::Null, "NOT_FOUND", Json::Null, false),
        } },
    ]);
    assert_eq!(got["rows"], expected);
    assert_eq!(
        (&got["level"], &got["epoch"]),
        (&json!("local"), &put["epoch"])
    );
    assert!(got["node"].is_string() && got["staleness_ms"].is_u64());
}

#[test]
fn a_repeated_request_id_returns_the_first_result() {
    let node = Node::with_aircraft();
    let put = |flights: u32| format!("{{\"tailnum\":\"N1\",\"flights\":{flights}}}");
    let first = node.json(&["put", "aircraft", "--json", &put(1), "--request-id", "r"]);
    let again = node.json(&["put", "aircraft", "--json", &put(1), "--request-id", "r"]);
    assert_eq!(
        (&again["repeated"], &again["stamp"]),
        (&json!(true), &first["stamp"])
    );
    let (code, line) = node.failure(&["put", "aircraft", "--json", &put(2), "--request-id", "r"]);
    assert!(
        code == 2 && line.starts_with("REQUEST_ID_REUSED: "),
        "{code} {line}"
    );
}

#[test]
fn every_failure_is_one_line_that_begins_with_its_reason() {
    let node = Node::with_aircraft();
    let bad = node.file("bad.toml", "nme = 1");
    for (arguments, code, start) in [
        (
            &["get", "nope", "--key", "a=1"][..],
            2,
            "UNKNOWN_VIEW: there is no view \"nope\"",
        ),
        (
            &["get", "aircraft", "--key", "tail=N1"],
            2,
            "INVALID_ARGUMENT: --key \"tail=N1\"",
        ),
        (
            &["get", "aircraft", "--key", "tailnum=N1", "--feature", "x"],
            2,
            "UNKNOWN_FEATURE: ",
        ),
        (&["get", "aircraft", "--kye", "a=1"], 2, "USAGE: "),
        (&["get", "aircraft"], 2, "USAGE: "),
        (&[], 2, "USAGE: "),
        (
            &[
                "put",
                "aircraft",
                "--json",
                r#"{"tailnum":"N1","flights":1.5}"#,
            ],
            2,
            "WRONG_TYPE: row 1, feature \"flights\"",
        ),
        (
            &[
                "put",
                "aircraft",
                "--json",
                r#"{"tailnum":"N1","flights":1}"#,
                "--event-time",
                "2099-01-01T00:00:00Z",
            ],
            2,
            "EVENT_TIME_TOO_FAR_AHEAD: ",
        ),
        (
            &["view", "create", bad.to_str().unwrap()],
            2,
            "BAD_VIEW_FILE: ",
        ),
        (&["view", "drop", "nope"], 2, "UNKNOWN_VIEW: "),
        (
            &["scan", "aircraft", "--resume", "00"],
            2,
            "INVALID_ARGUMENT: ",
        ),
        (
            &["import", "aircraft", "nope.csv"],
            2,
            "FILE: cannot open nope.csv",
        ),
        (
            &["status", "--endpoint", "127.0.0.1:1"],
            3,
            "UNAVAILABLE: no node answers (127.0.0.1:1: ",
        ),
    ] {
        let (found, line) = node.failure(arguments);
        assert!(
            found == code && line.starts_with(start),
            "{arguments:?}: {found} {line}"
        );
    }
}

#[test]
fn help_is_a_result_and_no_failure() {
    let output = Command::new(BINARY)
        .args(["help", "import"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(text(&output.stdout).contains("Examples:"));
}

#[test]
fn an_endpoint_that_does_not_answer_is_passed_over() {
    let node = Node::with_aircraft();
    let endpoints = format!("127.0.0.1:1,{}", node.endpoint);
    let views = node.json(&["view", "list", "--endpoint", &endpoints]);
    assert_eq!(views["views"][0]["name"], "aircraft");
}

#[test]
fn a_scan_goes_on_where_it_stopped() {
    let node = Node::with_aircraft();
    for tail in ["N3", "N1", "N2", "M1"] {
        let row = format!("{{\"tailnum\":\"{tail}\",\"flights\":1}}");
        node.json(&["put", "aircraft", "--json", &row]);
    }
    let tails = |page: &Json| -> Vec<String> {
        let rows = page["rows"].as_array().unwrap().iter();
        rows.map(|row| row["key"]["tailnum"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = node.json(&["scan", "aircraft", "--limit", "3"]);
    assert_eq!(tails(&first), ["M1", "N1", "N2"]);
    let token = first["resume_token"].as_str().unwrap();
    let rest = node.json(&["scan", "aircraft", "--resume", token]);
    assert_eq!(
        (tails(&rest), &rest["resume_token"]),
        (vec!["N3".to_owned()], &Json::Null)
    );
}

/// What `get` says of the features of an aircraft.
fn values(node: &Node, tail: &str) -> [Json; 3] {
    let got = node.json(&["get", "aircraft", "--key", &format!("tailnum={tail}")]);
    let features = &got["rows"][0]["features"];
    let flights = &features["flights"];
    [
        &flights["value"],
        &features["delays"]["value"],
        &flights["event_time"],
    ]
    .map(Clone::clone)
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let node = Node::with_aircraft();
    let csv = "tail,event_time,flights,delays\nN1,2013-01-01T00:00:00Z,7,\"[1.5,2.0]\"\nN2,1356998400000000,,\n";
    let lines = "{\"tailnum\":\"N3\",\"at\":\"2013-01-01T00:00:00Z\",\"flights\":7,\"delays\":[1.5,2]}\n\
                 {\"tailnum\":\"N4\",\"at\":1356998400000000,\"flights\":null,\"delays\":null}\n";
    node.file("a.csv", csv);
    let summary = node.json(&["import", "aircraft", "a.csv", "--map", "tailnum=tail"]);
    assert_eq!(
        (&summary["read"], &summary["applied"]),
        (&json!(2), &json!(2))
    );
    let output = node.run(
        &[
            "import",
            "aircraft",
            "-",
            "--format",
            "jsonl",
            "--event-time",
            "at",
        ],
        lines,
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let time = json!("2013-01-01T00:00:00Z");
    assert_eq!(
        values(&node, "N1"),
        [json!(7), json!([1.5, 2.0]), time.clone()]
    );
    assert_eq!(values(&node, "N2"), [Json::Null, Json::Null, time]);
    assert_eq!(values(&node, "N3"), values(&node, "N1"));
    assert_eq!(values(&node, "N4"), values(&node, "N2"));
}

const FAULTY: &str =
    "tailnum,flights,event_time\nN1,1,1\nN2,many,2\nN3,3,4102444800000000\nN4,4,4\n";

#[test]
fn rows_that_cannot_be_written_are_collected_with_their_lines() {
    let node = Node::with_aircraft();
    node.file("a.csv", FAULTY);
    let import = [
        "import",
        "aircraft",
        "a.csv",
        "--on-error",
        "skip",
        "--errors-file",
        "errors.jsonl",
    ];
    let summary = node.json(&import);
    assert_eq!(
        (&summary["applied"], &summary["skipped"]),
        (&json!(2), &json!(2))
    );
    let errors = std::fs::read_to_string(node.directory.path().join("errors.jsonl")).unwrap();
    let errors: Vec<Json> = errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let short = |error: &Json| {
        (
            error["line"].clone(),
            error["column"].clone(),
            error["reason"].clone(),
        )
    };
    assert_eq!(
        short(&errors[0]),
        (json!(3), json!("flights"), json!("WRONG_TYPE"))
    );
    assert_eq!(
        short(&errors[1]),
        (json!(4), Json::Null, json!("EVENT_TIME_TOO_FAR_AHEAD"))
    );
}

#[test]
fn an_import_that_stops_says_from_where_it_goes_on() {
    let node = Node::with_aircraft();
    node.file("a.csv", FAULTY);
    let (code, line) = node.failure(&["import", "aircraft", "a.csv"]);
    assert_eq!(
        (code, line.as_str()),
        (
            2,
            "WRONG_TYPE: row 2, column \"flights\": \"many\" is not of type int64; 1 rows are done, --from 1 goes on"
        )
    );
    node.file(
        "a.csv",
        &FAULTY.replace("many", "2").replace("4102444800000000", "3"),
    );
    let summary = node.json(&["import", "aircraft", "a.csv", "--from", "1"]);
    assert_eq!(
        (&summary["read"], &summary["applied"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(values(&node, "N4")[0], json!(4));
}

#[test]
fn columns_of_no_use_are_named_unless_they_are_to_be_ignored() {
    let node = Node::with_aircraft();
    node.file("a.csv", "tailnum,flights,colour\nN1,1,red\n");
    let (code, line) = node.failure(&["import", "aircraft", "a.csv"]);
    assert!(
        code == 2 && line.starts_with("UNKNOWN_FEATURE: ") && line.contains("\"colour\""),
        "{line}"
    );
    assert_eq!(
        node.json(&["import", "aircraft", "a.csv", "--ignore-extra"])["applied"],
        1
    );
}

#[test]
fn old_data_can_be_shifted_so_that_they_end_now() {
    let node = Node::start();
    let flights = Path::new(FLIGHTS);
    node.json(&[
        "view",
        "create",
        flights.join("airport_weather.toml").to_str().unwrap(),
    ]);
    let file = flights.join("airport_weather.parquet");
    let summary = node.json(&[
        "import",
        "airport_weather",
        file.to_str().unwrap(),
        "--shift-event-time",
    ]);
    assert_eq!(
        (&summary["read"], &summary["skipped"]),
        (&json!(2211), &json!(0))
    );
    let got = node.json(&[
        "get",
        "airport_weather",
        "--key",
        "origin=LGA",
        "--feature",
        "temp",
    ]);
    let temp = &got["rows"][0]["features"]["temp"];
    assert_eq!(temp["value"], 35.96);
    assert!(
        temp["event_time"].as_str().unwrap() > "2026-01-01",
        "{temp}"
    );
}

#[test]
fn the_demonstration_is_not_begun_with_as_many_nodes_as_cannot_end_it() {
    for nodes in ["0", "2", "6", "three"] {
        let arguments = ["demo", "--once", "--nodes", nodes];
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{nodes}");
        assert!(output.stdout.is_empty());
    }
}

/// What `steadfast demo` shows, and what it says that it did.
fn demo(nodes: &str) -> (String, Json) {
    let output = Command::new(BINARY)
        .args(["demo", "--once", "--nodes", nodes, "--data", FLIGHTS])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let done: Json = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&done["rows_imported"], &done["lost"]),
        (&json!(59_109), &json!(0))
    );
    assert!(
        done["acknowledged_writes"].as_u64() > Some(0) && done["lookups"].as_u64() > Some(0),
        "{done}"
    );
    assert!(
        done["restored_records"].as_u64() > Some(0) && done["answered_after_loss_ms"].is_u64(),
        "{done}"
    );
    let time = done["restored_to"].as_str().unwrap();
    let digest = done["restored_digest"].as_str().unwrap();
    let (before, after) = shown.split_once("killed and removed").unwrap();
    for told in [
        format!("there is at {time}; all rows have the digest {digest}"),
        "archive is past it".to_owned(),
        " N730MQ    -1 ".to_owned(),
    ] {
        assert!(before.contains(&told), "{told}");
    }
    for told in [
        format!("reaches {time}, which is final"),
        format!("undone: all rows have the digest {digest}"),
        " N730MQ    73 ".to_owned(),
    ] {
        assert!(after.contains(&told), "{told}");
    }
    (shown, done)
}

#[test]
fn the_demo_of_one_node_loses_no_acknowledged_write_and_undoes_a_bad_one() {
    let (shown, done) = demo("1");
    for status in ["NULL", "EXPIRED", "NOT_FOUND"] {
        assert!(shown.contains(status), "{status} is shown");
    }
    assert_eq!(done["switchover_pause_ms"], Json::Null);
}

#[test]
fn the_demo_of_a_set_tells_how_another_member_took_over_and_how_all_came_back() {
    let (shown, done) = demo("3");
    let steps = done["failover"].as_object().unwrap();
    let times: Vec<_> = steps.values().map(|at| at.as_u64().unwrap()).collect();
    let names: Vec<_> = steps.keys().map(String::as_str).collect();
    let expected = [
        "suspected_ms",
        "begun_ms",
        "sealed_ms",
        "opened_ms",
        "first_write_acknowledged_ms",
        "first_primary_read_ms",
    ];
    assert_eq!(names, expected);
    assert!(times[..4].is_sorted(), "{done}");
    assert!(done["switchover_pause_ms"].is_u64() && done["returned_records"].is_u64());
    let digest = done["digest"].as_str().unwrap();
    assert!(shown.contains(&format!(
        "every member holds the same rows: digest {digest}"
    )));
}
