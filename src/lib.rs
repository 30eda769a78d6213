//! Steadfast: a replicated, highly available online feature store.
//!
//! One crate, one binary. Modules stand in layers, lower ones first; `docs/ARCHITECTURE.md` is the map and
//! `tests/layering.rs` holds the code to it.

pub mod base;
#[cfg(feature = "server")]
pub mod cli;
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod control;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod epoch;
pub mod model;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod node;
pub mod proto;
#[cfg(feature = "server")]
pub mod read;
#[cfg(feature = "server")]
pub mod replica;
#[cfg(feature = "server")]
pub mod replication;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod storage;
#[cfg(feature = "server")]
pub mod wal;
