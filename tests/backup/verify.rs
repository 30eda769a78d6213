//! What a trial finds out about buckets.

use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use steadfast::backup::bucket::{Bucket, Listed};
use steadfast::backup::trial::{Check, Finding, Trial, Verdict};
use tokio::process::Command;

use super::bad_server::{Act, BadServer, answer, refusal};
use super::places::{KEY, S3, SECRET, directory, name};
use super::trouble::open_quickly;

/// All checks, and the names of what is in the bucket afterwards.
async fn tried(bucket: Bucket, checks: &[Check]) -> (Vec<Finding>, Vec<String>) {
    let mut trial = Trial::new(bucket.clone());
    let mut findings = Vec::new();
    for check in checks {
        findings.push(trial.run(*check).await);
    }
    let left = trial.clean_up().await;
    assert!(left.is_empty(), "{left:?}");
    let (mut listing, mut names) = (bucket.list(None, None), Vec::new());
    while let Some(entry) = listing.next().await.unwrap() {
        match entry {
            Listed::Object { name, .. } => names.push(name.to_string()),
            Listed::Foreign { key, .. } => names.push(key),
        }
    }
    (findings, names)
}

fn verdict_of(findings: &[Finding], check: Check) -> Verdict {
    findings
        .iter()
        .find(|finding| finding.check == check)
        .unwrap()
        .verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_and_in_a_directory_everything_works_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    for bucket in [Bucket::in_memory(), directory(dir.path())] {
        let other = "of-somebody-else";
        bucket.put_new(&name(other), "kept".into()).await.unwrap();
        let (findings, names) = tried(bucket, &Check::ALL).await;
        for finding in &findings {
            assert_eq!(finding.verdict, Verdict::Works, "{finding:?}");
        }
        assert_eq!(names, [other]);
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("a/bucket"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// The server in this process looks whether there is an object, then writes it, as some stores do.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_where_many_create_one_object_is_found_out() {
    let s3 = S3::start().await;
    let (findings, names) = tried(s3.bucket(), &Check::ALL).await;
    for finding in &findings {
        let is_known = finding.check == Check::Race && s3.is_own();
        let expected = if is_known {
            Verdict::Ignored
        } else {
            Verdict::Works
        };
        assert_eq!(finding.verdict, expected, "{finding:?}");
        assert!(!finding.is_fatal(), "{finding:?}");
    }
    assert_eq!(names, [""; 0]);
}

#[tokio::test]
async fn a_bucket_that_nothing_can_be_written_to_is_not_tried_further() {
    let server = BadServer::start([refusal("403 Forbidden", "AccessDenied")]).await;
    let mut trial = Trial::new(open_quickly(&server));
    let mut findings = Vec::new();
    for check in Check::ALL {
        findings.push(trial.run(check).await);
    }
    let first = &findings[0];
    assert_eq!(first.verdict, Verdict::Refused);
    assert!(first.is_fatal() && first.said.contains("AccessDenied"));
    assert_eq!(verdict_of(&findings, Check::Race), Verdict::Skipped);
    let left = trial.clean_up().await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(server.seen(&[]).len(), 1);
}

#[tokio::test]
async fn what_may_be_there_and_cannot_be_removed_is_named() {
    let server = BadServer::start([refusal("500 Internal Server Error", "InternalError")]).await;
    let mut trial = Trial::new(open_quickly(&server));
    let finding = trial.run(Check::ReadAfterWrite).await;
    assert_eq!(finding.verdict, Verdict::Failed);
    let left = trial.clean_up().await;
    let [left] = left.as_slice() else {
        panic!("{left:?}")
    };
    assert!(left.name.ends_with("/written"), "{left:?}");
    assert!(left.error.as_ref().unwrap().is_transient(), "{left:?}");
}

/// The command, with credentials for the server of tests.
fn verify_store(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command
        .args(["backup", "verify-store", "--output", "json", url])
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Exit code, what it prints as JSON, and what it says.
fn heard(output: &Output) -> (Option<i32>, Json, String) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), json, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_well_where_only_create_only_is_ignored() {
    let s3 = S3::start().await;
    let url = s3.url("by-command").to_string();
    let output = verify_store(&url).output().await.unwrap();
    let (code, json, said) = heard(&output);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&json["bucket"], &json["fit"]), (&json!(url), &json!(true)));
    assert_eq!(json["warnings"], json!(usize::from(s3.is_own())));
    let race = &json["checks"][7];
    assert_eq!(race["check"], "create-only-race");
    if s3.is_own() {
        assert_eq!(race["result"], "silently ignored");
        let seen = race["seen"].as_str().unwrap();
        assert!(
            seen.ends_with(" of 32 were told that they created the same object"),
            "{seen}"
        );
        assert!(
            race["meaning"]
                .as_str()
                .unwrap()
                .contains("a fork is told, not prevented")
        );
    }
}

#[tokio::test]
async fn the_command_fails_where_nothing_can_be_written() {
    let server = BadServer::start([refusal("403 Forbidden", "AccessDenied")]).await;
    let url = format!("s3://bucket?endpoint={}", server.endpoint);
    let (code, json, said) = heard(&verify_store(&url).output().await.unwrap());
    assert_eq!((code, &json["fit"]), (Some(1), &json!(false)));
    assert!(
        said.starts_with(&format!(
            "BUCKET_UNFIT: backups cannot be kept in {url}: read-after-write: refused: cannot put "
        )),
        "{said}"
    );
}

#[tokio::test]
async fn the_command_repeats_no_secret() {
    let url = "s3://AKIA:hunter2@bucket/prefix";
    let (code, _, said) = heard(&verify_store(url).output().await.unwrap());
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("BAD_URL: credentials do not belong"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn the_command_removes_what_it_made_when_it_is_interrupted() {
    let server = BadServer::start([
        answer("200 OK", &["ETag: \"e\""], ""),
        Act::Silence,
        answer("200 OK", &[], "<ListBucketResult></ListBucketResult>"),
    ])
    .await;
    let url = format!("s3://bucket?endpoint={}", server.endpoint);
    let child = verify_store(&url).spawn().unwrap();
    let id = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    // It has written an object and reads it.
    server.until(2).await;
    kill_process(id, Signal::INT).unwrap();
    let (code, _, said) = heard(&child.wait_with_output().await.unwrap());
    assert_eq!(code, Some(1));
    assert_eq!(said, "INTERRUPTED: not everything was tried\n");
    let seen = server.seen(&[]);
    let (put, removed) = (
        seen[0].strip_prefix("PUT "),
        seen[2].strip_prefix("DELETE "),
    );
    assert!(put.is_some() && put == removed, "{seen:?}");
}
