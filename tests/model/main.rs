//! The protocol of a replica set as an explicit-state model: every order of steps within given bounds, breadth first.
//!
//! Raft's decisions (Begin, Open, Extend, Close, Evict, Boot) are atomic. Everything else is a single step that may be
//! taken at any time: a step that never comes is a lost message, one that comes late a delayed one. Nothing depends on
//! time, but for the passing of L where quorum contact is modelled. Nodes are incarnations; a record is a bit, and acks
//! arrive at once, since a late one is the step it enables being taken late.
//!
//! Reads and writes have one history per key: a read must not return less than what had been acknowledged or read when
//! it began, and a write that began after a newer one was acknowledged or read must never be acknowledged or read itself.
//! So real time and versions agree: reads and writes are linearizable, key by key.
//!
//! `make model` searches everything; `make test` what takes seconds. It needs std alone and is compiled by rustc, since
//! it is of use only when optimised.
//!
//! **Invariants**
//! - A rule of the protocol is one [`rule::Rule`]; `must_fail` leaves each out once and finds harm.
//! - A counterexample is a shortest one in its scope.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers index small arrays of the model"
)]

mod change;
mod fault;
mod heal;
mod invariant;
mod must_fail;
mod must_hold;
mod read;
mod retire;
mod rule;
mod scope;
mod search;
mod set;
mod state;
mod step;
mod write;
