//! From errors of the modules to what a client is told: the one place where a [`Reason`] is chosen and a status made.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::backup::{repository, take};
use crate::base::codec::DecodeError;
use crate::base::explained;
use crate::model::batch::Refusal;
use crate::model::catalogue::CatalogueError;
use crate::model::view_file::ViewFileError;
use crate::proto::{DOMAIN, Invalid, PRIMARY, Reason, Retry, v1};
use crate::{engine, net, node};

/// When a client may try again that was refused for a passing reason.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Why a call failed, as its client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The machine-readable reason.
    pub reason: Reason,
    /// What people read.
    pub message: String,
    /// Path of the field that is wrong, if one is.
    pub field: Option<String>,
    /// Where clients reach the primary, if it is another node and known.
    pub primary: Option<String>,
}

impl Failure {
    /// A failure without a field.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Failure {
        Failure {
            reason,
            message: message.into(),
            field: None,
            primary: None,
        }
    }

    /// The same failure, in this field, unless it names one or lies with the node.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Failure {
        if is_input(self.reason) {
            self.field.get_or_insert_with(|| field.into());
        }
        self
    }

    /// The failure of a put that the node refused.
    #[must_use]
    pub fn of_put(error: node::Error) -> Failure {
        Failure::of_write(error, "writes", "rows")
    }

    /// The failure of a delete that the node refused.
    #[must_use]
    pub fn of_delete(error: node::Error) -> Failure {
        Failure::of_write(error, "deletes", "keys")
    }

    fn of_write(error: node::Error, groups: &str, rows: &str) -> Failure {
        let mut field = groups.to_owned();
        if let node::Error::Refused(
            Refusal::TooFarAhead { group, row, .. } | Refusal::TooLate { group, row, .. },
        ) = error
        {
            field = format!("{groups}[{group}].{rows}[{row}].event_time_us");
        } else if let node::Error::RequestIdReused { .. } = error {
            field = "request_id".to_owned();
        }
        Failure::from(error).in_field(field)
    }

    /// The failure of one batch of a stream.
    #[must_use]
    pub fn into_batch_error(self) -> v1::BatchError {
        v1::BatchError {
            code: i32::from(self.reason.code()),
            reason: self.reason.name().to_owned(),
            message: self.message,
            field: self.field.unwrap_or_default(),
        }
    }
}

/// Can the fault lie in what the client sent?
fn is_input(reason: Reason) -> bool {
    matches!(
        reason.code(),
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition
    )
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let Failure {
            reason,
            message,
            field,
            primary,
        } = failure;
        let mut metadata = HashMap::from([("retry".to_owned(), reason.retry().name().to_owned())]);
        metadata.extend(primary.map(|primary| (PRIMARY.to_owned(), primary)));
        let mut details = ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata);
        if let Some(field) = field {
            details.add_bad_request_violation(field, message.clone());
        }
        if reason.retry() == Retry::AfterDelay {
            details.set_retry_info(Some(RETRY_DELAY));
        }
        Status::with_error_details(reason.code(), message, details)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        Failure {
            field: Some(invalid.field),
            ..Failure::new(invalid.problem.reason(), invalid.problem.to_string())
        }
    }
}

/// A peer that is not talked to.
impl From<net::Refusal> for Failure {
    fn from(refusal: net::Refusal) -> Failure {
        let reason = match &refusal {
            net::Refusal::Unreadable(invalid) => return invalid.clone().into(),
            net::Refusal::Formats { .. } => Reason::NoCommonFormat,
            net::Refusal::Lineage { .. } => Reason::WrongLineage,
            net::Refusal::Incarnation { .. } | net::Refusal::Answerer { .. } => {
                Reason::WrongIncarnation
            }
        };
        Failure::new(reason, refusal.to_string())
    }
}

/// A snapshot that is not given or taken.
impl From<node::SeedingError> for Failure {
    fn from(error: node::SeedingError) -> Failure {
        use node::SeedingError as Seeding;
        let reason = match error {
            Seeding::Invalid(invalid) => return invalid.into(),
            Seeding::Refused(refusal) => return refusal.into(),
            Seeding::NoSuchSnapshot { .. } => Reason::UnknownSnapshot,
            Seeding::Busy => Reason::Overloaded,
            Seeding::GivenUp | Seeding::Stopping => Reason::Stopping,
            Seeding::Store(_)
            | Seeding::Engine(_)
            | Seeding::Peer(_)
            | Seeding::File { .. }
            | Seeding::NoSpace { .. } => Reason::Internal,
        };
        Failure::new(reason, error.to_string())
    }
}

/// A backup that is not made.
impl From<node::BackupError> for Failure {
    fn from(error: node::BackupError) -> Failure {
        use node::BackupError as Backup;
        let reason = match &error {
            Backup::Starting => Reason::Starting,
            Backup::NoRows => Reason::SetRefused,
            Backup::Quarantined => Reason::Damaged,
            Backup::UnderWay => Reason::Overloaded,
            Backup::NotSpread { .. } => Reason::NoQuorum,
            Backup::Engine(cause) => reason_of_engine(cause),
            Backup::Bucket(cause)
            | Backup::Take(take::Error::Repository(repository::Error::Bucket(cause))) => {
                if cause.is_transient() {
                    Reason::BucketUnavailable
                } else {
                    Reason::BucketRefused
                }
            }
            Backup::Take(take::Error::File { .. }) => Reason::Internal,
            Backup::Take(take::Error::Repository(_) | take::Error::Vanished { .. }) => {
                Reason::BucketRefused
            }
            Backup::Stopping => Reason::Stopping,
        };
        Failure::new(reason, explained(&error))
    }
}

impl From<ViewFileError> for Failure {
    fn from(error: ViewFileError) -> Failure {
        Failure::new(Reason::BadViewFile, error.to_string())
    }
}

/// Stored bytes that do not decode.
impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Failure {
        Failure::new(Reason::Damaged, format!("stored data is damaged: {error}"))
    }
}

impl From<node::Error> for Failure {
    fn from(error: node::Error) -> Failure {
        let mut failure = Failure::new(reason_of(&error), error.to_string());
        if let node::Error::NotPrimary { primary } = error {
            failure.primary = primary.map(|primary| primary.address);
        }
        failure
    }
}

fn reason_of(error: &node::Error) -> Reason {
    match error {
        node::Error::Refused(Refusal::TooFarAhead { .. }) => Reason::EventTimeTooFarAhead,
        node::Error::Refused(Refusal::TooLate { .. }) => Reason::TooLate,
        node::Error::Catalogue(error) => reason_of_catalogue(error),
        node::Error::ViewDropped { .. } => Reason::UnknownView,
        node::Error::ViewFile(_) => Reason::BadViewFile,
        node::Error::RequestIdReused { .. } => Reason::RequestIdReused,
        node::Error::Unknown { .. } => Reason::OutcomeUnknown,
        node::Error::BatchTooLarge { .. } | node::Error::AnswerTooLarge { .. } => Reason::TooLarge,
        node::Error::LowDisk { .. } => Reason::LowDisk,
        node::Error::NotWritable { .. } => Reason::NotWritable,
        node::Error::Overloaded { .. } | node::Error::BeingSwept { .. } => Reason::Overloaded,
        node::Error::Read(error) => reason_of_engine(error),
        node::Error::NotPrimary { .. } | node::Error::HandingOver => Reason::NotPrimary,
        node::Error::TooFewMembers { .. }
        | node::Error::RowsNotAgreed { .. }
        | node::Error::NotAgreed { .. } => Reason::NoQuorum,
        node::Error::MayBeAgreed { .. } => Reason::OutcomeUnknown,
        node::Error::TooStale { .. } => Reason::TooStale,
        node::Error::BadSession(_) => Reason::InvalidArgument,
        node::Error::SessionBehind => Reason::SessionBehind,
        node::Error::Unrecovered | node::Error::PerhapsUnrecovered | node::Error::OtherHistory => {
            Reason::Unrecovered
        }
        node::Error::NoSuchMember { .. } => Reason::NoSuchMember,
        node::Error::SetRefused(_) | node::Error::Unfit(_) | node::Error::NobodyAbsent => {
            Reason::SetRefused
        }
        node::Error::Starting { .. }
        | node::Error::NoSessions
        | node::Error::NoViewReadLevels
        | node::Error::NoArchives => Reason::Starting,
        node::Error::Stopping => Reason::Stopping,
        node::Error::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
    }
}

fn reason_of_engine(error: &engine::Error) -> Reason {
    match error {
        engine::Error::Store(_)
        | engine::Error::BadRecord { .. }
        | engine::Error::BadRow { .. }
        | engine::Error::Fork { .. }
        | engine::Error::Malformed { .. } => Reason::Damaged,
        engine::Error::Poisoned(_) => Reason::NotWritable,
        engine::Error::Stopped => Reason::Stopping,
        engine::Error::Wal(_)
        | engine::Error::Directory { .. }
        | engine::Error::TailReleased
        | engine::Error::BadCells(_)
        | engine::Error::Panicked => Reason::Internal,
    }
}

fn reason_of_catalogue(error: &CatalogueError) -> Reason {
    match error {
        CatalogueError::ViewExists { .. } => Reason::ViewExists,
        CatalogueError::UnknownView { .. } => Reason::UnknownView,
        CatalogueError::FeatureExists { .. } => Reason::FeatureExists,
        CatalogueError::TooManyFeatures { .. } => Reason::TooLarge,
        CatalogueError::IdCollision { .. } => Reason::IdCollision,
        CatalogueError::UnknownFeature { .. } => Reason::UnknownFeature,
        CatalogueError::FeatureDropped { .. } => Reason::FeatureExists,
        CatalogueError::BadDefault { .. } => Reason::WrongType,
        CatalogueError::NoFeatureLeft { .. }
        | CatalogueError::MaxAgeAboveTtl { .. }
        | CatalogueError::LatenessShrinks { .. }
        | CatalogueError::NothingAltered { .. } => Reason::InvalidArgument,
    }
}

/// What the gRPC library says of calls that never reach a handler, and what we say.
const MADE_BY_LIBRARY: [(Code, Reason); 3] = [
    (Code::Internal, Reason::InvalidArgument),
    (Code::OutOfRange, Reason::TooLarge),
    (Code::Unimplemented, Reason::Unimplemented),
];

/// Gives a status that the gRPC library made for a broken or unknown call the details that ours have: a message that is
/// no protocol buffer or not UTF-8 where it must be, one that ends early, one that is too large, a method that is not.
#[must_use]
pub fn explain(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let made = MADE_BY_LIBRARY
        .iter()
        .find(|(code, _)| *code == status.code());
    let Some((_, reason)) = made else {
        return status;
    };
    let message = if *reason == Reason::Unimplemented {
        "there is no such method".to_owned()
    } else {
        format!("the message cannot be read: {}", status.message())
    };
    Failure::new(*reason, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::budget::Full;
    use crate::base::{Micros, NodeNumber};

    fn details(status: &Status) -> ErrorDetails {
        status.check_error_details().unwrap()
    }

    #[test]
    fn a_status_names_reason_domain_retry_class_and_field() {
        let message = "feature \"x\" is int64, found int32";
        let failure = Failure::new(Reason::WrongType, message);
        let failure = failure.in_field("writes[0].rows[3].values[2]");
        let status = Status::from(failure);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = details(&status);
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("WRONG_TYPE", "steadfast")
        );
        assert_eq!(
            info.metadata.get("retry").map(String::as_str),
            Some("never")
        );
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "writes[0].rows[3].values[2]");
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn a_passing_refusal_says_when_to_come_back() {
        let overloaded = node::Error::Overloaded(Full { used: 2, max: 1 });
        let status = Status::from(Failure::of_put(overloaded));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(details(&status).retry_info().is_some());
        assert!(details(&status).bad_request().is_none());
    }

    #[test]
    fn who_is_not_primary_says_where_the_primary_is() {
        let primary = node::Primary {
            number: NodeNumber(2),
            address: "node2:7400".to_owned(),
        };
        let said = |primary| {
            let failure = Failure::of_put(node::Error::NotPrimary { primary });
            let status = Status::from(failure);
            let info = details(&status).error_info().unwrap().clone();
            let primary = info.metadata.get("primary").cloned();
            (status.message().to_owned(), primary)
        };
        let (message, address) = said(Some(primary));
        assert!(
            message.ends_with(": member 2 at node2:7400 is"),
            "{message}"
        );
        assert_eq!(address.as_deref(), Some("node2:7400"));
        assert_eq!(said(None).1, None);
    }

    #[test]
    fn a_refused_event_time_is_named_by_its_place_in_the_request() {
        let refusal = |group, row| {
            node::Error::Refused(Refusal::TooFarAhead {
                group,
                row,
                event_time: Micros(2),
                at: Micros(1),
                bound: Duration::ZERO,
            })
        };
        let failure = Failure::of_put(refusal(1, 7));
        assert_eq!(failure.reason, Reason::EventTimeTooFarAhead);
        assert_eq!(
            failure.field.as_deref(),
            Some("writes[1].rows[7].event_time_us")
        );
        let failure = Failure::of_delete(refusal(0, 2));
        assert_eq!(
            failure.field.as_deref(),
            Some("deletes[0].keys[2].event_time_us")
        );
    }

    #[test]
    fn what_the_library_refuses_gets_a_reason_too() {
        for (code, reason) in [
            (Code::Internal, "INVALID_ARGUMENT"),
            (Code::OutOfRange, "TOO_LARGE"),
            (Code::Unimplemented, "UNIMPLEMENTED"),
        ] {
            let status = explain(Status::new(code, "x"));
            assert_eq!(details(&status).error_info().unwrap().reason, reason);
        }
        let ours = Status::from(Failure::new(Reason::Internal, "a bug"));
        assert_eq!(explain(ours).code(), Code::Internal);
    }
}
