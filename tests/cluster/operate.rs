//! What operators ask of a set.

use steadfast::base::{CommitLevel, Epoch, NodeNumber};
use steadfast::control::{Cause, EpochNote, FailoverPolicy, SettingsChange};
use steadfast::node::SetChange;

use crate::support::{Member, set_of_three, until};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_settings_at_two_members_at_once_are_both_in_force() {
    let members = set_of_three().await;
    let [first, second, third] = &members;
    for silence_ms in 1_000..1_020 {
        let policies = [FailoverPolicy::Manual, FailoverPolicy::Automatic];
        let failover = policies[usize::try_from(silence_ms).unwrap() % 2];
        let policy = SettingsChange {
            failover: Some(failover),
            ..SettingsChange::default()
        };
        let silence = SettingsChange {
            silence_ms: Some(silence_ms),
            ..SettingsChange::default()
        };
        let (policy, silence) = tokio::join!(
            second.node.change_settings(policy),
            third.node.change_settings(silence),
        );
        let (policy, silence) = (policy.unwrap(), silence.unwrap());
        assert_eq!(
            (policy.failover, silence.silence_ms),
            (failover, silence_ms)
        );
        until("both are known", || {
            let settings = first.status().settings;
            (settings.failover, settings.silence_ms) == (failover, silence_ms)
        })
        .await;
    }
    for member in members {
        member.stop().await;
    }
}

/// What a member remembers of the open epoch, once it serves.
async fn remembered(member: &Member) -> (Epoch, EpochNote) {
    let latest = || {
        let (epoch, note) = member.node.history().unwrap().pop_last()?;
        (epoch == member.status().epoch && note.served.is_some()).then_some((epoch, note))
    };
    until("the open epoch is noted", || latest().is_some()).await;
    latest().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_says_who_was_primary_why_and_from_where_on() {
    let [first, second, third] = set_of_three().await;
    for id in 0..10 {
        first.put(id, id, CommitLevel::All).await.unwrap();
    }
    let (before, note) = remembered(&second).await;
    assert_eq!((note.primary, note.cause), (NodeNumber(1), Cause::Planned));
    let to = SetChange::SwitchOver(Some(NodeNumber(2)));
    first.node.change_set(to).await.unwrap();
    let (_, note) = remembered(&third).await;
    assert_eq!((note.primary, note.cause), (NodeNumber(2), Cause::Planned));
    assert_eq!(note.members, [1, 2, 3].map(NodeNumber).into());
    let served = note.served.unwrap();
    let (epoch, last) = served.recovered.unwrap();
    assert_eq!(epoch, before);
    assert!(served.unavailable_ms.is_some());
    until("the log of the epoch before is closed", || {
        let history = third.node.history().unwrap();
        history[&before].last == Some(last)
    })
    .await;
    let history = third.node.history().unwrap();
    let (_, lone) = history.first_key_value().unwrap();
    assert_eq!((lone.cause, lone.primary), (Cause::First, NodeNumber(1)));
    let ends: Vec<_> = history
        .values()
        .map(|note| note.served.unwrap().at)
        .collect();
    assert!(ends.is_sorted(), "{ends:?}");
    for member in [first, second, third] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_says_whether_another_would_take_over() {
    let [first, second, third] = set_of_three().await;
    for member in [&first, &second, &third] {
        until("all say yes", || member.status().can_fail_over.is_ok()).await;
    }
    let directory = second.stop().await;
    for member in [&first, &third] {
        until("those that are left say no", || {
            let why = member.status().can_fail_over.err();
            why.is_some_and(|why| why.contains("1 data members"))
        })
        .await;
    }
    let second = Member::start_in(directory, None).await.unwrap();
    for member in [&first, &second, &third] {
        until("all say yes again", || member.status().can_fail_over.is_ok()).await;
    }
    for member in [first, second, third] {
        member.stop().await;
    }
}
