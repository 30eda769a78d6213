//! Why a call failed, decoded from a gRPC status and its details.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::target::BadTarget;
use crate::proto::{PRIMARY, Reason};

/// What a caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong; the same one fails again.
    InvalidInput,
    /// No node could be asked, or it cannot answer now; nothing was done.
    Unavailable,
    /// The write may have been done, or may still be.
    UnknownOutcome,
    /// It makes no sense as the set is now; nothing was done.
    Refused,
    /// Everything else; nothing was done.
    Other,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Error {
    /// The machine-readable reason, such as `UNKNOWN_VIEW`.
    pub reason: String,
    /// What can be done about it.
    pub kind: Kind,
    /// What happened, for people.
    pub message: String,
    /// Which fields of the request are wrong, as (path, description).
    pub fields: Vec<(String, String)>,
    /// Where the primary is, if the node that was asked is not and knows.
    pub primary: Option<String>,
}

/// Does a call change anything?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No: a call without an answer did no harm.
    Reads,
    /// Yes: a call without an answer may have been carried out.
    Writes,
    /// Yes, under a name by which a repetition is recognised.
    WritesNamed,
}

const UNAVAILABLE: &str = "UNAVAILABLE";

impl Error {
    /// No node could be reached.
    #[must_use]
    pub fn unavailable(message: String) -> Error {
        Error {
            reason: UNAVAILABLE.to_owned(),
            kind: Kind::Unavailable,
            message,
            fields: Vec::new(),
            primary: None,
        }
    }

    /// There is nothing to connect to.
    pub(super) fn bad_target(bad: &BadTarget) -> Error {
        Error {
            reason: "BAD_TARGET".to_owned(),
            kind: Kind::InvalidInput,
            message: bad.to_string(),
            fields: Vec::new(),
            primary: None,
        }
    }

    /// A write that was cut off before its answer.
    #[must_use]
    pub fn unknown_outcome(message: impl Into<String>) -> Error {
        Error {
            reason: Reason::OutcomeUnknown.name().to_owned(),
            kind: Kind::UnknownOutcome,
            message: message.into(),
            fields: Vec::new(),
            primary: None,
        }
    }

    /// The same error, of a write with this request id: whoever repeats the write must know it.
    pub(super) fn of_write(mut self, request_id: &str) -> Error {
        if self.kind == Kind::UnknownOutcome && !request_id.is_empty() {
            self.message
                .push_str(&format!("; its request id is {request_id}"));
        }
        self
    }

    /// A node's answer that makes no sense.
    #[must_use]
    pub fn bad_answer(message: impl ToString) -> Error {
        Error {
            reason: "BAD_ANSWER".to_owned(),
            kind: Kind::Other,
            message: message.to_string(),
            fields: Vec::new(),
            primary: None,
        }
    }

    /// An error that a node gave as a reason, a gRPC status code, a message and a field of the request.
    #[must_use]
    pub fn refused(reason: &str, code: i32, message: &str, field: &str) -> Error {
        let described = (!field.is_empty()).then(|| (field.to_owned(), message.to_owned()));
        Error {
            reason: reason.to_owned(),
            kind: kind(reason, Code::from_i32(code)),
            message: message.to_owned(),
            fields: described.into_iter().collect(),
            primary: None,
        }
    }

    /// What a call comes to that failed so, was tried again, and failed with `last`: that another node is not there explains less
    /// than what a node says.
    pub(super) fn or_rather(self, last: Error) -> Error {
        if self.is_of_node() && !last.is_of_node() {
            let message = format!("{}; asked elsewhere: {last}", self.message);
            Error { message, ..self }
        } else {
            last
        }
    }

    /// Did a node answer, and say why not?
    pub(super) fn is_of_node(&self) -> bool {
        Reason::from_name(&self.reason).is_some()
    }

    /// What a status says of a call with this effect.
    #[must_use]
    pub fn from_status(status: &Status, effect: Effect) -> Error {
        match status.get_details_error_info() {
            Some(info) => Error {
                kind: kind(&info.reason, status.code()),
                reason: info.reason,
                message: status.message().to_owned(),
                fields: fields(status),
                primary: info.metadata.get(PRIMARY).cloned(),
            },
            None => Error::from_bare_status(status, effect),
        }
    }

    /// A status that carries no reason of ours: made by the transport, or by a server's own machinery.
    fn from_bare_status(status: &Status, effect: Effect) -> Error {
        let never_sent = has_cause::<tonic::ConnectError>(status);
        let cut_off = matches!(
            status.code(),
            Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Internal
        );
        let (reason, kind) = match effect {
            _ if never_sent => (UNAVAILABLE.to_owned(), Kind::Unavailable),
            Effect::Writes | Effect::WritesNamed if cut_off => (
                Reason::OutcomeUnknown.name().to_owned(),
                Kind::UnknownOutcome,
            ),
            Effect::Reads if cut_off => (UNAVAILABLE.to_owned(), Kind::Unavailable),
            Effect::Reads | Effect::Writes | Effect::WritesNamed => {
                let reason = upper_snake(status.code());
                let kind = kind(&reason, status.code());
                (reason, kind)
            }
        };
        Error {
            reason,
            kind,
            message: root_cause(status),
            fields: fields(status),
            primary: None,
        }
    }
}

fn kind(reason: &str, code: Code) -> Kind {
    if reason == Reason::OutcomeUnknown.name() {
        return Kind::UnknownOutcome;
    }
    if reason == Reason::SetRefused.name() {
        return Kind::Refused;
    }
    match code {
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::OutOfRange => {
            Kind::InvalidInput
        }
        Code::Unavailable | Code::DeadlineExceeded => Kind::Unavailable,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Kind::Other,
    }
}

fn fields(status: &Status) -> Vec<(String, String)> {
    let violations = status
        .get_details_bad_request()
        .map(|request| request.field_violations)
        .unwrap_or_default();
    violations
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn upper_snake(code: Code) -> String {
    let mut out = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn causes<'a>(status: &'a Status) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |cause| cause.source())
}

fn has_cause<E: std::error::Error + 'static>(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<E>())
}

/// The innermost cause: `connection refused` says more than `transport error`.
fn root_cause(status: &Status) -> String {
    match causes(status).last() {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn detailed(code: Code, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(reason, "steadfast", std::collections::HashMap::new())
            .add_bad_request_violation("writes[0].view", "no such view");
        Status::with_error_details(code, "there is no view \"x\"", details)
    }

    #[test]
    fn reason_and_fields_come_from_the_details() {
        let error = Error::from_status(&detailed(Code::NotFound, "UNKNOWN_VIEW"), Effect::Writes);
        assert_eq!(error.to_string(), "UNKNOWN_VIEW: there is no view \"x\"");
        assert_eq!(error.kind, Kind::InvalidInput);
        assert_eq!(
            error.fields,
            [("writes[0].view".to_owned(), "no such view".to_owned())]
        );
        let unknown = detailed(Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
        assert_eq!(
            Error::from_status(&unknown, Effect::Writes).kind,
            Kind::UnknownOutcome
        );
    }

    #[test]
    fn a_write_cut_off_is_unknown_and_a_lookup_cut_off_is_unavailable() {
        let cut = Status::unavailable("connection reset");
        let error = |effect| Error::from_status(&cut, effect);
        assert_eq!(error(Effect::Writes).kind, Kind::UnknownOutcome);
        assert_eq!(error(Effect::Writes).reason, "OUTCOME_UNKNOWN");
        assert_eq!(error(Effect::Reads).kind, Kind::Unavailable);
    }

    #[test]
    fn a_status_without_reason_is_named_by_its_code() {
        let error = Error::from_status(&Status::out_of_range("message too large"), Effect::Writes);
        assert_eq!(
            (error.reason.as_str(), error.kind),
            ("OUT_OF_RANGE", Kind::InvalidInput)
        );
    }
}
