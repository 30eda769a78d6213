//! Golden bytes of everything that is stored or sent: a change of a format is seen here first.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "helpers of tests may panic and need no documentation for others"
)]

mod wal;
