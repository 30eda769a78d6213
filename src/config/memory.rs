//! The most memory that a node takes, as one sum of what is configured.

use super::Config;
use crate::backup::{records, take};
use crate::net;

/// Bytes that one connection may make the node keep beside its requests: what its flow-control window lets it send
/// ahead, and the buffers and tables of the protocol.
const CONNECTION_BYTES: u64 = CONNECTION_WINDOW_BYTES as u64 + TABLE_BYTES;
const TABLE_BYTES: u64 = 128 << 10;
/// The same of one connection of a peer.
const PEER_CONNECTION_BYTES: u64 = net::CONNECTION_WINDOW_BYTES as u64 + TABLE_BYTES;
/// Bytes of one connection that may have arrived before a handler takes them.
pub const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// What one thread needs for a message while it decodes and checks it, or builds an answer: one and a half times the
/// lists that are let in, and the message itself. Only a hostile one of many empty fields comes near.
const THREAD_BYTES: u64 = 128 << 20;
/// Reads and writes are decoded on threads of their own.
const LANES: u64 = 2;
/// The program, its threads, the store's tables and the work of its compactions.
const BASE_BYTES: u64 = 96 << 20;

/// Bytes by what takes them, at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBound {
    /// Rows cached as stored.
    pub row_cache: u64,
    /// Blocks of the store's files, uncompressed, with their indexes and filters.
    pub block_cache: u64,
    /// Rows gathered before they are written to files.
    pub memtables: u64,
    /// Lookups and scans under way, with their answers.
    pub reads: u64,
    /// Writes under way.
    pub writes: u64,
    /// Connections.
    pub connections: u64,
    /// What peers send.
    pub peers: u64,
    /// A restore point that is being made, and records that are being archived.
    pub backups: u64,
    /// Threads that decode.
    pub threads: u64,
    /// Everything else.
    pub base: u64,
}

impl MemoryBound {
    /// The parts by name, in the order of the documentation.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 10] {
        [
            ("row_cache", self.row_cache),
            ("block_cache", self.block_cache),
            ("memtables", self.memtables),
            ("reads", self.reads),
            ("writes", self.writes),
            ("connections", self.connections),
            ("peers", self.peers),
            ("backups", self.backups),
            ("threads", self.threads),
            ("base", self.base),
        ]
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        let parts = self.parts().map(|(_, bytes)| bytes);
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Config {
    /// How much memory the node takes at the most, by what takes it, on a machine that runs `threads` threads at once.
    #[must_use]
    pub fn memory_bound(&self, threads: usize) -> MemoryBound {
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        MemoryBound {
            row_cache: self.engine.row_cache_bytes,
            block_cache: bytes(self.store.block_cache_bytes),
            memtables: bytes(self.store.memtables_bytes()),
            reads: self.read.in_flight_bytes,
            writes: self.write.in_flight_bytes,
            connections: bytes(self.server.connections).saturating_mul(CONNECTION_BYTES),
            peers: net::IN_FLIGHT_BYTES
                + bytes(net::CONNECTIONS) * PEER_CONNECTION_BYTES
                + bytes(net::SNAPSHOT_BYTES),
            backups: bytes(take::MEMORY_BYTES + records::MEMORY_BYTES),
            threads: bytes(threads)
                .saturating_mul(LANES)
                .saturating_mul(THREAD_BYTES),
            base: BASE_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_takes_memory_is_in_the_sum() {
        let base = Config::default().memory_bound(2).total();
        let more = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.memory_bound(2).total() - base
        };
        assert_eq!(more(|config| config.engine.row_cache_bytes += 7), 7);
        assert_eq!(more(|config| config.store.block_cache_bytes += 7), 7);
        assert_eq!(more(|config| config.store.memtable_bytes += 8), 24);
        assert_eq!(more(|config| config.read.in_flight_bytes += 7), 7);
        assert_eq!(more(|config| config.write.in_flight_bytes += 7), 7);
        assert_eq!(more(|config| config.server.connections += 1), 640 << 10);
        let another = Config::default().memory_bound(3).total();
        assert_eq!(another - base, 2 * THREAD_BYTES);
    }

    #[test]
    fn a_sum_beyond_all_numbers_does_not_wrap() {
        let mut config = Config::default();
        config.engine.row_cache_bytes = u64::MAX;
        assert_eq!(config.memory_bound(2).total(), u64::MAX);
    }
}
