//! What clients did and saw, and the judges of it. Pure: a history goes in, the first fault found comes out.
//!
//! **Invariants**: the judges know only what clients were told, never the inside of a node, so a simulator and real
//! processes are judged alike. One operation precedes another only if its response came strictly before the other's
//! invocation. A judge that accuses is right: whatever the protocol allows is let pass.
//!
//! A history begins with an empty store, values are unique, and nothing is deleted.
#![allow(clippy::indexing_slicing, reason = "judges may panic")]

mod bounded;
mod fault;
mod floor;
mod healed;
pub mod linear;
mod sessions;
mod stamps;
mod strong;
mod written;

use std::collections::BTreeMap;

pub use fault::{Fault, Rule};
pub use healed::{Healed, judge_healed};

/// Nanoseconds on the one clock of whoever records the history.
pub type Nanos = u64;

/// Where a write stands in the order that decides which one wins. Event times are those of event-time views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub event_time: Option<i64>,
    pub hlc: u64,
    pub epoch: u64,
    pub seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteLevel {
    Async,
    Quorum,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLevel {
    Local,
    Bounded(Nanos),
    Primary,
    Quorum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Acknowledged at the level that was asked for, by this node; possibly older than what was stored.
    Acked { version: Version, node: u64 },
    /// Perhaps written, now or ever.
    Unknown,
    /// Certainly never written.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    Value {
        value: Option<u64>,
        version: Option<Version>,
        staleness: Option<Nanos>,
    },
    /// What the session saw is lost: it starts anew.
    Unrecovered,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Write {
        value: u64,
        level: WriteLevel,
        event_time: Option<i64>,
        outcome: WriteOutcome,
    },
    Read {
        level: ReadLevel,
        outcome: ReadOutcome,
    },
}

/// One call of a client, with its answer if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub key: u64,
    pub session: Option<u64>,
    pub invoked: Nanos,
    /// None: no answer ever.
    pub responded: Option<Nanos>,
    pub action: Action,
}

/// What happened besides; nodes are named by their incarnations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    DiskLost {
        node: u64,
        time: Nanos,
    },
    Evicted {
        node: u64,
        time: Nanos,
    },
    /// A write that was sent again under its request id has this record, too: a primary that did not hold the one wrote the
    /// other.
    AlsoWritten {
        value: u64,
        version: Version,
    },
}

#[derive(Debug, Clone, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub facts: Vec<Fact>,
}

/// Holds a history to every rule that needs no final state.
pub fn judge(history: &History) -> Result<(), Fault> {
    written::judge(history)?;
    stamps::judge(history)?;
    sessions::judge(history)?;
    for operations in by_key(&history.operations).values() {
        strong::judge(operations)?;
        bounded::judge(operations)?;
        linear::judge(operations)?;
    }
    Ok(())
}

/// The operations of each key, in the order of the history.
pub fn by_key(operations: &[Operation]) -> BTreeMap<u64, Vec<&Operation>> {
    let mut keys: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(operation.key).or_default().push(operation);
    }
    keys
}

impl Operation {
    /// When it was acknowledged, and as what.
    fn acked(&self) -> Option<(Nanos, Version)> {
        match self.action {
            Action::Write {
                outcome: WriteOutcome::Acked { version, .. },
                ..
            } => Some((self.responded?, version)),
            Action::Write { .. } | Action::Read { .. } => None,
        }
    }

    /// The same, if it was at quorum or all.
    fn strongly_acked(&self) -> Option<(Nanos, Version)> {
        match self.action {
            Action::Write {
                level: WriteLevel::Quorum | WriteLevel::All,
                ..
            } => self.acked(),
            Action::Write { .. } | Action::Read { .. } => None,
        }
    }

    /// When a read was answered, and with which version, if any.
    fn answered(&self) -> Option<(Nanos, Option<Version>)> {
        match self.action {
            Action::Read {
                outcome: ReadOutcome::Value { version, .. },
                ..
            } => Some((self.responded?, version)),
            Action::Write { .. } | Action::Read { .. } => None,
        }
    }

    /// The same, if it was at primary or quorum.
    fn strongly_answered(&self) -> Option<(Nanos, Option<Version>)> {
        match self.action {
            Action::Read {
                level: ReadLevel::Primary | ReadLevel::Quorum,
                ..
            } => self.answered(),
            Action::Write { .. } | Action::Read { .. } => None,
        }
    }

    /// From when on every strong read must return at least which version, because of this operation.
    fn strong(&self) -> Option<(Nanos, Version)> {
        let read = || {
            self.strongly_answered()
                .and_then(|(time, version)| Some((time, version?)))
        };
        self.strongly_acked().or_else(read)
    }
}
