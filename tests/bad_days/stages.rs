//! Whoever takes over is killed, too, at each stage of it, as its log tells.

use std::path::PathBuf;
use std::time::Duration;

use steadfast::base::clock::{now_monotonic, sleep};
use steadfast::cli::process_set::ProcessSet;
use steadfast::proto::v1;

use crate::day::Day;
use crate::traffic::{Manner, Traffic};

/// What a member logs when it begins an epoch, when that has begun, when it is sealed, when it is open.
const STAGES: [&str; 4] = [
    "begins an epoch",
    "epoch begun",
    "epoch sealed",
    "serves writes epoch=",
];
const FETCHES: &str = "epoch sealed: fetches what is missing here";
const SERVES: &str = STAGES[3];

/// The logs of all members from a moment on.
struct Logs(Vec<(PathBuf, usize)>);

impl Logs {
    fn from_now(set: &ProcessSet) -> Logs {
        let length = |log: PathBuf| {
            let length = std::fs::read(&log).map_or(0, |text| text.len());
            (log, length)
        };
        Logs(set.homes().map(|home| length(home.log())).collect())
    }

    /// Waits until a member says any of this; tells which member and what.
    async fn first_of<'a>(&self, any: &[&'a str]) -> (usize, &'a str) {
        let begun = now_monotonic();
        loop {
            for (at, (log, from)) in self.0.iter().enumerate() {
                let text = std::fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text[*from..]);
                if let Some(words) = any.iter().find(|words| text.contains(**words)) {
                    return (at, words);
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "never: {any:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn exactly_one_takes_over_though_two_others_are_killed_on_the_way() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        for stage in 0..STAGES.len() {
            // Who is as far already says no more than what comes next.
            let stages = &STAGES[stage..];
            let first = set.whole().await.unwrap();
            let logs = Logs::from_now(set);
            set.kill(first.at).await.unwrap();
            let (second, _) = logs.first_of(stages).await;
            set.kill(second).await.unwrap();
            let logs = Logs::from_now(set);
            set.restart(first.at).await.unwrap();
            let (third, _) = logs.first_of(stages).await;
            set.kill(third).await.unwrap();
            set.launch(second).unwrap();
            set.launch(third).unwrap();
            traffic.after(first.epoch).await;
        }
    })
    .await;
}

/// Has the members decide by themselves whether a primary is replaced, or leaves it to the operator.
pub async fn decide(set: &ProcessSet, asked: usize, policy: v1::FailoverPolicy) {
    let changes = v1::SetSettingsRequest {
        failover: Some(policy.into()),
        ..v1::SetSettingsRequest::default()
    };
    let client = set.client(asked).unwrap();
    let begun = now_monotonic();
    while let Err(refused) = client.set_settings(changes.clone()).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{refused}");
    }
}

/// Has a member take over that lacks what was acknowledged without it; kills it if it is seen to fetch that.
async fn killed_while_fetching(set: &mut ProcessSet, traffic: &Traffic) -> bool {
    let first = set.whole().await.unwrap();
    let (late, other) = ((first.at + 1) % 3, (first.at + 2) % 3);
    decide(set, first.at, v1::FailoverPolicy::Manual).await;
    set.kill(late).await.unwrap();
    traffic.more(20).await;
    set.kill(first.at).await.unwrap();
    let logs = Logs::from_now(set);
    set.restart(late).await.unwrap();
    let client = set.client(late).unwrap().clone();
    let forced = async {
        loop {
            let _perhaps = client.approve_failover(first.epoch, true).await;
        }
    };
    let (at, said) = tokio::select! {
        said = logs.first_of(&[FETCHES, SERVES]) => said,
        never = forced => never,
    };
    if said == FETCHES {
        set.kill(at).await.unwrap();
        set.launch(at).unwrap();
    }
    set.launch(first.at).unwrap();
    decide(set, other, v1::FailoverPolicy::Automatic).await;
    traffic.after(first.epoch).await;
    said == FETCHES
}

#[tokio::test]
async fn a_successor_killed_while_it_fetches_what_it_lacks_leaves_that_to_the_next() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        for _ in 0..8 {
            if killed_while_fetching(set, traffic).await {
                return;
            }
        }
        panic!("nobody fetches");
    })
    .await;
}
