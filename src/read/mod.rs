//! What a read may claim: the pure cores.
//!
//! - [`Gather`] and [`Plan`]: a quorum read, which needs no primary: whom to ask when, and which row the answers decide.
//!
//! What a primary read waits for, and whether a member may answer a quorum read at all (Q1), stands with the replica.
//!
//! **Invariants.** I15: a quorum read returns a row that W members name as theirs in one epoch.

mod gather;
mod plan;

pub use gather::Gather;
pub use plan::Plan;
