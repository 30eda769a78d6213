//! A store that is being received, file by file, in a directory beside the one in use.
//!
//! ```text
//!   Incoming ── part ──► Part ── write … ──► finish ──► Whole      when nothing is missing:
//!      ▲            (a file, from an offset)              │       verify ──► Received
//!      └────────────────────── take ──────────────────────┘
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

/// A file that is all there, and is what was offered.
#[derive(Debug)]
pub struct Whole(FileName);

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

    /// The files that are not known to be whole.
    pub fn missing(&self) -> impl Iterator<Item = &StoreFile> {
        self.missing.iter()
    }

    /// What there is of a file. Several files may be received at once, but none twice at once. Reads what is there.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn part(&self, file: &StoreFile) -> Result<Part, Error> {
        Part::open(&self.dir, file.clone())
    }

    /// The next file of which something is missing; `None` once all are whole. Reads what is there.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn next_part(&mut self) -> Result<Option<Part>, Error> {
        while let Some(expected) = self.missing.front() {
            let part = self.part(expected)?;
            if !part.is_complete() {
                return Ok(Some(part));
            }
            self.take(part.finish()?);
        }
        Ok(None)
    }

    /// Takes note that a file is whole.
    pub fn take(&mut self, Whole(name): Whole) {
        self.missing.retain(|file| file.name != name);
    }

    /// Checks that all that has been received is the store that was offered, and reads all of it.
    ///
    /// # Errors
    /// As [`complete`](Self::complete), or if a block of a table is damaged.
    pub fn verify(self, lineage: LineageId) -> Result<Received, Error> {
        let received = self.complete(lineage)?;
        Store::open_read_only(&received.dir)?.check_blocks()?;
        Ok(received)
    }

    /// Checks that all that has been received is the store that was offered, without reading its tables.
    ///
    /// # Errors
    /// If something is missing, or it is damaged, of another lineage or [differs](Error::Differs).
    pub fn complete(self, lineage: LineageId) -> Result<Received, Error> {
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

    /// Is nothing missing?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.written >= self.expected.bytes
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

    /// Takes the file as whole.
    ///
    /// # Errors
    /// [`Error::Differs`] if it is not what was offered, or something of it is still missing. Otherwise if the file system
    /// fails.
    pub fn finish(self) -> Result<Whole, Error> {
        let Part {
            expected,
            path,
            file,
            written,
            hasher,
        } = self;
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
        Ok(Whole(expected.name))
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
