//! A member that was away for longer than the log is kept gets another member's store.

use rand::Rng as _;
use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::node::SetChange;

use crate::support::{Member, set_of_three, until};

const ROWS: usize = 500;

/// Writes until the log no longer reaches back to what was written first; returns the values.
async fn write_beyond_the_log(primary: &Member) -> [i64; ROWS] {
    let mut values = [0; ROWS];
    let begin = primary.number("/positions/durable_lsn");
    while primary.number("/positions/durable_lsn") - begin < 4 << 20 {
        for value in &mut values {
            *value = rand::rng().random();
        }
        let rows = (0..).zip(values.iter().copied());
        primary.put_all(rows, CommitLevel::Quorum).await.unwrap();
    }
    until("what was written first has gone from the log", || {
        primary.number("/wal/bytes") < 3 << 20
    })
    .await;
    values
}

fn is_caught_up(primary: &Member, other: &Member) -> bool {
    let number = other.node.set_status().map(|status| status.by);
    let member = number
        .ok()
        .and_then(|by| primary.status().members.remove(&by));
    member.is_some_and(|member| member.lag_records == Some(0) && member.heard_ago.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_no_log_brings_up_to_date_goes_on_with_the_store_of_another() {
    let [first, second, third] = set_of_three().await;
    first.put_all([(0, 0)], CommitLevel::All).await.unwrap();
    let directory = third.stop().await;
    let values = write_beyond_the_log(&first).await;

    let third = Member::start_in(directory, None).await.unwrap();
    until("the third has it all", || is_caught_up(&first, &third)).await;
    assert!(first.counted("steadfast_snapshot_sent_bytes") > 0.0);
    for (id, value) in (0..).zip(values) {
        let read = third.get(id, ReadLevel::Local).await.unwrap();
        assert_eq!(read, Some(value));
    }

    // It counts, and can lead.
    let written = first.put(0, -1, CommitLevel::All).await.unwrap();
    assert_eq!(written.copies, 3);
    let to = SetChange::SwitchOver(Some(third.status().by));
    first.node.change_set(to).await.unwrap();
    until("the third serves", || third.serves()).await;
    until("it hears both", || third.heard() == 2).await;
    third.put(1, -2, CommitLevel::All).await.unwrap();
    for member in [&first, &second, &third] {
        let digest = |member: &Member| member.node.status()["digest"].clone();
        until("all hold the same", || digest(member) == digest(&third)).await;
        assert_eq!(member.get(1, ReadLevel::Local).await.unwrap(), Some(-2));
    }
    for member in [first, second, third] {
        member.stop().await;
    }
}
