//! The side that takes: what is offered is fetched, verified, and handed over to be put in the place of the own store.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::offer::Offer;
use super::{Error, Seed, blocking, failed};
use crate::base::clock::{now_monotonic, sleep, timeout};
use crate::base::disk::{Disk, RealDisk};
use crate::base::{LineageId, SnapshotId};
use crate::net::{CallError, Chunks, SnapshotPeer};
use crate::proto::v1;
use crate::storage::{Incoming, Part, Received};

/// How long what was received is kept without another offer of which it may be part.
const KEPT: Duration = Duration::from_secs(600);
/// How long to wait after a failure, and how many in a row without a byte are waited for.
const PAUSE: Duration = Duration::from_millis(500);
const FAILURES: u32 = 20;
/// Chunks that wait to be written.
const CHUNKS: usize = 4;

/// Receives a store.
pub(super) struct Taker {
    pub dir: PathBuf,
    pub lineage: LineageId,
    /// Bytes that are to stay available on the disk.
    pub spared_bytes: u64,
    pub received_bytes: Counter,
    pub seeded: Box<dyn Fn(Seed) + Send + Sync>,
}

impl Taker {
    /// Takes one offer after the other until it is stopped. While a snapshot is received, its offers change nothing, and
    /// that of another one takes its place.
    pub async fn run(self, mut offers: mpsc::Receiver<Offer>, stopped: CancellationToken) {
        let mut next = None;
        while !stopped.is_cancelled() {
            let offer = match next.take() {
                Some(offer) => offer,
                None => match stopped
                    .run_until_cancelled(timeout(KEPT, offers.recv()))
                    .await
                {
                    Some(Ok(Some(offer))) => offer,
                    Some(Ok(None)) | None => return,
                    Some(Err(_)) => {
                        self.remove().await;
                        continue;
                    }
                },
            };
            let given_up = stopped.child_token();
            let mut received = pin!(self.receive_and_tell(&offer, &given_up));
            let received = tokio::select! {
                biased;
                received = &mut received => received,
                other = other_than(offer.id, &mut offers) => {
                    next = other;
                    given_up.cancel();
                    // Not dropped: something may still be written.
                    received.await;
                    None
                }
            };
            if let Some(received) = received {
                let (held, gone) = oneshot::channel();
                (self.seeded)(Seed {
                    epoch: offer.epoch,
                    from: offer.hello.from,
                    received,
                    _held: held,
                });
                let _gone = stopped.run_until_cancelled(gone).await;
            }
        }
    }

    /// Removes what was received, which nobody offers any more.
    async fn remove(&self) {
        let dir = self.dir.clone();
        let removed = blocking(move || match std::fs::remove_dir_all(&dir) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        });
        if let Ok(Err(cause)) = removed.await {
            warn!(%cause, "cannot remove what was received of a snapshot");
        }
    }

    async fn receive_and_tell(
        &self,
        offer: &Offer,
        given_up: &CancellationToken,
    ) -> Option<Received> {
        let (from, snapshot) = (offer.hello.from, offer.id);
        let files = offer.snapshot.files.len();
        info!(%from, %snapshot, files, "receiving a snapshot");
        let (begun, before) = (now_monotonic(), self.received_bytes.get());
        let received = self.receive(offer, given_up).await;
        let received = received
            .inspect_err(|cause| warn!(%from, %snapshot, %cause, "a snapshot was not received"));
        let bytes = self.received_bytes.get() - before;
        let seconds = begun.elapsed().as_secs_f64();
        let received = received.ok()?;
        info!(%from, %snapshot, bytes, seconds, "received and verified a snapshot");
        Some(received)
    }

    /// Receives what is offered. To be run to its end: nothing is written once it has ended.
    pub async fn receive(
        &self,
        offer: &Offer,
        given_up: &CancellationToken,
    ) -> Result<Received, Error> {
        let (dir, snapshot) = (self.dir.clone(), offer.snapshot.clone());
        let mut incoming = blocking(move || Incoming::open(&dir, snapshot)).await??;
        self.check_space(&incoming)?;
        let mut source = None;
        let mut failures = 0;
        loop {
            let (back, part) = blocking(move || {
                let part = incoming.next_part();
                (incoming, part)
            })
            .await?;
            incoming = back;
            let Some(part) = part? else { break };
            let before = self.received_bytes.get();
            let asked = given_up.run_until_cancelled(self.ask(&mut source, offer, &part));
            let outcome = match asked.await.ok_or(Error::GivenUp)? {
                Err(cause) => Err(Error::Peer(cause)),
                Ok(chunks) => {
                    let (back, outcome) = self.write(incoming, part, chunks, given_up).await?;
                    incoming = back;
                    outcome
                }
            };
            let Err(cause) = outcome else {
                failures = 0;
                continue;
            };
            let came_on = self.received_bytes.get() > before;
            failures = if came_on { 1 } else { failures + 1 };
            if cause.is_final() || failures >= FAILURES {
                return Err(cause);
            }
            info!(%cause, "receiving a snapshot is tried again");
            source = None;
            let _given_up = given_up.run_until_cancelled(sleep(PAUSE)).await;
        }
        let lineage = self.lineage;
        Ok(blocking(move || incoming.verify(lineage)).await??)
    }

    fn check_space(&self, incoming: &Incoming) -> Result<(), Error> {
        let available = RealDisk.available_bytes(&self.dir);
        let available = available.map_err(failed("measure", &self.dir))?;
        let available = available.saturating_sub(self.spared_bytes);
        let needed = incoming.missing_bytes();
        if needed > available {
            return Err(Error::NoSpace { needed, available });
        }
        Ok(())
    }

    /// Asks for what is missing of a file.
    async fn ask(
        &self,
        source: &mut Option<SnapshotPeer>,
        offer: &Offer,
        part: &Part,
    ) -> Result<Chunks, CallError> {
        let request = v1::FetchFileRequest {
            snapshot_id: offer.id.0,
            name: part.name().to_string(),
            offset: part.offset(),
        };
        let peer = match source {
            Some(peer) => peer,
            None => source.insert(SnapshotPeer::connect(&offer.hello.address).await?),
        };
        peer.fetch(request).await
    }

    /// Writes a file while it comes. What has come of it stays, whatever happens.
    async fn write(
        &self,
        mut incoming: Incoming,
        mut part: Part,
        mut chunks: Chunks,
        given_up: &CancellationToken,
    ) -> Result<(Incoming, Result<(), Error>), Error> {
        let (queue, mut queued) = mpsc::channel::<Bytes>(CHUNKS);
        let writing = blocking(move || {
            let write = || {
                while let Some(chunk) = queued.blocking_recv() {
                    part.write(&chunk)?;
                }
                incoming.take(part.finish()?);
                Ok(())
            };
            let written = write();
            (incoming, written)
        });
        let receiving = async move {
            loop {
                let next = given_up.run_until_cancelled(chunks.next()).await;
                let Some(chunk) = next.ok_or(Error::GivenUp)?? else {
                    return Ok::<(), Error>(());
                };
                self.received_bytes
                    .inc_by(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                // The writer has failed, and says why.
                if queue.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
        };
        let (written, received) = tokio::join!(writing, receiving);
        let (incoming, written) = written?;
        // A file that broke off is too short; why it did is said first.
        let outcome = received.and(written.map_err(Error::Store));
        Ok((incoming, outcome))
    }
}

/// The next offer of another snapshot.
async fn other_than(known: SnapshotId, offers: &mut mpsc::Receiver<Offer>) -> Option<Offer> {
    loop {
        match offers.recv().await {
            Some(offer) if offer.id == known => {}
            other => return other,
        }
    }
}
