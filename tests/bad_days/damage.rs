//! Bytes of one member's files that are not what was written.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use serde_json::Value as Json;
use steadfast::base::disk::RealDisk;
use steadfast::cli::process_set::ProcessSet;
use steadfast::model::{KeyType, KeyValue};
use steadfast::node::IdentityFile;
use steadfast::storage::{Options, Store, split_row_key};

use crate::day::{BINARY, Day, directory, number, replace, stop};
use crate::traffic::{Manner, SHARED, Traffic, held};

/// Small enough that the store has files, and what is read comes out of them.
const SMALL: &str = r#"
[engine]
flush_after_wal_bytes = 65536
row_cache_bytes = 1048576
[store]
block_cache_bytes = 1048576
memtable_bytes = 1048576
"#;

/// The files of a directory with this ending, the last one last.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let has = |path: &PathBuf| path.extension().is_some_and(|found| found == ending);
    let mut files: Vec<PathBuf> = files.filter(has).collect();
    files.sort();
    files
}

/// Flips a bit of what is written in a file; says where and what was there.
fn flip(path: &Path) -> (u64, u8) {
    let bytes = std::fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = rand::rng().random_range(0..=written);
    let bit = 1 << rand::rng().random_range(0..8);
    let offset = u64::try_from(at).unwrap();
    put_byte(path, offset, bytes[at] ^ bit);
    (offset, bytes[at])
}

fn put_byte(path: &Path, offset: u64, byte: u8) {
    let file = std::fs::File::options().write(true).open(path);
    file.unwrap().write_all_at(&[byte], offset).unwrap();
}

#[tokio::test]
async fn a_damaged_log_is_refused_or_was_not_durable_and_nothing_of_it_is_served() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let mut refused = 0;
        for _ in 0..4 {
            let at = (set.whole().await.unwrap().at + 1) % 3;
            let old = number(set, at).await;
            traffic.more(20).await;
            set.kill(at).await.unwrap();
            let log = files(&directory(set, at).join("wal"), "wal");
            let segment = log
                .iter()
                .rfind(|path| std::fs::read(path).unwrap().iter().any(|byte| *byte != 0))
                .unwrap();
            let (offset, was) = flip(segment);
            let Err(why) = set.restart(at).await else {
                continue;
            };
            refused += 1;
            let why = why.to_string();
            if why.contains("DAMAGED") {
                put_byte(segment, offset, was);
                set.restart(at).await.unwrap();
            } else {
                // It was cut as a torn tail, but is known to have been there.
                assert!(why.contains("DEAD_DIRECTORY"), "{why}");
                replace(set, at, old).await;
            }
        }
        assert!(refused > 0, "most of a log is durable");
    })
    .await;
}

/// Flips bits in the files of a member's store. It is refused, or serves what is true and says DAMAGED of the rest.
async fn damage_store(set: &mut ProcessSet, traffic: &Traffic, at: usize) {
    stop(set, at).await;
    for file in files(&directory(set, at).join("store"), "sst") {
        for _ in 0..3 {
            flip(&file);
        }
    }
    match set.restart(at).await {
        Err(why) => assert!(why.to_string().contains("DAMAGED"), "{why}"),
        Ok(()) => {
            let client = set.client(at).unwrap();
            let written = traffic.keys();
            let mut damaged = 0;
            for key in &written {
                match held(client, &[*key]).await {
                    Ok(held) => traffic.is_true(&held),
                    Err(error) => {
                        assert_eq!(error.reason, "DAMAGED", "{error}");
                        damaged += 1;
                    }
                }
            }
            println!("{damaged} of {} rows are damaged", written.len());
        }
    }
}

#[tokio::test]
async fn a_damaged_store_serves_nothing_untrue_and_is_replaced_by_that_of_another() {
    let mut day = Day::begin_configured(SMALL).await;
    day.under_load(Manner::Once, async |set, traffic| {
        traffic.more(100).await;
        let at = (set.whole().await.unwrap().at + 1) % 3;
        let old = number(set, at).await;
        damage_store(set, traffic, at).await;
        traffic.more(20).await;
        replace(set, at, old).await;
        traffic.more(20).await;
    })
    .await;
}

/// The entity of a row.
fn id(key: &[u8]) -> i64 {
    let (_, entity) = split_row_key(key).unwrap();
    match entity.decode(&[KeyType::Int64]).unwrap()[..] {
        [KeyValue::Int64(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

/// Puts something else in the place of some rows, and takes others away, so that neither RocksDB nor the digest that is kept
/// of all rows can tell. Returns whose rows they are.
fn alter_rows(directory: &Path) -> BTreeSet<i64> {
    let identity = IdentityFile::open(Arc::new(RealDisk), &directory.join("IDENTITY"));
    let lineage = identity.unwrap().unwrap().get().lineage;
    let store = Store::open(&directory.join("store"), lineage, &Options::default()).unwrap();
    let mut rows = Vec::new();
    let visit = |key: &[u8], row: &[u8]| {
        rows.push((key.to_vec(), row.to_vec()));
        ControlFlow::<()>::Continue(())
    };
    store.walk(&[], None, visit).unwrap();
    // Rows that are written once.
    rows.retain(|(key, _)| id(key) >= i64::try_from(SHARED).unwrap());
    let chosen: Vec<_> = rows.choose_multiple(&mut rand::rng(), 4).collect();
    let mut changes = store.changes();
    for (at, (key, row)) in chosen.iter().enumerate() {
        if at == 0 {
            changes.delete_row(key);
        } else {
            let (last, rest) = row.split_last().unwrap();
            changes.put_row(key, &[rest, &[last ^ 1]].concat());
        }
    }
    changes.commit(&store.state().unwrap()).unwrap();
    store.flush().unwrap();
    chosen.iter().map(|(key, _)| id(key)).collect()
}

/// `steadfast check`: its exit code and what it prints.
async fn check(set: &ProcessSet) -> (Option<i32>, Json) {
    let endpoint = set.endpoints().join(",");
    let checked = tokio::task::spawn_blocking(move || {
        let arguments = ["check", "--output", "json", "--endpoint", &endpoint];
        Command::new(BINARY).args(arguments).output().unwrap()
    });
    let checked = checked.await.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    let report = serde_json::from_slice(&checked.stdout);
    (
        checked.status.code(),
        report.unwrap_or_else(|_| panic!("{said}")),
    )
}

#[tokio::test]
async fn rows_that_change_behind_a_members_back_are_named_by_a_check_under_load_and_no_others() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        traffic.more(100).await;
        let (code, report) = check(set).await;
        assert_eq!(code, Some(0), "{report}");
        assert!(report["rows"].as_u64() > Some(100), "{report}");
        let at = (set.whole().await.unwrap().at + 1) % 3;
        let altered = number(set, at).await;
        stop(set, at).await;
        let expected = alter_rows(&directory(set, at));
        set.restart(at).await.unwrap();
        set.whole().await.unwrap();
        traffic.more(20).await;
        let (code, report) = check(set).await;
        assert_eq!(code, Some(1), "{report}");
        let differences = report["differences"].as_array().unwrap();
        let named = differences
            .iter()
            .map(|row| row["entity"]["id"].as_i64().unwrap());
        assert_eq!(named.collect::<BTreeSet<_>>(), expected, "{report}");
        for row in differences {
            let mut held = row["members"].as_object().unwrap().clone();
            let here = held.remove(&altered.to_string()).unwrap();
            let elsewhere: Vec<_> = held.values().collect();
            assert!(
                elsewhere[0] == elsewhere[1] && *elsewhere[0] != here,
                "{row}"
            );
        }
        replace(set, at, altered).await;
        let (code, report) = check(set).await;
        assert_eq!(code, Some(0), "{report}");
    })
    .await;
}
