//! The benchmarks, each for a moment: that they measure what they say, not what comes out.

use std::process::Command;

use serde_json::Value as Json;

use crate::node::{BINARY, Node, text};

const MOMENT: [&str; 4] = ["--seconds", "0.1", "--warmup", "0"];

fn assert_positive(case: &Json, names: &[&str]) {
    for name in names {
        assert!(case[name].as_f64() > Some(0.0), "{name} of {case}");
    }
}

#[test]
fn lookups_of_several_views_are_measured_in_closed_and_open_loops() {
    let node = Node::start();
    let shape = ["--entities", "50", "--views", "3"];
    let loaded = node.json(&[&["bench", "load"], &shape[..]].concat());
    assert_eq!(loaded["rows"], 150);
    let lookup = ["bench", "lookup", "--views-asked", "2", "--batch", "10"];
    for rate in [&[][..], &["--rate", "200"]] {
        let measured = node.json(&[&lookup, &shape[..], &MOMENT, rate].concat());
        assert_positive(&measured, &["requests_per_second", "p50_us", "p999_us"]);
        let rows = measured["rows_per_second"].as_f64().unwrap();
        let requests = measured["requests_per_second"].as_f64().unwrap();
        assert!((rows / requests - 20.0).abs() < 0.5, "{measured}");
    }
    for wrong in ["0", "-1", "NaN", "inf"] {
        let (exit, _) = node.failure(&["bench", "lookup", &format!("--rate={wrong}")]);
        assert_eq!(exit, 2, "{wrong}");
    }
}

#[test]
fn the_grid_has_every_shape_with_warm_and_cold_caches_then_calls_without_load() {
    let output = Command::new(BINARY)
        .args(["bench", "grid", "--entities", "50", "--connections", "1"])
        .args(MOMENT)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let cases: Vec<Json> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = cases
        .iter()
        .map(|case| case["case"].as_str().unwrap())
        .collect();
    let shapes = ["1x50", "10x50", "100x50", "1x250", "100x250"];
    let mut expected = Vec::new();
    for caches in ["warm", "cold"] {
        for keys in ["zipf", "uniform"] {
            expected.extend(shapes.map(|shape| format!("{shape}_{keys}_{caches}")));
        }
    }
    for shape in ["1x50", "100x50"] {
        let ways = ["primary_at_primary", "primary_at_other", "client"];
        expected.extend(ways.map(|way| format!("{way}_{shape}")));
    }
    assert_eq!(names, expected);

    let (loaded, unloaded) = cases.split_at(4 * shapes.len());
    for case in loaded {
        assert_positive(case, &["rate_per_second", "p50_us", "p99_us", "p999_us"]);
    }
    for warm in &loaded[..2 * shapes.len()] {
        let (peak, rate) = (&warm["peak_per_second"], &warm["rate_per_second"]);
        let half = rate.as_f64().unwrap() / peak.as_f64().unwrap();
        assert!((half - 0.5).abs() < 0.01, "{warm}");
        if warm["redis_command"].is_string() {
            assert_positive(
                warm,
                &["redis_peak_per_second", "redis_p50_us", "ratio_redis_p50"],
            );
            let same = warm["same_rate_per_second"].as_f64();
            assert!(same <= rate.as_f64(), "{warm}");
        }
    }
    for case in unloaded {
        let (base, with) = match case["local_p50_us"].is_null() {
            false => ("local_p50_us", "primary_p50_us"),
            true => ("tonic_p50_us", "client_p50_us"),
        };
        assert_positive(case, &[base, with]);
        assert!(case["added_p50_us"].is_f64(), "{case}");
    }
}
