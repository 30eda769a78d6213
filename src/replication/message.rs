//! Pure: what members say to one another.

use std::collections::BTreeSet;

use super::contact::Round;
use crate::base::{BootNumber, Epoch, IncarnationId, VersionVector};
use crate::control::Missing;
use crate::model::{Heads, Logged};

/// Records from the primary or candidate of an epoch; without records it is a ping.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// Rises with every message of this sender to this member, whatever it carries.
    pub number: u64,
    /// The sender's latest round of pings.
    pub round: Round,
    /// All that the sender held durably when it sent this. Whoever takes the opening record must hold nothing else (R13).
    pub vector: VersionVector,
    /// Records in an order in which they may be taken.
    pub records: Vec<Logged>,
}

/// What a member holds: the answer to an [`Append`], and the acknowledgement of what has become durable since.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The member's promise when it said this. Counts towards commit in this epoch and no other (I11).
    pub epoch: Epoch,
    /// The greatest number heard from the primary of `epoch`.
    pub number: u64,
    /// The greatest round heard from it.
    pub round: Round,
    /// What is durable.
    pub durable: VersionVector,
    /// What is appended, durable or not yet.
    pub appended: Heads,
    /// What can be read.
    pub applied: VersionVector,
}

/// A candidate asks a member to promise its attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The attempt.
    pub epoch: Epoch,
}

/// A member has promised, and says what it held then (I10).
#[derive(Debug, Clone, PartialEq)]
pub struct SealAck {
    /// The attempt promised.
    pub epoch: Epoch,
    /// The member's start.
    pub boot: BootNumber,
    /// What was durable after the promise was.
    pub durable: VersionVector,
    /// What was appended by then, for its chains.
    pub appended: Heads,
}

/// Asks for records that another member holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The epoch in which they are asked for.
    pub epoch: Epoch,
    /// Which.
    pub wanted: Vec<Missing>,
}

/// Records asked for, as many as fit, or none if the holder's log no longer reaches back to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The epoch in which they were asked for.
    pub epoch: Epoch,
    /// `None`: some of them are only in the holder's store.
    pub records: Option<Vec<Logged>>,
}

/// Would the member agree that the primary be replaced? Changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreSeal {
    /// Which of the asker's questions this is.
    pub number: u64,
    /// The open epoch that the asker sees.
    pub open: Epoch,
    /// The attempt that the asker sees.
    pub attempt: Epoch,
}

/// A member's answer to a quorum read (Q1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The promised epoch whose opening record the member holds.
    pub epoch: Epoch,
    /// The epoch's data members.
    pub members: BTreeSet<IncarnationId>,
}

/// What one member says to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Records or a ping.
    Append(Append),
    /// What is held.
    Held(Held),
    /// The sender's epoch lies below the promise.
    Fenced {
        /// The epoch refused.
        epoch: Epoch,
        /// The promise.
        promise: Epoch,
    },
    /// Promise an attempt.
    Seal(Seal),
    /// It is promised.
    SealAck(SealAck),
    /// Send records.
    Fetch(Fetch),
    /// The records.
    Fetched(Fetched),
    /// May the primary be replaced?
    PreSeal(PreSeal),
    /// The answer.
    PreSealed {
        /// Which question it answers.
        number: u64,
        /// Does the member agree?
        agrees: bool,
    },
    /// The primary hands over: the receiver is caught up and nothing more is admitted.
    HandOver {
        /// The epoch that ends.
        epoch: Epoch,
        /// The data members of the next.
        members: BTreeSet<IncarnationId>,
        /// All there is.
        vector: VersionVector,
    },
    /// How far has the primary got?
    Probe {
        /// Which question this is.
        number: u64,
    },
    /// All that the primary had appended when the question arrived, confirmed after that.
    Probed {
        /// Which question it answers.
        number: u64,
        /// What was appended.
        appended: VersionVector,
    },
}
