//! What can go wrong between the WAL and the store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::codec::DecodeError;
use crate::base::{LogId, Lsn, Seq};
use crate::model::Digest;
use crate::{storage, wal};

/// Why the engine could not do what it was asked. Cheap to clone: all who wait get the same cause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The WAL could not be opened, read or appended to.
    #[error(transparent)]
    Wal(Arc<wal::Error>),
    /// The WAL stopped; nothing is written until the node is started anew.
    #[error(transparent)]
    Poisoned(#[from] wal::Poisoned),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// A part of the node's directory could not get its place, or be removed.
    #[error("cannot {action} {path}")]
    Directory {
        /// What was tried.
        action: &'static str,
        /// The part.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// What a checkpoint must bring along is not in the WAL any more, so it may be on other disks by now.
    #[error("the wal no longer holds the records that a snapshot was to bring along")]
    TailReleased,
    /// A frame of the WAL holds no record although its checksum is right.
    #[error("no record at wal position {lsn}")]
    BadRecord {
        /// Where.
        lsn: Lsn,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A stored row, or a write, is not what the format says.
    #[error("a row of view {view} is damaged")]
    BadRow {
        /// Its view.
        view: crate::model::ViewId,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The cells of a write are not well-formed; nothing was logged.
    #[error("the cells of a write are not well-formed")]
    BadCells(#[from] DecodeError),
    /// What is to be appended is no record; nothing was appended.
    #[error("record {seq} of log {log} is malformed")]
    Malformed {
        /// The log.
        log: LogId,
        /// The record.
        seq: Seq,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A record does not follow the one before it in its log (I2, I3).
    #[error(
        "fork: record {seq} of log {log} does not follow record {last} with chain digest {chain}"
    )]
    Fork {
        /// The log.
        log: LogId,
        /// The record.
        seq: Seq,
        /// The last record held.
        last: Seq,
        /// The chain digest held.
        chain: Digest,
    },
    /// The applier broke an invariant.
    #[error("the applier panicked")]
    Panicked,
    /// The engine has been stopped.
    #[error("the engine is stopped")]
    Stopped,
}

/// Equal records made different rows here than where a marker was written (I22).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "digest of the rows at {log}/{seq} is {computed}, the marker there says {marked}: the store is damaged"
)]
pub struct DigestMismatch {
    /// The marker's log.
    pub log: LogId,
    /// The marker's place.
    pub seq: Seq,
    /// The digest here.
    pub computed: Digest,
    /// The digest in the marker.
    pub marked: Digest,
}

impl From<wal::Error> for Error {
    fn from(error: wal::Error) -> Self {
        if let wal::Error::Poisoned(cause) = error {
            return Error::Poisoned(cause);
        }
        Error::Wal(Arc::new(error))
    }
}
