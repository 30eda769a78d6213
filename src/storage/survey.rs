//! Looking at a store that nobody uses.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use rocksdb::{ColumnFamilyDescriptor, DB, ReadOptions};

use super::checkpoint::failed;
use super::keys::RowKey;
use super::manifest;
use super::options::Options;
use super::store::{Error, META, REQUESTS, ROWS, RequestEntry, Store};
use crate::base::codec::{DecodeError, Reader};
use crate::base::task::thread;
use crate::model::row::{self, RowRef};
use crate::model::{Digest, EntityKey, ViewId};

/// Enough to read a store once from front to back.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// So much is read ahead of what is looked at.
const READ_AHEAD_BYTES: usize = 2 << 20;
/// Rows go in batches of so many bytes from who reads them to who adds them up, and so many may wait.
const BATCH_BYTES: usize = 256 << 10;
const BATCHES_WAITING: usize = 4;

/// What the rows add up to, and which of them are damaged.
#[derive(Debug, Default)]
pub struct Contents {
    /// Set digest over all rows with their versions.
    pub digest: Digest,
    /// Rows that hold features, by view.
    pub live: BTreeMap<ViewId, u64>,
    /// All rows, tombstones included.
    pub rows: u64,
    /// Results of named writes.
    pub requests: u64,
    /// Rows and results that are not what the format says.
    pub damaged: Vec<Error>,
}

impl Store {
    /// Opens the store in `path` for reading; nothing there is changed. Its lineage is not looked at.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none; otherwise if it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Store, Error> {
        if !path.join("CURRENT").exists() {
            let path = path.to_owned();
            return Err(Error::Missing { path });
        }
        manifest::check(path)?;
        let cache = rocksdb::Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let options = Options::default();
        let families = [ROWS, REQUESTS, META]
            .map(|name| ColumnFamilyDescriptor::new(name, options.rows(&cache)));
        let mut database = Options::database();
        database.create_if_missing(false);
        database.create_missing_column_families(false);
        let db = DB::open_cf_descriptors_read_only(&database, path, families, false);
        let db = db.map_err(|cause| Error::Engine {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Store::new(db, path, cache))
    }

    /// Visits every row of every view, in the order of the keys.
    ///
    /// # Errors
    /// If RocksDB cannot read on.
    pub fn visit_rows(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        self.visit(ROWS, |key, row| visit(key, row))
    }

    /// Reads all that is stored and checks it.
    ///
    /// # Errors
    /// If RocksDB cannot read on; what is damaged otherwise is in the [`Contents`].
    pub fn contents(&self) -> Result<Contents, Error> {
        let mut contents = Contents::default();
        self.visit(ROWS, |key, row| contents.add_row(self, key, row))?;
        self.visit(REQUESTS, |key, entry| {
            contents.add_request(self, key, entry)
        })?;
        self.visit(META, |_, _| {})?;
        Ok(contents)
    }

    /// The set digest over all rows with their versions. Reads all that is stored, so that damaged blocks are found, but does not
    /// look at what rows say.
    ///
    /// # Errors
    /// [Damage](Error::is_damage) if there is one, or if there is no thread to be had.
    pub fn digest(&self) -> Result<Digest, Error> {
        let (sender, receiver) = sync_channel::<Batch>(BATCHES_WAITING);
        let adding = thread("digest", move || {
            let sums = receiver.iter().map(|batch| batch.digest());
            sums.fold(Digest::EMPTY, Digest::plus)
        });
        let adding = adding.map_err(|cause| self.no_thread(cause))?;
        let mut batch = Batch::default();
        let read = self.visit(ROWS, |key, row| {
            batch.push(key, row);
            if batch.bytes.len() >= BATCH_BYTES {
                // Whoever adds goes on to the end; if it panics that shows below.
                let _gone = sender.send(std::mem::take(&mut batch));
            }
        });
        let _gone = sender.send(batch);
        drop(sender);
        let digest = adding.join();
        read?;
        [REQUESTS, META]
            .into_iter()
            .try_for_each(|family| self.visit(family, |_, _| {}))?;
        digest.map_err(|_| self.no_thread(io::Error::other("it has panicked")))
    }

    fn no_thread(&self, cause: io::Error) -> Error {
        failed("add up", self.path())(cause)
    }

    /// Reads every row once, so that blocks whose bytes have changed since they were written are found.
    ///
    /// # Errors
    /// [Damage](Error::is_damage) if there is one.
    pub fn check_blocks(&self) -> Result<(), Error> {
        [ROWS, REQUESTS, META]
            .into_iter()
            .try_for_each(|family| self.visit(family, |_, _| {}))
    }

    /// The table files in its directory that are no part of it, as far as its manifest tells.
    ///
    /// # Errors
    /// If RocksDB cannot say which are.
    pub fn strange_files(&self, names: &[String]) -> Result<Vec<String>, Error> {
        let live = self.live_tables()?;
        let is_live = |name: &str| {
            live.iter()
                .any(|table| table.trim_start_matches('/') == name)
        };
        let is_strange = |name: &&String| name.ends_with(".sst") && !is_live(name);
        Ok(names.iter().filter(is_strange).cloned().collect())
    }

    fn visit(&self, family: &str, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        options.set_readahead_size(READ_AHEAD_BYTES);
        let mut entries = self.iterator(family, options);
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            visit(key, value);
            entries.next();
        }
        entries.status().map_err(|cause| self.engine_error(cause))
    }
}

/// Rows, one behind the other.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How long the key and the row are, of each.
    lengths: Vec<(usize, usize)>,
}

impl Batch {
    fn push(&mut self, key: &[u8], row: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        self.lengths.push((key.len(), row.len()));
    }

    fn digest(&self) -> Digest {
        let (mut digest, mut rest) = (Digest::EMPTY, self.bytes.as_slice());
        for (key, row) in &self.lengths {
            let (entry, behind) = rest.split_at(key + row);
            let (key, row) = entry.split_at(*key);
            digest = digest.plus(Digest::of_row(key, row));
            rest = behind;
        }
        digest
    }
}

impl Contents {
    fn add_row(&mut self, store: &Store, key: &[u8], row: &[u8]) {
        self.rows += 1;
        self.digest = self.digest.plus(Digest::of_row(key, row));
        let read = || -> Result<(ViewId, bool), DecodeError> {
            row::check(row)?;
            let (view, _) = split_row_key(key)?;
            Ok((view, RowRef::parse(row)?.is_live()))
        };
        match read() {
            Ok((view, is_live)) => *self.live.entry(view).or_default() += u64::from(is_live),
            Err(source) => {
                let what = format!("the row of key {}", hex::encode(key));
                self.damaged.push(store.damaged(what, source));
            }
        }
    }

    fn add_request(&mut self, store: &Store, key: &[u8], entry: &[u8]) {
        if entry.is_empty() {
            return;
        }
        self.requests += 1;
        if let Err(source) = RequestEntry::decode(entry) {
            let what = format!("the request entry of key {}", hex::encode(key));
            self.damaged.push(store.damaged(what, source));
        }
    }
}

/// View and entity of the key of a row.
///
/// # Errors
/// If it is too short.
pub fn split_row_key(key: &[u8]) -> Result<(ViewId, EntityKey), DecodeError> {
    let view = Reader::new(key).array("view id").map(u64::from_be_bytes)?;
    let entity = Bytes::copy_from_slice(RowKey::entity_bytes(key));
    Ok((ViewId(view), EntityKey::from_checked(entity)))
}
