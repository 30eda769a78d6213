//! The side that gives: checkpoints are made, kept while they are fetched, and read.
//!
//! **Invariant.** One checkpoint is kept for each member at the most, and none for longer than a minute after the last byte
//! of it was sent: each keeps files on the disk, and the log behind it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{info, warn};

use super::offer::read_name;
use super::{Error, blocking, failed};
use crate::base::clock::{now_monotonic, timeout};
use crate::base::{IncarnationId, Pace, SnapshotId};
use crate::control::ControlState;
use crate::engine::{Checkpoint, Engine};
use crate::net::{CHUNK_BYTES, FILES_AT_ONCE};
use crate::proto::v1;

/// How long a checkpoint is kept of which nothing is fetched.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// Where the chunks of a file go, or why there are no more.
pub(super) type Outbox = mpsc::Sender<Result<v1::FetchFileResponse, Error>>;

/// Checkpoints that are given away.
#[derive(Debug)]
pub(super) struct Giver {
    dir: PathBuf,
    pace: Pace,
    places: Arc<Semaphore>,
    pub sent_bytes: Counter,
    /// Guards what is kept for whom.
    kept: Mutex<BTreeMap<IncarnationId, Kept>>,
}

#[derive(Debug)]
enum Kept {
    Making,
    Made {
        id: SnapshotId,
        checkpoint: Arc<Checkpoint>,
        used: Instant,
    },
}

impl Giver {
    /// Gives away checkpoints that it makes in `dir`; what an earlier process left there is removed.
    pub fn open(dir: PathBuf, bytes_per_second: u64) -> Result<Giver, Error> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(failed("remove", &dir))?;
        }
        std::fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        Ok(Giver {
            dir,
            pace: Pace::new(bytes_per_second),
            places: Arc::new(Semaphore::new(FILES_AT_ONCE)),
            sent_bytes: Counter::default(),
            kept: Mutex::default(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<IncarnationId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint kept for a member, made now if there is none, or if more is folded by now: the member may have folded as
    /// much, and then refuses it. `None` while it is being made.
    pub async fn checkpoint(
        self: &Arc<Self>,
        engine: Arc<Engine>,
        control: Arc<ControlState>,
        to: IncarnationId,
    ) -> Result<Option<(SnapshotId, Arc<Checkpoint>)>, Error> {
        let folded = engine.state().applied.0.base(control.region);
        let outdated = match self.kept().entry(to) {
            Entry::Vacant(place) => {
                place.insert(Kept::Making);
                None
            }
            Entry::Occupied(mut kept) => match kept.get() {
                Kept::Making => return Ok(None),
                Kept::Made { id, checkpoint, .. } => {
                    if checkpoint.folded(control.region) >= folded {
                        return Ok(Some((*id, Arc::clone(checkpoint))));
                    }
                    Some(kept.insert(Kept::Making))
                }
            },
        };
        let id = SnapshotId(rand::random());
        let dir = self.dir.join(id.to_string());
        let made = blocking(move || {
            drop(outdated);
            engine.checkpoint(dir, |held| control.unspread(held))
        });
        let made = made.await;
        let made = made.and_then(|made| Ok(made?));
        let mut kept = self.kept();
        let checkpoint = Arc::new(made.inspect_err(|_| {
            kept.remove(&to);
        })?);
        let (used, files) = (now_monotonic(), checkpoint.snapshot().files.len());
        let made = Kept::Made {
            id,
            checkpoint: Arc::clone(&checkpoint),
            used,
        };
        kept.insert(to, made);
        info!(member = %to, snapshot = %id, files, "made a snapshot for a member");
        Ok(Some((id, checkpoint)))
    }

    /// The checkpoint of this name, which is thereby used.
    fn find(&self, wanted: SnapshotId) -> Result<Arc<Checkpoint>, Error> {
        for kept in self.kept().values_mut() {
            if let Kept::Made {
                id,
                checkpoint,
                used,
            } = kept
                && *id == wanted
            {
                *used = now_monotonic();
                return Ok(Arc::clone(checkpoint));
            }
        }
        Err(Error::NoSuchSnapshot { id: wanted })
    }

    /// Lets go of what was not used for long.
    pub fn expire(&self, now: Instant) {
        let is_used = |kept: &Kept| match kept {
            Kept::Making => true,
            Kept::Made { used, .. } => now.saturating_duration_since(*used) < KEPT,
        };
        let mut expired = Vec::new();
        self.kept().retain(|member, kept| {
            let stays = is_used(kept);
            if !stays {
                expired.push((*member, std::mem::replace(kept, Kept::Making)));
            }
            stays
        });
        // Dropped here, for that removes files.
        for (member, kept) in expired {
            if let Kept::Made { id, .. } = kept {
                info!(%member, snapshot = %id, "a snapshot is no longer used");
            }
        }
    }

    /// Opens what is asked for, if there is a place to send it from.
    pub fn open_file(
        &self,
        request: &v1::FetchFileRequest,
    ) -> Result<(File, OwnedSemaphorePermit), Error> {
        let name = read_name(&request.name).map_err(|problem| problem.at("name"))?;
        let checkpoint = self.find(SnapshotId(request.snapshot_id))?;
        let path = Path::new(name.as_str());
        let file = checkpoint.open(&name).map_err(failed("open", path))?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        Ok((file, place.map_err(|_| Error::Busy)?))
    }

    /// Sends a file to its end, as fast as may be and the receiver takes it.
    pub async fn send(&self, file: File, request: v1::FetchFileRequest, out: Outbox) {
        let id = SnapshotId(request.snapshot_id);
        let (file, mut at) = (Arc::new(file), request.offset);
        loop {
            let reads = Arc::clone(&file);
            let chunk = blocking(move || read_chunk(&reads, at)).await;
            // Only the file itself is held here: what is stuck keeps no checkpoint.
            let chunk = chunk.and_then(|chunk| {
                self.find(id)?;
                chunk.map_err(failed("read", Path::new(&request.name)))
            });
            let chunk = match chunk {
                Ok(chunk) if chunk.is_empty() => return,
                Ok(data) => {
                    let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.pace.wait(bytes).await;
                    self.sent_bytes.inc_by(bytes);
                    at += bytes;
                    let crc32 = crc32fast::hash(&data);
                    Ok(v1::FetchFileResponse { data, crc32 })
                }
                Err(cause) => {
                    warn!(%cause, file = request.name, "cannot send a file of a snapshot");
                    Err(cause)
                }
            };
            let is_end = chunk.is_err();
            let taken = timeout(KEPT, out.send(chunk)).await;
            if is_end || !matches!(taken, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// As many bytes as a chunk has; fewer at the end of the file.
fn read_chunk(file: &File, at: u64) -> std::io::Result<Bytes> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let offset = at.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, offset)? {
            0 => break,
            read => filled += read,
        }
    }
    chunk.truncate(filled);
    Ok(chunk.into())
}
