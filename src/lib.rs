//! Steadfast: a replicated, highly available online feature store.
//!
//! One crate, one binary. Modules stand in layers, lower ones first; `docs/ARCHITECTURE.md` is the map and
//! `tests/layering.rs` holds the code to it.

pub mod base;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod engine;
pub mod epoch;
pub mod model;
pub mod net;
pub mod node;
pub mod proto;
pub mod read;
pub mod replica;
pub mod replication;
pub mod server;
pub mod storage;
pub mod wal;
