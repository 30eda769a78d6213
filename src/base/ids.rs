//! Pure: identities and positions, each its own type.
//!
//! Identities print as fixed-width hexadecimal and parse back from what they print; positions print as decimal numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the printed form of the identity it was parsed as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    kind: &'static str,
    digits: usize,
    text: String,
}

fn parse_hex(kind: &'static str, digits: usize, text: &str) -> Result<u128, ParseIdError> {
    let fail = || ParseIdError {
        kind,
        digits,
        text: text.chars().take(64).collect(),
    };
    if text.len() != digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fail());
    }
    u128::from_str_radix(text, 16).map_err(|_| fail())
}

/// One replica set in an active-active group: random, minted with each lineage. Its name is only a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u64);

/// One history of data: new for each cluster and for each restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineageId(pub u128);

/// One life of a node's data directory. A wiped or rolled-back disk is a new incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncarnationId(pub u128);

/// The number of a member of a set, by which people and the agreement name it: given once, from 1, never to another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct NodeNumber(pub u64);

/// Random evidence of one start of an incarnation: a copy of its directory cannot present it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootToken(pub u64);

/// How often an incarnation has been started and registered; the first start is 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BootNumber(pub u64);

/// A snapshot that is offered to a member: random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// The number of a primary's reign, which names its log. Real epochs start at 1; [`Epoch::NONE`] stands before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// The place of a record in one epoch's log: dense, from 1. [`Seq::NONE`] stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// A place in *this node's* WAL, in bytes since its beginning. Never compared across nodes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

/// The log of one epoch of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The replica set whose primary writes the log.
    pub region: RegionId,
    /// The reign in which it is written.
    pub epoch: Epoch,
}

impl Epoch {
    /// Before every epoch.
    pub const NONE: Epoch = Epoch(0);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl Seq {
    /// Before the first record of a log.
    pub const NONE: Seq = Seq(0);

    /// The place directly behind this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl Lsn {
    /// The beginning of the WAL.
    pub const ZERO: Lsn = Lsn(0);

    /// The place `bytes` further on.
    #[must_use]
    pub fn advance(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }

    /// How many bytes lie between `earlier` and this place; 0 if `earlier` is not earlier.
    #[must_use]
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl NodeNumber {
    /// The number of a set's first member.
    pub const FIRST: NodeNumber = NodeNumber(1);

    /// The number given after this one.
    #[must_use]
    pub fn next(self) -> NodeNumber {
        NodeNumber(self.0 + 1)
    }
}

impl BootNumber {
    /// Before the first start.
    pub const NONE: BootNumber = BootNumber(0);

    /// The number of the start after this one.
    #[must_use]
    pub fn next(self) -> BootNumber {
        BootNumber(self.0 + 1)
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for LineageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for IncarnationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for BootNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.epoch)
    }
}

impl FromStr for RegionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let value = parse_hex("region id", 16, text)?;
        u64::try_from(value)
            .map(RegionId)
            .map_err(|_| ParseIdError {
                kind: "region id",
                digits: 16,
                text: text.into(),
            })
    }
}

impl FromStr for LineageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex("lineage id", 32, text).map(LineageId)
    }
}

impl FromStr for IncarnationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex("incarnation id", 32, text).map(IncarnationId)
    }
}

impl Serialize for RegionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for LineageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for IncarnationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err = ParseIdError>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for RegionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for LineageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for IncarnationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn identities_parse_back_from_what_they_print(small: u64, large: u128) {
            prop_assert_eq!(RegionId(small).to_string().parse(), Ok(RegionId(small)));
            prop_assert_eq!(LineageId(large).to_string().parse(), Ok(LineageId(large)));
            prop_assert_eq!(IncarnationId(large).to_string().parse(), Ok(IncarnationId(large)));
        }

        #[test]
        fn a_text_of_another_length_or_alphabet_is_refused(text in "[0-9a-g+]{0,40}") {
            prop_assume!(text.len() != 32 || text.contains(['g', '+']));
            prop_assert!(text.parse::<LineageId>().is_err());
        }
    }
}
