//! Why something is not agreed on.

use serde::{Deserialize, Serialize};

use super::super::rejection::Rejection;

/// Why something is not agreed on, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// The state machine refused it, for good.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nothing has happened: no member leads, or the one that does has lost touch with the others.
    #[error("no member leads the agreement now")]
    NoLeader,
    /// It may have happened, may happen yet, or never.
    #[error("it is not known whether this is agreed: {cause}")]
    Unknown {
        /// What was last heard.
        cause: String,
    },
    /// The voters or learners are not changed.
    #[error("the voters cannot be changed: {problem}")]
    Members {
        /// Why.
        problem: String,
    },
    /// This member has ended its part; what was asked before may or may not happen.
    #[error("this member takes no part in the agreement any more")]
    Stopped,
}
