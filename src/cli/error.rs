//! Why a command failed, and the exit code for it.

use std::fmt;
use std::process::ExitCode;

use crate::client;
use crate::proto::Reason;

/// The exit code of a failed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Any other failure.
    Failed,
    /// Wrong usage or input.
    Wrong,
    /// No node is available; nothing was done.
    Unavailable,
    /// A write may or may not have been done.
    UnknownOutcome,
    /// The set refuses a change of itself, as it is now; nothing was done.
    Refused,
    /// Nobody reads the output any more, as behind `| head`: no failure, and nothing to say.
    ReaderGone,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Failed => 1,
            Exit::Wrong => 2,
            Exit::Unavailable => 3,
            Exit::UnknownOutcome => 4,
            Exit::Refused => 5,
            Exit::ReaderGone => 0,
        })
    }
}

/// A failed command. Prints as one line that begins with the reason's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CliError {
    reason: String,
    message: String,
    exit: Exit,
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.message.split_whitespace().collect();
        write!(f, "{}: {}", self.reason, words.join(" "))
    }
}

impl CliError {
    /// Wrong usage of the command line.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::wrong("USAGE", message)
    }

    /// Wrong input, as a server would name it.
    #[must_use]
    pub fn wrong(reason: &str, message: impl Into<String>) -> CliError {
        CliError {
            reason: reason.to_owned(),
            message: message.into(),
            exit: Exit::Wrong,
        }
    }

    /// Any other failure.
    #[must_use]
    pub fn failed(reason: &str, message: impl Into<String>) -> CliError {
        CliError {
            reason: reason.to_owned(),
            message: message.into(),
            exit: Exit::Failed,
        }
    }

    /// The set refuses a change of itself.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> CliError {
        CliError {
            reason: Reason::SetRefused.name().to_owned(),
            message: message.into(),
            exit: Exit::Refused,
        }
    }

    /// Nobody reads the output any more.
    #[must_use]
    pub fn reader_gone() -> CliError {
        CliError {
            reason: "OUTPUT".to_owned(),
            message: "nobody reads the output any more".to_owned(),
            exit: Exit::ReaderGone,
        }
    }

    /// A file that cannot be read or written.
    #[must_use]
    pub fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> CliError {
        CliError::wrong("FILE", format!("cannot {what} {}: {error}", path.display()))
    }

    /// The same failure, with more to say.
    #[must_use]
    pub fn with(mut self, more: &str) -> CliError {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<client::Error> for CliError {
    fn from(error: client::Error) -> CliError {
        let exit = match error.kind {
            client::Kind::InvalidInput => Exit::Wrong,
            client::Kind::Unavailable => Exit::Unavailable,
            client::Kind::UnknownOutcome => Exit::UnknownOutcome,
            client::Kind::Refused => Exit::Refused,
            client::Kind::Other => Exit::Failed,
        };
        CliError {
            reason: error.reason,
            message: with_fields(error.message, &error.fields),
            exit,
        }
    }
}

/// The message, and of the fields what it does not say already.
fn with_fields(mut message: String, fields: &[(String, String)]) -> String {
    for (path, description) in fields {
        if message.contains(path.as_str()) {
            continue;
        }
        if description.is_empty() || message.contains(description.as_str()) {
            message.push_str(&format!(" (at {path})"));
        } else {
            message.push_str(&format!(" (at {path}: {description})"));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str, field: &str) -> CliError {
        client::Error::refused("WRONG_TYPE", 3, message, field).into()
    }

    #[test]
    fn an_error_is_one_line_that_begins_with_its_reason() {
        let error = CliError::wrong("BAD_VIEW_FILE", "line 1\n  |\n1 | nme\nunknown field");
        assert_eq!(
            error.to_string(),
            "BAD_VIEW_FILE: line 1 | 1 | nme unknown field"
        );
    }

    #[test]
    fn the_field_is_named_once() {
        assert_eq!(
            refused("int32 expected", "writes[0].rows[3]").to_string(),
            "WRONG_TYPE: int32 expected (at writes[0].rows[3])"
        );
        let named = refused("rows[3]: int32 expected", "rows[3]").to_string();
        assert_eq!(named, "WRONG_TYPE: rows[3]: int32 expected");
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        assert_eq!(refused("x", "").exit(), Exit::Wrong);
        let exit =
            |reason, code| CliError::from(client::Error::refused(reason, code, "x", "")).exit();
        assert_eq!(exit("STARTING", 14), Exit::Unavailable);
        assert_eq!(exit("OUTCOME_UNKNOWN", 4), Exit::UnknownOutcome);
        assert_eq!(exit("SET_REFUSED", 9), Exit::Refused);
        assert_eq!(exit("INTERNAL", 13), Exit::Failed);
    }
}
