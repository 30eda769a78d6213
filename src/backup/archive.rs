//! Archiving: records go from the WAL into a bucket.
//!
//! **Invariants** (I2, I25). What is in the bucket already, because somebody put it there who could not tell the set any more, is
//! taken for archived only if it has the chain of the log here. If it has not, the log has two histories: nothing is put beside
//! them, and whoever operates the set is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{Chain, Segment};
use super::records::{self, PLAIN_BYTES};
use super::repository::{self, Repository};
use crate::base::{LineageId, LogId, Missing, Seq};
use crate::engine::{self, Engine};
use crate::model::Logged;

/// After so many objects it is looked again whether somebody else archives the same log.
const LOOK_EVERY: u32 = 30;

/// Why records are not archived, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket, or what is in it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The records cannot be read.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// There are two histories of one log.
    #[error(
        "{found} in the bucket is of another history of log {log} than this set's: a copy of a node is running somewhere, or somebody writes there who should not"
    )]
    Fork {
        /// The log.
        log: LogId,
        /// The object.
        found: String,
    },
    /// The process is stopping.
    #[error("it was given up")]
    GivenUp,
}

/// What became of records that were to be archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// They are in the bucket, with some before them perhaps.
    Archived {
        /// Up to where.
        segment: Segment,
        /// Bytes that were sent; none if somebody had put them there.
        bytes: u64,
    },
    /// The WAL does not hold the first of them any more.
    Released,
    /// The WAL does not hold the first of them yet.
    Later,
}

/// The way from a WAL into a bucket.
#[derive(Debug)]
pub struct Archive {
    repository: Repository,
    lineage: LineageId,
    engine: Arc<Engine>,
    /// Objects put since it was looked what there is of a log.
    unseen: BTreeMap<LogId, u32>,
}

impl Archive {
    /// Archives what `engine` holds, of this lineage.
    #[must_use]
    pub fn new(repository: Repository, lineage: LineageId, engine: Arc<Engine>) -> Archive {
        Archive {
            repository,
            lineage,
            engine,
            unseen: BTreeMap::new(),
        }
    }

    /// Where it is archived.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Archives the first of some records, as many as go into one object.
    ///
    /// # Errors
    /// If they are not archived, or not known to be.
    pub async fn put(&mut self, missing: Missing) -> Result<Put, Error> {
        let log = missing.log;
        if self.unseen.get(&log).is_none_or(|puts| *puts >= LOOK_EVERY) {
            let found = self.look(missing).await?;
            self.unseen.insert(log, 0);
            if let Some(segment) = found {
                return Ok(Put::Archived { segment, bytes: 0 });
            }
        }
        let Some(records) = self.records(missing, PLAIN_BYTES).await? else {
            return Ok(Put::Released);
        };
        if records.is_empty() {
            return Ok(Put::Later);
        }
        let lineage = self.lineage;
        let (segment, object) = blocking(move || records::encode(lineage, &records)).await?;
        let bytes = u64::try_from(object.len()).unwrap_or(u64::MAX);
        self.repository
            .put_records(lineage, segment, object)
            .await?;
        *self.unseen.entry(log).or_default() += 1;
        Ok(Put::Archived { segment, bytes })
    }

    /// Looks whether somebody has archived more of the log already, and whether that is the log.
    async fn look(&self, missing: Missing) -> Result<Option<Segment>, Error> {
        let (log, next) = (missing.log, missing.after.next());
        let found = self.repository.segments_from(self.lineage, log, next);
        let mut last = None;
        for segment in found.await? {
            let fork = || Error::Fork {
                log,
                found: segment.to_string(),
            };
            match self.chain(log, segment.to).await? {
                None => return Ok(last),
                Some(chain) if chain != Some(segment.chain) => return Err(fork()),
                Some(_) => {}
            }
            let reached = last.map_or(missing.after, |last: Segment| last.to);
            if segment.from <= reached.next() && segment.to > reached {
                last = Some(segment);
            }
        }
        Ok(last)
    }

    /// The chain digest of a log up to a record: inside it is nothing if the record is not here. `None` if the WAL does not hold
    /// it any more.
    async fn chain(&self, log: LogId, at: Seq) -> Result<Option<Option<Chain>>, Error> {
        let record = Missing {
            log,
            after: Seq(at.0.saturating_sub(1)),
            through: at,
        };
        let records = self.records(record, 1).await?;
        Ok(records.map(|records| records.first().map(|record| record.chain_after.into())))
    }

    async fn records(&self, missing: Missing, bytes: usize) -> Result<Option<Vec<Logged>>, Error> {
        let engine = Arc::clone(&self.engine);
        Ok(blocking(move || engine.records(&[missing], bytes)).await??)
    }
}

/// Does what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::GivenUp)
}
