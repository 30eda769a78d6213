//! A directory for what is restored only to be looked at.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::error::CliError;
use crate::base::clock::sleep;

/// Threads that were interrupted may still write where is removed.
const ATTEMPTS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// A new directory, which its owner removes. Nobody else can look into it.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one for this purpose in this directory, or in that of the system for temporary files.
    pub fn create(inside: Option<&Path>, purpose: &str) -> Result<Scratch, CliError> {
        let inside = inside.map_or_else(std::env::temp_dir, Path::to_owned);
        let name = format!("steadfast-{purpose}-{:016x}", rand::random::<u64>());
        let path = inside.join(name);
        let mut private = DirBuilder::new();
        let made = private.recursive(true).mode(0o700).create(&path);
        made.map_err(|cause| CliError::file("make", &path, &cause))?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it with all that is in it, whatever came of the work there.
    pub async fn remove_after<T>(self, outcome: Result<T, CliError>) -> Result<T, CliError> {
        match (outcome, self.remove().await) {
            (Err(outcome), Err(removed)) => Err(outcome.with(&removed.to_string())),
            (Ok(_), Err(removed)) => Err(removed),
            (outcome, Ok(())) => outcome,
        }
    }

    async fn remove(self) -> Result<(), CliError> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_in_it_is_its_owners_and_goes_with_it_and_nothing_beside_it() {
        let parent = tempfile::tempdir().unwrap();
        let kept = parent.path().join("kept");
        std::fs::write(&kept, b"").unwrap();
        let scratch = Scratch::create(Some(parent.path()), "test").unwrap();
        let path = scratch.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::create_dir(path.join("store")).unwrap();
        std::fs::write(path.join("store").join("CURRENT"), b"x").unwrap();
        let failed: Result<(), _> = Err(CliError::failed("FAILED", "so"));
        assert_eq!(scratch.remove_after(failed.clone()).await, failed);
        assert!(!path.exists() && kept.exists());
        assert!(Scratch::create(Some(&kept), "test").is_err());
    }
}
