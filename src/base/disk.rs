//! Files with the guarantees that durability needs, behind the seam at which tests put a disk that crashes and fails.
//!
//! **Invariants.** A name is durable once its directory is synced; contents once the file is. [`write_atomic`] leaves
//! either the old file or the new one, whatever happens. An error of a sync is final for what was written: callers
//! never retry it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// A file system. [`RealDisk`] is the machine's; tests simulate one that loses what was not synced.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates a directory and its parents; an existing one is fine. Makes the names durable.
    ///
    /// # Errors
    /// As the file system says; so do all the methods below.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a file that does not exist yet, for reading and writing. Its name is not durable before [`Disk::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file, replacing the target. Not durable before [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Not durable before [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that this process may still use on the file system of `dir`.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the file system says; so do all the methods below.
    fn size(&self) -> io::Result<u64>;
    /// Reads exactly `buffer.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`. Durable only after a sync.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reserves space for the first `bytes` bytes and makes the file that long; new bytes read as zero.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Makes the contents durable, and the length as far as reading them back needs it.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the contents and all attributes durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing = dir.ancestors().take_while(|dir| !dir.is_dir()).count();
        fs::create_dir_all(dir)?;
        // Its own name even if it was there: whoever made it may have died before the name was durable.
        for parent in dir.ancestors().skip(1).take(missing.max(1)) {
            let is_here = parent.as_os_str().is_empty();
            self.sync_dir(if is_here { Path::new(".") } else { parent })?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(
            OpenOptions::new().read(true).write(true).open(path)?,
        )))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that renames files"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stats = rustix::fs::statvfs(dir)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }
}

/// The machine's file system for who only looks: files are opened for reading, and whatever would change something is
/// refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOnlyDisk;

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnlyDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.available_bytes(dir)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot reserve space; a longer file is then all there is to be had.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(bytes),
            outcome => Ok(outcome?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Reads a whole file.
///
/// # Errors
/// As the file system says.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let size =
        usize::try_from(file.size()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces the file at `path` by one that holds `bytes`: written beside it, synced, renamed, directory synced.
///
/// # Errors
/// As the file system says; the old file is then still there, or, if only the last sync failed, perhaps the new one.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Exclusive use of a directory by one process, ended by dropping it or by the end of the process.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is locked: another process uses this data directory")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DirLock {
    /// Locks `dir` by its file `LOCK`.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process holds it.
    pub fn acquire(dir: &Path) -> Result<DirLock, LockError> {
        let path = dir.join("LOCK");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = opened.map_err(|source| LockError::Io {
            path: path.clone(),
            source,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held { path }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }

    /// Keeps others from locking `dir`, together with whoever else only looks at it. Changes nothing there: where no
    /// lock file is, as in a copy, there is nothing to keep.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process uses the directory.
    pub fn share(dir: &Path) -> Result<Option<DirLock>, LockError> {
        let path = dir.join("LOCK");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Io { path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(DirLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(LockError::Held { path }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_file_and_survives_a_left_over_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        fs::write(dir.path().join("identity.tmp"), b"left over").unwrap();
        for bytes in [b"first".as_slice(), b"2"] {
            write_atomic(&RealDisk, &path, bytes).unwrap();
            assert_eq!(read_all(&RealDisk, &path).unwrap(), bytes);
        }
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["identity"]);
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_may_be_there_already() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        for _ in 0..2 {
            RealDisk.create_dir(&deep).unwrap();
            assert!(deep.is_dir());
        }
        RealDisk.create_dir(Path::new("src")).unwrap();
    }

    #[test]
    fn a_second_lock_of_a_directory_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(
            DirLock::acquire(dir.path()),
            Err(LockError::Held { .. })
        ));
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn who_only_looks_shares_the_lock_and_creates_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DirLock::share(dir.path()).unwrap().is_none());
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [""; 0]);
        let used = DirLock::acquire(dir.path()).unwrap();
        let held = |outcome: Result<_, LockError>| matches!(outcome, Err(LockError::Held { .. }));
        assert!(held(DirLock::share(dir.path())));
        drop(used);
        let looks = [DirLock::share(dir.path()), DirLock::share(dir.path())];
        assert!(looks.iter().all(|lock| matches!(lock, Ok(Some(_)))));
        assert!(held(DirLock::acquire(dir.path()).map(Some)));
    }

    #[test]
    fn a_disk_for_looking_reads_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"bytes").unwrap();
        assert_eq!(read_all(&ReadOnlyDisk, &path).unwrap(), b"bytes");
        let file = ReadOnlyDisk.open(&path).unwrap();
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(ReadOnlyDisk.create(&dir.path().join("b")).is_err());
        assert!(ReadOnlyDisk.rename(&path, &dir.path().join("b")).is_err());
        assert!(ReadOnlyDisk.remove(&path).is_err());
        assert!(write_atomic(&ReadOnlyDisk, &path, b"x").is_err());
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["a"]);
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }

    #[test]
    fn allocated_space_reads_as_zero_and_counts_as_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("segment")).unwrap();
        file.allocate(8192).unwrap();
        let mut bytes = [1; 16];
        file.read_exact_at(&mut bytes, 8000).unwrap();
        assert_eq!((file.size().unwrap(), bytes), (8192, [0; 16]));
        assert!(RealDisk.available_bytes(dir.path()).unwrap() > 0);
    }
}
