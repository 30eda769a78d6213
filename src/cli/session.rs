//! Sessions over several commands: their token is kept in a file between them.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::error::CliError;
use crate::base::disk::{Disk as _, RealDisk};

/// Which session a command is of.
#[derive(Debug, Clone, clap::Args)]
pub struct SessionArgs {
    /// Be one session with all commands that name this file, which holds its token between them: what one wrote or read is
    /// there for the next, whichever member answers.
    #[arg(long = "session", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl SessionArgs {
    /// The token to send: none without a session, an empty one for a session that begins.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn token(&self) -> Result<Option<String>, CliError> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        match std::fs::read_to_string(path) {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(String::new())),
            Err(error) => Err(CliError::file("read", path, &error)),
        }
    }

    /// Keeps the token of an answer.
    ///
    /// # Errors
    /// If the file cannot be written; what was asked for is done.
    pub fn keep(&self, token: &str) -> Result<(), CliError> {
        let Some(path) = self.file.as_ref().filter(|_| !token.is_empty()) else {
            return Ok(());
        };
        // The file is whole at any time: a part of a token would be refused, and none begin another session.
        let new = path.with_extension("new");
        let written = std::fs::write(&new, format!("{token}\n"));
        let kept = written.and_then(|()| RealDisk.rename(&new, path));
        kept.map_err(|error| CliError::file("write", path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_with_the_empty_token_and_goes_on_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(dir.path().join("session"));
        let session = SessionArgs { file };
        assert_eq!(session.token().unwrap().as_deref(), Some(""));
        for token in ["abc", "def"] {
            session.keep(token).unwrap();
            assert_eq!(session.token().unwrap().as_deref(), Some(token));
        }
        session.keep("").unwrap();
        assert_eq!(session.token().unwrap().as_deref(), Some("def"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let none = SessionArgs { file: None };
        assert_eq!(none.token().unwrap(), None);
        none.keep("abc").unwrap();
        let file = Some(dir.path().join("no/such/directory"));
        SessionArgs { file }.keep("abc").unwrap_err();
    }
}
