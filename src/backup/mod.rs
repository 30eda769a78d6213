//! Backups: what is kept of a set in a bucket, and how a set is made of that again.
//!
//! ```text
//!   take:     checkpoint ─► files, by what they hold ─► manifest, last          = a restore point
//!   restore:  restore point ─► store ─► archived records up to a moment ─► a set of a new lineage
//! ```
//! What is decided is pure: [`layout`] says what objects are called, [`plan`] what a restore takes, [`follow`] which records
//! count, [`retention`] which restore points are kept, [`mod@removal`] what goes with the others. [`repository`] is the bucket by
//! what it holds; [`take`] and [`mod@restore`] move bytes, [`prune`] removes them, [`mod@verify`] looks whether they are there. Whether
//! a bucket does what all this relies on, [`trial`] finds out.
//!
//! **Invariants** (I25). Objects are created and never replaced. What is read is checked against its name or its manifest. A
//! restored set has a lineage of its own.

pub mod archive;
pub mod archiver;
pub mod bucket;
pub mod follow;
pub mod inventory;
pub mod layout;
pub mod manifest;
pub mod plan;
pub mod prune;
pub mod records;
pub mod removal;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod stretch;
pub mod take;
pub mod trial;
pub mod verify;
pub mod way;
