//! A view of a live set is undone while others write it and the primary is killed.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value as Json;
use steadfast::backup::bucket::BucketUrl;
use steadfast::base::clock::SystemClock;
use steadfast::base::{Clock as _, Stamp};
use steadfast::cli::process_set::archived;
use steadfast::client::Client;
use steadfast::proto::v1;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::bucket::archive_into;
use crate::day::{BINARY, Day};
use crate::history::ReadLevel;
use crate::kills::a_while;
use crate::traffic::{put, read_at};

const ROWS: u64 = 20_000;
/// Others write those from here on.
const OTHERS_FROM: u64 = 15_000;
/// What all rows hold at the moment, and after the bad write.
const GOOD: u64 = 1;
const BAD: u64 = 2;
/// Rows of one request.
const BATCH: usize = 1_000;

/// Puts a value into all rows; the stamp of the last.
async fn put_all(client: &Client, value: u64) -> Stamp {
    let time = SystemClock::new().wall().0;
    let row = |key| put(key, value, time, v1::CommitLevel::Quorum);
    let keys: Vec<u64> = (0..ROWS).collect();
    let mut last = None;
    for keys in keys.chunks(BATCH) {
        let mut request = row(keys[0]);
        let rows = keys.iter().flat_map(|key| row(*key).writes.remove(0).rows);
        request.writes[0].rows = rows.collect();
        let written = client.put(request).await.unwrap();
        last = Some(written.stamp.parse().unwrap());
    }
    last.unwrap()
}

/// Writes rows one after the other until it is told to stop; the last value of each.
async fn others(client: &Client, stop: CancellationToken) -> BTreeMap<u64, u64> {
    let mut last = BTreeMap::new();
    for value in 1_000.. {
        if stop.is_cancelled() {
            break;
        }
        let (key, time) = (
            rand::random_range(OTHERS_FROM..ROWS),
            SystemClock::new().wall().0,
        );
        let request = put(key, value, time, v1::CommitLevel::Quorum);
        client.put(request).await.unwrap();
        last.insert(key, value);
    }
    last
}

fn undo(url: &BucketUrl, moment: &str, endpoints: &[String]) -> Child {
    let mut command = Command::new(BINARY);
    command.args(["backup", "restore", &url.to_string(), "--to", moment]);
    command.args(["--as-new-writes", "--view", "v", "--output", "json"]);
    command.args(["--endpoint", &endpoints.join(",")]);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.kill_on_drop(true).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_outlives_the_primary_and_what_others_write_outlives_the_undo() {
    let mut day = Day::begin().await;
    let scratch = tempfile::tempdir().unwrap();
    let url = BucketUrl::of_directory(&scratch.path().join("bucket")).unwrap();
    archive_into(&day.set, &url).await;
    let endpoints = day.set.endpoints();
    let client = Client::to(&endpoints).await.unwrap();
    let good = put_all(&client, GOOD).await.hlc.millis();
    // Until that millisecond is over.
    while put_all(&client, GOOD).await.hlc.millis() == good {}
    put_all(&client, BAD).await;
    day.set.until(archived).await.unwrap();
    let moment = jiff::Timestamp::from_millisecond(good.cast_signed());
    let moment = moment.unwrap().to_string();

    let stop = CancellationToken::new();
    let writing = others(&client, stop.clone());
    let undoing = async {
        let _stop = stop.drop_guard();
        let primary = day.set.whole().await.unwrap();
        let undoing = undo(&url, &moment, &endpoints);
        a_while().await;
        a_while().await;
        a_while().await;
        day.set.kill(primary.at).await.unwrap();
        day.set.restart(primary.at).await.unwrap();
        undoing.wait_with_output().await.unwrap()
    };
    let (written, undone) = tokio::join!(writing, undoing);
    assert!(undone.status.success(), "{}", undone.status);
    let counts: Json = serde_json::from_slice(&undone.stdout).unwrap();
    day.set.equal().await.unwrap();
    let keys: Vec<u64> = (0..ROWS).collect();
    let rows = read_at(&client, &keys, ReadLevel::Primary).await.unwrap();
    for key in keys {
        let is_right = match written.get(&key) {
            None => rows[&key] == GOOD,
            // What was written before it was looked at is undone.
            Some(last) => rows[&key] == GOOD || rows[&key] == *last,
        };
        assert!(is_right, "{key} is {}: {counts}", rows[&key]);
    }
    assert!(counts["put"].as_u64().unwrap() >= OTHERS_FROM, "{counts}");
}
