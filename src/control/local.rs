//! The control state of a lone node: it applies its own commands, each durable before it is answered.
//!
//! The file holds the state after the last command, replaced as a whole, which is a log that is compacted after each
//! entry: commands are few and small, and there is no tail to tear.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::command::{Command, Effect};
use super::rejection::Rejection;
use super::state::ControlState;
use crate::base::disk::Disk;
use crate::base::sealed::{self, Kind};

const KIND: Kind = Kind {
    name: "control",
    version: 4,
};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state machine refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The state could not be read or made durable.
    #[error(transparent)]
    File(#[from] sealed::Error),
    /// The file holds something else than a state.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An earlier command may or may not be durable, so none is taken any more.
    #[error("the control state could not be made durable earlier: {cause}")]
    Stopped {
        /// What happened then.
        cause: String,
    },
}

/// A lone node's control state.
#[derive(Debug)]
pub struct LocalControl {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: ControlState,
    stopped: Option<String>,
}

impl LocalControl {
    /// Reads the state; `None` if there is none yet.
    ///
    /// # Errors
    /// If the file is damaged, newer or something else.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Option<LocalControl>, Error> {
        let Some(body) = KIND.read(disk.as_ref(), path)? else {
            return Ok(None);
        };
        let state = serde_json::from_str(&body).map_err(|error| Error::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Some(LocalControl {
            disk,
            path: path.to_owned(),
            state,
            stopped: None,
        }))
    }

    /// Writes the first state.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        state: ControlState,
    ) -> Result<LocalControl, Error> {
        let mut control = LocalControl {
            disk,
            path: path.to_owned(),
            state,
            stopped: None,
        };
        control.persist()?;
        Ok(control)
    }

    /// The state after the last command.
    #[must_use]
    pub fn state(&self) -> &ControlState {
        &self.state
    }

    /// Applies a command and makes the result durable.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the state machine refuses; anything else ends this control.
    pub fn propose(&mut self, command: Command) -> Result<Effect, Error> {
        if let Some(cause) = &self.stopped {
            return Err(Error::Stopped {
                cause: cause.clone(),
            });
        }
        let effect = self.state.apply(command)?;
        self.persist()?;
        Ok(effect)
    }

    fn persist(&mut self) -> Result<(), Error> {
        let body = serde_json::to_string_pretty(&self.state).map_err(|error| Error::Damaged {
            path: self.path.clone(),
            problem: error.to_string(),
        })?;
        KIND.write(self.disk.as_ref(), &self.path, &body)
            .map_err(|error| {
                self.stopped = Some(error.to_string());
                Error::File(error)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::disk::RealDisk;
    use crate::base::{
        BootNumber, BootToken, Epoch, Hlc, IncarnationId, LineageId, LogId, RegionId, Seq,
        VersionVector,
    };
    use crate::control::{Addresses, BootClaim, Cause, LEVEL, SettingsChange};

    #[test]
    fn what_was_answered_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("CONTROL");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        assert!(
            LocalControl::open(Arc::clone(&disk), &path)
                .unwrap()
                .is_none()
        );
        let me = IncarnationId(u128::MAX - 1);
        let state = ControlState::new(LineageId(u128::MAX), RegionId(u64::MAX), me);
        let mut control = LocalControl::create(Arc::clone(&disk), &path, state).unwrap();

        let claim = BootClaim {
            incarnation: me,
            known: BTreeSet::new(),
            token: BootToken(u64::MAX),
            held: VersionVector::new(),
            addresses: Addresses::default(),
            level: LEVEL,
        };
        control.propose(Command::Boot(claim)).unwrap();
        let begin = |open, attempt| Command::Begin {
            candidate: me,
            boot: BootNumber(1),
            members: BTreeSet::from([me]),
            expected_open: open,
            expected_attempt: attempt,
            cause: Cause::Unrecorded,
        };
        for _ in 0..2 {
            let Effect::Begun(attempt) = control
                .propose(begin(
                    control.state().open_epoch(),
                    control.state().attempt_epoch(),
                ))
                .unwrap()
            else {
                panic!("begin begins an attempt");
            };
            control
                .propose(Command::Open {
                    epoch: attempt.epoch,
                })
                .unwrap();
            let mut held = VersionVector::new();
            held.advance(
                LogId {
                    region: RegionId(u64::MAX),
                    epoch: attempt.epoch,
                },
                Seq(3),
            );
            let acked = vec![(me, held)];
            control
                .propose(Command::Extend {
                    epoch: attempt.epoch,
                    number: 1,
                    ceiling: Hlc(u64::MAX / 2),
                    acked,
                })
                .unwrap();
        }
        let first = *control.state().logs.keys().next().unwrap();
        let by = control.state().attempt_epoch();
        control
            .propose(Command::Close {
                by,
                epoch: first,
                last: Seq(3),
                digest: u128::MAX,
            })
            .unwrap();

        let again = LocalControl::open(disk, &path).unwrap().unwrap();
        assert_eq!(again.state(), control.state());
    }

    #[test]
    fn a_rejected_command_changes_nothing_that_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("CONTROL");
        let state = ControlState::new(LineageId(1), RegionId(2), IncarnationId(3));
        let mut control = LocalControl::create(Arc::new(RealDisk), &path, state.clone()).unwrap();
        let refused = control.propose(Command::Open { epoch: Epoch(9) });
        assert!(matches!(
            refused,
            Err(Error::Rejected(Rejection::Stale { .. }))
        ));
        let again = LocalControl::open(Arc::new(RealDisk), &path)
            .unwrap()
            .unwrap();
        assert_eq!(again.state(), &state);
    }

    #[test]
    fn after_a_failed_write_no_command_is_taken_and_the_old_state_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let path = home.join("CONTROL");
        let state = ControlState::new(LineageId(1), RegionId(2), IncarnationId(3));
        let mut control = LocalControl::create(Arc::new(RealDisk), &path, state.clone()).unwrap();
        let sound = std::fs::read(&path).unwrap();
        std::fs::remove_dir_all(&home).unwrap();
        let command = || Command::Set(SettingsChange::default());
        let failed = control.propose(command()).unwrap_err();
        assert!(
            matches!(&failed, Error::File(sealed::Error::Io { action: "write", path: named, .. }) if *named == path),
            "{failed}"
        );
        // Even when the disk is well again.
        std::fs::create_dir(&home).unwrap();
        std::fs::write(&path, &sound).unwrap();
        let stopped = control.propose(command()).unwrap_err();
        assert!(matches!(stopped, Error::Stopped { .. }), "{stopped}");
        assert_eq!(std::fs::read(&path).unwrap(), sound);
    }

    #[test]
    fn what_is_no_state_or_no_file_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("CONTROL");
        KIND.write(&RealDisk, &path, "{\"lineage\": 1}").unwrap();
        let refused = LocalControl::open(Arc::new(RealDisk), &path).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("CONTROL"), "{refused}");
        let unreadable = LocalControl::open(Arc::new(RealDisk), dir.path()).unwrap_err();
        assert!(
            matches!(
                unreadable,
                Error::File(sealed::Error::Io { action: "read", .. })
            ),
            "{unreadable}"
        );
    }
}
