//! What clients of the simulation asked and were told, and the same as the judges of histories take it.

use steadfast::base::{CommitLevel, Stamp};
use steadfast::model::Order;

use crate::history::{
    self, Action, Fact, ReadLevel, ReadOutcome, Version, WriteLevel, WriteOutcome,
};

/// Event time, then stamp; in arrival order the event time is 0. Greater wins.
pub type Rank = (i64, Stamp);

#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Write {
        value: u64,
        level: CommitLevel,
        /// Has it a request id?
        is_named: bool,
    },
    ReadPrimary,
    ReadQuorum,
    /// At whatever node, if it holds what the client's session has seen.
    ReadLocal,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Open,
    Acknowledged {
        rank: Rank,
        node: usize,
        incarnation: u128,
    },
    Refused,
    Unknown,
    Read {
        rank: Option<Rank>,
        value: Option<u64>,
        /// Nanoseconds.
        staleness: Option<u64>,
    },
    /// What the session saw is lost.
    Unrecovered,
    Failed,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub client: usize,
    pub order: Order,
    pub key: u64,
    pub event_time: i64,
    pub ask: Ask,
    pub begun: u64,
    pub ended: u64,
    pub outcome: Outcome,
    /// Of a write, what nodes have made of it. A second record of a named one is possible: a primary that does not hold the
    /// first writes it again, and the first may come later with a tail.
    pub records: Vec<Stamp>,
}

impl Operation {
    /// The key of its row among those of both views.
    pub fn place(&self) -> u64 {
        self.key * 2 + u64::from(self.order == Order::Arrival)
    }

    pub fn is_of_session(&self) -> bool {
        matches!(self.ask, Ask::Write { .. } | Ask::ReadLocal)
    }

    /// Once it is answered, is what it wrote or read known to be committed?
    pub fn is_committed(&self) -> bool {
        match self.ask {
            Ask::Write { level, .. } => level != CommitLevel::Async,
            Ask::ReadPrimary | Ask::ReadQuorum => true,
            Ask::ReadLocal => false,
        }
    }

    /// The level of a write.
    pub fn level(&self) -> CommitLevel {
        match self.ask {
            Ask::Write { level, .. } => level,
            Ask::ReadPrimary | Ask::ReadQuorum | Ask::ReadLocal => panic!("{self:?} is no write"),
        }
    }

    pub fn rank_of(&self, event_time: i64, stamp: Stamp) -> Rank {
        let counts = self.order == Order::EventTime;
        (if counts { event_time } else { 0 }, stamp)
    }

    pub fn version(&self, (event_time, stamp): Rank) -> Version {
        Version {
            event_time: (self.order == Order::EventTime).then_some(event_time),
            hlc: stamp.hlc.0,
            epoch: stamp.epoch.0,
            seq: stamp.seq.0,
        }
    }

    /// `sessions`: are they to be held to? Not where a disk was lost, and with it what only the set's memory of closed logs
    /// would still know to be lost.
    pub fn judged(&self, sessions: bool) -> history::Operation {
        let version = |rank| self.version(rank);
        let action = match (&self.ask, &self.outcome) {
            (Ask::Write { value, level, .. }, outcome) => Action::Write {
                value: *value,
                level: match level {
                    CommitLevel::Async => WriteLevel::Async,
                    CommitLevel::Quorum => WriteLevel::Quorum,
                    CommitLevel::All => WriteLevel::All,
                },
                event_time: (self.order == Order::EventTime).then_some(self.event_time),
                outcome: match outcome {
                    Outcome::Acknowledged {
                        rank, incarnation, ..
                    } => WriteOutcome::Acked {
                        version: version(*rank),
                        node: *incarnation as u64,
                    },
                    Outcome::Refused => WriteOutcome::Refused,
                    _ => WriteOutcome::Unknown,
                },
            },
            (read, outcome) => Action::Read {
                level: match read {
                    Ask::ReadPrimary => ReadLevel::Primary,
                    Ask::ReadLocal => ReadLevel::Local,
                    _ => ReadLevel::Quorum,
                },
                outcome: match outcome {
                    Outcome::Read {
                        rank,
                        value,
                        staleness,
                    } => ReadOutcome::Value {
                        value: *value,
                        version: rank.map(version),
                        staleness: *staleness,
                    },
                    Outcome::Unrecovered => ReadOutcome::Unrecovered,
                    _ => ReadOutcome::Failed,
                },
            },
        };
        let is_answered = !matches!(self.outcome, Outcome::Open | Outcome::Unknown);
        history::Operation {
            key: self.place(),
            session: (sessions && self.is_of_session()).then_some(self.client as u64),
            invoked: self.begun,
            responded: is_answered.then_some(self.ended),
            action,
        }
    }

    /// A named write may have several records; its version is that of the one that was acknowledged.
    pub fn also_written(&self) -> impl Iterator<Item = Fact> {
        let value = match self.ask {
            Ask::Write {
                value,
                is_named: true,
                ..
            } => Some(value),
            _ => None,
        };
        value.into_iter().flat_map(move |value| {
            self.records.iter().map(move |stamp| Fact::AlsoWritten {
                value,
                version: self.version(self.rank_of(self.event_time, *stamp)),
            })
        })
    }
}
