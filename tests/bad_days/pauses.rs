//! A primary that stands still, SIGSTOP, for about as long as silence is suffered, and goes on as if nothing had been.

use std::time::Duration;

use steadfast::base::clock::sleep;

use crate::day::Day;
use crate::traffic::Manner;

/// L.
const SILENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_primary_that_stood_still_around_the_silence_tells_nothing_untrue_when_it_goes_on() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        for share in [0.5, 0.99, 1.01, 1.2] {
            let primary = set.whole().await.unwrap();
            set.pause(primary.at).unwrap();
            sleep(SILENCE.mul_f64(share)).await;
            set.resume(primary.at).unwrap();
            traffic.more(10).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_stood_still_for_long_acknowledges_nothing_more_in_its_epoch() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let primary = set.whole().await.unwrap();
        set.pause(primary.at).unwrap();
        traffic.after(primary.epoch).await;
        sleep(SILENCE * 2).await;
        let resumed = traffic.now();
        set.resume(primary.at).unwrap();
        set.whole().await.unwrap();
        traffic.more(10).await;
        let epochs = traffic.acked_at_async_since(resumed);
        assert!(epochs.iter().all(|epoch| *epoch > primary.epoch));
    })
    .await;
}
