//! Sends batches over an ingest stream, a bounded number of them under way.

use std::future::Future;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::error::CliError;
use super::super::progress::Progress;
use super::batches::Batches;
use super::refusals::Refusals;
use super::window::{Batch, Target, Totals, Window};
use crate::client::{Acks, Client, Error};
use crate::proto::v1;

/// How an import ended.
#[derive(Debug)]
pub struct Ended {
    /// What was done.
    pub totals: Totals,
    /// How many rows of the file, from its beginning, are written or refused.
    pub acknowledged: u64,
    /// Why it broke off, if it did.
    pub outcome: Result<(), CliError>,
}

/// Sends all batches; breaks off when `interrupted` is ready, with what is under way still awaited.
pub async fn send(
    client: &Client,
    batches: Batches,
    (target, from): (Target, u64),
    in_flight: usize,
    refusals: &mut Refusals,
    progress: &mut Progress,
    interrupted: impl Future<Output = ()>,
) -> Ended {
    let stop_at_refusal = !target.skip_refused;
    let mut sender = Sender {
        window: Window::new(target, from),
        in_flight,
        stop_at_refusal,
        refusals,
        progress,
    };
    let outcome = sender.run(client, batches, interrupted).await;
    sender.progress.finish();
    Ended {
        totals: sender.window.totals(),
        acknowledged: sender.window.acknowledged(),
        outcome,
    }
}

struct Sender<'a> {
    window: Window,
    in_flight: usize,
    stop_at_refusal: bool,
    refusals: &'a mut Refusals,
    progress: &'a mut Progress,
}

/// The node's side of the stream: requests go in, acknowledgements come out.
struct Link {
    requests: mpsc::Sender<v1::IngestFeaturesRequest>,
    acks: Acks,
}

impl Sender<'_> {
    async fn run(
        &mut self,
        client: &Client,
        mut batches: Batches,
        interrupted: impl Future<Output = ()>,
    ) -> Result<(), CliError> {
        let (requests, stream) = mpsc::channel(self.in_flight);
        let acks = client.ingest(ReceiverStream::new(stream)).await?;
        let mut link = Link { requests, acks };
        let mut reading: Result<bool, CliError> = Ok(true);
        let mut interrupted = std::pin::pin!(interrupted);
        while self.window.len() > 0 || matches!(reading, Ok(true)) {
            let may_read = matches!(reading, Ok(true)) && self.window.len() < self.in_flight;
            tokio::select! {
                biased;
                () = &mut interrupted, if matches!(reading, Ok(true)) => reading = Err(was_interrupted()),
                answer = link.acks.next(), if self.window.len() > 0 => self.on_answer(answer?, &link).await?,
                batch = batches.recv(), if may_read => reading = self.on_batch(batch, &link).await,
            }
        }
        reading.map(|_| ())
    }

    /// Says whether more is to be read.
    async fn on_batch(
        &mut self,
        batch: Option<Result<Batch, CliError>>,
        link: &Link,
    ) -> Result<bool, CliError> {
        let Some(batch) = batch.transpose()? else {
            return Ok(false);
        };
        let mut refused = batch.refused.clone();
        if self.stop_at_refusal && !refused.is_empty() {
            return self.stop_at(batch, link).await;
        }
        for refusal in refused.drain(..) {
            self.refusals.push(&refusal)?;
        }
        self.push(batch, link).await?;
        Ok(true)
    }

    /// Sends what comes before the first refused row of a batch, then stops there.
    async fn stop_at(&mut self, mut batch: Batch, link: &Link) -> Result<bool, CliError> {
        let mut refused = std::mem::take(&mut batch.refused).into_iter();
        let Some(first) = refused.next() else {
            return Ok(true);
        };
        batch.rows.retain(|row| row.number < first.number);
        batch.end = first.number - 1;
        self.push(batch, link).await?;
        Err(first.into_error())
    }

    async fn push(&mut self, batch: Batch, link: &Link) -> Result<(), CliError> {
        if let Some(request) = self.window.push(batch) {
            link.send(request).await?;
        }
        self.show();
        Ok(())
    }

    async fn on_answer(
        &mut self,
        answer: Option<v1::IngestFeaturesResponse>,
        link: &Link,
    ) -> Result<(), CliError> {
        let answer = answer.ok_or_else(broken)?;
        if let Some((again, refusal)) = self.window.on_answer(answer)? {
            self.refusals.push(&refusal)?;
            if let Some(request) = again {
                link.send(request).await?;
            }
        }
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        let totals = self.window.totals();
        let rows = totals.applied + totals.older + totals.folded;
        self.progress.update(rows, totals.bytes);
    }
}

impl Link {
    async fn send(&self, request: v1::IngestFeaturesRequest) -> Result<(), CliError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| broken().into())
    }
}

fn was_interrupted() -> CliError {
    CliError::failed("INTERRUPTED", "the import was interrupted")
}

/// The node ended the stream before its time. What was under way may have been written.
fn broken() -> Error {
    Error::unknown_outcome("the node ended the stream before it had acknowledged all batches")
}
