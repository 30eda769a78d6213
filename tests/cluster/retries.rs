//! A client of several members goes on where one of them cannot, and never writes twice.

use steadfast::base::{CommitLevel, ReadLevel};
use steadfast::client::Client;
use steadfast::node::SetChange;
use steadfast::proto::{items_from_proto, items_to_proto, v1};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use v1::ingest_features_response::Outcome;

use crate::calls::{PRIMARY, get, put};
use crate::support::{Manner, Member, set_of_three, until};
use crate::way::Way;

/// As the client was told when it connected.
const UNSPECIFIED: v1::ReadLevel = v1::ReadLevel::Unspecified;

async fn client_of(members: &[&Member]) -> Client {
    let endpoints = members
        .iter()
        .map(|member| member.addresses.client.to_string());
    Client::to(&endpoints.collect::<Vec<_>>()).await.unwrap()
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
    let client = Client::to(&endpoints).await.unwrap();
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
    let client = Client::connect(&*known[0]).await.unwrap();
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
async fn a_lookup_that_a_node_does_not_answer_is_answered_by_another_meanwhile() {
    let way = Way::new().await;
    let first = Member::first().await;
    way.lead_to(first.addresses.client);
    first.put(1, 5, CommitLevel::Quorum).await.unwrap();
    // Of so short a deadline nothing is left for an attempt after the first.
    let nodes = [way.address.to_string(), first.addresses.client.to_string()].join(",");
    let target = format!("steadfast://{nodes}/?deadline=1s&level=local");
    let client = Client::connect(&*target).await.unwrap();
    client.get(get(vec![1], UNSPECIFIED)).await.unwrap();
    way.mute();
    for _ in 0..5 {
        let answer = client.get(get(vec![1], UNSPECIFIED)).await.unwrap();
        assert_eq!(answer.info.unwrap().level(), v1::ReadLevel::Local);
    }
    way.cut();
    first.stop().await;
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_batches_goes_on_though_the_primary_moves_and_stops() {
    let [first, second, third] = set_of_three().await;
    let known = second.addresses.client.to_string();
    let client = Client::connect(&*known).await.unwrap();
    let count: i64 = 600;
    let (batches, stream) = mpsc::channel(8);
    let sends = async {
        for id in 0..count {
            let batch = v1::IngestFeaturesRequest {
                sequence: id.cast_unsigned(),
                batch: Some(put(id, id, "")),
            };
            batches.send(batch).await.unwrap();
        }
        drop(batches);
    };
    let (acknowledged, mut seen) = watch::channel(0);
    let takes = async {
        let mut acks = client.ingest(ReceiverStream::new(stream)).await.unwrap();
        while let Some(answer) = acks.next().await.unwrap() {
            assert_eq!(answer.sequence, *acknowledged.borrow());
            match answer.outcome {
                Some(Outcome::Written(written)) => assert_eq!(written.applied, 1),
                other => panic!("batch {}: {other:?}", answer.sequence),
            }
            acknowledged.send_modify(|count| *count += 1);
        }
    };
    let moves = async {
        seen.wait_for(|count| *count > 50).await.unwrap();
        let to = SetChange::SwitchOver(Some(second.status().by));
        first.node.change_set(to).await.unwrap();
        let at = *seen.wait_for(|count| *count > 100).await.unwrap();
        let stopped = second.stop().await;
        seen.wait_for(|count| *count > at + 50).await.unwrap();
        stopped
    };
    tokio::join!(sends, takes, moves);
    assert_eq!(*acknowledged.borrow(), count.cast_unsigned());
    for id in 0..count {
        let read = client.get(get(vec![id], PRIMARY)).await.unwrap();
        let values = items_to_proto(steadfast::model::Items::Int64(vec![id]));
        assert_eq!(read.views[0].columns[0].values, Some(values));
    }
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
        let client = Client::to(&endpoints).await.unwrap();
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
