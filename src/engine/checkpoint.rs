//! Checkpoints of the store that are kept for others to receive, and the log behind them.
//!
//! **Invariant.** What a checkpoint does not hold stays in the WAL for as long as it is kept: who takes it into use can be
//! sent the rest by log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::error::Error;
use crate::base::{Epoch, Lsn, RegionId};
use crate::storage::{FileName, Snapshot};

/// Places from which on the WAL is kept, each with how many keep it.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<BTreeMap<Lsn, usize>>>);

/// Keeps the WAL from a place on until it is dropped.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    place: Lsn,
}

impl Pins {
    fn places(&self) -> MutexGuard<'_, BTreeMap<Lsn, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pin(&self, place: Lsn) -> Pin {
        *self.places().entry(place).or_default() += 1;
        let pins = self.clone();
        Pin { pins, place }
    }

    /// The place below which the WAL may go, if it may go below `place` otherwise.
    pub(super) fn below(&self, place: Lsn) -> Lsn {
        let first = self.places().first_key_value().map(|(pinned, _)| *pinned);
        first.map_or(place, |pinned| pinned.min(place))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut places = self.pins.places();
        if let Some(keepers) = places.get_mut(&self.place) {
            *keepers -= 1;
            if *keepers == 0 {
                places.remove(&self.place);
            }
        }
    }
}

/// A checkpoint of the store, in a directory that goes with it.
#[derive(Debug)]
pub struct Checkpoint {
    snapshot: Snapshot,
    dir: Dir,
    _pin: Pin,
}

/// A directory that is removed when it is dropped.
#[derive(Debug)]
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let Dir(path) = self;
        if let Err(cause) = std::fs::remove_dir_all(&path)
            && cause.kind() != ErrorKind::NotFound
        {
            warn!(%cause, path = %path.display(), "cannot remove a checkpoint; the next start does");
        }
    }
}

impl Checkpoint {
    /// A checkpoint made by `make`. `pin` keeps the WAL from the store's place, or before it, on.
    pub(super) fn new(
        dir: PathBuf,
        pin: Pin,
        make: impl FnOnce(&Path) -> Result<Snapshot, Error>,
    ) -> Result<Checkpoint, Error> {
        let dir = Dir(dir);
        let snapshot = make(&dir.0)?;
        Ok(Checkpoint {
            snapshot,
            dir,
            _pin: pin,
        })
    }

    /// What it holds.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The epoch up to which the logs of a region are folded in it.
    #[must_use]
    pub fn folded(&self, region: RegionId) -> Epoch {
        self.snapshot.state.applied.0.base(region)
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(&self, name: &FileName) -> std::io::Result<File> {
        File::open(self.dir.0.join(name.as_str()))
    }
}
