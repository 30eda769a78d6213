//! The store: reading rows, and committing changes of them together with the state that describes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBPinnableSlice, Direction, ErrorKind, IteratorMode, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};

use super::keys::{self, RowKey};
use super::manifest;
use super::options::Options;
use super::state::State;
use crate::base::codec::{DecodeError, Reader, check_checksum, put_checksum};
use crate::base::{Hlc, LineageId, Lsn, Stamp};
use crate::model::definition::Definition;
use crate::model::{Catalogue, Digest, EntityKey, ViewId};

pub(super) const ROWS: &str = "rows";
pub(super) const REQUESTS: &str = "requests";
pub(super) const META: &str = "meta";

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// RocksDB failed; what it says names the file.
    #[error("store {path}: {cause}")]
    Engine {
        /// The store's directory.
        path: PathBuf,
        /// What RocksDB said.
        cause: rocksdb::Error,
    },
    /// Something stored is not what it must be.
    #[error("store {path}: {what} is damaged")]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What was read.
        what: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Files could not be rewritten, so that old values may still be in them.
    #[error("store {path}: files could not be rewritten; its LOG says why")]
    NotRewritten {
        /// The store's directory.
        path: PathBuf,
    },
    /// A file of a store could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file, or its directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// What was received is not what was offered.
    #[error("{path} is not what was offered: it is {found}, the offer said {offered}")]
    Differs {
        /// The file, or the directory of all of them.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        offered: String,
    },
    /// The store was written by a later version of this program.
    #[error("store {path} has format {found}, this program knows formats up to {known}")]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format found.
        found: u8,
        /// The last format known here.
        known: u8,
    },
    /// There is no store.
    #[error("there is no store in {path}")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The store belongs to another history.
    #[error("store {path} belongs to lineage {found}, this directory to {expected}")]
    OtherLineage {
        /// The store's directory.
        path: PathBuf,
        /// The lineage found.
        found: LineageId,
        /// The lineage expected.
        expected: LineageId,
    },
}

impl Error {
    /// Is it that stored bytes are not what was written?
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Engine { cause, .. } => cause.kind() == ErrorKind::Corruption,
            Error::NotRewritten { .. }
            | Error::File { .. }
            | Error::Differs { .. }
            | Error::NewerFormat { .. }
            | Error::Missing { .. }
            | Error::OtherLineage { .. } => false,
        }
    }
}

/// An encoded row, pinned where RocksDB holds it.
pub struct RowBytes<'a>(DBPinnableSlice<'a>);

impl std::ops::Deref for RowBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for RowBytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowBytes({} bytes)", self.len())
    }
}

/// What memory says of a row.
#[derive(Debug)]
pub enum InMemory<'a> {
    /// What is stored, or that nothing is.
    Known(Option<RowBytes<'a>>),
    /// A file would have to be read.
    Unknown,
}

/// What is kept of a named write, so that its repetition gets the first result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEntry {
    /// The first write's stamp.
    pub stamp: Stamp,
    /// Digest of what was asked for.
    pub body_hash: Digest,
    /// Rows that became what was written.
    pub applied: u64,
    /// Rows older than what was stored.
    pub older: u64,
    /// Rows folded into others of the same batch.
    pub folded: u64,
}

impl RequestEntry {
    /// The bytes to store: `stamp time, region, epoch, seq, applied, older, folded u64 each | body hash u128 | crc32 u32`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Stamp {
            hlc,
            region,
            epoch,
            seq,
        } = self.stamp;
        let mut out = Vec::new();
        for part in [
            hlc.0,
            region.0,
            epoch.0,
            seq.0,
            self.applied,
            self.older,
            self.folded,
        ] {
            out.put_u64_le(part);
        }
        out.put_u128_le(self.body_hash.0);
        put_checksum(&mut out, 0);
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn decode(bytes: &[u8]) -> Result<RequestEntry, DecodeError> {
        let mut reader = Reader::new(check_checksum("request entry", bytes)?);
        let stamp = Stamp {
            hlc: Hlc(reader.u64("stamp time")?),
            region: crate::base::RegionId(reader.u64("region")?),
            epoch: crate::base::Epoch(reader.u64("epoch")?),
            seq: crate::base::Seq(reader.u64("seq")?),
        };
        let (applied, older, folded) = (
            reader.u64("applied")?,
            reader.u64("older")?,
            reader.u64("folded")?,
        );
        let entry = RequestEntry {
            stamp,
            body_hash: Digest(reader.u128("body hash")?),
            applied,
            older,
            folded,
        };
        reader.finish("request entry")?;
        Ok(entry)
    }
}

/// Changes that become visible, and durable, together.
pub struct Changes<'a> {
    store: &'a Store,
    batch: WriteBatch,
}

impl Changes<'_> {
    /// Sets a row.
    pub fn put_row(&mut self, key: &[u8], row: &[u8]) {
        self.batch.put_cf(self.store.family(ROWS), key, row);
    }

    /// Removes a row.
    pub fn delete_row(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.store.family(ROWS), key);
    }

    /// Sets the result of a named write.
    pub fn put_request(&mut self, caller: &str, id: &str, entry: &RequestEntry) {
        let family = self.store.family(REQUESTS);
        let key = keys::request(caller, id);
        self.batch
            .put_cf(family, keys::request_by_age(entry.stamp.hlc, &key), []);
        self.batch.put_cf(family, key, entry.encode());
    }

    /// Adds an applied definition.
    pub fn put_definition(&mut self, stamp: &Stamp, definition: &Definition) {
        self.batch.put_cf(
            self.store.family(META),
            keys::definition(stamp),
            definition.to_json(),
        );
    }

    /// Removes the results of named writes whose stamps lie below `before`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn forget_requests(&mut self, before: Hlc) -> Result<u64, Error> {
        let family = self.store.family(REQUESTS);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::requests_from(before));
        let from = keys::requests_from(Hlc::ZERO);
        let mut forgotten = 0;
        for entry in self.store.db.iterator_cf_opt(
            family,
            options,
            IteratorMode::From(&from, Direction::Forward),
        ) {
            let (key, _) = entry.map_err(|cause| self.store.engine_error(cause))?;
            let request = keys::request_of_age_key(&key).unwrap_or_default();
            // The entry may have been written again since, under a later stamp that has its own key by age.
            let current = self.store.request_at(request)?;
            if current.is_some_and(|entry| entry.stamp.hlc < before) {
                self.batch.delete_cf(family, request);
            }
            self.batch.delete_cf(family, &key);
            forgotten += 1;
        }
        Ok(forgotten)
    }

    /// Makes everything visible, described by `state`. It survives a crash only after [`Store::flush`].
    ///
    /// # Errors
    /// If RocksDB refuses; nothing is visible then.
    pub fn commit(mut self, state: &State) -> Result<(), Error> {
        self.batch
            .put_cf(self.store.family(META), keys::STATE, state.encode());
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.store
            .db
            .write_opt(self.batch, &options)
            .map_err(|cause| self.store.engine_error(cause))
    }
}

/// Where a scan begins.
#[derive(Debug, Clone)]
pub enum ScanStart {
    /// At the first row of the prefix.
    First,
    /// Behind this entity's row.
    After(EntityKey),
}

/// Rows and their state in RocksDB.
pub struct Store {
    pub(super) db: DB,
    path: PathBuf,
    cache: rocksdb::Cache,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

const FORMAT: u8 = 1;

impl Store {
    /// Opens the store in `path`, creating an empty one of this lineage if there is none.
    ///
    /// # Errors
    /// If it is damaged, of a later format or of another lineage.
    pub fn open(path: &Path, lineage: LineageId, options: &Options) -> Result<Store, Error> {
        Store::open_to(path, lineage, options, true)
    }

    /// Opens it for a moment: files are not compacted meanwhile, if it does not `compact`.
    pub(super) fn open_to(
        path: &Path,
        lineage: LineageId,
        options: &Options,
        compact: bool,
    ) -> Result<Store, Error> {
        manifest::check(path)?;
        let cache = rocksdb::Cache::new_lru_cache(options.block_cache_bytes);
        let families = [
            (ROWS, options.rows(&cache)),
            (REQUESTS, options.other(&cache)),
            (META, options.other(&cache)),
        ]
        .map(|(name, mut options)| {
            options.set_disable_auto_compactions(!compact);
            ColumnFamilyDescriptor::new(name, options)
        });
        let db =
            DB::open_cf_descriptors(&Options::database(), path, families).map_err(|cause| {
                Error::Engine {
                    path: path.to_owned(),
                    cause,
                }
            })?;
        let store = Store::new(db, path, cache);
        store.check_identity(lineage)?;
        Ok(store)
    }

    pub(super) fn new(db: DB, path: &Path, cache: rocksdb::Cache) -> Store {
        let path = path.to_owned();
        Store { db, path, cache }
    }

    pub(super) fn database(&self) -> &DB {
        &self.db
    }

    pub(super) fn iterator(
        &self,
        family: &str,
        options: ReadOptions,
    ) -> rocksdb::DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(self.family(family), options)
    }

    /// The names of the table files that make it up.
    pub(super) fn live_tables(&self) -> Result<Vec<String>, Error> {
        let tables = self
            .db
            .live_files()
            .map_err(|cause| self.engine_error(cause))?;
        Ok(tables.into_iter().map(|table| table.name).collect())
    }

    fn check_identity(&self, expected: LineageId) -> Result<(), Error> {
        if self.lineage()?.is_some() {
            return self.require_lineage(expected);
        }
        self.write_identity(expected)
    }

    /// Makes the store that nobody uses in `path` one of another lineage, whose WAL has yet to begin. Durable on return.
    ///
    /// # Errors
    /// If it is damaged, or not of the lineage `from`.
    pub fn begin_lineage(
        path: &Path,
        from: LineageId,
        lineage: LineageId,
        options: &Options,
    ) -> Result<(), Error> {
        let store = Store::open(path, from, options)?;
        let state = State {
            lsn: Lsn::default(),
            ..store.state()?
        };
        store.changes().commit(&state)?;
        store.write_identity(lineage)
    }

    fn write_identity(&self, lineage: LineageId) -> Result<(), Error> {
        let mut identity = vec![FORMAT];
        identity.put_u128_le(lineage.0);
        put_checksum(&mut identity, 0);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META), keys::IDENTITY, identity);
        self.db
            .write_opt(batch, &options)
            .map_err(|cause| self.engine_error(cause))?;
        self.flush()
    }

    /// Refuses a store that belongs to another lineage, or to none yet.
    pub(super) fn require_lineage(&self, expected: LineageId) -> Result<(), Error> {
        let found = self.lineage()?.unwrap_or(LineageId(0));
        if found == expected {
            return Ok(());
        }
        Err(Error::OtherLineage {
            path: self.path.clone(),
            found,
            expected,
        })
    }

    /// The lineage that the store says it belongs to; `None` if it is so new that it does not say.
    ///
    /// # Errors
    /// If that is damaged, or the store is of a later format.
    pub fn lineage(&self) -> Result<Option<LineageId>, Error> {
        let Some(bytes) = self.meta(keys::IDENTITY, &ReadOptions::default())? else {
            return Ok(None);
        };
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(check_checksum("store identity", bytes)?);
            Ok((
                reader.u8("store format")?,
                LineageId(reader.u128("lineage")?),
            ))
        };
        let (found_format, lineage) =
            read(&bytes).map_err(|source| self.damaged("its identity", source))?;
        if found_format != FORMAT {
            return Err(Error::NewerFormat {
                path: self.path.clone(),
                found: found_format,
                known: FORMAT,
            });
        }
        Ok(Some(lineage))
    }

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("open creates all families")
    }

    pub(super) fn engine_error(&self, cause: rocksdb::Error) -> Error {
        Error::Engine {
            path: self.path.clone(),
            cause,
        }
    }

    pub(super) fn damaged(&self, what: impl Into<String>, source: DecodeError) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            what: what.into(),
            source,
        }
    }

    fn meta(&self, key: &[u8], options: &ReadOptions) -> Result<Option<Vec<u8>>, Error> {
        let read = self.db.get_cf_opt(self.family(META), key, options);
        read.map_err(|cause| self.engine_error(cause))
    }

    /// The state as last committed.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn state(&self) -> Result<State, Error> {
        self.state_by(&ReadOptions::default())
    }

    /// The state, read in this way.
    pub(super) fn state_by(&self, options: &ReadOptions) -> Result<State, Error> {
        let Some(bytes) = self.meta(keys::STATE, options)? else {
            return Ok(State::default());
        };
        State::decode(&bytes).map_err(|source| self.damaged("its state", source))
    }

    /// The catalogue that the applied definitions make.
    ///
    /// # Errors
    /// If they cannot be read or are damaged.
    pub fn catalogue(&self) -> Result<Catalogue, Error> {
        self.catalogue_until(Hlc(u64::MAX))
    }

    /// The catalogue that the applied definitions stamped at or below `last` make.
    ///
    /// # Errors
    /// If they cannot be read or are damaged.
    pub fn catalogue_until(&self, last: Hlc) -> Result<Catalogue, Error> {
        let mut catalogue = Catalogue::new();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::end_of_prefix(keys::DEFINITION).unwrap_or_default());
        let from = IteratorMode::From(keys::DEFINITION, Direction::Forward);
        for entry in self.db.iterator_cf_opt(self.family(META), options, from) {
            let (key, text) = entry.map_err(|cause| self.engine_error(cause))?;
            let read = || {
                let mut reader = Reader::new(key.get(keys::DEFINITION.len()..).unwrap_or_default());
                let mut part = |field| reader.array(field).map(u64::from_be_bytes);
                let stamp = Stamp {
                    hlc: Hlc(part("stamp time")?),
                    region: crate::base::RegionId(part("region")?),
                    epoch: crate::base::Epoch(part("epoch")?),
                    seq: crate::base::Seq(part("seq")?),
                };
                let text = std::str::from_utf8(&text).map_err(|_| DecodeError::NotUtf8 {
                    field: "definition",
                })?;
                Ok((stamp, Definition::from_json(text)?))
            };
            let (stamp, definition) =
                read().map_err(|source| self.damaged("a view definition", source))?;
            // They lie in the order of their stamps.
            if stamp.hlc > last {
                break;
            }
            catalogue.apply(stamp, &definition);
        }
        Ok(catalogue)
    }

    /// The stored rows of some keys, in their order. Blocks while files are read.
    ///
    /// # Errors
    /// If RocksDB cannot read one of them.
    pub fn rows<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Option<RowBytes<'_>>>, Error> {
        let found = self.db.batched_multi_get_cf(self.family(ROWS), keys, false);
        let pinned = found
            .into_iter()
            .map(|row| row.map(|row| row.map(RowBytes)));
        pinned
            .collect::<Result<_, _>>()
            .map_err(|cause| self.engine_error(cause))
    }

    /// A reader of single rows that looks only at what is in memory: it finds [`InMemory::Unknown`] where a file would
    /// have to be read, and fails if RocksDB has failed.
    pub fn in_memory<'a>(&'a self) -> impl Fn(&[u8]) -> Result<InMemory<'a>, Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        let family = self.family(ROWS);
        // One by one: RocksDB's batched lookup reads files in spite of the option, and where it does not, it may answer
        // with success and no bytes.
        move |key| match self.db.get_pinned_cf_opt(family, key, &options) {
            Ok(row) => Ok(InMemory::Known(row.map(RowBytes))),
            Err(cause) if cause.kind() == ErrorKind::Incomplete => Ok(InMemory::Unknown),
            Err(cause) => Err(self.engine_error(cause)),
        }
    }

    /// Visits rows of a view in key order, those whose entity key begins with `prefix`, until `visit` says to stop.
    ///
    /// # Errors
    /// If RocksDB cannot read on.
    pub fn scan<B>(
        &self,
        view: ViewId,
        prefix: &EntityKey,
        start: &ScanStart,
        mut visit: impl FnMut(EntityKey, &[u8]) -> std::ops::ControlFlow<B>,
    ) -> Result<Option<B>, Error> {
        let prefix = RowKey::new(view, prefix);
        let from = match start {
            ScanStart::First => prefix.as_bytes().to_vec(),
            // The least key above the given one.
            ScanStart::After(key) => [RowKey::new(view, key).as_bytes(), &[0]].concat(),
        };
        let from = from.max(prefix.as_bytes().to_vec());
        let end = keys::end_of_prefix(prefix.as_bytes());
        self.walk(&from, end, |key, row| {
            let entity = Bytes::copy_from_slice(RowKey::entity_bytes(key));
            visit(EntityKey::from_checked(entity), row)
        })
    }

    /// The result of the named write, if it is known.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn request(&self, caller: &str, id: &str) -> Result<Option<RequestEntry>, Error> {
        self.request_at(&keys::request(caller, id))
    }

    fn request_at(&self, key: &[u8]) -> Result<Option<RequestEntry>, Error> {
        let bytes = self
            .db
            .get_cf(self.family(REQUESTS), key)
            .map_err(|cause| self.engine_error(cause))?;
        let entry = bytes.map(|bytes| RequestEntry::decode(&bytes)).transpose();
        entry.map_err(|source| self.damaged("a request entry", source))
    }

    /// Begins a set of changes.
    #[must_use]
    pub fn changes(&self) -> Changes<'_> {
        Changes {
            store: self,
            batch: WriteBatch::default(),
        }
    }

    /// Makes `lsn` the place up to which it has applied a WAL. Durable on return.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn begin_at(&self, lsn: Lsn) -> Result<(), Error> {
        let state = State {
            lsn,
            ..self.state()?
        };
        self.changes().commit(&state)?;
        self.flush()
    }

    /// Makes everything committed so far survive a crash.
    ///
    /// # Errors
    /// If RocksDB fails; it then refuses further changes too.
    pub fn flush(&self) -> Result<(), Error> {
        let families = [ROWS, REQUESTS, META].map(|name| self.family(name));
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        let families: Vec<_> = families.iter().collect();
        self.db
            .flush_cfs_opt(&families, &options)
            .map_err(|cause| self.engine_error(cause))
    }

    /// Rewrites the files that hold these rows, so that they hold only what is stored now and nothing that was
    /// overwritten or removed. To be flushed before. Blocks, for as long as rewriting some files takes.
    ///
    /// # Errors
    /// If RocksDB fails; old values may still be in its files then.
    pub fn rewrite_rows<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Error> {
        let failures = self.background_failures();
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for key in keys {
            let behind = [key, &[0]].concat();
            let (from, to) = (Some(key), Some(behind.as_slice()));
            self.db
                .compact_range_cf_opt(self.family(ROWS), from, to, &options);
        }
        // The call itself reports nothing.
        if self.background_failures() == failures {
            Ok(())
        } else {
            let path = self.path.clone();
            Err(Error::NotRewritten { path })
        }
    }

    fn background_failures(&self) -> Option<u64> {
        let property = rocksdb::properties::BACKGROUND_ERRORS;
        // RocksDB counts the failures of all families at the default one.
        let failures = self.db.property_int_value(property);
        failures.ok().flatten()
    }

    /// Bytes of memory in use: (block cache, memtables).
    #[must_use]
    pub fn memory_bytes(&self) -> (usize, u64) {
        let memtables = [ROWS, REQUESTS, META].into_iter().filter_map(|name| {
            self.db
                .property_int_value_cf(self.family(name), "rocksdb.cur-size-all-mem-tables")
                .ok()
                .flatten()
        });
        (self.cache.get_usage(), memtables.sum())
    }

    /// The store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
