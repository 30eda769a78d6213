//! How much memory the store uses and how it lays out its files.

use serde::{Deserialize, Serialize};

/// Settings of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Bytes of uncompressed blocks kept in memory. Most lookups that miss the row cache should find their block here.
    pub block_cache_bytes: usize,
    /// Bytes of rows gathered in memory before they are written to files. Three times as much may be in use: twice, while
    /// they are written, and half as much again for everything but rows.
    pub memtable_bytes: usize,
}

/// Memtables of a family: one is filled while another is written.
const MEMTABLES: i32 = 2;
/// A memtable of rows has so many times the bytes of one of requests or of the meta family.
const ROWS_TO_OTHERS: usize = 4;
/// Of the bytes of a memtable, those of its filter: about 10 bits for each row of 200 bytes.
const MEMTABLE_FILTER_SHARE: f64 = 0.01;

impl Default for Options {
    fn default() -> Self {
        Options {
            block_cache_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
        }
    }
}

impl Options {
    pub(super) fn database() -> rocksdb::Options {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // One consistent state after a crash, since the log that would repair a mixture is not RocksDB's.
        options.set_atomic_flush(true);
        options.set_paranoid_checks(true);
        // There is one writer, which puts rows in the order of their keys: so each is found from the one before.
        options.set_allow_concurrent_memtable_write(false);
        options.set_max_background_jobs(2);
        options.set_bytes_per_sync(1 << 20);
        options.set_keep_log_file_num(2);
        options.set_stats_dump_period_sec(0);
        options
    }

    /// Bytes that all memtables take at the most.
    #[must_use]
    pub fn memtables_bytes(&self) -> usize {
        self.memtable_bytes.saturating_mul(3)
    }

    /// For the family of rows.
    pub(super) fn rows(&self, cache: &rocksdb::Cache) -> rocksdb::Options {
        self.family(cache, self.memtable_bytes)
    }

    /// For a family of which little is written for each batch of rows.
    pub(super) fn other(&self, cache: &rocksdb::Cache) -> rocksdb::Options {
        self.family(cache, self.memtable_bytes / ROWS_TO_OTHERS)
    }

    fn family(&self, cache: &rocksdb::Cache, memtable_bytes: usize) -> rocksdb::Options {
        let mut table = rocksdb::BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_block_size(8 << 10);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        let mut options = rocksdb::Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(memtable_bytes);
        options.set_max_write_buffer_number(MEMTABLES);
        // Most rows that are looked up are not in the memtable: seeing that must cost less than a search.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_SHARE);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options
    }
}
