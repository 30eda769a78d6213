//! Another member becomes primary: because it is asked to, or because the primary is gone.

use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::control::Role;
use steadfast::node::SetChange;

use crate::support::{Member, set_of_three, until};

async fn check(members: &[&Member], values: i64) {
    let primary = members.iter().find(|member| member.serves()).unwrap();
    for id in 0..values {
        let read = primary.get(id, ReadLevel::Primary).await.unwrap();
        assert_eq!(read, Some(id), "acknowledged at quorum");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_over_moves_the_primary_and_loses_nothing() {
    let [first, second, third] = set_of_three().await;
    for id in 0..20 {
        first.put(id, id, CommitLevel::Quorum).await.unwrap();
    }
    let to = third.status().by;
    first
        .node
        .change_set(SetChange::SwitchOver(Some(to)))
        .await
        .unwrap();
    until("the third serves", || third.serves()).await;
    assert!(!first.serves());
    for id in 20..40 {
        third.put(id, id, CommitLevel::Quorum).await.unwrap();
    }
    check(&[&first, &second, &third], 40).await;
    for member in [first, second, third] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stops_hands_over_and_returns_as_a_member() {
    let [first, second, third] = set_of_three().await;
    for id in 0..20 {
        first.put(id, id, CommitLevel::Quorum).await.unwrap();
    }
    let directory = first.stop().await;
    until("another serves", || second.serves() || third.serves()).await;
    let primary = if second.serves() { &second } else { &third };
    for id in 20..40 {
        primary.put(id, id, CommitLevel::Quorum).await.unwrap();
    }
    let first = Member::start_in(directory, None).await.unwrap();
    for id in 0..40 {
        while first.get(id, ReadLevel::Local).await.unwrap() != Some(id) {
            tokio::task::yield_now().await;
        }
    }
    let written = primary.put(40, 40, CommitLevel::All).await;
    assert_eq!(written.unwrap().copies, 3);
    check(&[&first, &second, &third], 41).await;
    for member in [first, second, third] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_removed_and_another_takes_its_place() {
    let [first, second, third] = set_of_three().await;
    let gone = third.status().by;
    let directory = third.stop().await;
    first
        .node
        .change_set(SetChange::Remove(gone))
        .await
        .unwrap();
    until("two are left", || first.status().members.len() == 2).await;
    until("all is done", || first.status().intents.is_empty()).await;
    let fourth = first.join(Role::Data).await;
    until("three count", || first.counting().len() == 3).await;
    until("it serves again", || first.serves()).await;
    until("it hears both", || first.heard() == 2).await;
    let written = first.put(1, 1, CommitLevel::All).await.unwrap();
    assert_eq!(written.copies, 3);
    let refused = Member::start_in(directory, None).await;
    assert!(refused.is_err(), "it was given up for good");
    for member in [first, second, fourth] {
        member.stop().await;
    }
}
