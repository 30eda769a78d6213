//! A client of several members goes on where one of them cannot, and never writes twice.

use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::client::Client;
use steadfast::node::SetChange;
use steadfast::proto::{items_from_proto, items_to_proto, v1};
use tokio::sync::watch;

use crate::calls::{PRIMARY, get, put};
use crate::support::{Manner, Member, set_of_three, until};
use crate::way::Way;

async fn client_of(members: &[&Member]) -> Client {
    let endpoints = members
        .iter()
        .map(|member| member.addresses.client.to_string());
    Client::connect(&endpoints.collect::<Vec<_>>())
        .await
        .unwrap()
}

/// Writes and reads until it is told to end; says how many rows it has written. Nothing may fail.
async fn write_and_read(
    client: &Client,
    written: &watch::Sender<i64>,
    end: impl Future<Output = ()>,
) {
    let work = async {
        for id in 0.. {
            let answer = client.put(put(id, id, "")).await.unwrap();
            assert_eq!(answer.applied, 1, "once: {answer:?}");
            let answer = client.get(get(vec![id], PRIMARY)).await.unwrap();
            let values = items_to_proto(steadfast::model::Items::Int64(vec![id]));
            assert_eq!(answer.views[0].columns[0].values, Some(values));
            written.send_replace(id + 1);
        }
    };
    tokio::select! {
        () = work => {}
        () = end => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_while_the_primary_moves_and_stops() {
    let [first, second, third] = set_of_three().await;
    let client = client_of(&[&first, &second, &third]).await;
    let (written, mut seen) = watch::channel(0);
    let (mut stopped, mut left) = (None, None);
    let moves = async {
        let more = seen.wait_for(|written| *written > 20).await;
        let at = *more.unwrap();
        let to = SetChange::SwitchOver(Some(second.status().by));
        first.node.change_set(to).await.unwrap();
        let more = seen.wait_for(|written| *written > at + 20).await;
        let at = *more.unwrap();
        assert!(second.serves());
        stopped = Some(second.stop().await);
        seen.wait_for(|written| *written > at + 20).await.unwrap();
        left = Some([first, third]);
    };
    Box::pin(write_and_read(&client, &written, moves)).await;
    let left = left.unwrap();
    let primary = left.iter().find(|member| member.serves()).unwrap();
    for id in 0..*written.borrow() {
        let read = primary.get(id, ReadLevel::Primary).await.unwrap();
        assert_eq!(read, Some(id), "it was acknowledged");
    }
    for member in left {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_to_the_primary_that_a_member_names() {
    let refuses = || Manner {
        refuses: true,
        ..Manner::default()
    };
    let first = Member::first_as(refuses()).await;
    let second = first.join_as(refuses()).await;
    // It is told of one member alone.
    let client = client_of(&[&second]).await;
    for id in 0..10 {
        assert_eq!(client.put(put(id, id, "")).await.unwrap().applied, 1);
    }
    let to = SetChange::SwitchOver(Some(second.status().by));
    first.node.change_set(to).await.unwrap();
    until("the second serves", || second.serves()).await;
    client.get(get(vec![1], PRIMARY)).await.unwrap();
    for member in [first, second] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_repeated_under_its_name() {
    let way = Way::new().await;
    let first = Member::first().await;
    way.lead_to(first.addresses.client);
    let endpoints = [way.address.to_string(), first.addresses.client.to_string()];
    let client = Client::connect(&endpoints).await.unwrap();
    client
        .get(get(vec![1], v1::ReadLevel::Local))
        .await
        .unwrap();
    way.mute();
    let lost = async {
        while first.get(1, ReadLevel::Primary).await.unwrap() != Some(5) {
            tokio::task::yield_now().await;
        }
        first.put(1, 6, CommitLevel::Quorum).await.unwrap();
        way.cut();
    };
    let (written, ()) = tokio::join!(client.put(put(1, 5, "")), lost);
    assert!(written.unwrap().repeated);
    assert_eq!(first.get(1, ReadLevel::Primary).await.unwrap(), Some(6));
    first.stop().await;
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_one_member_finds_the_others_and_goes_on_without_it() {
    let [first, second, third] = set_of_three().await;
    let known = [second.addresses.client.to_string()];
    let client = Client::discover(&known).await.unwrap();
    let (written, mut seen) = watch::channel(0);
    let mut stopped = None;
    let stops = async {
        let at = *seen.wait_for(|written| *written > 10).await.unwrap();
        stopped = Some(second.stop().await);
        seen.wait_for(|written| *written > at + 10).await.unwrap();
    };
    Box::pin(write_and_read(&client, &written, stops)).await;
    for member in [first, third] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_node_is_lost_goes_on_at_another_behind_the_last_row() {
    let first = Member::first().await;
    let rows = 4_321;
    let all: Vec<i64> = (0..rows).collect();
    let values = all.iter().map(|id| (*id, *id));
    first.put_all(values, CommitLevel::Quorum).await.unwrap();
    for limit in [0, 1, 999, 1_000, 2_500, 5_000] {
        let way = Way::new().await;
        way.lead_to(first.addresses.client);
        let endpoints = [way.address.to_string(), first.addresses.client.to_string()];
        let client = Client::connect(&endpoints).await.unwrap();
        let request = v1::ScanFeaturesRequest {
            view: "v".to_owned(),
            limit,
            ..v1::ScanFeaturesRequest::default()
        };
        let mut pages = client.scan(request).await.unwrap();
        let mut scanned = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            way.cut();
            let column = page.columns.into_iter().next().unwrap();
            match items_from_proto(column.values.unwrap()) {
                Some(steadfast::model::Items::Int64(values)) => scanned.extend(values),
                _ => panic!("x is an int64"),
            }
        }
        let expected = match usize::try_from(limit).unwrap() {
            0 => &all[..],
            limit => &all[..limit.min(all.len())],
        };
        assert!(scanned == expected, "{} rows of {limit}", scanned.len());
        way.stop().await;
    }
    first.stop().await;
}
