//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::codec::DecodeError;
use crate::base::{LineageId, Lsn};

/// Why a log could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused something while the log was opened or read.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The log has ended for writing; nothing was queued, and nothing that was queued will become durable any more.
    #[error("the log takes no more writes")]
    Poisoned(#[from] Poisoned),
    /// Bytes that were durable are not what was written. They are never cut away: a peer or an archive must refill them.
    #[error(
        "{path} is damaged at offset {offset} (position {lsn}), though everything below position {durable} was durable"
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in the file the damaged header or frame begins.
        offset: u64,
        /// Where in the log it begins.
        lsn: Lsn,
        /// Up to which place the log is known to have been durable.
        durable: Lsn,
        /// What was expected there.
        #[source]
        source: DecodeError,
    },
    /// A file with the name of a segment that is no segment.
    #[error("{path} is not a log segment: it does not begin with the magic")]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// A segment written by a later release.
    #[error("{path} has format version {found}; this release reads up to {supported}")]
    NewerVersion {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version known here.
        supported: u32,
    },
    /// A segment of another history of data.
    #[error("{path} belongs to lineage {found}, not to {expected}")]
    OtherLineage {
        /// The segment.
        path: PathBuf,
        /// Its lineage.
        found: LineageId,
        /// The lineage of this directory.
        expected: LineageId,
    },
    /// A segment between others is gone.
    #[error("{path} is missing, though {next} follows it")]
    MissingSegment {
        /// The file that should be there.
        path: PathBuf,
        /// The segment that names it as the one before.
        next: PathBuf,
    },
    /// A payload longer than [`MAX_PAYLOAD_BYTES`](super::MAX_PAYLOAD_BYTES).
    #[error("a payload of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The place lies in segments that have been released.
    #[error("position {asked} has been released; the log begins at {first}")]
    Released {
        /// What was asked for.
        asked: Lsn,
        /// The oldest place that can be read.
        first: Lsn,
    },
    /// The place lies behind everything durable.
    #[error("position {asked} lies behind the durable end {durable} of the log")]
    Beyond {
        /// What was asked for.
        asked: Lsn,
        /// Up to where the log is durable.
        durable: Lsn,
    },
}

impl Error {
    /// Did the disk run full?
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Io(failure) => failure.is_no_space(),
            Error::Poisoned(cause) => cause.is_no_space(),
            Error::Corrupt { .. }
            | Error::NotASegment { .. }
            | Error::NewerVersion { .. }
            | Error::OtherLineage { .. }
            | Error::MissingSegment { .. }
            | Error::TooLarge { .. }
            | Error::Released { .. }
            | Error::Beyond { .. } => false,
        }
    }
}

/// Why the log takes no more writes until it is opened again. Everyone who waits for durability gets a copy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Poisoned {
    /// A write, sync, create, rename or remove failed. What was on its way may be on disk or not.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The disk did not answer within the limit; the process should end.
    #[error("the disk has not answered for {} ms", .running.as_millis())]
    Stalled {
        /// How long it had been silent when that was noticed.
        running: Duration,
    },
    /// The writer broke an invariant.
    #[error("the writer of the log panicked")]
    Panicked,
    /// The log was closed in good order.
    #[error("the log is closed")]
    Closed,
}

impl Poisoned {
    /// Did the disk run full?
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Poisoned::Io(failure) => failure.is_no_space(),
            Poisoned::Stalled { .. } | Poisoned::Panicked | Poisoned::Closed => false,
        }
    }
}

/// What the file system refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct IoFailure {
    /// What was attempted.
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: Arc<io::Error>,
}

impl IoFailure {
    /// Did the disk run full?
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Names what was attempted on which file, for `map_err`.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IoFailure {
    move |source| IoFailure {
        action,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}
