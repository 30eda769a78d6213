//! Pure: what a replica asks its driver to do.

use crate::base::{Epoch, IncarnationId, Stamp, VersionVector};
use crate::control::{Command, Missing};
use crate::replication::{Fork, Logged, Message, Shipment};

/// To be carried out in the order given, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the promise durable before anything that follows.
    Promise(Epoch),
    /// Fold the logs up to this epoch in what is kept of positions, durably, before anything that follows.
    Fold(Epoch),
    /// Append these to the log, in this order, then make them durable and apply them.
    Append(Vec<Logged>),
    /// Tell a member. It may be lost.
    Send(IncarnationId, Message),
    /// Have this agreed. It may be lost.
    Propose(Command),
    /// Ask for a higher ceiling, which the leader of the agreement chooses. It may be lost.
    Extend {
        /// In which epoch.
        epoch: Epoch,
        /// The how-manieth request this is.
        number: u64,
        /// What members hold.
        acked: Vec<(IncarnationId, VersionVector)>,
    },
    /// Read records that are durable here, and give them to [`Replica::records`](super::Replica::records).
    Read(Wanted),
    /// Send a member the store as it is, in place of records that no log holds any more.
    Snapshot {
        /// To whom.
        to: IncarnationId,
        /// In whose epoch.
        epoch: Epoch,
    },
    /// A write has reached its level.
    Acknowledge {
        /// Which write.
        write: WriteId,
        /// Where it stands.
        stamp: Stamp,
        /// On how many data members it is known to be durable.
        copies: usize,
    },
    /// What became of a write is not known here, and will not be.
    Unknown(WriteId),
    /// The rows of a read may be read now; which they were is given to [`Replica::rows`](super::Replica::rows).
    ReadRows(ReadId),
    /// What was read may be answered.
    Answer(ReadId),
    /// The read cannot be answered here any more.
    Abandon(ReadId),
    /// This replica takes no further part: something must be seen to by people.
    Halt(Fault),
}

/// The driver's name for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// The driver's name for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Records that are wanted, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// For the stream to a member.
    Shipment {
        /// The member.
        to: IncarnationId,
        /// In whose epoch.
        epoch: Epoch,
        /// Which.
        shipment: Shipment,
    },
    /// Asked for by another member.
    Fetch {
        /// Who asks.
        to: IncarnationId,
        /// In whose epoch.
        epoch: Epoch,
        /// Which.
        missing: Vec<Missing>,
    },
}

/// Why a replica takes no further part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its log, or that of whom it heard, is not what it was (I2).
    #[error(transparent)]
    Fork(#[from] Fork),
    /// It was given up for good.
    #[error("this directory was evicted from the set")]
    Evicted,
}
