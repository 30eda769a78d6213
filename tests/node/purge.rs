//! What expired or was deleted goes for good once the horizon has passed it, and nobody can tell by the answers when.

use steadfast::model::Items;
use steadfast::model::resolve::Status;
use steadfast::proto::v1;

use crate::support::*;

const VIEW: &str = r#"
    name = "sessions"
    entity = [{ name = "id", type = "int64" }]
    ttl = "500ms"
    feature = [{ name = "clicks", type = "int64" }]
"#;

async fn start_with_lag(seconds: u64) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config_in(directory.path());
    config.purge.horizon_lag_seconds = seconds;
    let disk = std::sync::Arc::new(steadfast::base::disk::RealDisk);
    let running = start_with(directory, config, disk).await;
    running.open().await.unwrap();
    let definition_toml = VIEW.to_owned();
    let create = v1::CreateViewRequest { definition_toml };
    running.views().create_view(create).await.unwrap();
    running
}

async fn statuses(running: &Running) -> Vec<u8> {
    let ids = column("id", Items::Int64(vec![1, 2]));
    let answer = running.get(get(vec![ids], &[("sessions", &[])])).await;
    answer.views[0].columns[0].statuses.to_vec()
}

async fn write_two(running: &Running) {
    let row = |id| (vec![int64(id)], vec![int64(7)]);
    let written = running
        .put(put(vec![rows(
            "sessions",
            &["clicks"],
            vec![row(1), row(2)],
        )]))
        .await;
    assert_eq!(written.applied, 2);
}

/// Asks again until `is_so`.
async fn until(running: &Running, is_so: impl Fn(&serde_json::Value) -> bool) {
    while !is_so(&running.node.status()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_row_is_not_found_and_gone_once_the_horizon_has_passed_it() {
    let running = start_with_lag(0).await;
    write_two(&running).await;
    until(&running, |status| status["views"][0]["rows"] == 0).await;
    let gone = Status::NotFound.code();
    assert_eq!(statuses(&running).await, [gone, gone]);
    let metrics = running.http("/metrics").await.1;
    assert!(
        metrics.contains("steadfast_purged_rows_total 2\n"),
        "{metrics}"
    );
    // Idle, the horizon rises all the same: time alone makes rows go.
    let horizon = running.node.status()["horizon"].clone();
    until(&running, |status| status["horizon"] != horizon).await;
    until(&running, |status| status["sweep"].is_null()).await;
    let digest = running.node.status()["digest"].clone();
    assert_eq!(digest, "0".repeat(32), "the digest of nothing");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_row_is_told_from_none_until_the_horizon_has_passed_it() {
    let running = start_with_lag(3_600).await;
    write_two(&running).await;
    let expired = Status::Expired.code();
    while statuses(&running).await != [expired, expired] {}
    assert_eq!(running.node.status()["views"][0]["rows"], 2);
    assert!(running.node.status()["horizon"].is_null());
    running.stop().await;
}
