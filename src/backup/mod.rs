//! Backups: what is kept in a bucket so that a set can come back from the loss of everything.
//!
//! So far there is the bucket itself ([`bucket`]).

pub mod bucket;
