//! Making a directory that of a new set of one, without starting it.

use std::path::Path;
use std::sync::Arc;

use super::identity::Identity;
use super::start::{StartError, open_control, open_identity};
use crate::base::disk::{DirLock, Disk};

/// Whatever a node keeps in its directory from its first start on.
const PARTS: [&str; 5] = ["IDENTITY", "CONTROL", "raft", "wal", "store"];

/// Makes this directory, which may be there or not, that of a new set of one.
///
/// # Errors
/// If a node has used it before, which changes nothing there, or it cannot be written.
pub fn init(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Identity, StartError> {
    let _lock = require_new(disk, dir)?;
    let identity = open_identity(disk, dir, &[])?;
    open_control(disk, dir, &[], identity.get())?;
    Ok(identity.get().clone())
}

/// Makes a directory, if it is not there, and locks it. It is one that no node has used.
pub(super) fn require_new(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirLock, StartError> {
    let in_directory = |source| StartError::Directory {
        path: dir.to_owned(),
        source,
    };
    disk.create_dir(dir).map_err(in_directory)?;
    let lock = DirLock::acquire(dir)?;
    let names = disk.list(dir).map_err(in_directory)?;
    let is_there = |part: &&str| names.iter().any(|name| name == part);
    match PARTS.into_iter().find(is_there) {
        Some(present) => Err(StartError::NotNew {
            path: dir.to_owned(),
            present,
        }),
        None => Ok(lock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::RealDisk;

    #[test]
    fn a_directory_is_made_once_and_no_part_of_another_is_touched() {
        let home = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let new = home.path().join("new");
        let made = init(&disk, &new).unwrap();
        let again = init(&disk, &new).unwrap_err();
        assert_eq!(again.reason(), "HAS_DATA");
        assert!(again.to_string().contains("IDENTITY"), "{again}");
        let other = init(&disk, &home.path().join("other")).unwrap();
        assert_ne!(made.lineage, other.lineage);
        for part in PARTS {
            let dir = home.path().join(part);
            std::fs::create_dir_all(dir.join(part)).unwrap();
            let refused = init(&disk, &dir).unwrap_err();
            assert!(refused.to_string().contains(part), "{refused}");
            let mut names = disk.list(&dir).unwrap();
            names.retain(|name| name != "LOCK");
            assert_eq!(names, [part]);
        }
    }
}
