//! A store at one moment: a checkpoint of it, its files with their digests, and what it says of itself.
//!
//! A checkpoint is a directory of hard links to the table files and copies of the small ones, so it takes no time and, until
//! the store goes on to other files, no space. It is itself a store.
//!
//! **Invariants.** A [`FileName`] can only be that of a file that stores are made of: names that come from elsewhere name
//! nothing beside the directory they are meant for.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;

use super::state::State;
use super::store::{Error, Store};

/// The name of a file of a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

/// A text that no file of a store is named by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a file of a store")]
pub struct NotAFileName {
    name: String,
}

impl FileName {
    /// The name of a file that goes with a store and is none of its own.
    pub const TAIL: &str = "TAIL";

    /// Takes `CURRENT`, `MANIFEST-` and `OPTIONS-` with a number, a number with the ending `.sst` or `.log`, and `TAIL`.
    /// (RocksDB's own log holds nothing, but RocksDB lists it.)
    ///
    /// # Errors
    /// For any other text.
    pub fn parse(name: &str) -> Result<FileName, NotAFileName> {
        let is_number = |text: &str| {
            (6..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let number = ["MANIFEST-", "OPTIONS-"]
            .iter()
            .find_map(|kind| name.strip_prefix(kind))
            .or_else(|| name.strip_suffix(".sst"))
            .or_else(|| name.strip_suffix(".log"));
        if ["CURRENT", FileName::TAIL].contains(&name) || number.is_some_and(is_number) {
            return Ok(FileName(name.to_owned()));
        }
        let name = name.chars().take(64).collect();
        Err(NotAFileName { name })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFile {
    /// Its name.
    pub name: FileName,
    /// Its length.
    pub bytes: u64,
    /// The digest of what it holds.
    pub digest: blake3::Hash,
}

/// A store at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it says of itself.
    pub state: State,
    /// The files that it is made of.
    pub files: Vec<StoreFile>,
}

impl Snapshot {
    /// Adds a file that has been put beside the store's own.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn add(&mut self, path: &Path) -> Result<(), Error> {
        self.files.push(describe(path)?);
        Ok(())
    }
}

impl Store {
    /// Makes a checkpoint in `dir`, which must not exist but whose parent must, on the same file system. Durable on return.
    /// It holds what is committed now, and perhaps some of what is committed meanwhile. Blocks, while the store is flushed
    /// and all its files are read for their digests; commits go on.
    ///
    /// # Errors
    /// If RocksDB or the file system fails.
    pub fn checkpoint(&self, dir: &Path) -> Result<Snapshot, Error> {
        Checkpoint::new(self.database())
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir))
            .map_err(|cause| self.engine_error(cause))?;
        let state = Store::open_read_only(dir)?.state()?;
        let files = files_in(dir)?;
        Ok(Snapshot { state, files })
    }
}

/// The files of a store that nobody changes.
fn files_in(dir: &Path) -> Result<Vec<StoreFile>, Error> {
    let list = failed("list", dir);
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files = Vec::new();
    for entry in entries.map_err(list)? {
        files.push(describe(&entry.path())?);
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn describe(path: &Path) -> Result<StoreFile, Error> {
    let name = path.file_name().unwrap_or_default();
    let name = FileName::parse(&name.to_string_lossy())
        .map_err(|cause| failed("use", path)(io::Error::other(cause)))?;
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut hasher = blake3::Hasher::new();
    let bytes = hash(&mut file, &mut hasher).map_err(failed("read", path))?;
    let digest = hasher.finalize();
    Ok(StoreFile {
        name,
        bytes,
        digest,
    })
}

/// Adds what there is to read; returns how many bytes that is.
pub(super) fn hash(from: &mut impl Read, hasher: &mut blake3::Hasher) -> io::Result<u64> {
    /// Large enough for the digest to take several lanes of the processor.
    const BUFFER_BYTES: usize = 256 << 10;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        total += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

/// The error of doing something to a file.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::File {
        action,
        path,
        cause: Arc::new(cause),
    }
}
