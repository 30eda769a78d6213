//! Backing up, as an operator asks for it: what is being done is told until it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::edge::Edge;
use super::status::Failure;
use crate::backup::bucket::BucketUrl;
use crate::backup::manifest::Manifest;
use crate::backup::take::Progress;
use crate::base::clock::sleep;
use crate::node::BackupOrder;
use crate::proto::{Reason, v1};
use v1::create_backup_response::What;

/// How often it is told how far it has come.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Answers that may wait for the client; a client that takes none holds the backup up, and is then gone.
const WAITING: usize = 4;

pub(super) type Answers = ReceiverStream<Result<v1::CreateBackupResponse, Status>>;

/// Reads what is asked for.
pub(super) fn order(request: v1::CreateBackupRequest) -> Result<BackupOrder, Failure> {
    let bucket: Result<BucketUrl, _> = request.url.parse();
    let bucket = bucket.map_err(|cause| {
        Failure::new(Reason::InvalidArgument, cause.to_string()).in_field("url")
    })?;
    let full = request.full;
    Ok(BackupOrder { bucket, full })
}

/// Begins it; the answers end with it.
pub(super) fn start(edge: Edge, order: BackupOrder) -> Answers {
    let (outbox, answers) = mpsc::channel(WAITING);
    let (tasks, stopped) = (edge.tasks.clone(), edge.tasks.cancelled());
    tasks.spawn_finite("backup", async move {
        let made = make(&edge, &order, &outbox);
        let _stopped = stopped.run_until_cancelled(made).await;
    });
    ReceiverStream::new(answers)
}

async fn make(
    edge: &Edge,
    order: &BackupOrder,
    outbox: &mpsc::Sender<Result<v1::CreateBackupResponse, Status>>,
) {
    let progress = Arc::new(Progress::default());
    let mut made = std::pin::pin!(edge.node.back_up(order, &progress));
    let answer = |what| v1::CreateBackupResponse { what: Some(what) };
    let made = loop {
        tokio::select! {
            biased;
            made = &mut made => break made,
            () = outbox.closed() => return,
            () = sleep(TELL_EVERY) => {
                let what = What::Progress(progress_to_proto(&progress));
                let _full = outbox.try_send(Ok(answer(what)));
            }
        }
    };
    let last = match made {
        Ok(manifest) => Ok(answer(What::Done(point_to_proto(&manifest, &progress)))),
        Err(cause) => Err(Failure::from(cause).into()),
    };
    let _gone = outbox.send(last).await;
}

fn progress_to_proto(progress: &Progress) -> v1::BackupProgress {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    v1::BackupProgress {
        total_bytes: read(&progress.total),
        done_bytes: read(&progress.done),
        sent_bytes: read(&progress.sent),
    }
}

fn point_to_proto(manifest: &Manifest, progress: &Progress) -> v1::RestorePoint {
    v1::RestorePoint {
        point: manifest.point.to_string(),
        lineage: manifest.control.lineage.to_string(),
        generation: manifest.generation.to_string(),
        files: u64::try_from(manifest.snapshot.files.len()).unwrap_or(u64::MAX),
        bytes: manifest.bytes(),
        sent_bytes: progress.sent.load(Ordering::Relaxed),
        newest_us: manifest.snapshot.state.newest.micros().0,
    }
}
