//! Pure: the closed list of reasons for which a call can fail.
//!
//! **Invariant.** A reason alone decides the gRPC code and whether the same request may be sent again, so that a client
//! never has to read messages.

use tonic::Code;

/// The domain of the reasons in error details.
pub const DOMAIN: &str = "steadfast";
/// The key in error details of where clients reach the primary, as `host:port`: of `NOT_PRIMARY`, if it is known.
pub const PRIMARY: &str = "primary";

/// Why a call failed. Its name is the machine-readable one of error details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A field is missing, malformed or contradicts another one.
    InvalidArgument,
    /// No view in force has this name.
    UnknownView,
    /// The view has no feature of this name.
    UnknownFeature,
    /// A value is not of the type that the definition says.
    WrongType,
    /// The name of the view is taken.
    ViewExists,
    /// The view has a feature of this name.
    FeatureExists,
    /// A view file does not say what a view is.
    BadViewFile,
    /// Two names have the same id; another name avoids it.
    IdCollision,
    /// A message, batch, key, value or name exceeds its limit.
    TooLarge,
    /// An event time lies further ahead than is admitted.
    EventTimeTooFarAhead,
    /// An event time lies below the view's lateness floor.
    TooLate,
    /// The request id belongs to another write.
    RequestIdReused,
    /// The write may have happened or may yet happen. Sending it again is safe under its request id.
    OutcomeUnknown,
    /// A failed disk ended writing on this node until it restarts; it still reads.
    NotWritable,
    /// Too little disk space is left for writing; reads go on.
    LowDisk,
    /// The node has as much to do as it admits.
    Overloaded,
    /// Another node is primary, or none is just now; the message names it if it is known.
    NotPrimary,
    /// Fewer members are in contact than the level needs.
    NoQuorum,
    /// The rows of this node may be older than is wanted.
    TooStale,
    /// What the session has seen has not come to this node yet.
    SessionBehind,
    /// Something that the session has seen is lost, or may be, or is of another history.
    Unrecovered,
    /// No member of the set has this number.
    NoSuchMember,
    /// A change of the set makes no sense as the set is.
    SetRefused,
    /// The node is not ready yet.
    Starting,
    /// The node is about to end.
    Stopping,
    /// Stored data is damaged.
    Damaged,
    /// The deadline passed before the read was done.
    DeadlineExceeded,
    /// A peer is of another lineage.
    WrongLineage,
    /// A peer means, or is, another incarnation than the one it found.
    WrongIncarnation,
    /// A peer reads no format that this node reads.
    NoCommonFormat,
    /// The member keeps no such snapshot, or no longer.
    UnknownSnapshot,
    /// The bucket does not answer, or asks to be left alone for a while.
    BucketUnavailable,
    /// The bucket does not do what backups need, or does not hold what it should.
    BucketRefused,
    /// There is no such method.
    Unimplemented,
    /// A bug.
    Internal,
}

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It fails again.
    Never,
    /// At once; a write only under the request id it had.
    SameRequestSafe,
    /// Nothing happened; after a while it may succeed, here or at another node.
    AfterDelay,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 35] = [
        Reason::InvalidArgument,
        Reason::UnknownView,
        Reason::UnknownFeature,
        Reason::WrongType,
        Reason::ViewExists,
        Reason::FeatureExists,
        Reason::BadViewFile,
        Reason::IdCollision,
        Reason::TooLarge,
        Reason::EventTimeTooFarAhead,
        Reason::TooLate,
        Reason::RequestIdReused,
        Reason::OutcomeUnknown,
        Reason::NotWritable,
        Reason::LowDisk,
        Reason::Overloaded,
        Reason::NotPrimary,
        Reason::NoQuorum,
        Reason::TooStale,
        Reason::SessionBehind,
        Reason::Unrecovered,
        Reason::NoSuchMember,
        Reason::SetRefused,
        Reason::Starting,
        Reason::Stopping,
        Reason::Damaged,
        Reason::DeadlineExceeded,
        Reason::WrongLineage,
        Reason::WrongIncarnation,
        Reason::NoCommonFormat,
        Reason::UnknownSnapshot,
        Reason::BucketUnavailable,
        Reason::BucketRefused,
        Reason::Unimplemented,
        Reason::Internal,
    ];

    /// The name in error details.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::InvalidArgument => "INVALID_ARGUMENT",
            Reason::UnknownView => "UNKNOWN_VIEW",
            Reason::UnknownFeature => "UNKNOWN_FEATURE",
            Reason::WrongType => "WRONG_TYPE",
            Reason::ViewExists => "VIEW_EXISTS",
            Reason::FeatureExists => "FEATURE_EXISTS",
            Reason::BadViewFile => "BAD_VIEW_FILE",
            Reason::IdCollision => "ID_COLLISION",
            Reason::TooLarge => "TOO_LARGE",
            Reason::EventTimeTooFarAhead => "EVENT_TIME_TOO_FAR_AHEAD",
            Reason::TooLate => "TOO_LATE",
            Reason::RequestIdReused => "REQUEST_ID_REUSED",
            Reason::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Reason::NotWritable => "NOT_WRITABLE",
            Reason::LowDisk => "LOW_DISK",
            Reason::Overloaded => "OVERLOADED",
            Reason::NotPrimary => "NOT_PRIMARY",
            Reason::NoQuorum => "NO_QUORUM",
            Reason::TooStale => "TOO_STALE",
            Reason::SessionBehind => "SESSION_BEHIND",
            Reason::Unrecovered => "UNRECOVERED",
            Reason::NoSuchMember => "NO_SUCH_MEMBER",
            Reason::SetRefused => "SET_REFUSED",
            Reason::Starting => "STARTING",
            Reason::Stopping => "STOPPING",
            Reason::Damaged => "DAMAGED",
            Reason::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Reason::WrongLineage => "WRONG_LINEAGE",
            Reason::WrongIncarnation => "WRONG_INCARNATION",
            Reason::NoCommonFormat => "NO_COMMON_FORMAT",
            Reason::UnknownSnapshot => "UNKNOWN_SNAPSHOT",
            Reason::BucketUnavailable => "BUCKET_UNAVAILABLE",
            Reason::BucketRefused => "BUCKET_REFUSED",
            Reason::Unimplemented => "UNIMPLEMENTED",
            Reason::Internal => "INTERNAL",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The gRPC code. `UNAVAILABLE`, the one that default policies retry, says that nothing happened.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Reason::InvalidArgument
            | Reason::WrongType
            | Reason::BadViewFile
            | Reason::TooLarge
            | Reason::EventTimeTooFarAhead
            | Reason::TooLate
            | Reason::RequestIdReused => Code::InvalidArgument,
            Reason::UnknownView
            | Reason::UnknownFeature
            | Reason::NoSuchMember
            | Reason::UnknownSnapshot => Code::NotFound,
            Reason::ViewExists | Reason::FeatureExists => Code::AlreadyExists,
            Reason::IdCollision
            | Reason::SetRefused
            | Reason::Unrecovered
            | Reason::WrongLineage
            | Reason::WrongIncarnation
            | Reason::NoCommonFormat
            | Reason::BucketRefused => Code::FailedPrecondition,
            Reason::OutcomeUnknown => Code::Unknown,
            Reason::LowDisk | Reason::Overloaded => Code::ResourceExhausted,
            Reason::NotWritable
            | Reason::NotPrimary
            | Reason::NoQuorum
            | Reason::TooStale
            | Reason::SessionBehind
            | Reason::Starting
            | Reason::Stopping
            | Reason::BucketUnavailable => Code::Unavailable,
            Reason::Damaged => Code::DataLoss,
            Reason::DeadlineExceeded => Code::DeadlineExceeded,
            Reason::Unimplemented => Code::Unimplemented,
            Reason::Internal => Code::Internal,
        }
    }

    /// Whether the same request may be sent again.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Reason::OutcomeUnknown | Reason::DeadlineExceeded => Retry::SameRequestSafe,
            Reason::NotWritable
            | Reason::LowDisk
            | Reason::Overloaded
            | Reason::NotPrimary
            | Reason::NoQuorum
            | Reason::TooStale
            | Reason::SessionBehind
            | Reason::Starting
            | Reason::Stopping
            | Reason::BucketUnavailable => Retry::AfterDelay,
            Reason::InvalidArgument
            | Reason::UnknownView
            | Reason::UnknownFeature
            | Reason::WrongType
            | Reason::ViewExists
            | Reason::FeatureExists
            | Reason::BadViewFile
            | Reason::IdCollision
            | Reason::TooLarge
            | Reason::EventTimeTooFarAhead
            | Reason::TooLate
            | Reason::RequestIdReused
            | Reason::Unrecovered
            | Reason::NoSuchMember
            | Reason::SetRefused
            | Reason::Damaged
            | Reason::WrongLineage
            | Reason::WrongIncarnation
            | Reason::NoCommonFormat
            | Reason::UnknownSnapshot
            | Reason::BucketRefused
            | Reason::Unimplemented
            | Reason::Internal => Retry::Never,
        }
    }
}

impl Retry {
    /// The name in error details, under the key `retry`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::SameRequestSafe => "same_request_safe",
            Retry::AfterDelay => "after_delay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_its_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
            let upper_snake = |c: char| c.is_ascii_uppercase() || c == '_';
            assert!(reason.name().chars().all(upper_snake), "{reason:?}");
        }
        assert_eq!(Reason::from_name("no such reason"), None);
    }

    #[test]
    fn what_default_policies_retry_has_not_happened() {
        for reason in Reason::ALL {
            if reason.code() == Code::Unavailable {
                assert_eq!(reason.retry(), Retry::AfterDelay, "{reason:?}");
            }
        }
        assert_ne!(Reason::OutcomeUnknown.code(), Code::Unavailable);
    }
}
