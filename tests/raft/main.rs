//! Members agree over loopback: each has its own directory, threads and port, and is killed by taking its threads away.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

mod agree;
mod group;
mod members;
mod start;
