//! Sets of real processes.

use std::process::Command;

use serde_json::{Value as Json, json};

use crate::node::{BINARY, text};

/// What `steadfast bench failover` prints.
fn failover(arguments: &[&str]) -> Json {
    let output = Command::new(BINARY)
        .args(["bench", "failover", "--output", "json"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_set_of_processes_loses_no_acknowledged_write_when_its_primary_is_killed() {
    let measured = failover(&["--kills", "2"]);
    let keys: Vec<_> = measured.as_object().unwrap().keys().collect();
    let expected = [
        "kills",
        "median_ms",
        "p99_ms",
        "max_ms",
        "acked_quorum",
        "lost_quorum",
        "acked_async",
        "lost_async",
    ];
    assert_eq!(keys, expected);
    assert_eq!(measured["kills"], 2);
    for lost in ["lost_quorum", "lost_async"] {
        assert_eq!(measured[lost], json!(0), "{measured}");
    }
    for acknowledged in ["acked_quorum", "acked_async"] {
        assert!(measured[acknowledged].as_u64() > Some(0), "{measured}");
    }
}

#[test]
fn a_set_of_processes_loses_no_acknowledged_write_when_its_primary_hangs_is_cut_off_or_hands_over()
{
    for how in [
        &["--fault", "pause"][..],
        &["--fault", "cut"],
        &["--planned"],
    ] {
        let measured = failover(&[&["--kills", "1"], how].concat());
        let lost = [&measured["lost_quorum"], &measured["lost_async"]];
        assert_eq!(lost, [0, 0], "{how:?}: {measured}");
    }
}

#[test]
fn what_members_cost_one_another_is_measured_on_a_set_of_processes() {
    let arguments = [
        "bench",
        "set",
        "--seconds",
        "1",
        "--warmup",
        "0",
        "--output",
        "json",
    ];
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let measured: Json = serde_json::from_slice(&output.stdout).unwrap();
    let figures = measured.as_object().unwrap();
    assert_eq!(figures.len(), 9, "{measured}");
    assert!(
        figures.values().all(|figure| figure.as_f64() > Some(0.0)),
        "{measured}"
    );
}
