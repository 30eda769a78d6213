//! Every member in turn, and clients that follow the set.

use std::time::Duration;

use steadfast::base::clock::sleep;

use crate::day::Day;
use crate::kills::a_while;
use crate::traffic::Manner;

/// Longer than a primary may be silent.
const LONG: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_each_member_is_killed_stands_still_and_is_cut_off() {
    let mut day = Day::begin_apart().await;
    let ((), traffic) = day
        .under_load(Manner::Again, async |set, traffic| {
            for at in 0..3 {
                set.whole().await.unwrap();
                a_while().await;
                set.kill(at).await.unwrap();
                traffic.more(20).await;
                set.restart(at).await.unwrap();

                set.whole().await.unwrap();
                a_while().await;
                set.pause(at).unwrap();
                sleep(LONG).await;
                traffic.more(20).await;
                set.resume(at).unwrap();

                set.whole().await.unwrap();
                a_while().await;
                set.cut_off(at).unwrap();
                sleep(LONG).await;
                traffic.more(20).await;
                set.heal().unwrap();
            }
        })
        .await;
    traffic.nothing_failed();
}
