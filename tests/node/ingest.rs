use std::time::Duration;

use steadfast::base::clock::timeout;
use steadfast::model::Items;
use steadfast::proto::v1;
use steadfast::proto::v1::feature_service_client::FeatureServiceClient;
use steadfast::proto::v1::ingest_features_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::support::*;

type Batches = mpsc::Sender<v1::IngestFeaturesRequest>;

async fn ingest(node: &Running) -> (Batches, Streaming<v1::IngestFeaturesResponse>) {
    ingest_on(node.channel.clone()).await
}

async fn ingest_on(channel: Channel) -> (Batches, Streaming<v1::IngestFeaturesResponse>) {
    let (batches, sent) = mpsc::channel(1);
    let answers = FeatureServiceClient::new(channel)
        .ingest_features(ReceiverStream::new(sent))
        .await
        .unwrap();
    (batches, answers.into_inner())
}

fn batch(sequence: u64, batch: v1::PutFeaturesRequest) -> v1::IngestFeaturesRequest {
    v1::IngestFeaturesRequest {
        sequence,
        batch: Some(batch),
    }
}

#[tokio::test]
async fn batches_are_acknowledged_in_order_and_the_last_one_wins() {
    let node = start().await;
    let (batches, mut answers) = ingest(&node).await;
    let sending = async {
        for sequence in 0..500 {
            let seats = i64::try_from(sequence).unwrap();
            batches
                .send(batch(sequence, put_leg(1, seats)))
                .await
                .unwrap();
        }
        drop(batches);
    };
    let receiving = async {
        for sequence in 0..500 {
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!(answer.sequence, sequence);
            assert!(matches!(answer.outcome, Some(Outcome::Written(_))));
        }
        assert!(answers.message().await.unwrap().is_none());
    };
    futures::future::join(sending, receiving).await;
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(items(&answer.views[0].columns[0]), Items::Int64(vec![499]));
    node.stop().await;
}

#[tokio::test]
async fn a_refused_batch_is_named_and_the_stream_goes_on() {
    let node = start().await;
    let (batches, mut answers) = ingest(&node).await;
    let wrong = rows(
        "legs",
        &["seats"],
        vec![(vec![text("UA"), int32(2)], vec![int32(1)])],
    );
    batches.send(batch(7, put(vec![wrong]))).await.unwrap();
    batches.send(batch(8, put_leg(2, 5))).await.unwrap();
    let Some(Outcome::Error(error)) = answers.message().await.unwrap().unwrap().outcome else {
        panic!("refused")
    };
    assert_eq!(
        (error.reason.as_str(), error.field.as_str()),
        ("WRONG_TYPE", "writes[0].rows[0].values[0]")
    );
    assert_eq!(error.code, i32::from(Code::InvalidArgument));
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(
        answer,
        v1::IngestFeaturesResponse {
            sequence: 8,
            outcome: Some(Outcome::Written(_))
        }
    ));
    drop(batches);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_stopped_and_loses_none() {
    let node = start().await;
    // Room for some hundred answers, instead of the many thousand that a client admits by default.
    let endpoint = Channel::from_shared(format!("http://{}", node.addresses.client)).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await;
    let (batches, mut answers) = ingest_on(channel.unwrap()).await;
    // Refused at once, so that nothing but the unread answers holds the stream up.
    let refused = |sequence| {
        let padding = "x".repeat(20_000);
        batch(
            sequence,
            put(vec![rows(
                "none",
                &[padding.as_str()],
                vec![(vec![], vec![])],
            )]),
        )
    };
    let mut sent = 0;
    while let Ok(room) = timeout(Duration::from_secs(2), batches.reserve()).await {
        room.unwrap().send(refused(sent));
        sent += 1;
        assert!(sent < 2_000, "nothing stops the sender");
    }
    drop(batches);
    for sequence in 0..sent {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, sequence);
        assert!(matches!(answer.outcome, Some(Outcome::Error(_))));
    }
    assert!(answers.message().await.unwrap().is_none());
    node.stop().await;
}

#[tokio::test]
async fn draining_ends_a_stream_after_what_was_taken() {
    let node = start().await;
    let (batches, mut answers) = ingest(&node).await;
    batches.send(batch(1, put_leg(1, 1))).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    let drained = node.server.drain(Duration::from_secs(10));
    let ended = async {
        let status = answers.message().await.unwrap_err();
        drop((batches, answers));
        status
    };
    let (drained, status) = futures::future::join(drained, ended).await;
    assert!(drained);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "STOPPING")
    );
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_without_draining_leaves_no_stream_that_seems_complete() {
    let node = start().await;
    let (batches, mut answers) = ingest(&node).await;
    batches.send(batch(1, put_leg(1, 1))).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    assert!(node.tasks.stop(Duration::from_secs(10)).await);
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unknown, "OUTCOME_UNKNOWN")
    );
    node.node.stop(Duration::from_secs(10)).await.unwrap();
}
