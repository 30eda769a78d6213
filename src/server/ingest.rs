//! A stream of batches: written as they come, several at once, acknowledged in the order they came.
//!
//! One task drives one stream, so that writes under way are finished however slowly the client reads. A batch is taken
//! from the stream only when there is a permit for it, which comes back when its acknowledgement is sent: at most
//! [`IN_FLIGHT`] batches are held, and beyond that HTTP/2 flow control stops the client. When the client goes away or
//! the node drains, nothing more is taken; what was taken is finished.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{FuturesOrdered, Map};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::admission::Intake;
use super::deadline::budget;
use super::edge::Edge;
use super::features::{commit_level_name, put};
use super::slow::Timed;
use super::status::{Failure, explain};
use crate::base::Held;
use crate::base::clock::timeout;
use crate::proto::{Reason, v1};
use v1::ingest_features_response::Outcome;

/// Batches of one stream that may be under way at once.
const IN_FLIGHT: usize = 16;

/// What is sent back, with the permit that its sending frees; none for the stream's end.
pub(super) struct Acknowledged {
    outcome: Outgoing,
    _permit: Option<OwnedSemaphorePermit>,
}

type Outgoing = Result<v1::IngestFeaturesResponse, Status>;

/// The acknowledgements of a stream of batches.
pub(super) type Acknowledgements = Map<ReceiverStream<Acknowledged>, fn(Acknowledged) -> Outgoing>;

/// Serves a stream of batches.
pub(super) fn serve(
    edge: Edge,
    batches: Streaming<v1::IngestFeaturesRequest>,
    intake: Intake,
) -> Acknowledgements {
    // One place more than permits, for the status that ends the stream.
    let (outbox, acknowledgements) = mpsc::channel(IN_FLIGHT + 1);
    let tasks = edge.tasks.clone();
    tasks.spawn_finite("ingest", drive(edge, batches, intake, outbox));
    ReceiverStream::new(acknowledgements).map(|acknowledged| acknowledged.outcome)
}

async fn drive(
    edge: Edge,
    mut batches: Streaming<v1::IngestFeaturesRequest>,
    intake: Intake,
    outbox: mpsc::Sender<Acknowledged>,
) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let stopped = edge.tasks.cancelled();
    let mut under_way = FuturesOrdered::new();
    let end = loop {
        tokio::select! {
            biased;
            () = stopped.cancelled() => return end_with(&outbox, abandoned()),
            () = outbox.closed() => break None,
            // Polled before the next batch is taken, so that writes begin in the order they came.
            Some(acknowledged) = under_way.next() => send(&outbox, acknowledged),
            () = edge.draining.cancelled() => break Some(stopping()),
            taken = take(&permits, &mut batches, &intake, edge.stall) => match taken {
                Ok(Some((batch, permit))) => {
                    under_way.push_back(write(&edge, batch, received(&intake), permit));
                }
                Ok(None) => break None,
                Err(status) => break Some(explain(status)),
            },
        }
    };
    while let Some(acknowledged) = under_way.next().await {
        send(&outbox, acknowledged);
    }
    if let Some(status) = end {
        end_with(&outbox, status);
    }
}

/// There is room for as many as there are permits; that the client has gone away is seen by the loop.
fn send(outbox: &mpsc::Sender<Acknowledged>, acknowledged: Acknowledged) {
    let _sent = outbox.try_send(acknowledged);
}

fn end_with(outbox: &mpsc::Sender<Acknowledged>, status: Status) {
    let ending = Acknowledged {
        outcome: Err(status),
        _permit: None,
    };
    send(outbox, ending);
}

fn abandoned() -> Status {
    Failure::new(
        Reason::OutcomeUnknown,
        "the node stopped: the fate of batches that are not acknowledged is unknown",
    )
    .into()
}

fn stopping() -> Status {
    Failure::new(
        Reason::Stopping,
        "the node is stopping: batches that are not acknowledged were not taken",
    )
    .into()
}

/// The next batch, once there is a permit for it. Dropping this loses neither. A client may be silent between two batches
/// as long as it likes, but not in the middle of one.
async fn take(
    permits: &Arc<Semaphore>,
    batches: &mut Streaming<v1::IngestFeaturesRequest>,
    intake: &Intake,
    stall: Duration,
) -> Result<Option<(v1::IngestFeaturesRequest, OwnedSemaphorePermit)>, Status> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        if let Ok(batch) = timeout(stall, batches.message()).await {
            return Ok(batch?.map(|batch| (batch, permit)));
        }
        let since = intake.arriving_since();
        if since.is_some_and(|since| since.elapsed() >= stall) {
            return Err(stalled(stall));
        }
    }
}

fn stalled(stall: Duration) -> Status {
    let message = format!("a batch has not arrived as a whole for {stall:?}");
    Failure::new(Reason::DeadlineExceeded, message).into()
}

/// A batch that is in memory from now on.
fn received(intake: &Intake) -> (Timed, Held) {
    let timed = intake.decoded("IngestFeatures");
    // The stream has begun long ago.
    let begun = timed.decoded;
    (Timed { begun, ..timed }, intake.take())
}

async fn write(
    edge: &Edge,
    request: v1::IngestFeaturesRequest,
    (timed, memory): (Timed, Held),
    permit: OwnedSemaphorePermit,
) -> Acknowledged {
    let limit = budget(&tonic::metadata::MetadataMap::new());
    let batch = request.batch.unwrap_or_default();
    let outcome = match put(edge, batch, limit, memory, timed).await {
        Ok(written) => {
            let level = commit_level_name(written.level());
            edge.metrics
                .observe("IngestFeatures", level, timed.begun.elapsed());
            Outcome::Written(written.into())
        }
        Err(failure) => Outcome::Error(failure.into_batch_error()),
    };
    Acknowledged {
        outcome: Ok(v1::IngestFeaturesResponse {
            sequence: request.sequence,
            outcome: Some(outcome),
        }),
        _permit: Some(permit),
    }
}
