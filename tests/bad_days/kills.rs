//! Nodes that are killed, SIGKILL, at any instant.

use std::time::Duration;

use steadfast::base::clock::sleep;
use steadfast::cli::process_set::ProcessSet;

use crate::day::Day;
use crate::traffic::{Manner, Traffic};

/// So that a fault comes at any instant.
pub async fn a_while() {
    sleep(Duration::from_micros(rand::random_range(0..300_000))).await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_primaries_killed_at_any_instant() {
    let mut day = Day::begin().await;
    let ((), traffic) = day
        .under_load(Manner::Once, async |set, traffic| {
            for _ in 0..5 {
                let primary = set.whole().await.unwrap();
                a_while().await;
                set.kill(primary.at).await.unwrap();
                traffic.after(primary.epoch).await;
                a_while().await;
                set.restart(primary.at).await.unwrap();
            }
        })
        .await;
    assert!(traffic.told().unknown > 0, "somebody was cut off");
}

async fn kill_all(set: &mut ProcessSet, traffic: &Traffic) {
    for _ in 0..4 {
        let primary = set.whole().await.unwrap();
        traffic.more(10).await;
        a_while().await;
        for at in 0..3 {
            set.kill(at).await.unwrap();
        }
        for at in 0..3 {
            set.launch(at).unwrap();
        }
        traffic.after(primary.epoch).await;
    }
}

#[tokio::test]
async fn all_that_was_acknowledged_even_at_async_is_back_after_all_were_killed_at_once() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, kill_all).await;
}

#[tokio::test]
async fn the_client_itself_brings_every_write_through_the_kills() {
    let mut day = Day::begin().await;
    let ((), traffic) = day
        .under_load(Manner::Again, async |set, traffic| {
            for _ in 0..2 {
                let primary = set.whole().await.unwrap();
                set.kill(primary.at).await.unwrap();
                traffic.after(primary.epoch).await;
                set.restart(primary.at).await.unwrap();
            }
        })
        .await;
    traffic.nothing_failed();
}
