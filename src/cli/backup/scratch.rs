//! A directory for what is restored only to be looked at.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::error::CliError;
use crate::base::clock::sleep;
use crate::base::disk::{Disk, RealDisk};

/// Threads that were interrupted may still write where is removed.
const ATTEMPTS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// A new directory, which its owner removes.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in this directory, or in that of the system for temporary files.
    pub fn create(inside: Option<&Path>) -> Result<Scratch, CliError> {
        let inside = inside.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = inside.join(format!("steadfast-verify-{:016x}", rand::random::<u64>()));
        let made = RealDisk.create_dir(&path);
        made.map_err(|cause| CliError::file("make", &path, &cause))?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it with all that is in it.
    pub async fn remove(self) -> Result<(), CliError> {
        for _ in 1..ATTEMPTS {
            if self.try_remove().is_ok() {
                return Ok(());
            }
            sleep(BETWEEN).await;
        }
        let removed = self.try_remove();
        removed.map_err(|cause| {
            let (path, said) = (self.0.display(), format!("{cause}: remove it yourself"));
            CliError::failed("NOT_REMOVED", format!("cannot remove {path}: {said}"))
        })
    }

    fn try_remove(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
