//! Pure: what operators choose for a set, and which choices are possible.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rejection::Rejection;
use super::state::ControlState;
use crate::base::{CommitLevel, NodeNumber};

/// Several pings fit into it, so that one that is lost makes nobody suspect.
const SILENCE_MS_MIN: u64 = 400;
/// Beyond this nobody would call the failover automatic.
const SILENCE_MS_MAX: u64 = 60_000;

/// What operators chose for the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who decides that a failed primary is replaced.
    pub failover: FailoverPolicy,
    /// What a set of two data members does when one is gone.
    pub two_node: TwoNode,
    /// L, in milliseconds: after this long without a sign of the primary a member suspects it.
    pub silence_ms: u64,
    /// Writes are acknowledged at this level at least, whatever they ask for.
    pub commit_floor: CommitLevel,
    /// The level of writes that ask for none.
    pub commit_default: CommitLevel,
    /// Who is preferred as primary: the greatest priority first. Who is not named has 0.
    pub priorities: BTreeMap<NodeNumber, u8>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            failover: FailoverPolicy::default(),
            two_node: TwoNode::default(),
            silence_ms: 1_000,
            commit_floor: CommitLevel::Async,
            commit_default: CommitLevel::default(),
            priorities: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// L.
    #[must_use]
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }

    /// The level of a write that asks for this one, or for none.
    #[must_use]
    pub fn commit_level(&self, asked: Option<CommitLevel>) -> CommitLevel {
        asked.unwrap_or(self.commit_default).max(self.commit_floor)
    }

    /// These settings with what a change gives.
    #[must_use]
    pub fn with(&self, change: &SettingsChange) -> Settings {
        let mut priorities = self.priorities.clone();
        priorities.extend(&change.priorities);
        // Who is not named has 0, so nobody is named with it.
        priorities.retain(|_, priority| *priority > 0);
        Settings {
            failover: change.failover.unwrap_or(self.failover),
            two_node: change.two_node.unwrap_or(self.two_node),
            silence_ms: change.silence_ms.unwrap_or(self.silence_ms),
            commit_floor: change.commit_floor.unwrap_or(self.commit_floor),
            commit_default: change.commit_default.unwrap_or(self.commit_default),
            priorities,
        }
    }

    pub(super) fn check(&self, control: &ControlState) -> Result<(), Rejection> {
        if !(SILENCE_MS_MIN..=SILENCE_MS_MAX).contains(&self.silence_ms) {
            return Err(Rejection::SilenceOutOfRange {
                silence_ms: self.silence_ms,
                least: SILENCE_MS_MIN,
                most: SILENCE_MS_MAX,
            });
        }
        if self.commit_default < self.commit_floor {
            return Err(Rejection::DefaultBelowFloor {
                default: self.commit_default,
                floor: self.commit_floor,
            });
        }
        let mut named = self.priorities.keys().copied();
        let unknown = named.find(|number| control.member_by_number(*number).is_none());
        unknown.map_or(Ok(()), |number| Err(Rejection::NoSuchNumber { number }))
    }
}

/// A change of settings: what is not given stays, so that of two changes at once neither undoes the other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsChange {
    /// As in [`Settings`].
    pub failover: Option<FailoverPolicy>,
    /// As in [`Settings`].
    pub two_node: Option<TwoNode>,
    /// As in [`Settings`].
    pub silence_ms: Option<u64>,
    /// As in [`Settings`].
    pub commit_floor: Option<CommitLevel>,
    /// As in [`Settings`].
    pub commit_default: Option<CommitLevel>,
    /// Of these members only.
    pub priorities: BTreeMap<NodeNumber, u8>,
}

/// Who decides that a failed primary is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverPolicy {
    /// The members, at once.
    #[default]
    Automatic,
    /// The members if no acknowledged write can be missing meanwhile, otherwise an operator.
    Hybrid,
    /// An operator.
    Manual,
}

/// What a set of two data members does when one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TwoNode {
    /// Quorum writes are refused until it is back.
    #[default]
    Refuse,
    /// The survivor becomes the only data member; every acknowledgement then says one copy.
    Shrink,
}
