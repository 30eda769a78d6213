//! What a read may claim: the pure cores.
//!
//! - [`Gather`], [`Plan`] and [`Nearness`]: a quorum read, which needs no primary: whom to ask when, and which row the
//!   answers decide. [`Ahead`]: which keys a page of a scan is to ask for.
//! - [`Staleness`]: how old the rows of this node can be, by evidence from the primary.
//! - [`Token`]: what a session has seen, carried by its client; [`judge`] says whether a node holds all of it.
//!
//! What a primary read waits for, and whether a member may answer a quorum read at all (Q1), stands with the replica.
//!
//! **Invariants.** I15: a quorum read returns a row that W members name as theirs in one epoch. A claimed staleness is
//! never less than the true one. A session is never told that rows hold what it has seen while a record of it is missing.

mod ahead;
mod gather;
mod nearness;
mod plan;
mod session;
mod staleness;

pub use ahead::{Ahead, Listed};
pub use gather::Gather;
pub use nearness::Nearness;
pub use plan::Plan;
pub use session::{Error as SessionError, SessionKey, Token, Verdict, is_recovered, judge};
pub use staleness::{ProbeNumber, Staleness};
