//! What a read may claim: the pure cores.
//!
//! - [`Gather`] and [`Plan`]: a quorum read, which needs no primary: whom to ask when, and which row the answers decide.
//! - [`Staleness`]: how old the rows of this node can be, by evidence from the primary.
//!
//! What a primary read waits for, and whether a member may answer a quorum read at all (Q1), stands with the replica.
//!
//! **Invariants.** I15: a quorum read returns a row that W members name as theirs in one epoch. A claimed staleness is
//! never less than the true one.

mod gather;
mod plan;
mod staleness;

pub use gather::Gather;
pub use plan::Plan;
pub use staleness::{ProbeNumber, Staleness};
