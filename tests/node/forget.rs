//! What is forgotten is in no file any more, and no replay brings it back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use steadfast::base::clock::{Clock as _, SystemClock, timeout};
use steadfast::model::resolve::Status;
use steadfast::model::{EntityKey, KeyValue, Value};
use steadfast::proto::{v1, value_to_proto};
use tempfile::TempDir;
use v1::ForgetStage;
use v1::forgotten_row::KeyKept;

use crate::support::*;

/// Views of one entity: by merge mode, order, and how long deletions are kept.
const VIEWS: [(&str, &str); 6] = [
    ("plain", ""),
    ("celled", "merge = \"cell\""),
    ("arrived", "order = \"arrival\""),
    ("expiring", "ttl = \"30d\""),
    ("bounded", "max_lateness = \"1h\""),
    ("dropped", ""),
];
/// Entities of each view; the one in the middle is forgotten.
const IDS: std::ops::Range<i64> = 0..9;
const FORGOTTEN: i64 = 4_711_174_711_174;

async fn create_views(running: &Running) {
    for (name, settings) in VIEWS {
        let definition_toml = format!(
            r#"
            name = "{name}"
            entity = [{{ name = "user", type = "int64" }}]
            {settings}
            feature = [{{ name = "secret", type = "bytes" }}]
            "#
        );
        let request = v1::CreateViewRequest { definition_toml };
        running.views().create_view(request).await.unwrap();
    }
}

fn id(at: i64) -> i64 {
    FORGOTTEN + at - IDS.end / 2
}

/// Bytes at either end of a value that a file may hold as a repetition of what stands beside another one: the compressor
/// takes equal bytes before and behind a repetition into it.
const ENDS: usize = 8;

/// Writes a secret of every entity into every view; returns those of the one to be forgotten, without their ends.
async fn write_secrets(running: &Running) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for (view, _) in VIEWS {
        let mut row = |at| {
            let secret: [u8; 64] = rand::random();
            if id(at) == FORGOTTEN {
                secrets.push(secret[ENDS..secret.len() - ENDS].to_vec());
            }
            let secret = Value::Bytes(secret.to_vec().into());
            (vec![int64(id(at))], vec![value_to_proto(secret)])
        };
        let rows = rows(view, &["secret"], IDS.map(&mut row).collect());
        assert_eq!(running.put(put(vec![rows])).await.applied, 9);
    }
    secrets
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                BTreeSet::from([path])
            }
        })
        .collect()
}

/// All files with their bytes. The store merges files when it likes, so a listing may name one that has gone when it is
/// read, and not the one that its rows are in by then: such a listing is made anew.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    loop {
        let listed = files(dir);
        let read = |path: &PathBuf| Some((path.clone(), std::fs::read(path).ok()?));
        let contents: Option<Vec<_>> = listed.iter().map(read).collect();
        if let Some(contents) = contents.filter(|_| files(dir) == listed) {
            return contents;
        }
    }
}

/// The files that hold these bytes, relative to the data directory.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let holds = |(_, content): &(PathBuf, Vec<u8>)| {
        content.windows(bytes.len()).any(|window| window == bytes)
    };
    let found = contents(dir).into_iter().filter(holds);
    found
        .map(|(path, _)| path.strip_prefix(dir).unwrap().display().to_string())
        .collect()
}

fn request(view: &str) -> v1::ForgetRequest {
    let part = v1::KeyPart {
        join_key: "user".into(),
        value: FORGOTTEN.to_string(),
    };
    v1::ForgetRequest {
        key: vec![part],
        view: view.into(),
    }
}

/// Forgets to the end; returns what the first stage says.
async fn forget(running: &Running, view: &str) -> Vec<v1::ForgottenRow> {
    let stages = running.admin().forget(request(view)).await;
    let mut stages = stages.unwrap().into_inner();
    let deleted = stages.message().await.unwrap().unwrap();
    assert_eq!(deleted.stage(), ForgetStage::Deleted);
    for expected in [ForgetStage::ErasedFromLog, ForgetStage::ErasedFromStore] {
        let stage = stages.message().await.unwrap().unwrap();
        assert_eq!(stage.stage(), expected);
    }
    assert!(stages.message().await.unwrap().is_none());
    deleted.rows
}

async fn assert_forgotten(running: &Running) {
    for (view, _) in VIEWS.iter().filter(|(view, _)| *view != "dropped") {
        let ids = IDS.map(id).collect();
        let ids = column("user", steadfast::model::Items::Int64(ids));
        let answer = running.get(get(vec![ids], &[(view, &[])])).await;
        let statuses = &answer.views[0].columns[0].statuses;
        for (at, status) in IDS.zip(statuses.iter()) {
            let expected = if id(at) == FORGOTTEN {
                Status::NotFound
            } else {
                Status::Present
            };
            assert_eq!(*status, expected.code(), "{view}, entity {at}");
        }
    }
}

/// A node with secrets of different age: in the store's files, and in the log.
async fn start_with_secrets() -> (Running, PathBuf, Vec<Vec<u8>>) {
    let first = start_empty().await;
    create_views(&first).await;
    let mut secrets = write_secrets(&first).await;
    let directory = first.stop_keeping_data().await;
    let data = directory.path().join("data");
    let running = restart(directory).await;
    secrets.extend(write_secrets(&running).await);
    let drop = v1::DropViewRequest {
        name: "dropped".into(),
    };
    running.views().drop_view(drop).await.unwrap();
    for secret in &secrets {
        assert!(!holding(&data, secret).is_empty(), "else nothing is shown");
    }
    (running, data, secrets)
}

async fn restart(directory: TempDir) -> Running {
    let config = config_in(directory.path());
    let disk = std::sync::Arc::new(steadfast::base::disk::RealDisk);
    let running = start_with(directory, config, disk).await;
    running.open().await.unwrap();
    running
}

/// What a crash at this moment would leave.
fn left_by_crash(data: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (path, content) in contents(data) {
        let to = copy
            .path()
            .join("data")
            .join(path.strip_prefix(data).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, content).unwrap();
    }
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_holds_what_was_forgotten_and_no_replay_brings_it_back() {
    let (running, data, secrets) = start_with_secrets().await;
    let began = SystemClock::new().wall();
    let rows = forget(&running, "").await;
    for secret in &secrets {
        assert_eq!(holding(&data, secret), Vec::<String>::new());
    }
    assert_forgotten(&running).await;

    let kept = |view: &str| {
        let row = rows.iter().find(|row| row.view == view).unwrap();
        assert!(row.deleted, "{view}");
        row.key_kept.unwrap()
    };
    for view in ["plain", "celled"] {
        assert_eq!(kept(view), KeyKept::ForEver(true));
    }
    let lag = config_in(&data).purge.horizon_lag_seconds;
    let (hour, day) = (3_600, 86_400);
    for (view, after) in [
        ("arrived", 0),
        ("expiring", 30 * day),
        ("bounded", hour),
        ("dropped", 0),
    ] {
        let KeyKept::UntilUs(until) = kept(view) else {
            panic!("{view} lets go of its deletions")
        };
        let seconds = (until - began.0) / 1_000_000 - i64::try_from(lag).unwrap();
        assert!((after..after + 600).contains(&seconds), "{view}: {seconds}");
    }
    assert_eq!(rows.len(), VIEWS.len());
    // Where the key stays: in deletions, and as the bound of a file.
    let key = EntityKey::encode(&[KeyValue::Int64(FORGOTTEN)]);
    for file in holding(&data, key.as_bytes()) {
        assert!(
            file.ends_with(".sst") || file.contains("MANIFEST"),
            "{file}"
        );
    }

    let crashed = restart(left_by_crash(&data)).await;
    assert_forgotten(&crashed).await;
    crashed.stop().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_goes_on_when_nobody_waits_and_can_be_asked_again() {
    let (running, data, secrets) = start_with_secrets().await;
    let stages = running.admin().forget(request("")).await.unwrap();
    drop(stages);
    assert_forgotten(&running).await;
    let erased = async {
        while secrets
            .iter()
            .any(|secret| !holding(&data, secret).is_empty())
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), erased).await.unwrap();
    let rows = forget(&running, "").await;
    assert!(
        rows.iter()
            .all(|row| !row.deleted && row.key_kept.is_some())
    );
    assert_forgotten(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_is_erased_from_a_log_at_rest_too() {
    let (running, data, secrets) = start_with_secrets().await;
    let key = v1::Key {
        key: vec![int64(FORGOTTEN)],
        event_time_us: None,
    };
    let keys = |(view, _): &(&str, &str)| v1::ViewKeys {
        view: (*view).into(),
        keys: vec![key.clone()],
    };
    let views = VIEWS.iter().filter(|(view, _)| *view != "dropped");
    let delete = v1::DeleteFeaturesRequest {
        deletes: views.map(keys).collect(),
        ..Default::default()
    };
    running.features().delete_features(delete).await.unwrap();
    // A mark behind the last record shows that the log has come to rest.
    let at_rest = async {
        loop {
            let positions = running.node.status()["positions"].clone();
            if positions["durable_lsn"].as_u64() > positions["applied_lsn"].as_u64() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), at_rest).await.unwrap();
    forget(&running, "plain").await;
    for (secret, _) in secrets
        .iter()
        .zip(VIEWS.iter().cycle())
        .filter(|(_, (view, _))| *view == "plain")
    {
        assert_eq!(holding(&data, secret), Vec::<String>::new());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_can_be_forgotten_in_one_view() {
    let (running, data, secrets) = start_with_secrets().await;
    let rows = forget(&running, "plain").await;
    assert_eq!(rows.len(), 1);
    for (secret, (view, _)) in secrets.iter().zip(VIEWS.iter().cycle()) {
        let is_held = !holding(&data, secret).is_empty();
        // Elsewhere, what was not overwritten stays.
        assert!(*view != "plain" || !is_held, "{view}");
    }
    let newest = secrets.iter().zip(VIEWS.iter().cycle()).skip(VIEWS.len());
    for (secret, (view, _)) in newest.filter(|(_, (view, _))| *view != "plain") {
        assert!(!holding(&data, secret).is_empty(), "{view}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_entity_of_no_view_is_refused() {
    let running = start_empty().await;
    create_views(&running).await;
    let part = v1::KeyPart {
        join_key: "customer".into(),
        value: "1".into(),
    };
    let request = v1::ForgetRequest {
        key: vec![part],
        view: String::new(),
    };
    let refused = running.admin().forget(request).await.unwrap_err();
    let (_, reason, fields) = failure(&refused);
    assert_eq!(
        (reason.as_str(), fields),
        ("INVALID_ARGUMENT", vec!["key".to_owned()])
    );
    running.stop().await;
}
