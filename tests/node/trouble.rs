//! A disk that is full or fails: writes are refused for what it is, reads go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use steadfast::base::disk::{Disk, RealDisk};
use steadfast::model::Items;
use tonic::Code;

use crate::disk::FaultyDisk;
use crate::support::*;

#[tokio::test]
async fn below_the_watermark_writes_are_refused_and_reads_go_on() {
    let node = start().await;
    node.put(put_leg(1, 7)).await;
    let directory = node.stop_keeping_data().await;
    let mut config = config_in(directory.path());
    config.disk.low_watermark_bytes = u64::MAX;
    let node = start_with(directory, config, Arc::new(RealDisk)).await;
    node.open().await.unwrap();

    let ready = node.ready(503).await;
    assert!(ready.contains("bytes are left on the disk"), "{ready}");
    let refused = node.features().put_features(put_leg(1, 8)).await;
    let (code, reason, _) = failure(&refused.unwrap_err());
    assert_eq!(
        (code, reason.as_str()),
        (Code::ResourceExhausted, "LOW_DISK")
    );
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(items(&answer.views[0].columns[0]), Items::Int64(vec![7]));
    node.stop().await;
}

#[tokio::test]
async fn after_a_failed_sync_writes_are_refused_until_a_restart_and_reads_go_on() {
    let disk = FaultyDisk::new("wal", u64::MAX);
    let directory = tempfile::tempdir().unwrap();
    let config = config_in(directory.path());
    let node = start_with(directory, config, Arc::clone(&disk) as Arc<dyn Disk>).await;
    node.open().await.unwrap();
    node.create_views().await;
    node.put(put_leg(1, 7)).await;

    disk.left.store(0, Ordering::SeqCst);
    let doubtful = node.features().put_features(put_leg(1, 8)).await;
    let (code, reason, _) = failure(&doubtful.unwrap_err());
    assert_eq!((code, reason.as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
    disk.left.store(u64::MAX, Ordering::SeqCst);
    let refused = node.features().put_features(put_leg(1, 9)).await;
    let (code, reason, _) = failure(&refused.unwrap_err());
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "NOT_WRITABLE"));
    node.ready(503).await;
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(items(&answer.views[0].columns[0]), Items::Int64(vec![7]));

    let directory = node.stop_failed().await;
    let config = config_in(directory.path());
    let node = start_with(directory, config, Arc::new(RealDisk)).await;
    node.open().await.unwrap();
    assert_eq!(node.put(put_leg(1, 10)).await.applied, 1);
    node.stop().await;
}
