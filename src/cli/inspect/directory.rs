//! A data directory opened for looking.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::CliError;
use crate::base::disk::{DirLock, Disk, ReadOnlyDisk};
use crate::base::{LineageId, explained};
use crate::model::Catalogue;
use crate::node::{Identity, IdentityFile};
use crate::storage::{self, Store};
use crate::wal::Survey;

/// A data directory that no node uses, nor will use while this lives.
pub struct Directory {
    path: PathBuf,
    _lock: Option<DirLock>,
}

impl Directory {
    /// Opens it.
    ///
    /// # Errors
    /// If a node uses it or there is no such directory.
    pub fn open(path: &Path) -> Result<Directory, CliError> {
        std::fs::read_dir(path).map_err(|error| CliError::file("list", path, &error))?;
        let lock = DirLock::share(path).map_err(|error| {
            let text = explained(&error);
            CliError::wrong("DIRECTORY_LOCKED", text).with("stop the node or inspect a copy")
        })?;
        Ok(Directory {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The file or directory of this name in it.
    pub fn part(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Its identity.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn identity(&self) -> Result<Identity, CliError> {
        let path = self.part("IDENTITY");
        let file = IdentityFile::open(disk(), &path).map_err(|error| damaged(&error))?;
        let file = file.ok_or_else(|| {
            CliError::wrong(
                "FILE",
                format!("{} is missing: is this a data directory?", path.display()),
            )
        })?;
        Ok(file.get().clone())
    }

    /// Its WAL.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn wal(&self, lineage: LineageId) -> Result<Survey, CliError> {
        Survey::new(disk(), &self.part("wal"), lineage).map_err(|error| damaged(&error))
    }

    /// Its store.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn store(&self) -> Result<Store, CliError> {
        Store::open_read_only(&self.part("store")).map_err(|error| damaged(&error))
    }

    /// The views that the store knows; none if there is no store yet.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn catalogue(&self) -> Result<Catalogue, CliError> {
        match Store::open_read_only(&self.part("store")) {
            Err(storage::Error::Missing { .. }) => Ok(Catalogue::new()),
            opened => opened
                .and_then(|store| store.catalogue())
                .map_err(|error| damaged(&error)),
        }
    }
}

/// What everything here is read through.
pub fn disk() -> Arc<dyn Disk> {
    Arc::new(ReadOnlyDisk)
}

/// A failure to read something.
pub fn damaged(error: &dyn Error) -> CliError {
    CliError::failed("DAMAGED", explained(error))
}
