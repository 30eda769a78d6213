//! Sets of several nodes in one process, over loopback: real Raft, WAL, RocksDB and gRPC.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod archive;
mod backup;
mod calls;
#[path = "../node/disk.rs"]
mod disk;
mod disks;
mod failover;
mod form;
mod forwarding;
mod levels;
mod lost;
mod operate;
mod refound;
mod retries;
mod scans;
mod seeding;
mod sessions;
mod steps;
mod support;
mod way;
