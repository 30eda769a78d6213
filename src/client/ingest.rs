//! An ingest stream that outlives its node: batches that are not acknowledged are sent again, by their request ids, to the same
//! node or another.
//!
//! ```text
//!  the caller's stream ──► Flow: batches without acknowledgement ──► Outgoing: the stream to one node
//!                            ▲ removed by each acknowledgement          ▲ a new one after each failure, from the oldest batch on
//! ```
//! **Invariants.** A batch is sent again only under the request id that it had. Acknowledgements come in the order of the
//! batches, one for each. Where there is only one node batches have no names, and nothing is sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use tonic::{Status, Streaming};

use super::call::{ANSWER_BYTES, request_id};
use super::course::{Course, Manner};
use super::error::{Effect, Error, Kind};
use super::lines::Lines;
use super::retry::Attempt;
use crate::base::clock::{sleep, timeout};
use crate::proto::v1;
use v1::feature_service_client::FeatureServiceClient;
use v1::ingest_features_response::Outcome;

type Batches = Pin<Box<dyn Stream<Item = v1::IngestFeaturesRequest> + Send>>;

/// What is to be sent.
struct Flow {
    /// `None` once it has ended.
    batches: Option<Batches>,
    /// What may have to be sent again, oldest first.
    unacknowledged: VecDeque<v1::IngestFeaturesRequest>,
    /// So many of them are on the present stream.
    sent: usize,
    /// Which stream is the present one.
    stream: u64,
    level: v1::CommitLevel,
    is_kept: bool,
}

/// One of the streams to nodes.
struct Outgoing {
    flow: Arc<Mutex<Flow>>,
    number: u64,
}

/// The acknowledgements of an ingest stream.
pub struct Acks {
    lines: Lines,
    flow: Arc<Mutex<Flow>>,
    /// To whom the present stream goes.
    endpoint: String,
    stream: Streaming<v1::IngestFeaturesResponse>,
    /// What has failed since the last acknowledgement.
    setback: Option<Setback>,
}

struct Setback(Course);

impl Acks {
    /// Opens a stream.
    pub(super) async fn open(lines: Lines, batches: Batches) -> Result<Acks, Error> {
        let flow = Arc::new(Mutex::new(Flow {
            batches: Some(batches),
            unacknowledged: VecDeque::new(),
            sent: 0,
            stream: 0,
            level: lines.commit_level(v1::CommitLevel::Unspecified),
            is_kept: lines.are_several(),
        }));
        let (mut setback, mut attempt) = Setback::begin(&lines, lock(&flow).is_kept);
        loop {
            match start(&lines, &flow, &attempt).await {
                Ok(stream) => {
                    let endpoint = attempt.endpoint;
                    return Ok(Acks {
                        lines,
                        flow,
                        endpoint,
                        stream,
                        setback: None,
                    });
                }
                Err(failure) => attempt = setback.after(&lines, &attempt.endpoint, failure).await?,
            }
        }
    }

    /// The next acknowledgement; `None` when all batches are answered.
    ///
    /// # Errors
    /// If the stream broke and no node goes on with it within the deadline of a call; the outcome of batches not acknowledged
    /// is unknown.
    pub async fn next(&mut self) -> Result<Option<v1::IngestFeaturesResponse>, Error> {
        loop {
            let (failure, answer) = match self.stream.message().await {
                Ok(Some(answer)) => match passing(&answer) {
                    Some(failure) => (failure, Some(answer)),
                    None => return Ok(Some(self.acknowledged(answer))),
                },
                Ok(None) if lock(&self.flow).is_done() => return Ok(None),
                Ok(None) => (
                    Error::unknown_outcome("the stream ended before all was acknowledged"),
                    None,
                ),
                Err(status) => (Error::from_status(&status, Effect::WritesNamed), None),
            };
            if let Err(failure) = self.go_on(failure).await {
                // The node itself has said how its batch ended; its stream goes on.
                return match answer {
                    Some(answer) => Ok(Some(self.acknowledged(answer))),
                    None => Err(failure),
                };
            }
        }
    }

    fn acknowledged(&mut self, answer: v1::IngestFeaturesResponse) -> v1::IngestFeaturesResponse {
        self.setback = None;
        let mut flow = lock(&self.flow);
        if flow.unacknowledged.pop_front().is_some() {
            flow.sent = flow.sent.saturating_sub(1);
        }
        answer
    }

    /// Opens another stream, for what is not acknowledged.
    async fn go_on(&mut self, failure: Error) -> Result<(), Error> {
        if !lock(&self.flow).is_kept {
            return Err(failure);
        }
        let (lines, flow) = (&self.lines, &self.flow);
        let setback = self
            .setback
            .get_or_insert_with(|| Setback::begin(lines, true).0);
        let mut attempt = setback.after(lines, &self.endpoint, failure).await?;
        loop {
            match start(lines, flow, &attempt).await {
                Ok(stream) => {
                    (self.stream, self.endpoint) = (stream, attempt.endpoint);
                    return Ok(());
                }
                Err(failure) => attempt = setback.after(lines, &attempt.endpoint, failure).await?,
            }
        }
    }
}

impl Setback {
    fn begin(lines: &Lines, is_kept: bool) -> (Setback, Attempt) {
        let effect = if is_kept {
            Effect::WritesNamed
        } else {
            Effect::Writes
        };
        let (course, first) = lines.begin(Manner::writes(effect));
        (Setback(course), first)
    }

    async fn after(
        &mut self,
        lines: &Lines,
        endpoint: &str,
        failure: Error,
    ) -> Result<Attempt, Error> {
        let next = lines.failed(&mut self.0, endpoint, failure)?;
        let next = next.expect("there is one stream at a time");
        sleep(next.wait).await;
        Ok(next)
    }
}

/// Opens a stream at a node, which begins with the oldest batch that is not acknowledged.
async fn start(
    lines: &Lines,
    flow: &Arc<Mutex<Flow>>,
    attempt: &Attempt,
) -> Result<Streaming<v1::IngestFeaturesResponse>, Error> {
    let number = lock(flow).begin_stream();
    let outgoing = Outgoing {
        flow: Arc::clone(flow),
        number,
    };
    let channel = lines.channel(&attempt.endpoint)?;
    let mut features = FeatureServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
    let opened = timeout(attempt.limit, features.ingest_features(outgoing)).await;
    let opened =
        opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within the deadline")));
    match opened {
        Ok(answers) => Ok(answers.into_inner()),
        Err(status) => Err(Error::from_status(&status, Effect::WritesNamed)),
    }
}

/// Why a batch was not written that may be written later or elsewhere.
fn passing(answer: &v1::IngestFeaturesResponse) -> Option<Error> {
    let Some(Outcome::Error(error)) = &answer.outcome else {
        return None;
    };
    let failure = Error::refused(&error.reason, error.code, &error.message, &error.field);
    matches!(failure.kind, Kind::Unavailable | Kind::UnknownOutcome).then_some(failure)
}

impl Flow {
    /// A new stream begins with the oldest batch; the one before ends.
    fn begin_stream(&mut self) -> u64 {
        (self.stream, self.sent) = (self.stream + 1, 0);
        self.stream
    }

    fn is_done(&self) -> bool {
        self.batches.is_none() && self.unacknowledged.is_empty() || !self.is_kept
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<v1::IngestFeaturesRequest>> {
        if let Some(again) = self.unacknowledged.get(self.sent) {
            self.sent += 1;
            return Poll::Ready(Some(again.clone()));
        }
        let Some(batches) = &mut self.batches else {
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = batches.as_mut().poll_next(context) else {
            return Poll::Pending;
        };
        let Some(mut next) = next else {
            self.batches = None;
            return Poll::Ready(None);
        };
        let batch = next.batch.get_or_insert_default();
        if batch.level() == v1::CommitLevel::Unspecified {
            batch.set_level(self.level);
        }
        if self.is_kept {
            if batch.request_id.is_empty() {
                batch.request_id = request_id();
            }
            self.unacknowledged.push_back(next.clone());
            self.sent += 1;
        }
        Poll::Ready(Some(next))
    }
}

impl Stream for Outgoing {
    type Item = v1::IngestFeaturesRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut flow = lock(&self.flow);
        if flow.stream == self.number {
            flow.poll_next(context)
        } else {
            Poll::Ready(None)
        }
    }
}

fn lock(flow: &Mutex<Flow>) -> MutexGuard<'_, Flow> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Acks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acks")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
