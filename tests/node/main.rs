//! A node with its edges, in this process, over loopback: what a client sees.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod bad_input;
mod disk;
mod edges;
mod faults;
mod forget;
mod ingest;
mod lookups;
mod purge;
mod restarts;
mod scans;
mod support;
mod trouble;
mod views;
mod writes;
