//! Members talk to each other over loopback: the wires of each, and the peer port of a node in this process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests fail by panicking"
)]

mod ends;
mod measure;
mod messages;
mod refusals;
mod slow;
mod support;
mod talk;
