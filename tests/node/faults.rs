//! A node on a disk that fails, fills up, or was cut off, and on directories that are not what they should be.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use steadfast::base::clock::{SystemClock, sleep};
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::{Budget, CommitLevel, Held, PackedBytes, ReadLevel};
use steadfast::config::Config;
use steadfast::engine;
use steadfast::model::batch::{Batch, Change, RowChange, ViewRows};
use steadfast::model::cells::put_cell;
use steadfast::model::key::put_key_value;
use steadfast::model::resolve::{Status, Wanted};
use steadfast::model::view_file::parse_view;
use steadfast::model::{EntityKey, Items, KeyValue, Value};
use steadfast::node::{
    Addresses, CatalogueChange, Error, LookupRequest, Node, Selection, StartError, WriteRequest,
    Written,
};

use crate::disk::FaultyDisk;
use crate::support::config_in;

const DEADLINE: Duration = Duration::from_secs(10);

fn node(config: &Config, disk: Arc<dyn Disk>) -> Node {
    Node::new(config.clone(), disk, Arc::new(SystemClock::new()))
}

async fn opened(config: &Config, disk: Arc<dyn Disk>) -> Node {
    let node = node(config, disk);
    node.open(Addresses::default(), None).await.unwrap();
    node
}

/// A node with the view `v`: key `id`, feature `x`.
async fn with_view(config: &Config, disk: Arc<dyn Disk>) -> Node {
    let node = opened(config, disk).await;
    let text = "name = \"v\"\nentity = [{ name = \"id\", type = \"int64\" }]\nfeature = [{ name = \"x\", type = \"int64\" }]";
    let spec = Box::new(parse_view(text).unwrap());
    let defined = node.define(CatalogueChange::Create(spec), DEADLINE);
    defined.await.unwrap();
    node
}

async fn put(node: &Node, id: i64, x: i64) -> Result<Written, Error> {
    put_named(node, id, x, None).await
}

async fn put_named(
    node: &Node,
    id: i64,
    x: i64,
    request_id: Option<&str>,
) -> Result<Written, Error> {
    let view = node.catalogue().view("v").unwrap().clone();
    let feature = view.feature("x").unwrap();
    let mut cells = Vec::new();
    put_cell(&mut cells, feature.id, feature.value_type, &Value::Int64(x));
    put_cells(node, "v", &[(id, cells)], request_id).await
}

/// Puts rows whose cells are given as they are stored.
async fn put_cells(
    node: &Node,
    view: &str,
    rows: &[(i64, Vec<u8>)],
    request_id: Option<&str>,
) -> Result<Written, Error> {
    let view = node.catalogue().view(view).unwrap().clone();
    let row = |(id, cells): &(i64, Vec<u8>)| RowChange {
        key: EntityKey::encode([&KeyValue::Int64(*id)]),
        event_time: None,
        change: Change::Put(cells.clone().into()),
    };
    let rows = rows.iter().map(row).collect();
    let batch = Batch {
        groups: vec![ViewRows { view, rows }],
        is_override: false,
    };
    let request = WriteRequest {
        batch,
        level: Some(CommitLevel::Quorum),
        request_id: request_id.map(|id| (String::new(), id.to_owned())),
        deadline: DEADLINE,
        memory: memory(),
    };
    node.write(request).await
}

fn memory() -> Held {
    Budget::new(1 << 30).account([127, 0, 0, 1].into()).hold()
}

async fn get(node: &Node, id: i64) -> Option<i64> {
    get_at(node, id, ReadLevel::Primary).await
}

async fn get_at(node: &Node, id: i64, level: ReadLevel) -> Option<i64> {
    let view = node.catalogue().view("v").unwrap().clone();
    let features = view.spec.features.clone();
    let mut keys = PackedBytes::default();
    keys.push_with(|out| put_key_value(out, &KeyValue::Int64(id)));
    let selections = vec![Selection {
        view,
        features,
        keys,
    }];
    let request = LookupRequest {
        selections,
        level,
        wanted: Wanted::default(),
        session: None,
        deadline: DEADLINE,
        memory: memory(),
    };
    let mut answered = node.lookup(request).await.unwrap();
    let column = answered.answer.remove(0).remove(0);
    let Items::Int64(values) = column.values else {
        panic!("x is an int64")
    };
    (column.statuses[0] == Status::Present.code()).then_some(values[0])
}

async fn close(node: Node) {
    // A node whose disk failed says so again when it stops.
    let _failed_before = node.stop(DEADLINE).await;
}

async fn until(mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_ends_writing_while_reads_go_on_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    let disk = FaultyDisk::new("wal", u64::MAX);
    let node = with_view(&config, disk.clone()).await;
    let mut acknowledged = 0;
    disk.left.store(20, Ordering::SeqCst);
    let cause = loop {
        match put(&node, acknowledged, acknowledged).await {
            Ok(_) => acknowledged += 1,
            Err(cause) => break cause,
        }
    };
    assert!(
        matches!(cause, Error::Unknown { .. } | Error::NotWritable { .. }),
        "{cause}"
    );
    disk.left.store(u64::MAX, Ordering::SeqCst);
    let after = put(&node, 999, 0).await.unwrap_err();
    assert!(matches!(after, Error::NotWritable { .. }), "{after}");
    assert!(node.health().ready.is_err());
    for id in 0..acknowledged {
        let local = get_at(&node, id, ReadLevel::Local).await;
        assert_eq!(local, Some(id));
    }
    close(node).await;

    let again = opened(&config, Arc::new(RealDisk)).await;
    for id in 0..acknowledged {
        assert_eq!(get(&again, id).await, Some(id));
    }
    put(&again, 999, 1).await.unwrap();
    close(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_that_are_none_are_refused_and_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    let node = with_view(&config, Arc::new(RealDisk)).await;
    let text = "name = \"cells\"\nmerge = \"cell\"\nentity = [{ name = \"id\", type = \"int64\" }]\nfeature = [{ name = \"x\", type = \"int64\" }]";
    let spec = Box::new(parse_view(text).unwrap());
    let defined = node.define(CatalogueChange::Create(spec), DEADLINE);
    defined.await.unwrap();
    // Cells are looked into where two rows of a batch name the same entity.
    let rows = [(1, b"none".to_vec()), (1, b"none".to_vec())];
    let refused = put_cells(&node, "cells", &rows, None).await.unwrap_err();
    let is_named = matches!(&refused, Error::Read(engine::Error::BadCells(_)));
    assert!(is_named, "{refused}");
    put(&node, 1, 7).await.unwrap();
    assert_eq!(get(&node, 1).await, Some(7));
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_windows_writing_ends_at_the_ceiling_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    let disk = FaultyDisk::new("CONTROL", u64::MAX);
    let node = with_view(&config, disk.clone()).await;
    put(&node, 1, 1).await.unwrap();
    disk.left.store(0, Ordering::SeqCst);
    until(async || node.health().ready.is_err()).await;
    let refused = put(&node, 2, 2).await.unwrap_err();
    assert!(matches!(refused, Error::NotWritable { .. }), "{refused}");
    assert_eq!(get(&node, 1).await, Some(1));
    close(node).await;
    let again = opened(&config, Arc::new(RealDisk)).await;
    assert_eq!(get(&again, 1).await, Some(1));
    close(again).await;
}

/// Neither the status nor stopping waits for what may never end, and the directory stays locked until it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_answer_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config_in(dir.path());
    config.wal.stall_limit_ms = 100;
    let disk = FaultyDisk::new("", u64::MAX);
    let node = with_view(&config, disk.clone()).await;
    put(&node, 1, 1).await.unwrap();
    let (stalled, release) = (Arc::clone(&disk.gate), Arc::new(Barrier::new(2)));
    let (at_work, released) = (Arc::new(Barrier::new(2)), Arc::clone(&release));
    let begun = Arc::clone(&at_work);
    let holder = std::thread::spawn(move || {
        let gate = stalled.write().unwrap();
        begun.wait();
        released.wait();
        drop(gate);
    });
    at_work.wait();
    let refused = put(&node, 2, 2).await.unwrap_err();
    assert!(matches!(refused, Error::Unknown { .. }), "{refused}");
    assert!(node.live().await.contains("has not answered"));
    assert_eq!(node.status()["writable"], false);
    node.stop(Duration::from_millis(700)).await.unwrap_err();
    assert_eq!(refusal(&config).await.reason(), "DIRECTORY_LOCKED");
    release.wait();
    holder.join().unwrap();
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_refuses_writes_until_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    let disk = FaultyDisk::new("", u64::MAX);
    let node = with_view(&config, disk.clone()).await;
    let first = put_named(&node, 1, 1, Some("first")).await.unwrap();
    let watermark = config.disk.low_watermark_bytes;
    disk.available.store(watermark - 1, Ordering::SeqCst);
    until(async || node.health().ready.is_err()).await;
    let refused = put(&node, 1, 2).await.unwrap_err();
    let Error::LowDisk { available, needed } = refused else {
        panic!("{refused}")
    };
    assert_eq!((available, needed), (watermark - 1, watermark));
    let other = put_named(&node, 1, 2, Some("first")).await.unwrap_err();
    assert!(matches!(other, Error::LowDisk { .. }), "{other}");
    let again = put_named(&node, 1, 1, Some("first")).await.unwrap();
    assert_eq!((again.stamp, again.repeated), (first.stamp, true));
    assert_eq!(get(&node, 1).await, Some(1));
    disk.available.store(u64::MAX, Ordering::SeqCst);
    until(async || node.health().ready.is_ok()).await;
    put(&node, 1, 2).await.unwrap();
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_cut_off_at_any_disk_call_can_be_repeated_and_loses_nothing() {
    for earlier in [false, true] {
        let mut calls = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let config = config_in(dir.path());
            if earlier {
                let node = with_view(&config, Arc::new(RealDisk)).await;
                put(&node, 7, 70).await.unwrap();
                close(node).await;
            }
            let disk = FaultyDisk::new("", calls);
            let cut_off = node(&config, disk.clone());
            let outcome = cut_off.open(Addresses::default(), None).await;
            disk.left.store(u64::MAX, Ordering::SeqCst);
            close(cut_off).await;
            let again = opened(&config, Arc::new(RealDisk)).await;
            if earlier {
                assert_eq!(get(&again, 7).await, Some(70), "cut off at call {calls}");
            }
            close(again).await;
            if outcome.is_ok() {
                break;
            }
            calls += 1;
        }
        assert!(calls > 10, "a start makes more disk calls than {calls}");
    }
}

async fn refusal(config: &Config) -> StartError {
    node(config, Arc::new(RealDisk))
        .open(Addresses::default(), None)
        .await
        .unwrap_err()
}

/// Makes a closed directory with one row.
async fn made(config: &Config) {
    let node = with_view(config, Arc::new(RealDisk)).await;
    put(&node, 1, 1).await.unwrap();
    close(node).await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_missing_or_of_another_directory_are_named() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (config_in(one.path()), config_in(two.path()));
    made(&here).await;
    made(&there).await;
    for (part, missing, mixed) in [
        ("IDENTITY", Some("FILES_LOST"), "OTHER_LINEAGE"),
        ("CONTROL", Some("FILES_LOST"), "OTHER_LINEAGE"),
        ("wal", Some("FILES_LOST"), "OTHER_LINEAGE"),
        // The log still reaches back to the first record: nothing is lost.
        ("store", None, "OTHER_LINEAGE"),
    ] {
        let broken = tempfile::tempdir().unwrap();
        let config = config_in(broken.path());
        copy_dir(&here.data_dir, &config.data_dir);
        let path = config.data_dir.join(part);
        let from = there.data_dir.join(part);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        if let Some(missing) = missing {
            let cause = refusal(&config).await;
            assert_eq!(cause.reason(), missing, "without {part}: {cause}");
        } else {
            let node = opened(&config, Arc::new(RealDisk)).await;
            assert_eq!(get(&node, 1).await, Some(1));
            close(node).await;
        }
        if from.is_dir() {
            // What the start may have made anew goes, too.
            let _nothing_there = std::fs::remove_dir_all(&path);
            copy_dir(&from, &path);
        } else {
            std::fs::copy(from, &path).unwrap();
        }
        let cause = refusal(&config).await;
        assert_eq!(cause.reason(), mixed, "with another's {part}: {cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_of_a_part_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    made(&config).await;
    let kept = tempfile::tempdir().unwrap();
    copy_dir(&config.data_dir, kept.path());
    let node = opened(&config, Arc::new(RealDisk)).await;
    put(&node, 2, 2).await.unwrap();
    // What is held is reported with the next window.
    let reported = async || node.status()["window_ceiling"].to_string();
    let before = reported().await;
    until(async || reported().await != before).await;
    close(node).await;
    for parts in [vec!["IDENTITY"], vec!["wal", "store"]] {
        let rolled_back = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: rolled_back.path().to_owned(),
            ..config.clone()
        };
        copy_dir(&dir.path().join("data"), &config.data_dir);
        for part in parts.clone() {
            let (from, to) = (kept.path().join(part), config.data_dir.join(part));
            if to.is_dir() {
                std::fs::remove_dir_all(&to).unwrap();
                copy_dir(&from, &to);
            } else {
                std::fs::copy(from, to).unwrap();
            }
        }
        let cause = refusal(&config).await;
        assert_eq!(cause.reason(), "DEAD_DIRECTORY", "{parts:?}: {cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_and_one_without_permission_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    let first = with_view(&config, Arc::new(RealDisk)).await;
    assert_eq!(refusal(&config).await.reason(), "DIRECTORY_LOCKED");
    put(&first, 1, 1).await.unwrap();
    close(first).await;

    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let blocked = Config {
        data_dir: file.join("data"),
        ..config.clone()
    };
    let cause = refusal(&blocked).await;
    assert_eq!(cause.reason(), "BAD_DIRECTORY", "{cause}");
    assert!(cause.to_string().contains("file/data"), "{cause}");
}

type Spoil = fn(&mut Vec<u8>);

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_newer_formats_are_told_apart_and_named_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path());
    made(&config).await;
    let cases: [(&str, Spoil, &str); 4] = [
        ("IDENTITY", |bytes| bytes.extend(b" "), "DAMAGED"),
        ("CONTROL", |bytes| bytes[40] ^= 1, "DAMAGED"),
        (
            "IDENTITY",
            |bytes| {
                bytes.splice(.."steadfast identity 1".len(), *b"steadfast identity 9");
            },
            "NEWER_FORMAT",
        ),
        (
            "CONTROL",
            |bytes| {
                bytes.splice(.."steadfast".len(), *b"something");
            },
            "DAMAGED",
        ),
    ];
    for (part, spoil, reason) in cases {
        let path = config.data_dir.join(part);
        let sound = std::fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        spoil(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let cause = refusal(&config).await;
        assert_eq!(cause.reason(), reason, "{part}: {cause}");
        assert!(cause.to_string().contains(part), "{cause}");
        std::fs::write(&path, sound).unwrap();
    }
    close(opened(&config, Arc::new(RealDisk)).await).await;
}
