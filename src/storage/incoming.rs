//! A store that is being received, file by file, in a directory beside the one in use.
//!
//! ```text
//!   Incoming ── next ──► Part ── write … ──► finish ──┐      when nothing is missing:
//!      ▲            (a file, from an offset)           │      verify ──► Received
//!      └───────────────────────────────────────────────┘
//! ```
//! What is there already is kept as far as it is the same: a transfer that was broken off goes on where it was, after a
//! restart too, and one of a later snapshot begins with the files that the two have in common.
//!
//! **Invariants.** A file counts as whole only once its digest is the one offered and it is synced. What is [`Received`] is
//! a store of the right lineage that says of itself what was offered, and whose blocks are as they were written: what a disk
//! has changed at the sender does not spread. Whether its rows add up to the digest it states is not computed here.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::checkpoint::{FileName, Snapshot, StoreFile, failed, hash};
use super::options::Options;
use super::state::State;
use super::store::{Error, Store};
use crate::base::disk::{Disk, RealDisk};
use crate::base::{LineageId, Lsn};

/// A store that is not all there yet.
#[derive(Debug)]
pub struct Incoming {
    dir: PathBuf,
    state: State,
    /// The files that are not known to be whole.
    missing: VecDeque<StoreFile>,
}

/// A file that is not all there yet.
#[derive(Debug)]
pub struct Part {
    expected: StoreFile,
    path: PathBuf,
    file: File,
    written: u64,
    hasher: blake3::Hasher,
}

/// A store that has been received and verified, and that nobody uses yet.
#[derive(Debug)]
pub struct Received {
    dir: PathBuf,
    state: State,
}

impl Incoming {
    /// Begins to receive a store in `dir`, or goes on with what is there. Removes what is no part of it.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn open(dir: &Path, snapshot: Snapshot) -> Result<Incoming, Error> {
        let Snapshot { state, files } = snapshot;
        RealDisk.create_dir(dir).map_err(failed("create", dir))?;
        let names = RealDisk.list(dir).map_err(failed("list", dir))?;
        let is_strange = |name: &&String| files.iter().all(|file| file.name.as_str() != **name);
        for name in names.iter().filter(is_strange) {
            let path = dir.join(name);
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(Incoming {
            dir: dir.to_owned(),
            state,
            missing: files.into(),
        })
    }

    /// Bytes of the files that are not known to be whole.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.missing.iter().map(|file| file.bytes).sum()
    }

    /// The next file of which something is missing; `None` once all are whole. Reads what is there.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn next_part(&mut self) -> Result<Option<Part>, Error> {
        while let Some(expected) = self.missing.front() {
            let part = Part::open(&self.dir, expected.clone())?;
            if part.written < part.expected.bytes {
                return Ok(Some(part));
            }
            self.finish(part)?;
        }
        Ok(None)
    }

    /// Takes the file that was [`next_part`](Self::next_part) as whole.
    ///
    /// # Errors
    /// [`Error::Differs`] if it is not what was offered, or something of it is still missing; it is `next` again then.
    /// Otherwise if the file system fails.
    pub fn finish(&mut self, part: Part) -> Result<(), Error> {
        let Part {
            expected,
            path,
            file,
            written,
            hasher,
        } = part;
        let digest = hasher.finalize();
        if (written, digest) != (expected.bytes, expected.digest) {
            let says = |bytes, digest| format!("{bytes} bytes with digest {digest}");
            return Err(Error::Differs {
                path,
                found: says(written, digest),
                offered: says(expected.bytes, expected.digest),
            });
        }
        file.sync_data().map_err(failed("sync", &path))?;
        self.missing.retain(|file| file.name != expected.name);
        Ok(())
    }

    /// Checks that all that has been received is the store that was offered.
    ///
    /// # Errors
    /// If something is missing, or it is damaged, of another lineage or [differs](Error::Differs).
    pub fn verify(self, lineage: LineageId) -> Result<Received, Error> {
        let Incoming {
            dir,
            state,
            missing,
        } = self;
        let differs = |found: String, offered: String| {
            let path = dir.clone();
            Err(Error::Differs {
                path,
                found,
                offered,
            })
        };
        if !missing.is_empty() {
            let found = format!("{} files fewer", missing.len());
            return differs(found, "all of them".to_owned());
        }
        RealDisk.sync_dir(&dir).map_err(failed("sync", &dir))?;
        let store = Store::open_read_only(&dir)?;
        let names = RealDisk.list(&dir).map_err(failed("list", &dir))?;
        if let Some(strange) = store.strange_files(&names)?.pop() {
            return differs(strange, "no such table".to_owned());
        }
        store.require_lineage(lineage)?;
        let found = store.state()?;
        if found != state {
            return differs(format!("{found:?}"), format!("{state:?}"));
        }
        store.check_blocks()?;
        Ok(Received { dir, state })
    }
}

impl Part {
    fn open(dir: &Path, expected: StoreFile) -> Result<Part, Error> {
        let path = dir.join(expected.name.as_str());
        let opened = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        let mut file = opened.map_err(failed("open", &path))?;
        let mut hasher = blake3::Hasher::new();
        let mut written = hash(&mut file, &mut hasher).map_err(failed("read", &path))?;
        let may_go_on = written < expected.bytes
            || written == expected.bytes && hasher.finalize() == expected.digest;
        if !may_go_on {
            file.set_len(0).map_err(failed("shorten", &path))?;
            hasher.reset();
            written = 0;
        }
        Ok(Part {
            expected,
            path,
            file,
            written,
            hasher,
        })
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &FileName {
        &self.expected.name
    }

    /// From where on it is missing.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Takes the bytes at the [offset](Self::offset).
    ///
    /// # Errors
    /// [`Error::Differs`] if the file would be longer than was offered; otherwise if the file system fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let written = self.written.saturating_add(length);
        if written > self.expected.bytes {
            return Err(Error::Differs {
                path: self.path.clone(),
                found: format!("{written} bytes or more"),
                offered: format!("{} bytes", self.expected.bytes),
            });
        }
        self.file
            .write_all(bytes)
            .map_err(failed("write", &self.path))?;
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }
}

impl Received {
    /// What the store says of itself.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The directory that it is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes `lsn` the place up to which it has applied a WAL. Durable on return.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_at(&self, lsn: Lsn, lineage: LineageId, options: &Options) -> Result<(), Error> {
        Store::open_to(&self.dir, lineage, options, false)?.begin_at(lsn)
    }
}

#[cfg(test)]
#[path = "incoming_test.rs"]
mod tests;
