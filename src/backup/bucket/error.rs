//! What can go wrong with a bucket, told so that a caller knows what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use object_store::client::{HttpError, HttpErrorKind};

use super::answer::Answer;
use super::http::NoCredentials;

/// Something that was attempted on a bucket and did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {attempted} {on}: {trouble}{}", self.tries())]
pub struct Error {
    /// Such as `read`.
    attempted: &'static str,
    /// The object or the listing, with the bucket it is in.
    on: String,
    trouble: Trouble,
    /// How often it was attempted.
    attempts: u32,
}

/// What a caller can make of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such object.
    Missing,
    /// There is an object of that name. Operations that create tell it as an outcome, not as an error.
    AlreadyThere,
    /// Somebody else changes the same object at this moment. Worth trying again.
    Conflict,
    /// The credentials are missing, wrong, or do not permit it.
    Denied,
    /// The store asks for fewer requests. Worth trying again later.
    Throttled,
    /// The store does not answer, or only that it cannot now. Worth trying again.
    Unavailable,
    /// The connection broke, or the answer came too slowly. Worth trying again.
    Interrupted,
    /// There is no room left.
    Full,
    /// The file system is mounted so that nothing can be written.
    ReadOnly,
    /// URL, region, certificate or this machine's clock are wrong, or there is no such bucket.
    Misconfigured,
    /// The object is not the one whose reading was begun.
    Changed,
    /// The object is larger than the caller takes.
    TooLarge,
    /// The answer makes no sense, so the store is not what it claims to be.
    BadAnswer,
    /// The store cannot do that.
    Unsupported,
    /// What was to be put could not be read, or is not as long as was said.
    BadSource,
    /// Anything else that a file system says.
    Failed,
}

impl Kind {
    /// Can the same attempt succeed later, without anybody doing anything?
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Kind::Conflict | Kind::Throttled | Kind::Unavailable | Kind::Interrupted
        )
    }
}

impl Error {
    pub(super) fn new(
        attempted: &'static str,
        on: String,
        trouble: Trouble,
        attempts: u32,
    ) -> Error {
        Error {
            attempted,
            on,
            trouble,
            attempts,
        }
    }

    /// What a caller can make of it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.trouble.kind
    }

    /// Can the same attempt succeed later, without anybody doing anything? It has been repeated for a while already.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind().is_transient()
    }

    fn tries(&self) -> String {
        match self.attempts {
            0 | 1 => String::new(),
            attempts => format!(", {attempts} times"),
        }
    }
}

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub kind: Kind,
    /// The cause, for people.
    pub said: String,
}

impl Trouble {
    pub fn new(kind: Kind, said: impl Into<String>) -> Trouble {
        Trouble {
            kind,
            said: said.into(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// An error of the library is told by its causes: what the server answered, else what became of the connection, else what
/// the file system says.
impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Trouble {
        let causes = || chain(&error);
        if let Some(none) = causes().find_map(|cause| cause.downcast_ref::<NoCredentials>()) {
            return Trouble::new(none.kind(), none.to_string());
        }
        if let Some(answer) = causes().find_map(|cause| cause.downcast_ref::<Answer>()) {
            return Trouble::new(answer.kind(), answer.to_string());
        }
        if let Some(broken) = causes().find_map(|cause| cause.downcast_ref::<HttpError>()) {
            return of_connection(broken);
        }
        if let Some(said) = causes().find_map(|cause| cause.downcast_ref::<io::Error>()) {
            return Trouble::from(said);
        }
        let said = causes()
            .last()
            .map_or_else(|| error.to_string(), ToString::to_string);
        Trouble::new(by_variant(&error), said)
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Trouble {
        Trouble::new(of_file_system(error.kind()), error.to_string())
    }
}

/// An error, and what caused it, the innermost last.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn of_connection(error: &HttpError) -> Trouble {
    let causes: Vec<String> = chain(error).map(ToString::to_string).collect();
    let said = causes
        .last()
        .map_or_else(|| error.to_string(), Clone::clone);
    // The library for TLS says of every certificate it does not take that it is invalid.
    if causes.iter().any(|cause| cause.contains("certificate")) {
        return Trouble::new(Kind::Misconfigured, said);
    }
    let is_silent = matches!(
        error.kind(),
        HttpErrorKind::Connect | HttpErrorKind::Timeout
    );
    let kind = if is_silent {
        Kind::Unavailable
    } else {
        Kind::Interrupted
    };
    Trouble::new(kind, said)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many kinds there are, only these call for something else to be done"
)]
fn of_file_system(kind: io::ErrorKind) -> Kind {
    use io::ErrorKind as Io;
    match kind {
        Io::NotFound => Kind::Missing,
        Io::AlreadyExists => Kind::AlreadyThere,
        Io::PermissionDenied => Kind::Denied,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Kind::Full,
        Io::ReadOnlyFilesystem => Kind::ReadOnly,
        Io::NotADirectory | Io::IsADirectory | Io::InvalidFilename => Kind::Misconfigured,
        Io::TimedOut | Io::StaleNetworkFileHandle | Io::ResourceBusy => Kind::Unavailable,
        Io::Interrupted => Kind::Interrupted,
        Io::Unsupported | Io::CrossesDevices => Kind::Unsupported,
        _ => Kind::Failed,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add variants, and what it does not explain makes no sense to us"
)]
fn by_variant(error: &object_store::Error) -> Kind {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => Kind::Missing,
        Store::AlreadyExists { .. } => Kind::AlreadyThere,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Kind::Denied,
        Store::NotSupported { .. } | Store::NotImplemented { .. } => Kind::Unsupported,
        _ => Kind::BadAnswer,
    }
}

/// What an attempt concerns, for messages.
#[derive(Debug, Clone)]
pub(super) struct Shown(pub Arc<str>);

impl Shown {
    /// An object in the bucket.
    pub fn object(&self, name: &str) -> String {
        format!("{name:?} in {}", self.0)
    }

    /// The bucket itself.
    pub fn bucket(&self) -> String {
        self.0.to_string()
    }
}
