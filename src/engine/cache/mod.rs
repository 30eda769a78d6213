//! The row cache: encoded rows, bounded in bytes, written through by the applier.
//!
//! **Invariant.** A lookup that begins after a row was applied never sees an older one. Readers fill the cache beside
//! the applier; what they read before a change must not be kept after it. So each stripe of keys counts its changes: a
//! reader notes the count before it reads the store, and its row is kept only if the count is still the same.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::storage::RowKey;

const STRIPES: usize = 256;
/// What an entry costs beside its bytes: two handles, the slot and the hash table's share.
const ENTRY_BYTES: u64 = 120;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<RowKey, Option<Bytes>> for ByBytes {
    fn weight(&self, key: &RowKey, row: &Option<Bytes>) -> u64 {
        let bytes = key.as_bytes().len() + row.as_ref().map_or(0, Bytes::len);
        ENTRY_BYTES + u64::try_from(bytes).unwrap_or(u64::MAX / 2)
    }
}

/// Rows by key; that a row does not exist is cached too.
#[derive(Debug)]
pub struct RowCache {
    rows: Cache<RowKey, Option<Bytes>, ByBytes>,
    hasher: RandomState,
    /// Each guards the count of changes of its stripe, and that filling and changing the cache exclude each other.
    stripes: Vec<Mutex<u64>>,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
}

/// The right to fill one key's place, given before the store was read.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    changes: u64,
}

impl RowCache {
    /// A cache of at most `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> RowCache {
        let typical_rows = usize::try_from(bytes / 400).unwrap_or(usize::MAX);
        RowCache {
            rows: Cache::with_weighter(typical_rows, bytes, ByBytes),
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// What is known of a key: its row or that there is none; `None` if nothing is known.
    #[must_use]
    pub fn get(&self, key: &RowKey) -> Option<Option<Bytes>> {
        let found = self.rows.get(key);
        if found.is_some() {
            self.hits.inc()
        } else {
            self.misses.inc()
        };
        found
    }

    /// Like [`get`](Self::get), but counts nothing.
    #[must_use]
    pub fn peek(&self, key: &RowKey) -> Option<Option<Bytes>> {
        self.rows.get(key)
    }

    fn stripe(&self, key: &RowKey) -> std::sync::MutexGuard<'_, u64> {
        let hash = usize::try_from(self.hasher.hash_one(key) % 256).unwrap_or(0);
        let stripe = self.stripes.get(hash).expect("there are 256 stripes");
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the store is read.
    #[must_use]
    pub fn ticket(&self, key: &RowKey) -> Ticket {
        Ticket {
            changes: *self.stripe(key),
        }
    }

    /// Keeps what was read from the store, unless it may have changed since the ticket was given.
    pub fn fill(&self, key: &RowKey, row: Option<Bytes>, ticket: Ticket) {
        let changes = self.stripe(key);
        if *changes == ticket.changes {
            self.rows.insert(key.clone(), row);
        }
    }

    /// Takes in a row that has just been committed to the store.
    pub fn put(&self, key: RowKey, row: Bytes) {
        let mut changes = self.stripe(&key);
        *changes += 1;
        self.rows.insert(key, Some(row));
    }

    /// Bytes in use, as counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rows.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntityKey, KeyValue, ViewId};

    fn key(at: i64) -> RowKey {
        RowKey::new(ViewId(1), &EntityKey::encode([&KeyValue::Int64(at)]))
    }

    #[test]
    fn a_row_read_before_a_change_is_not_kept_after_it() {
        let cache = RowCache::new(1 << 20);
        let ticket = cache.ticket(&key(1));
        cache.put(key(1), Bytes::from_static(b"new"));
        cache.rows.remove(&key(1));
        cache.fill(&key(1), Some(Bytes::from_static(b"old")), ticket);
        assert_eq!(cache.get(&key(1)), None);
        let ticket = cache.ticket(&key(1));
        cache.fill(&key(1), Some(Bytes::from_static(b"new")), ticket);
        assert_eq!(cache.get(&key(1)), Some(Some(Bytes::from_static(b"new"))));
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache = RowCache::new(64 << 10);
        for at in 0..2_000 {
            cache.put(key(at), Bytes::from(vec![0; 200]));
        }
        assert!(cache.bytes() <= 64 << 10);
        assert!(cache.bytes() > 32 << 10);
    }

    #[test]
    fn absence_is_cached_too() {
        let cache = RowCache::new(1 << 20);
        let ticket = cache.ticket(&key(3));
        cache.fill(&key(3), None, ticket);
        assert_eq!(cache.get(&key(3)), Some(None));
    }
}
