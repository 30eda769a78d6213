//! A disk of one member that fails at any call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use steadfast::base::task::thread;
use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::node::Error;

use crate::disk::FaultyDisk;
use crate::support::{Manner, Member, until};

/// Three data members. The log of one is on a disk that fails once its calls are counted; the first is primary.
async fn set_on(disk: &Arc<FaultyDisk>, faulty: usize) -> Vec<Member> {
    let manner = |at| match at == faulty {
        true => Manner::on(disk.clone()),
        false => Manner::default(),
    };
    let first = Member::first_as(manner(0)).await;
    let second = first.join_as(manner(1)).await;
    let third = first.join_as(manner(2)).await;
    vec![first, second, third]
}

/// Waits until a primary has nothing left to do but what is asked of it.
async fn settle(primary: &Member) {
    let epochs = primary.node.history().unwrap();
    let before = epochs.keys().rev().nth(1).unwrap();
    let last = || primary.node.history().unwrap()[before].last;
    until("earlier logs are closed", || last().is_some()).await;
    for id in 1_000..1_100 {
        let written = primary.put(id, id, CommitLevel::All).await;
        written.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_log_fails_at_any_call_acknowledges_no_more_and_another_takes_over() {
    for calls in [0, 1, 6] {
        let disk = FaultyDisk::new("wal", u64::MAX);
        let mut set = set_on(&disk, 0).await;
        disk.left.store(calls, Ordering::SeqCst);
        let levels = [CommitLevel::Quorum, CommitLevel::Async];
        let (mut acknowledged, mut written) = (Vec::new(), 0);
        let cause = loop {
            let level = levels[written % 2];
            let id = i64::try_from(written).unwrap();
            match set[0].put(id, id, level).await {
                Ok(_) => acknowledged.push((id, level)),
                Err(cause) => break cause,
            }
            written += 1;
        };
        let is_told = matches!(cause, Error::Unknown { .. } | Error::NotWritable { .. });
        assert!(is_told, "{calls}: {cause}");
        until("another serves", || set[1..].iter().any(Member::serves)).await;
        let after = set[0].put(-1, -1, CommitLevel::Async).await;
        assert!(matches!(after, Err(Error::NotWritable { .. })), "{after:?}");
        let primary = set.iter().rposition(Member::serves).unwrap();
        for (id, _) in acknowledged
            .iter()
            .filter(|(_, level)| *level == CommitLevel::Quorum)
        {
            let read = set[primary].get(*id, ReadLevel::Primary).await.unwrap();
            assert_eq!(read, Some(*id), "{calls}");
        }
        // On a sound disk it is back, with what only it had.
        let directory = set.remove(0).stop_failed().await;
        let back = Member::start_in(directory, None).await.unwrap();
        let primary = set.remove(primary - 1);
        until("both are heard", || primary.heard() == 2).await;
        primary.put(-1, 1, CommitLevel::All).await.unwrap();
        for (id, _) in &acknowledged {
            while primary.get(*id, ReadLevel::Primary).await.unwrap() != Some(*id) {
                tokio::task::yield_now().await;
            }
        }
        for member in set.into_iter().chain([back, primary]) {
            member.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_log_fails_while_nobody_writes_any_more_is_replaced_too() {
    let disk = FaultyDisk::new("wal", u64::MAX);
    let set = set_on(&disk, 0).await;
    settle(&set[0]).await;
    disk.left.store(0, Ordering::SeqCst);
    set[0].put(1, 1, CommitLevel::Quorum).await.unwrap_err();
    until("it takes no part", || {
        let why = set[0].status().can_fail_over;
        why.is_err_and(|why| why.contains("takes no part"))
    })
    .await;
    until("another serves", || set[1..].iter().any(Member::serves)).await;
    let mut set = set.into_iter();
    set.next().unwrap().stop_failed().await;
    for member in set {
        member.stop().await;
    }
}

/// Holds up whoever writes to a disk until what is returned is dropped.
fn hold_up(disk: &Arc<FaultyDisk>) -> mpsc::Sender<()> {
    let ((held, is_held), (release, released)) = (mpsc::channel(), mpsc::channel());
    let gate = Arc::clone(&disk.gate);
    thread("holds a disk up", move || {
        let _gate = gate.write().unwrap();
        held.send(()).unwrap();
        // Ends with its sender.
        let _dropped = released.recv();
    })
    .unwrap();
    is_held.recv().unwrap();
    release
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_disk_stands_still_is_replaced_and_is_a_member_when_it_goes_on() {
    let disk = FaultyDisk::new("wal", u64::MAX);
    let set = set_on(&disk, 0).await;
    settle(&set[0]).await;
    set[0].put(0, 0, CommitLevel::Quorum).await.unwrap();
    let held_up = hold_up(&disk);
    let stuck = set[0].put(1, 1, CommitLevel::Async);
    let replaced = async {
        until("another serves", || set[1..].iter().any(Member::serves)).await;
        let primary = set.iter().rposition(Member::serves).unwrap();
        set[primary].put(2, 2, CommitLevel::Quorum).await.unwrap();
        drop(held_up);
        primary
    };
    let (stuck, primary) = tokio::join!(stuck, replaced);
    assert!(matches!(stuck, Err(Error::Unknown { .. })), "{stuck:?}");
    until("it serves no more", || !set[0].serves()).await;
    until("it is heard", || set[primary].heard() == 2).await;
    set[primary].put(3, 3, CommitLevel::All).await.unwrap();
    for (id, value) in [(0, Some(0)), (2, Some(2)), (3, Some(3))] {
        let read = set[primary].get(id, ReadLevel::Primary).await.unwrap();
        assert_eq!(read, value);
    }
    for member in set {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_goes_on_without_a_member_whose_log_fails_at_any_call() {
    for calls in [0, 1, 6] {
        let disk = FaultyDisk::new("wal", u64::MAX);
        let mut set = set_on(&disk, 2).await;
        disk.left.store(calls, Ordering::SeqCst);
        let epoch = set[0].status().epoch;
        let faulty = set[2].status().by;
        for id in 0..40 {
            set[0].put(id, id, CommitLevel::Quorum).await.unwrap();
        }
        until("it is missed", || {
            !set[0].status().members[&faulty].in_contact || set[2].node.health().ready.is_err()
        })
        .await;
        let directory = set.remove(2).stop_failed().await;
        set.push(Member::start_in(directory, None).await.unwrap());
        until("both are heard", || set[0].heard() == 2).await;
        set[0].put(-1, 1, CommitLevel::All).await.unwrap();
        assert_eq!(set[0].status().epoch, epoch);
        for id in 0..40 {
            while set[2].get(id, ReadLevel::Local).await.unwrap() != Some(id) {
                tokio::task::yield_now().await;
            }
        }
        while let Some(member) = set.pop() {
            member.stop().await;
        }
    }
}
