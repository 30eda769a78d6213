//! What is said of a forwarded call whose primary is lost, hangs or is not there.

use std::time::Duration;

use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::node::SetChange;
use tokio::net::TcpListener;
use tonic::{Code, Request};

use crate::calls::{PRIMARY, get, info, put, reason};
use crate::support::{Manner, Member, until};
use crate::way::Way;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_primary_is_lost_is_unknown_and_applied_once_when_repeated() {
    let way = Way::new().await;
    let lies = Manner::reached_at(way.address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    way.lead_to(first.addresses.client);
    second
        .ask_put(Request::new(put(1, 1, "one")))
        .await
        .unwrap();
    way.mute();
    let asked = second.ask_put(Request::new(put(2, 2, "two")));
    let lost = async {
        while first.get(2, ReadLevel::Primary).await.unwrap() != Some(2) {
            tokio::task::yield_now().await;
        }
        way.cut();
    };
    let (unknown, ()) = tokio::join!(asked, lost);
    let unknown = unknown.unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown)),
        (Code::Unknown, "OUTCOME_UNKNOWN".into())
    );

    let to = SetChange::SwitchOver(Some(second.status().by));
    first.node.change_set(to).await.unwrap();
    until("the second serves", || second.serves()).await;
    // Another wins meanwhile; the repetition changes nothing.
    second.put(2, 3, CommitLevel::Quorum).await.unwrap();
    let again = first.ask_put(Request::new(put(2, 2, "two"))).await.unwrap();
    assert!(again.repeated);
    assert_eq!(second.get(2, ReadLevel::Primary).await.unwrap(), Some(3));
    for member in [first, second] {
        member.stop().await;
    }
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_primary_that_is_one_no_more() {
    let way = Way::new().await;
    let lies = Manner::reached_at(way.address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    let third = first.join_as(Manner::default()).await;
    way.lead_to(first.addresses.client);
    third.ask_put(Request::new(put(1, 1, ""))).await.unwrap();
    way.mute();
    let moved = async {
        while first.get(2, ReadLevel::Primary).await.unwrap() != Some(2) {
            tokio::task::yield_now().await;
        }
        let to = SetChange::SwitchOver(Some(second.status().by));
        first.node.change_set(to).await.unwrap();
    };
    let write = third.ask_put(Request::new(put(2, 2, "")));
    let read = third.ask_get(Request::new(get(vec![1], PRIMARY)));
    let (written, read, ()) = tokio::join!(write, read, moved);
    let named = read
        .as_ref()
        .map_err(|refused| info(refused).1["primary"].clone());
    assert_eq!(named.unwrap_err(), second.addresses.client.to_string());
    for (refused, said) in [
        (written.unwrap_err(), "OUTCOME_UNKNOWN"),
        (read.unwrap_err(), "NOT_PRIMARY"),
    ] {
        assert_eq!(reason(&refused), said);
        let why = refused.message();
        assert!(why.ends_with("it is primary no more"), "{why}");
    }
    for member in [third, second, first] {
        member.stop().await;
    }
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_not_there_is_no_unknown_outcome() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let lies = Manner::reached_at(&address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    let refused = second
        .ask_put(Request::new(put(1, 1, "")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let (reason, metadata) = info(&refused);
    assert_eq!((&*reason, &metadata["primary"]), ("NOT_PRIMARY", &address));
    for member in [second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_forwarded_call_is_kept() {
    let way = Way::new().await;
    let lies = Manner::reached_at(way.address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    way.lead_to(first.addresses.client);
    second.ask_put(Request::new(put(1, 1, ""))).await.unwrap();
    way.mute();
    let mut write = Request::new(put(2, 2, ""));
    write.set_timeout(Duration::from_millis(500));
    let mut read = Request::new(get(vec![1], PRIMARY));
    read.set_timeout(Duration::from_millis(500));
    let (written, read) = tokio::join!(second.ask_put(write), second.ask_get(read));
    assert_eq!(reason(&written.unwrap_err()), "OUTCOME_UNKNOWN");
    assert_eq!(reason(&read.unwrap_err()), "DEADLINE_EXCEEDED");
    way.cut();
    for member in [second, first] {
        member.stop().await;
    }
    way.stop().await;
}
