//! Disks that take nothing more: by a limit on the size of a process's files.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use steadfast::cli::process_set::ProcessSet;

use crate::day::Day;
use crate::traffic::Manner;

/// Lets no file of a member grow any more.
fn fill_up(set: &ProcessSet, at: usize) {
    let process = set.process(at).unwrap();
    let pid = Pid::from_raw(process.try_into().unwrap());
    let limit = Rlimit {
        current: Some(1),
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[tokio::test]
async fn another_takes_over_from_a_primary_whose_disk_is_full_and_it_returns() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = set.whole().await.unwrap();
        fill_up(set, before.at);
        traffic.after(before.epoch).await;
        traffic.more(20).await;
        set.kill(before.at).await.unwrap();
        set.restart(before.at).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_set_goes_on_without_a_member_whose_disk_is_full_and_it_returns() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let before = set.whole().await.unwrap();
        let full = (before.at + 1) % 3;
        fill_up(set, full);
        traffic.more(50).await;
        set.kill(full).await.unwrap();
        traffic.more(20).await;
        assert_eq!(traffic.told().epoch, before.epoch);
        set.restart(full).await.unwrap();
    })
    .await;
}
