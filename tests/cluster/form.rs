//! Forming a set, and what every member of it does.

use steadfast::base::{CommitLevel, NodeNumber, ReadLevel};
use steadfast::control::Role;
use steadfast::node::Error;

use crate::support::{Member, until};

#[tokio::test(flavor = "multi_thread")]
async fn three_members_form_a_set_and_hold_what_is_written() {
    let first = Member::first().await;
    for id in 0..50 {
        first.put(id, id, CommitLevel::Quorum).await.unwrap();
    }
    let second = first.join(Role::Data).await;
    until("the second counts", || first.counting().len() == 2).await;
    let third = first.join(Role::Data).await;
    until("the third counts", || first.counting().len() == 3).await;
    until("all is done", || first.status().intents.is_empty()).await;
    let voters = first.status().agreement.unwrap().voters;
    assert_eq!(voters, [1, 2, 3].map(NodeNumber));
    for id in 50..100 {
        let written = first.put(id, id, CommitLevel::Quorum).await.unwrap();
        assert!(written.copies >= 2, "{written:?}");
    }
    let last = first.put(100, 100, CommitLevel::All).await.unwrap();
    assert_eq!(last.copies, 3);
    assert_eq!(first.get(100, ReadLevel::Primary).await.unwrap(), Some(100));
    for member in [&second, &third] {
        let refused = member.put(1, 1, CommitLevel::Async).await.unwrap_err();
        assert!(
            matches!(refused, Error::NotPrimary { primary: Some(_) }),
            "{refused}"
        );
        for id in 0..=100 {
            while member.get(id, ReadLevel::Local).await.unwrap() != Some(id) {
                tokio::task::yield_now().await;
            }
        }
    }
    for member in [third, second, first] {
        member.stop().await;
    }
}
