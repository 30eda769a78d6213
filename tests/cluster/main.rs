//! Sets of several nodes in one process, over loopback: real Raft, WAL, RocksDB and gRPC.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod failover;
mod form;
mod seeding;
mod support;
