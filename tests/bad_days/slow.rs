//! A member that takes nothing for a while: the primary keeps no more for it than it may, on disk and in memory.

use serde_json::Value as Json;
use steadfast::client::{Client, value_to_wire};
use steadfast::model::Value;
use steadfast::proto::v1;

use crate::day::Day;
use crate::traffic::Manner;

const MIB: u64 = 1 << 20;
/// Less is written than what would need a snapshot is kept of.
const SMALL: &str = r#"
[wal]
segment_bytes = 1048576
retain_bytes = 4194304
[engine]
flush_after_wal_bytes = 2097152
row_cache_bytes = 1048576
[store]
block_cache_bytes = 1048576
memtable_bytes = 1048576
"#;
const BLOBS: &str = r#"
    name = "blobs"
    entity = [{ name = "id", type = "int64" }]
    feature = [{ name = "x", type = "string" }]
"#;
/// Of one row.
const BLOB: usize = 60 << 10;
/// Of one batch.
const ROWS: i64 = 16;
const BATCHES: usize = 80;
/// All that is written, of which a bound that does not depend on it is less than half.
const WRITTEN: u64 = 80 * 16 * (60 << 10);

fn blobs() -> v1::PutFeaturesRequest {
    let row = |id| {
        let text = "x".repeat(BLOB);
        v1::Row {
            key: vec![value_to_wire(Some(Value::Int64(id)))],
            values: vec![value_to_wire(Some(Value::String(text)))],
            event_time_us: None,
        }
    };
    v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: "blobs".to_owned(),
            features: vec!["x".to_owned()],
            rows: (0..ROWS).map(row).collect(),
        }],
        level: v1::CommitLevel::Quorum.into(),
        ..v1::PutFeaturesRequest::default()
    }
}

/// Bytes of the log on a node's disk.
async fn log_bytes(client: &Client) -> u64 {
    let status = client.status().await.unwrap();
    let status: Json = serde_json::from_str(&status).unwrap();
    status["wal"]["bytes"].as_u64().unwrap()
}

/// Bytes of memory that a process has.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn what_is_kept_for_a_member_that_takes_nothing_is_bounded_and_it_catches_up_later() {
    let mut day = Day::begin_configured(SMALL).await;
    let primary = day.set.whole().await.unwrap();
    let client = day.set.client(primary.at).unwrap();
    client.create_view(BLOBS.to_owned()).await.unwrap();
    day.under_load(Manner::Once, async |set, traffic| {
        let primary = set.whole().await.unwrap();
        let slow = (primary.at + 1) % 3;
        let client = set.client(primary.at).unwrap().clone();
        let process = set.process(primary.at).unwrap();
        client.put(blobs()).await.unwrap();
        let before = memory(process);
        set.pause(slow).unwrap();
        let (mut most_log, mut most_memory) = (0, 0);
        for _ in 0..BATCHES {
            client.put(blobs()).await.unwrap();
            most_log = most_log.max(log_bytes(&client).await);
            most_memory = most_memory.max(memory(process));
        }
        println!(
            "{} MiB of log, {} MiB of memory more than before",
            most_log / MIB,
            (most_memory - before) / MIB
        );
        assert!(most_log < WRITTEN / 2, "{most_log}");
        assert!(most_memory - before < WRITTEN / 2, "{before} {most_memory}");
        assert_eq!(traffic.told().epoch, primary.epoch);
        set.resume(slow).unwrap();
    })
    .await;
}
