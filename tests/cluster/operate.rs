//! What operators ask of a set.

use steadfast::base::disk::RealDisk;
use steadfast::base::sealed::Kind;
use steadfast::base::{CommitLevel, Epoch, IncarnationId, NodeNumber, ReadLevel};
use steadfast::control::{
    Cause, EpochNote, FailoverPolicy, LEVEL, Rejection, Role, SettingsChange,
};
use steadfast::node::{Applicant, Error, SetChange};

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

/// What a member remembers of the epoch opened after this one, once it serves.
async fn remembered(member: &Member, after: Epoch) -> (Epoch, EpochNote) {
    let latest = || {
        let (epoch, note) = member.node.history().unwrap().pop_last()?;
        (epoch > after && note.served.is_some()).then_some((epoch, note))
    };
    until("a later epoch is noted", || latest().is_some()).await;
    latest().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_says_who_was_primary_why_and_from_where_on() {
    let [first, second, third] = set_of_three().await;
    for id in 0..10 {
        first.put(id, id, CommitLevel::All).await.unwrap();
    }
    let before = first.status().epoch;
    let (_, note) = remembered(&second, Epoch(before.0 - 1)).await;
    assert_eq!((note.primary, note.cause), (NodeNumber(1), Cause::Planned));
    let to = SetChange::SwitchOver(Some(NodeNumber(2)));
    first.node.change_set(to).await.unwrap();
    let (_, note) = remembered(&third, before).await;
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
    let since: Vec<_> = history
        .values()
        .filter_map(|note| Some(note.served?.at))
        .collect();
    assert!(since.is_sorted(), "{since:?}");
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
        until("all say yes again", || {
            member.status().can_fail_over.is_ok()
        })
        .await;
    }
    for member in [first, second, third] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_lost_one_goes_on_with_one_copy_when_told_to_and_with_two_once_it_is_back() {
    let first = Member::first().await;
    let second = first.join(Role::Data).await;
    until("two count", || first.counting().len() == 2).await;
    let arbiter = first.join(Role::Arbiter).await;
    until("all is done", || first.status().intents.is_empty()).await;
    let epoch = first.status().epoch;
    let nobody = first.node.change_set(SetChange::Shrink(epoch)).await;
    assert!(matches!(nobody, Err(Error::NobodyAbsent)), "{nobody:?}");
    first.put(1, 1, CommitLevel::Quorum).await.unwrap();
    let directory = second.stop().await;
    until("quorum writes are refused", || {
        !first.status().members[&NodeNumber(2)].in_contact
    })
    .await;
    let refused = first.put(2, 2, CommitLevel::Quorum).await.unwrap_err();
    assert!(matches!(refused, Error::TooFewMembers { .. }), "{refused}");
    let earlier = SetChange::Shrink(Epoch(epoch.0 - 1));
    let stale = first.node.change_set(earlier).await.unwrap_err();
    assert!(
        matches!(stale, Error::SetRefused(Rejection::Stale { .. })),
        "{stale}"
    );
    assert_eq!(first.status().epoch, epoch);
    first
        .node
        .change_set(SetChange::Shrink(epoch))
        .await
        .unwrap();
    until("it serves", || first.serves()).await;
    assert_eq!(first.counting(), [NodeNumber(1)]);
    let alone = first.put(2, 2, CommitLevel::Quorum).await.unwrap();
    assert_eq!(alone.copies, 1);
    let second = Member::start_in(directory, None).await.unwrap();
    until("two count again", || first.counting().len() == 2).await;
    until("it serves", || first.serves()).await;
    let both = first.put(3, 3, CommitLevel::Quorum).await.unwrap();
    assert_eq!(both.copies, 2);
    for member in [arbiter, second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joined_and_never_came_is_evicted_and_a_data_member_in_force_is_not() {
    let [first, second, third] = set_of_three().await;
    let secret = first.token(Role::Data).await.secret;
    let lost = Applicant {
        secret,
        incarnation: IncarnationId(77),
        addresses: steadfast::node::Addresses::default(),
        level: LEVEL,
    };
    let number = first.node.admit(lost).await.unwrap().number;
    until("it is to be added", || !third.status().intents.is_empty()).await;
    let epoch = first.status().epoch;
    let evict = |number, epoch| SetChange::Evict { number, epoch };
    for (number, epoch) in [
        (number, Epoch(epoch.0 - 1)),
        (second.status().by, epoch),
        (NodeNumber(99), epoch),
    ] {
        let refused = third.node.change_set(evict(number, epoch)).await;
        assert!(refused.is_err(), "{number} in {epoch}");
    }
    assert_eq!(first.counting().len(), 3);
    until("the third knows", || {
        third.status().members.contains_key(&number)
    })
    .await;
    third.node.change_set(evict(number, epoch)).await.unwrap();
    until("it is gone", || first.status().members.len() == 3).await;
    until("nothing is under way", || first.status().intents.is_empty()).await;
    for member in [first, second, third] {
        member.stop().await;
    }
}

/// Restarts a lone member with a state that agrees on feature level 0.
#[tokio::test(flavor = "multi_thread")]
async fn the_feature_level_rises_to_what_every_member_understands() {
    let directory = Member::first().await.stop().await;
    let path = directory.path().join("data/CONTROL");
    let kind = Kind {
        name: "control",
        version: 4,
    };
    let text = kind.read(&RealDisk, &path).unwrap().unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["level"], LEVEL);
    state["level"] = 0.into();
    kind.write(&RealDisk, &path, &state.to_string()).unwrap();
    let first = Member::start_in(directory, None).await.unwrap();
    until("the level is raised", || first.status().level == LEVEL).await;
    first.stop().await;
}

async fn set_policy(member: &Member, policy: FailoverPolicy) {
    let change = SettingsChange {
        failover: Some(policy),
        ..SettingsChange::default()
    };
    member.node.change_settings(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_primary_is_replaced_by_force_and_nothing_is_lost() {
    let [first, second, third] = set_of_three().await;
    set_policy(&first, FailoverPolicy::Manual).await;
    for id in 0..20 {
        first.put(id, id, CommitLevel::Async).await.unwrap();
    }
    let epoch = first.status().epoch;
    let unfit = first.node.change_set(SetChange::Force(epoch)).await;
    assert!(matches!(unfit, Err(Error::Unfit(_))), "{unfit:?}");
    let stale = second.node.change_set(SetChange::Force(Epoch(1))).await;
    assert!(matches!(stale, Err(Error::SetRefused(_))), "{stale:?}");
    second
        .node
        .change_set(SetChange::Force(epoch))
        .await
        .unwrap();
    until("the second serves", || second.serves()).await;
    for id in 0..20 {
        let read = second.get(id, ReadLevel::Primary).await.unwrap();
        assert_eq!(read, Some(id));
    }
    let (_, note) = remembered(&third, epoch).await;
    assert_eq!(note.cause, Cause::Forced);
    for member in [first, second, third] {
        member.stop().await;
    }
}
