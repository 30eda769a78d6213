use std::sync::Arc;

use steadfast::base::disk::RealDisk;
use steadfast::model::Items;
use steadfast::proto::v1;

use crate::support::*;

async fn again(node: Running) -> Running {
    let directory = node.stop_keeping_data().await;
    let config = config_in(directory.path());
    let node = start_with(directory, config, Arc::new(RealDisk)).await;
    node.open().await.unwrap();
    node
}

#[tokio::test]
async fn rows_views_and_request_ids_outlive_a_restart_and_the_epoch_rises() {
    let node = start().await;
    let named = |seats| v1::PutFeaturesRequest {
        request_id: "once".into(),
        ..put_leg(1, seats)
    };
    let first = node.put(named(7)).await;
    let before = node.views().list_views(v1::ListViewsRequest {}).await;

    let node = again(node).await;
    let after = node.views().list_views(v1::ListViewsRequest {}).await;
    assert_eq!(after.unwrap().into_inner(), before.unwrap().into_inner());
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(items(&answer.views[0].columns[0]), Items::Int64(vec![7]));
    let repeated = node.put(named(7)).await;
    assert_eq!((repeated.repeated, &repeated.stamp), (true, &first.stamp));
    let other = node.features().put_features(named(8)).await;
    assert_eq!(reason(&other.unwrap_err()), "REQUEST_ID_REUSED");

    let second = node.put(put_leg(2, 1)).await;
    assert!(second.epoch > first.epoch);
    let stamp =
        |written: &v1::WriteResponse| -> steadfast::base::Stamp { written.stamp.parse().unwrap() };
    assert!(stamp(&second) > stamp(&first));
    node.stop().await;
}
