//! Pure: what can be wrong with a message, and where.

use super::reason::Reason;
use crate::base::codec::DecodeError;
use crate::base::ids::ParseIdError;
use crate::model::limits;

/// A message that is refused, with the path of the field that is wrong, such as `writes[0].rows[3].values[2]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field within the request.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No view in force has this name.
    #[error("there is no view {name:?}")]
    UnknownView {
        /// The name.
        name: String,
    },
    /// The view has no feature of this name.
    #[error("view {view:?} has no feature {name:?}")]
    UnknownFeature {
        /// The view's name.
        view: String,
        /// The feature's name.
        name: String,
    },
    /// A column belongs to no selected view.
    #[error("no selected view has a join key {name:?}")]
    UnknownJoinKey {
        /// The column's name.
        name: String,
    },
    /// No view has entities with such a key.
    #[error("no view has the join keys {names} and no others")]
    NoSuchEntity {
        /// The join keys named.
        names: String,
    },
    /// A view cannot be looked up without this column.
    #[error("view {view:?} needs join key {name:?}")]
    MissingJoinKey {
        /// The view's name.
        view: String,
        /// The join key's name.
        name: String,
    },
    /// A value is of another type than defined.
    #[error("{what} {name:?} is {expected}, found {found}")]
    WrongType {
        /// Feature or join key.
        what: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A floating point number stands for a join key.
    #[error(
        "join key {name:?} is {expected}, found {found}: floating point numbers are no keys, since NaN equals nothing and zero has two signs"
    )]
    FloatKey {
        /// The join key's name.
        name: String,
        /// Its type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A list that does not say of what.
    #[error("the list has no kind, so its type is unknown")]
    UntypedList,
    /// A column without values.
    #[error("the column has no values, so its type is unknown")]
    UntypedColumn,
    /// There are more or fewer of something than something else asks for.
    #[error("{found} {what}, expected {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are to be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A name stands twice in one list.
    #[error("{what} {name:?} is named twice")]
    Duplicate {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing is asked for.
    #[error("no {what} given")]
    Nothing {
        /// Of what there is nothing.
        what: &'static str,
    },
    /// Something has too many bytes.
    #[error("{what} of {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is too much of something.
    #[error("{count} {what} exceed the limit of {max}")]
    TooMany {
        /// What there is.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A text that is the URL of no bucket.
    #[error("{why}")]
    BadUrl {
        /// What is wrong.
        why: String,
    },
    /// A number that is too small or too large.
    #[error("{value} is out of range: from {least} to {most}")]
    OutOfRange {
        /// The number.
        value: u64,
        /// The least that is possible.
        least: u64,
        /// The greatest.
        most: u64,
    },
    /// A number that names nothing.
    #[error("{code} is no {what}")]
    UnknownCode {
        /// What it should name.
        what: &'static str,
        /// The number.
        code: i32,
    },
    /// A bound is given that the level does not have.
    #[error("only READ_LEVEL_BOUNDED has a bound of staleness")]
    UnusedBound,
    /// An override takes its event time from the rows it overrides.
    #[error("an override takes its event time from the stored row, so none can be given")]
    TimedOverride,
    /// Bytes that are no resume token.
    #[error("this is no resume token: {0}")]
    NoToken(DecodeError),
    /// Bytes that are not what their format says.
    #[error("cannot be read: {0}")]
    Unreadable(DecodeError),
    /// A text that is not the identity it should be.
    #[error(transparent)]
    NoId(ParseIdError),
    /// A text that is no name of what it should name.
    #[error("{name:?} is no {what}")]
    NoName {
        /// What it should name.
        what: &'static str,
        /// The text.
        name: String,
    },
    /// A stream between members that begins with something else than a hello, or holds another one.
    #[error("the first message of a stream is a hello, and no other is")]
    HelloNotFirst,
    /// A token made by a scan of another view, or of a view that was dropped since.
    #[error("the resume token belongs to the view with id {found}, but {view:?} has id {expected}")]
    TokenOfOtherView {
        /// The view's name.
        view: String,
        /// The view's id.
        expected: String,
        /// The id in the token.
        found: String,
    },
    /// A token made by a scan of another prefix.
    #[error("the resume token lies outside the prefix")]
    TokenOfOtherPrefix,
    /// A key that was not asked for.
    #[error("the key is not among those asked for")]
    OtherKey,
    /// Keys that are to ascend.
    #[error("the keys do not ascend")]
    Unordered,
}

impl Problem {
    /// The problem with its place.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Invalid {
        Invalid {
            field: field.into(),
            problem: self,
        }
    }

    /// The reason clients see.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Problem::UnknownView { .. } => Reason::UnknownView,
            Problem::UnknownFeature { .. } => Reason::UnknownFeature,
            Problem::WrongType { .. } | Problem::FloatKey { .. } => Reason::WrongType,
            Problem::TooLarge { .. } | Problem::TooMany { .. } => Reason::TooLarge,
            Problem::UnknownJoinKey { .. }
            | Problem::MissingJoinKey { .. }
            | Problem::UntypedList
            | Problem::UntypedColumn
            | Problem::Count { .. }
            | Problem::Duplicate { .. }
            | Problem::Nothing { .. }
            | Problem::OutOfRange { .. }
            | Problem::UnknownCode { .. }
            | Problem::UnusedBound
            | Problem::NoSuchEntity { .. }
            | Problem::TimedOverride
            | Problem::NoToken(_)
            | Problem::Unreadable(_)
            | Problem::NoId(_)
            | Problem::NoName { .. }
            | Problem::HelloNotFirst
            | Problem::TokenOfOtherView { .. }
            | Problem::TokenOfOtherPrefix
            | Problem::OtherKey
            | Problem::BadUrl { .. }
            | Problem::Unordered => Reason::InvalidArgument,
        }
    }
}

/// A name as an error repeats it: not longer than names may be.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(limits::NAME_BYTES).collect()
}

/// Refuses more bytes than `max`.
pub(super) fn check_bytes(what: &'static str, bytes: usize, max: usize) -> Result<(), Problem> {
    if bytes > max {
        return Err(Problem::TooLarge { what, bytes, max });
    }
    Ok(())
}

/// Refuses a larger count than `max`.
pub(super) fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), Problem> {
    if count > max {
        return Err(Problem::TooMany { what, count, max });
    }
    Ok(())
}
