//! What the edges ask of a node, what it answers, and why it refuses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::sessions::Session;
use crate::base::{
    CommitLevel, Epoch, Held, IncarnationId, NodeNumber, PackedBytes, ReadLevel, Stamp, budget,
    explained,
};
use crate::control::{ControlState, Rejection, raft};
use crate::engine;
use crate::model::batch::Refusal;
use crate::model::catalogue::CatalogueError;
use crate::model::definition::AlterationSpec;
use crate::model::resolve::{Column, Wanted};
use crate::model::view_file::ViewFileError;
use crate::model::{Batch, EntityKey, Feature, View, ViewSpec};
use crate::read::SessionError;
use crate::replica::{Refused, Unfit};

/// A write.
#[derive(Debug)]
pub struct WriteRequest {
    /// What to write.
    pub batch: Batch,
    /// How many copies acknowledge it; the set's default if not given, and not fewer than its floor.
    pub level: Option<CommitLevel>,
    /// Caller and the id it chose, so that a repetition is recognised.
    pub request_id: Option<(String, String)>,
    /// After this time its fate is reported as unknown.
    pub deadline: Duration,
    /// What it holds of its client's memory; grows with the batch and is given back once that is applied.
    pub memory: Held,
}

/// The fate of an acknowledged write.
#[derive(Debug, Clone)]
pub struct Written {
    /// Rows that are now what was written.
    pub applied: u64,
    /// Rows older than what is stored, or expired.
    pub older: u64,
    /// Rows folded into others of the same batch.
    pub folded: u64,
    /// When and where it was written.
    pub stamp: Stamp,
    /// Durable copies.
    pub copies: u32,
    /// The level reached.
    pub level: CommitLevel,
    /// The request id was known: this is the first write's result.
    pub repeated: bool,
    /// Where its time went.
    pub spent: Spent,
}

/// Some features of some entities of one view.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The view.
    pub view: Arc<View>,
    /// Its features to answer, in order.
    pub features: Vec<Feature>,
    /// The entities, duplicates included.
    pub keys: PackedBytes,
}

/// A lookup.
#[derive(Debug)]
pub struct LookupRequest {
    /// What to look up.
    pub selections: Vec<Selection>,
    /// How current the answer must be.
    pub level: ReadLevel,
    /// How to answer.
    pub wanted: Wanted,
    /// The session it is of: the rows hold all that this has seen.
    pub session: Option<Session>,
    /// After this time the lookup is given up.
    pub deadline: Duration,
    /// What it holds of its client's memory; grows with the answer.
    pub memory: Held,
}

/// Where the time of a request went, as far as it is measured.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    /// A primary read: until what was appended before it was applied. A write: until the writer had decided and logged it.
    pub waiting: Duration,
    /// Reading rows from memory.
    pub memory: Duration,
    /// Reading rows from files.
    pub files: Duration,
    /// Rows that were read from files.
    pub file_rows: usize,
    /// Making columns from stored rows.
    pub resolving: Duration,
    /// A write: from being logged until it was durable and applied.
    pub applying: Duration,
}

impl Spent {
    /// The spans by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, Duration); 5] {
        [
            ("waiting", self.waiting),
            ("memory", self.memory),
            ("files", self.files),
            ("resolving", self.resolving),
            ("applying", self.applying),
        ]
    }
}

/// An answer and where it comes from.
#[derive(Debug)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// The level it was served at.
    pub level: ReadLevel,
    /// Who answered.
    pub node: IncarnationId,
    /// In which epoch.
    pub epoch: Epoch,
    /// It misses nothing acknowledged longer ago than this.
    pub staleness: Duration,
    /// The session it is of, which has seen it now.
    pub session: Option<Session>,
    /// What it holds of its client's memory.
    pub memory: Held,
    /// Where its time went.
    pub spent: Spent,
}

/// One page of a scan.
#[derive(Debug)]
pub struct ScanRequest {
    /// The view.
    pub view: Arc<View>,
    /// Its features to answer, in order.
    pub features: Vec<Feature>,
    /// The first join keys of the entities wanted; the empty key wants all.
    pub prefix: EntityKey,
    /// Continues behind this entity.
    pub after: Option<EntityKey>,
    /// At most so many rows; not 0.
    pub max_rows: usize,
    /// Ends behind the row with which the page's stored bytes reach this.
    pub max_bytes: usize,
    /// Answer event times too.
    pub event_times: bool,
    /// How current the rows must be.
    pub level: ReadLevel,
    /// The session that it is of.
    pub session: Option<Session>,
    /// After this time the page is given up.
    pub deadline: Duration,
}

/// Rows in key order.
#[derive(Debug)]
pub struct ScanPage {
    /// Their entities.
    pub keys: Vec<EntityKey>,
    /// Their features.
    pub columns: Vec<Column>,
    /// Behind which entity the scan goes on, with or without rows; `None` at its end.
    pub rest: Option<EntityKey>,
    /// The session that it is of, which has seen the rows now.
    pub session: Option<Session>,
}

/// A change of the catalogue.
#[derive(Debug, Clone)]
pub enum CatalogueChange {
    /// A view comes into force.
    Create(Box<ViewSpec>),
    /// A view gets one more feature.
    AddFeature {
        /// The view's name.
        view: String,
        /// The feature as in a view file.
        feature_toml: String,
    },
    /// Settings of a view change.
    Alter {
        /// The view's name.
        view: String,
        /// What changes.
        spec: AlterationSpec,
    },
    /// A view goes out of force.
    Drop {
        /// The view's name.
        view: String,
    },
}

impl CatalogueChange {
    /// Does it say at which level a view is read?
    #[must_use]
    pub fn has_read_level(&self) -> bool {
        match self {
            CatalogueChange::Create(spec) => spec.read_level.is_some(),
            CatalogueChange::Alter { spec, .. } => spec.read_level.is_some(),
            CatalogueChange::AddFeature { .. } | CatalogueChange::Drop { .. } => false,
        }
    }
}

/// How far the replay of the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Bytes of WAL replayed.
    pub done_bytes: u64,
    /// Bytes of WAL to replay in all.
    pub total_bytes: u64,
}

/// How a node does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Has it opened its data, so that it can be asked anything?
    pub started: bool,
    /// How far the replay is, while it starts.
    pub replay: Option<Replay>,
    /// Does it take reads and writes? If not, why.
    pub ready: Result<(), String>,
}

/// The primary of the open epoch, as far as another member knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Which member it is.
    pub number: NodeNumber,
    /// Where clients reach it, as `host:port`.
    pub address: String,
}

impl Primary {
    /// The primary of the open epoch as this member knows it, if that is another one.
    #[must_use]
    pub fn elsewhere(control: &ControlState, me: IncarnationId) -> Option<Primary> {
        let primary = control.primary().filter(|who| *who != me)?;
        let member = control.members.get(&primary)?;
        let address = &member.addresses.client;
        (!address.is_empty()).then(|| Primary {
            number: member.number,
            address: address.clone(),
        })
    }
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} at {}", self.number, self.address)
    }
}

/// Why a node refuses or fails. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An event time is out of bounds; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A change of the catalogue makes no sense; nothing was changed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The definition of a feature is wrong; nothing was changed.
    #[error(transparent)]
    ViewFile(#[from] ViewFileError),
    /// The view was dropped while the write was on its way; nothing was written.
    #[error("view {view:?} has been dropped")]
    ViewDropped {
        /// Its name.
        view: String,
    },
    /// A sweep is about to take the rows of a dropped view, so nothing of it is deleted singly.
    #[error("dropped view {view:?} is being swept: its rows go by themselves")]
    BeingSwept {
        /// Its name.
        view: String,
    },
    /// The request id names another write; nothing was written.
    #[error("request id {id:?} has been used for another write")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// The batch is larger than a record may be; nothing was written.
    #[error("a batch of {bytes} bytes exceeds the limit of {max} bytes")]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too much is under way, of this client or of all; nothing was written.
    #[error(transparent)]
    Overloaded(#[from] budget::Full),
    /// The disk is nearly full; nothing was written, reads go on.
    #[error("{available} bytes are left on the disk, writes need {needed}")]
    LowDisk {
        /// What is left.
        available: u64,
        /// The watermark.
        needed: u64,
    },
    /// The log or the store failed: nothing more is written until the node is started anew, reads go on.
    #[error("the node cannot write any more: {cause}")]
    NotWritable {
        /// What failed.
        cause: String,
    },
    /// Another node is primary, or none; nothing was written or read.
    #[error("this node is not the primary of its set{}", primary.as_ref().map(|primary| format!(": {primary} is")).unwrap_or_default())]
    NotPrimary {
        /// Who is, if that is another member.
        primary: Option<Primary>,
    },
    /// No member has this number.
    #[error("no member of the set has number {number}")]
    NoSuchMember {
        /// The number.
        number: NodeNumber,
    },
    /// The set refuses a change of itself.
    #[error(transparent)]
    SetRefused(#[from] Rejection),
    /// This member cannot replace the primary.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There is no data member to shrink the set by.
    #[error("every data member is in contact: there is nobody to leave out")]
    NobodyAbsent,
    /// The set cannot agree on a change of itself now; nothing has changed.
    #[error("the set does not agree: {cause}")]
    NotAgreed {
        /// Why.
        cause: String,
    },
    /// The set may have agreed on a change of itself, or may yet.
    #[error("it is not known whether the set agrees: {cause}")]
    MayBeAgreed {
        /// Why.
        cause: String,
    },
    /// The rows here may be older than is wanted.
    #[error("rows here may be {} old: no more than {} is wanted", age(*staleness), humantime::format_duration(*bound))]
    TooStale {
        /// How old they may be; `None` if nothing is known.
        staleness: Option<Duration>,
        /// How old they may be at the most.
        bound: Duration,
    },
    /// The text of a session's token is none.
    #[error(transparent)]
    BadSession(#[from] SessionError),
    /// The set has no secret yet, by which tokens are sealed.
    #[error("the set has no secret yet: sessions begin once all its members run this version")]
    NoSessions,
    /// Some member runs a program that does not know read levels of views; nothing was changed.
    #[error("views have read levels once all members of the set run this version")]
    NoViewReadLevels,
    /// Some member runs a program that does not know what is archived; nothing was changed.
    #[error("logs are archived once all members of the set run this version")]
    NoArchives,
    /// The rows here do not hold yet what the session has seen.
    #[error("the rows here do not hold yet all that the session has seen")]
    SessionBehind,
    /// Something that the session has seen is lost.
    #[error(
        "something that the session has seen was not recovered after a failover: begin another session"
    )]
    Unrecovered,
    /// It can no longer be told whether all that the session has seen is there.
    #[error(
        "the session has seen what was not committed then, and it is forgotten whether that was recovered: begin another session"
    )]
    PerhapsUnrecovered,
    /// The session has seen another history.
    #[error(
        "the session is of another history than this set has, such as the one before a restore: begin another session"
    )]
    OtherHistory,
    /// The primary is handing over, or has just taken over; nothing was written.
    #[error("the primary is handing over")]
    HandingOver,
    /// Too few members are in contact with the primary for the level asked for; nothing was written.
    #[error("only {present} of {needed} data members that the level needs are in contact")]
    TooFewMembers {
        /// How many are, the primary included.
        present: usize,
        /// How many the level needs.
        needed: usize,
    },
    /// No majority of the data members named the same rows in time.
    #[error("no majority names the same rows: {answered} of {members} data members answer")]
    RowsNotAgreed {
        /// How many answered at all.
        answered: usize,
        /// How many there are.
        members: usize,
    },
    /// The write may be there or not, and may still come.
    #[error("the fate of the write is unknown: {reason}")]
    Unknown {
        /// Why.
        reason: String,
        /// Its stamp, if it was logged.
        stamp: Option<Stamp>,
    },
    /// The answer would have come too late.
    #[error("not answered within the deadline of {}", humantime::format_duration(*limit))]
    DeadlineExceeded {
        /// The limit.
        limit: Duration,
    },
    /// The values asked for are more than one answer holds.
    #[error("the values asked for exceed {max} bytes: ask for fewer entities or features at once")]
    AnswerTooLarge {
        /// The limit.
        max: usize,
    },
    /// Stored data could not be read or are damaged.
    #[error(transparent)]
    Read(engine::Error),
    /// The node is replaying its log; nothing was read or written.
    #[error("the node is starting: {} of {} bytes of its log are replayed", replay.done_bytes, replay.total_bytes)]
    Starting {
        /// How far it is.
        replay: Replay,
    },
    /// The node is stopping; nothing was written.
    #[error("the node is stopping")]
    Stopping,
}

impl Error {
    /// What a refusal of the member's core means to whoever asked; `primary` is who is, if that is another.
    #[must_use]
    pub fn refused(refused: Refused, primary: Option<Primary>) -> Error {
        match refused {
            Refused::NotPrimary => Error::NotPrimary { primary },
            Refused::TooFew { present, needed } => Error::TooFewMembers { present, needed },
            Refused::HandingOver | Refused::AtCeiling => Error::HandingOver,
        }
    }
}

impl From<super::agreement::Error> for Error {
    fn from(error: super::agreement::Error) -> Error {
        match error {
            super::agreement::Error::Rejected(why) => Error::SetRefused(why),
            super::agreement::Error::Unsettled(
                cause @ (raft::Error::NoLeader | raft::Error::Members { .. }),
            ) => Error::NotAgreed {
                cause: explained(&cause),
            },
            error @ (super::agreement::Error::Unsettled(_) | super::agreement::Error::Lost(_)) => {
                Error::MayBeAgreed {
                    cause: explained(&error),
                }
            }
        }
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Error {
        super::agreement::Error::from(error).into()
    }
}

fn age(staleness: Option<Duration>) -> String {
    staleness.map_or_else(
        || "infinitely".to_owned(),
        |staleness| humantime::format_duration(staleness).to_string(),
    )
}
