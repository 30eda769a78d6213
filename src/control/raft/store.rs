//! What a member's Raft keeps on disk: its log, its vote, and the state agreed so far.
//!
//! ```text
//! DIR/raft, a RocksDB of its own:
//!   format           2; of 1 are states without a history, which are read as well
//!   number           of this member
//!   vote             the last vote
//!   purged           the id of the last entry that was let go
//!   agreed           the state, the id of the entry up to which it goes, the voters and learners up to there
//!   entry INDEX      one entry; the index is a big-endian u64
//! value := crc32 over key and body, u32 little-endian | body, JSON
//! ```
//! **Invariants.** What was written is synced before it is reported, but for what can be made again from the log. The log
//! has no holes. Whatever is damaged is named, and nothing is guessed in its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::super::state::ControlState;
use super::types::{Entry, LogId, StoredMembership, Vote};
use crate::base::NodeNumber;
use crate::base::disk::{Disk as _, RealDisk};

const FORMAT: u32 = 2;
/// Entries are few and small, and soon purged.
const MEMTABLE_BYTES: usize = 2 << 20;

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB cannot read or write its files.
    #[error("cannot {action} the Raft store {path}")]
    Files {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rocksdb::Error,
    },
    /// Its directory cannot be made.
    #[error("cannot make the directory of the Raft store {path}")]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A value is not what was written, or is missing.
    #[error("the Raft store {path} is damaged: {what} {problem}")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What of it.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// It was written by a later version of this program.
    #[error("the Raft store {path} has format {found}, this program knows formats up to {FORMAT}")]
    NewerFormat {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Nothing was ever written.
    #[error("the Raft store {path} is empty: no group was founded or joined there")]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// A group was founded or joined there before.
    #[error("the Raft store {path} belongs to member {number} already")]
    Taken {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        number: NodeNumber,
    },
}

/// The agreed state, as far as it has been applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agreed {
    /// The last entry applied; `None` for a member that has joined and received nothing yet.
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub control: ControlState,
}

/// How much of the log there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
}

#[derive(Debug, Clone)]
pub(super) struct Store {
    db: Arc<DB>,
    path: PathBuf,
    /// Tells by its end that the database is closed; so it is dropped behind it.
    open: Arc<watch::Sender<()>>,
}

/// A group of writes that take effect together.
pub(super) struct Writes<'a> {
    store: &'a Store,
    batch: WriteBatch,
}

const NUMBER: &[u8] = b"number";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
const AGREED: &[u8] = b"agreed";
const FORMAT_KEY: &[u8] = b"format";
const ENTRY: &[u8] = b"entry ";

fn entry_key(index: u64) -> Vec<u8> {
    [ENTRY, &index.to_be_bytes()].concat()
}

/// The key as people name it.
fn named(key: &[u8]) -> String {
    let index = key
        .strip_prefix(ENTRY)
        .and_then(|rest| rest.try_into().ok());
    match index.map(u64::from_be_bytes) {
        Some(index) => format!("entry {index}"),
        None => String::from_utf8_lossy(key).into_owned(),
    }
}

impl Store {
    /// Opens the store, or makes an empty one.
    pub fn open(path: &Path) -> Result<Store, Error> {
        RealDisk
            .create_dir(path)
            .map_err(|source| Error::Directory {
                path: path.to_owned(),
                source,
            })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        // A write that was cut short was never reported. Anything else that does not add up is damage.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_stats_dump_period_sec(0);
        let db = DB::open(&options, path).map_err(|source| Error::Files {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let store = Store {
            db: Arc::new(db),
            path: path.to_owned(),
            open: Arc::default(),
        };
        let found = store.get(FORMAT_KEY)?.unwrap_or(FORMAT);
        if found > FORMAT {
            let path = store.path;
            return Err(Error::NewerFormat { path, found });
        }
        if found < FORMAT {
            // Whatever is written from now on, an earlier version could not read.
            let mut writes = store.writes();
            writes.put(FORMAT_KEY, &FORMAT)?;
            writes.commit(true)?;
        }
        Ok(store)
    }

    /// Ends once nobody has it open any more.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
    }

    /// Makes an empty store that of a member, with what it starts from.
    pub fn begin(
        &self,
        number: NodeNumber,
        vote: Option<Vote>,
        agreed: &Agreed,
    ) -> Result<(), Error> {
        if let Some(number) = self.get(NUMBER)? {
            let path = self.path.clone();
            return Err(Error::Taken { path, number });
        }
        let mut writes = self.writes();
        writes.put(FORMAT_KEY, &FORMAT)?;
        writes.put(NUMBER, &number)?;
        writes.put(AGREED, agreed)?;
        if let Some(vote) = vote {
            writes.put(VOTE, &vote)?;
        }
        if let Some(applied) = agreed.applied {
            writes.put(PURGED, &applied)?;
        }
        writes.commit(true)
    }

    /// Checks everything in it.
    pub fn check(&self) -> Result<(), Error> {
        self.number()?;
        self.agreed()?;
        self.vote()?;
        let Extent { purged, last } = self.extent()?;
        let first = purged.map_or(0, |purged| purged.index + 1);
        let end = last.map_or(0, |last| last.index + 1);
        let entries = self.entries(first, end)?;
        let mut pairs = (first..end).zip(entries.iter().map(Some).chain(std::iter::repeat(None)));
        let is_missing = |(index, entry): &(u64, Option<&Entry>)| {
            entry.is_none_or(|entry| entry.log_id.index != *index)
        };
        match pairs.find(is_missing) {
            Some((index, _)) => Err(self.damaged(&entry_key(index), "is missing")),
            None => Ok(()),
        }
    }

    pub fn number(&self) -> Result<NodeNumber, Error> {
        let path = || self.path.clone();
        self.get(NUMBER)?
            .ok_or_else(|| Error::Empty { path: path() })
    }

    pub fn vote(&self) -> Result<Option<Vote>, Error> {
        self.get(VOTE)
    }

    pub fn agreed(&self) -> Result<Agreed, Error> {
        let missing = || self.damaged(AGREED, "is missing");
        self.get(AGREED)?.ok_or_else(missing)
    }

    pub fn extent(&self) -> Result<Extent, Error> {
        let purged: Option<LogId> = self.get(PURGED)?;
        let from_the_end = IteratorMode::From(&entry_key(u64::MAX), Direction::Reverse);
        let last = match self.db.iterator(from_the_end).next() {
            Some(found) => {
                let (key, value) = found.map_err(|source| self.files("read", source))?;
                let is_entry = key.starts_with(ENTRY);
                is_entry
                    .then(|| self.open_value::<Entry>(&key, &value))
                    .transpose()?
            }
            None => None,
        };
        Ok(Extent {
            purged,
            last: last.map(|entry| entry.log_id).max(purged),
        })
    }

    /// The entries that are there of `[start, end)`.
    pub fn entries(&self, start: u64, end: u64) -> Result<Vec<Entry>, Error> {
        let entry = |index| self.get(&entry_key(index)).transpose();
        (start..end).filter_map(entry).collect()
    }

    pub fn append(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut writes = self.writes();
        for entry in entries {
            writes.put(&entry_key(entry.log_id.index), entry)?;
        }
        writes.commit(true)
    }

    /// Takes away the entries from this index on.
    pub fn truncate(&self, from: u64) -> Result<(), Error> {
        let mut writes = self.writes();
        writes
            .batch
            .delete_range(entry_key(from), entry_key(u64::MAX));
        writes.commit(true)
    }

    /// Lets the entries go up to this one.
    pub fn purge(&self, through: LogId) -> Result<(), Error> {
        let mut writes = self.writes();
        writes.put(PURGED, &through)?;
        writes
            .batch
            .delete_range(entry_key(0), entry_key(through.index + 1));
        writes.commit(true)
    }

    pub fn save_vote(&self, vote: &Vote) -> Result<(), Error> {
        let mut writes = self.writes();
        writes.put(VOTE, vote)?;
        writes.commit(true)
    }

    /// Keeps the state. What was made from the log need not be synced: it is made again.
    pub fn save_agreed(&self, agreed: &Agreed, is_synced: bool) -> Result<(), Error> {
        let mut writes = self.writes();
        writes.put(AGREED, agreed)?;
        writes.commit(is_synced)
    }

    fn writes(&self) -> Writes<'_> {
        Writes {
            store: self,
            batch: WriteBatch::default(),
        }
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        let value = self.db.get_pinned(key);
        let value = value.map_err(|source| self.files("read", source))?;
        value.map(|value| self.open_value(key, &value)).transpose()
    }

    fn open_value<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, Error> {
        let (crc, body) = value
            .split_first_chunk()
            .ok_or_else(|| self.damaged(key, "is too short"))?;
        if u32::from_le_bytes(*crc) != checksum(key, body) {
            return Err(self.damaged(key, "does not have its checksum"));
        }
        serde_json::from_slice(body).map_err(|error| self.damaged(key, &error.to_string()))
    }

    fn damaged(&self, key: &[u8], problem: &str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            what: named(key),
            problem: problem.to_owned(),
        }
    }

    fn files(&self, action: &'static str, source: rocksdb::Error) -> Error {
        Error::Files {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

impl Writes<'_> {
    fn put<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error> {
        let body = serde_json::to_vec(value);
        let body = body.map_err(|error| self.store.damaged(key, &error.to_string()))?;
        let crc = checksum(key, &body).to_le_bytes();
        self.batch.put(key, [&crc[..], &body].concat());
        Ok(())
    }

    fn commit(self, is_synced: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(is_synced);
        let written = self.store.db.write_opt(self.batch, &options);
        written.map_err(|source| self.store.files("write", source))
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
