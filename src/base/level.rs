//! Pure: how many copies acknowledge a write, and how current an answer must be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many copies must be durable before a write is acknowledged.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum CommitLevel {
    /// The primary's own.
    Async,
    /// A majority of the data members.
    #[default]
    Quorum,
    /// Every data member.
    All,
}

/// How current an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadLevel {
    /// The answering node's own rows.
    #[default]
    Local,
    /// Not older than this.
    Bounded(Duration),
    /// The row that a quorum of members name as theirs.
    Quorum,
    /// The primary's newest row, confirmed by a quorum.
    Primary,
}

impl ReadLevel {
    /// A level that promises as much and needs no members to name their rows to each other.
    #[must_use]
    pub fn without_quorum(self) -> ReadLevel {
        match self {
            ReadLevel::Quorum => ReadLevel::Primary,
            level @ (ReadLevel::Local | ReadLevel::Bounded(_) | ReadLevel::Primary) => level,
        }
    }

    /// The one of two that promises more; of two that promise as much, the one that is read at the primary.
    #[must_use]
    pub fn stronger(self, other: ReadLevel) -> ReadLevel {
        let promise = |level: ReadLevel| match level {
            ReadLevel::Local => (0, Duration::ZERO),
            ReadLevel::Bounded(bound) => (1, Duration::MAX.saturating_sub(bound)),
            ReadLevel::Quorum => (2, Duration::ZERO),
            ReadLevel::Primary => (3, Duration::ZERO),
        };
        if promise(other) > promise(self) {
            other
        } else {
            self
        }
    }
}

impl Serialize for ReadLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadLevel, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a level: expected {expected}")]
pub struct UnknownLevel {
    text: String,
    expected: &'static str,
}

impl fmt::Display for CommitLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommitLevel::Async => "async",
            CommitLevel::Quorum => "quorum",
            CommitLevel::All => "all",
        })
    }
}

impl FromStr for CommitLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let all = [CommitLevel::Async, CommitLevel::Quorum, CommitLevel::All];
        let found = all.into_iter().find(|level| level.to_string() == text);
        found.ok_or_else(|| UnknownLevel {
            text: text.chars().take(40).collect(),
            expected: "async, quorum or all",
        })
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadLevel::Local => f.write_str("local"),
            ReadLevel::Bounded(bound) => {
                write!(f, "bounded:{}", humantime::format_duration(*bound))
            }
            ReadLevel::Quorum => f.write_str("quorum"),
            ReadLevel::Primary => f.write_str("primary"),
        }
    }
}

impl FromStr for ReadLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let bound = |text: &str| humantime::parse_duration(text.strip_prefix("bounded:")?).ok();
        match text {
            "local" => Ok(ReadLevel::Local),
            "quorum" => Ok(ReadLevel::Quorum),
            "primary" => Ok(ReadLevel::Primary),
            _ => bound(text)
                .map(ReadLevel::Bounded)
                .ok_or_else(|| UnknownLevel {
                    text: text.chars().take(40).collect(),
                    expected: "local, bounded:DURATION (such as bounded:500ms), quorum or primary",
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_parse_back_from_what_they_print() {
        for level in [CommitLevel::Async, CommitLevel::Quorum, CommitLevel::All] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let bounded = ReadLevel::Bounded(Duration::from_millis(1500));
        for level in [
            ReadLevel::Local,
            bounded,
            ReadLevel::Quorum,
            ReadLevel::Primary,
        ] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for text in ["", "bounded", "bounded:", "bounded:soon", "Local"] {
            assert!(text.parse::<ReadLevel>().is_err(), "{text}");
        }
    }

    #[test]
    fn of_two_levels_the_one_that_promises_more_is_the_stronger() {
        let bounded = |millis| ReadLevel::Bounded(Duration::from_millis(millis));
        let rising = [
            ReadLevel::Local,
            bounded(u64::MAX),
            bounded(500),
            bounded(0),
            ReadLevel::Quorum,
            ReadLevel::Primary,
        ];
        for (at, weaker) in rising.iter().enumerate() {
            for stronger in rising.iter().skip(at) {
                assert_eq!(weaker.stronger(*stronger), *stronger);
                assert_eq!(stronger.stronger(*weaker), *stronger);
            }
        }
    }
}
