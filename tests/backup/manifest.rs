//! A manifest, printed for people.

use std::process::Command;

use rand::seq::IndexedRandom as _;
use serde_json::{Value as Json, json};
use steadfast::backup::bucket::BucketUrl;
use steadfast::backup::layout::Named;

use super::places::directory;
use super::set::Set;

fn inspect(place: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.args(["inspect", "manifest", place]).args(more);
    let output = command.output().unwrap();
    let [out, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), out, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_printed_from_a_bucket_and_from_a_file() {
    let home = tempfile::tempdir().unwrap();
    let (set, made) = Set::with_history(directory(home.path())).await;
    let bucket = home.path().join("a/bucket");
    let manifest = made.choose(&mut rand::rng()).unwrap();
    let url = BucketUrl::of_directory(&bucket).unwrap();
    let place = format!("{url}/{}", manifest.point);
    let (code, out, said) = inspect(&place, &["--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let json: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(json["point"], json!(manifest.point.to_string()));
    assert_eq!(json["lineage"], json!(set.lineage.to_string()));
    assert_eq!(json["bytes"], json!(manifest.bytes()));
    for (file, printed) in manifest
        .snapshot
        .files
        .iter()
        .zip(json["files"].as_array().unwrap())
    {
        let object = bucket.join(printed["object"].as_str().unwrap());
        assert_eq!(std::fs::metadata(object).unwrap().len(), file.bytes);
    }
    let path = bucket.join(Named::Point(manifest.point).in_lineage(set.lineage));
    let file = path.to_str().unwrap();
    assert_eq!(inspect(file, &["--output", "json"]), (code, out, said));
    let (code, text, _) = inspect(file, &[]);
    assert!(code == Some(0) && text.contains(&manifest.point.to_string()));

    std::fs::write(&path, "steadfast backup 1 00000000\n{}").unwrap();
    for place in [file, &place] {
        let (code, _, said) = inspect(place, &[]);
        assert!(code == Some(1) && said.contains("is damaged"), "{said}");
    }
    let elsewhere = home.path().join("manifest");
    std::fs::copy(&path, &elsewhere).unwrap();
    let (code, _, said) = inspect(elsewhere.to_str().unwrap(), &[]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("NO_MANIFEST: "), "{said}");
}
