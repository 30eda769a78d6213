//! Nodes that are stopped as they should be.

use crate::day::{Day, stop};
use crate::traffic::Manner;

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_call_and_loses_nothing() {
    let mut day = Day::begin().await;
    let ((), traffic) = day
        .under_load(Manner::Again, async |set, traffic| {
            for at in [0, 1, 2, 0] {
                stop(set, at).await;
                traffic.more(20).await;
                set.restart(at).await.unwrap();
                set.whole().await.unwrap();
            }
        })
        .await;
    traffic.nothing_failed();
}
