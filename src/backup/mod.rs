//! Backups: what is kept in a bucket so that a set can come back from the loss of everything.
//!
//! So far there are the bucket itself ([`bucket`]) and a trial of it ([`trial`]), which finds out whether it does what backups
//! rely on.

pub mod bucket;
pub mod trial;
