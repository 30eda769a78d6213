//! Steadfast: a replicated, highly available online feature store.
//!
//! One crate, one binary. Modules stand in layers, lower ones first; `docs/ARCHITECTURE.md` is the map and
//! `tests/layering.rs` holds the code to it.

#[cfg(feature = "server")]
pub mod backup;
pub mod base;
#[cfg(feature = "server")]
pub mod cli;
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "cores")]
pub mod control;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "cores")]
pub mod epoch;
pub mod model;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod node;
pub mod proto;
#[cfg(feature = "cores")]
pub mod read;
#[cfg(feature = "cores")]
pub mod replica;
#[cfg(feature = "cores")]
pub mod replication;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod storage;
#[cfg(feature = "server")]
pub mod wal;
