//! Pure: what operators choose for a set, and which choices are possible.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rejection::Rejection;
use super::state::ControlState;
use crate::base::{CommitLevel, NodeNumber};

/// Several pings fit into it, so that one that is lost makes nobody suspect.
const SILENCE_MS_MIN: u64 = 400;
/// Beyond this nobody would call the failover automatic.
const SILENCE_MS_MAX: u64 = 60_000;
/// More often the objects would hold next to nothing; more rarely nobody would call it an archive.
const ARCHIVE_INTERVAL_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// From a minute to a year.
const BACKUP_EVERY_MS: RangeInclusive<u64> = 60_000..=31_536_000_000;

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
    /// What is kept in a bucket.
    #[serde(skip_serializing_if = "BackupSettings::is_default")]
    pub backup: BackupSettings,
}

/// What a set keeps in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSettings {
    /// The URL of the bucket into which the logs are archived; `None` if they are not. Holds no secret.
    pub bucket: Option<String>,
    /// How often what has come is archived, in milliseconds.
    pub archive_interval_ms: u64,
    /// How often a restore point is made, in milliseconds; 0 if only when what is archived needs one.
    pub every_ms: u64,
    /// How often one is made that shares no file with those before, in milliseconds; 0 if never.
    pub full_every_ms: u64,
    /// So many days back each moment stays restorable; 0 if restore points are not kept for that.
    pub keep_days: u32,
    /// So many of the latest restore points stay; 0 if they are not kept for that. Where both are 0, all stay.
    pub keep_points: u32,
}

impl Default for BackupSettings {
    fn default() -> BackupSettings {
        BackupSettings {
            bucket: None,
            archive_interval_ms: 10_000,
            every_ms: 86_400_000,
            full_every_ms: 7 * 86_400_000,
            keep_days: 30,
            keep_points: 7,
        }
    }
}

impl BackupSettings {
    /// These settings with what a change gives.
    fn with(&self, change: &BackupChange) -> BackupSettings {
        let interval_ms = change.archive_interval_ms;
        BackupSettings {
            bucket: match &change.bucket {
                None => self.bucket.clone(),
                Some(BucketChange::Nowhere) => None,
                Some(BucketChange::Into(url)) => Some(url.clone()),
            },
            archive_interval_ms: interval_ms.unwrap_or(self.archive_interval_ms),
            every_ms: change.every_ms.unwrap_or(self.every_ms),
            full_every_ms: change.full_every_ms.unwrap_or(self.full_every_ms),
            keep_days: change.keep_days.unwrap_or(self.keep_days),
            keep_points: change.keep_points.unwrap_or(self.keep_points),
        }
    }

    fn check(&self) -> Result<(), Rejection> {
        let intervals = [
            (
                "archive_interval_ms",
                self.archive_interval_ms,
                ARCHIVE_INTERVAL_MS,
            ),
            ("every_ms", self.every_ms, BACKUP_EVERY_MS),
            ("full_every_ms", self.full_every_ms, BACKUP_EVERY_MS),
        ];
        for (name, ms, range) in intervals {
            let is_never = ms == 0 && range == BACKUP_EVERY_MS;
            if !is_never && !range.contains(&ms) {
                return Err(Rejection::IntervalOutOfRange {
                    name: name.to_owned(),
                    ms,
                    least: *range.start(),
                    most: *range.end(),
                });
            }
        }
        Ok(())
    }

    /// How often what has come is archived.
    #[must_use]
    pub fn archive_interval(&self) -> Duration {
        Duration::from_millis(self.archive_interval_ms)
    }

    // Programs that know nothing of it need not see it as long as it is not used.
    fn is_default(&self) -> bool {
        *self == BackupSettings::default()
    }
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
            backup: BackupSettings::default(),
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
            backup: self.backup.with(&change.backup),
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
        self.backup.check()?;
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
    /// As in [`Settings`].
    #[serde(skip_serializing_if = "BackupChange::is_empty")]
    pub backup: BackupChange,
}

/// A change of what is kept in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupChange {
    /// As in [`BackupSettings`].
    pub bucket: Option<BucketChange>,
    /// As in [`BackupSettings`].
    pub archive_interval_ms: Option<u64>,
    /// As in [`BackupSettings`].
    pub every_ms: Option<u64>,
    /// As in [`BackupSettings`].
    pub full_every_ms: Option<u64>,
    /// As in [`BackupSettings`].
    pub keep_days: Option<u32>,
    /// As in [`BackupSettings`].
    pub keep_points: Option<u32>,
}

/// Where the logs are to be archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketChange {
    /// Not any more.
    Nowhere,
    /// Into the bucket of this URL.
    Into(String),
}

impl BackupChange {
    /// Does it change nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == BackupChange::default()
    }
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
