//! The row cache: encoded rows, bounded in bytes. Lookups fill it, the applier keeps what is in it up to date.
//!
//! A row is found by a hash of its key and carries the key, so that an entry is one slot and one allocation. Keys of
//! equal hash share a place: the one that lost it is read from the store. What a lookup of many rows costs is mostly
//! waiting for memory, so it looks all of them up step by step, each step for all rows: accesses that do not depend on
//! one another overlap.
//!
//! **Invariant.** A lookup that begins after a row was applied never sees an older one. Readers fill the cache beside
//! the applier; what they read before a change must not be kept after it. So changes are counted: a reader notes
//! the count before it reads the store, and its row is kept only if the count is still the same.

mod keyed_row;
mod shard;

use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::quality::RandomState;
use prometheus_client::metrics::counter::Counter;

pub use self::keyed_row::KeyedRow;
use self::shard::Shard;

/// So many that threads seldom meet, so few that a lookup of many rows takes few locks.
const SHARDS: usize = 16;

/// Rows by key; that a row does not exist is cached too.
#[derive(Debug)]
pub struct RowCache {
    /// Each guards its entries and the count of changes to them.
    shards: Vec<RwLock<Shard>>,
    hasher: RandomState,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
}

/// The right to fill one key's place, given before the store was read.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    hash: u64,
    changes: u64,
}

impl RowCache {
    /// A cache of at most `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> RowCache {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX) / SHARDS;
        RowCache {
            shards: (0..SHARDS)
                .map(|_| RwLock::new(Shard::new(bytes)))
                .collect(),
            hasher: RandomState::default(),
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// What is known of some keys, in their order; `None` where nothing is.
    #[must_use]
    pub fn get_all<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<Option<KeyedRow>> {
        let hashes: Vec<u64> = keys.clone().map(|key| self.hasher.hash_one(key)).collect();
        let shards = self.shards_of(&hashes);
        let found = |hash: &u64| shards.get(shard_of(*hash))?.as_ref()?.find(*hash);
        let slots: Vec<_> = hashes.iter().map(found).collect();
        black_box(
            slots
                .iter()
                .flatten()
                .fold(0, |seen, slot| seen ^ slot.touch()),
        );
        let looked_up = keys.zip(slots).map(|(key, slot)| slot?.look_up(key));
        looked_up.collect()
    }

    /// The shards of these hashes, each at its index. Others may hold some of them, but nobody who changes one waits for
    /// another, so this ends.
    fn shards_of(&self, hashes: &[u64]) -> Vec<Option<RwLockReadGuard<'_, Shard>>> {
        let mut wanted = [false; SHARDS];
        for hash in hashes {
            if let Some(wanted) = wanted.get_mut(shard_of(*hash)) {
                *wanted = true;
            }
        }
        let shards = self.shards.iter().zip(wanted);
        shards
            .map(|(shard, wanted)| wanted.then(|| shard.read()))
            .map(|shard| shard.map(|shard| shard.unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    fn change(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shards.get(shard_of(hash));
        let shard = shard.expect("every hash has a shard").write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the store is read.
    #[must_use]
    pub fn ticket(&self, key: &[u8]) -> Ticket {
        let hash = self.hasher.hash_one(key);
        let shards = self.shards_of(&[hash]);
        let changes = shards.iter().flatten().map(|shard| shard.changes(hash));
        let changes = changes.sum();
        Ticket { hash, changes }
    }

    /// Keeps what was read from the store, unless it may have changed since the ticket for its key was given.
    pub fn fill(&self, row: KeyedRow, ticket: Ticket) {
        let mut shard = self.change(ticket.hash);
        if shard.changes(ticket.hash) == ticket.changes {
            shard.insert(ticket.hash, row);
        }
    }

    /// Takes in a row that has just been committed to the store. Only rows that somebody has looked up are worth their
    /// place, so a key that is not there stays out.
    pub fn update(&self, row: KeyedRow) {
        let hash = self.hasher.hash_one(row.key());
        self.change(hash).update(hash, row);
    }

    /// Bytes in use, the tables included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            u64::try_from(shard.bytes()).unwrap_or(u64::MAX)
        };
        self.shards.iter().map(bytes).sum()
    }
}

fn shard_of(hash: u64) -> usize {
    usize::try_from(hash).unwrap_or_default() % SHARDS
}
