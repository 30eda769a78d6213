//! What tests of the engine share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a crash at this moment would leave of a directory: the files as they are, without what only memory holds. Taken
/// again if the store moved its files about meanwhile.
pub(super) fn left_by_crash(dir: &Path) -> tempfile::TempDir {
    loop {
        let copy = tempfile::tempdir().unwrap();
        let before = listing(dir);
        if copy_files(&before, dir, copy.path()).is_ok() && listing(dir) == before {
            return copy;
        }
    }
}

/// All files below a directory, with their sizes.
fn listing(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => files.extend(listing(&entry.path())),
            Ok(found) => {
                files.insert(entry.path(), found.len());
            }
            Err(_) => {}
        }
    }
    files
}

fn copy_files(files: &BTreeMap<PathBuf, u64>, from: &Path, to: &Path) -> std::io::Result<()> {
    for file in files.keys() {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap())?;
        std::fs::copy(file, target)?;
    }
    Ok(())
}
