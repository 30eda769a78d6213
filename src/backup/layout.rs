//! Pure: what the objects of a bucket are called, and what their names tell.
//!
//! ```text
//! LINEAGE/points/POINT                              the manifest of a restore point, written last
//! LINEAGE/dropped/POINT                             that a restore point is not kept any more
//! LINEAGE/files/POINT/DIGEST                        a file of a store, sent for POINT's generation
//! LINEAGE/archive/REGION/EPOCH/FROM-TO.HLC.CHAIN    records of one log
//! LINEAGE/archive/REGION/EPOCH/end.LAST.CHAIN       where a log ends for ever
//! LINEAGE/stretches/HLC.EPOCH.CONTENT               from where on records are archived
//! ```
//! Numbers have a fixed width, so that names sort as what they name: hexadecimal for HLC, CHAIN and ids, else decimal.
//!
//! **Invariants.** A name says enough to plan by: which records there are, up to which stamp, and which chain they belong to, so
//! that records that do not belong together are seen before anything is fetched. Names that nothing here is called by are
//! told apart and left alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{Epoch, Hlc, LineageId, LogId, RegionId, Seq};
use crate::model::Digest;

/// A restore point's name: when it was begun, in milliseconds since the Unix epoch, and a random part.
///
/// Prints as `20261122T041203.123Z-1f2e3d4c`, which sorts by time, and parses back from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId {
    /// When it was begun.
    pub begun_millis: u64,
    /// Tells apart those begun at once.
    pub random: u32,
}

/// A text that no restore point is named by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no restore point: expected one like 20261122T041203.123Z-1f2e3d4c")]
pub struct NotAPoint(String);

const TIME_FORMAT: &str = "%Y%m%dT%H%M%S.%3fZ";

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.begun_millis).unwrap_or(i64::MAX);
        let begun = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{}-{:08x}", begun.strftime(TIME_FORMAT), self.random)
    }
}

impl FromStr for PointId {
    type Err = NotAPoint;

    fn from_str(text: &str) -> Result<PointId, NotAPoint> {
        let parse = || {
            let (time, random) = text.rsplit_once('-')?;
            let begun = jiff::civil::DateTime::strptime(TIME_FORMAT, time).ok()?;
            let begun = begun.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            let point = PointId {
                begun_millis: u64::try_from(begun.timestamp().as_millisecond()).ok()?,
                random: fixed_hex(random, 8).and_then(|random| u32::try_from(random).ok())?,
            };
            // What prints otherwise is another name.
            (point.to_string() == text).then_some(point)
        };
        parse().ok_or_else(|| NotAPoint(text.chars().take(64).collect()))
    }
}

impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PointId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A file of a store in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The restore point for which files of this generation were first sent.
    pub generation: PointId,
    /// The digest of what it holds.
    pub digest: blake3::Hash,
}

/// Records of one log, as an object's name tells of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The log.
    pub log: LogId,
    /// The first record.
    pub from: Seq,
    /// The last one, no earlier.
    pub to: Seq,
    /// Its stamp's time: the greatest of them.
    pub newest: Hlc,
    /// The chain digest of the log up to it.
    pub chain: Chain,
}

/// Where a log ends for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The log.
    pub log: LogId,
    /// Its last record; [`Seq::NONE`] if it never had one.
    pub last: Seq,
    /// The chain digest up to it.
    pub chain: Chain,
}

/// A chain digest, in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain(pub u128);

impl From<Digest> for Chain {
    fn from(digest: Digest) -> Chain {
        Chain(digest.0)
    }
}

/// The beginning of a stretch of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StretchId {
    /// All stamps of its epoch's log lie above it.
    pub since: Hlc,
    /// The epoch whose primary began it.
    pub epoch: Epoch,
    /// Tells it from others that were begun there: a digest of all that it says.
    pub content: u64,
}

/// What an object is, by its name within the objects of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The manifest of a restore point.
    Point(PointId),
    /// That a restore point is not kept any more.
    Dropped(PointId),
    /// A file of a store.
    StoreFile(FileId),
    /// Records of one log.
    Segment(Segment),
    /// Where a log ends.
    End(End),
    /// From where on records are archived.
    Stretch(StretchId),
}

impl Named {
    /// The name of the object, of this lineage, in the bucket.
    #[must_use]
    pub fn in_lineage(&self, lineage: LineageId) -> String {
        format!("{lineage}/{self}")
    }

    /// What a name in a bucket says, with the lineage that it belongs to; `None` if nothing here is called so.
    #[must_use]
    pub fn parse(name: &str) -> Option<(LineageId, Named)> {
        let (lineage, rest) = name.split_once('/')?;
        let parts: Vec<&str> = rest.split('/').collect();
        let named = match *parts.as_slice() {
            ["points", point] => Named::Point(point.parse().ok()?),
            ["dropped", point] => Named::Dropped(point.parse().ok()?),
            ["files", generation, digest] => Named::StoreFile(FileId {
                generation: generation.parse().ok()?,
                digest: blake3::Hash::from_hex(digest).ok()?,
            }),
            ["archive", region, epoch, part] => {
                let region: RegionId = region.parse().ok()?;
                let epoch = Epoch(fixed_decimal(epoch)?);
                archived(LogId { region, epoch }, part)?
            }
            ["stretches", stretch] => {
                let (since, rest) = stretch.split_once('.')?;
                let (epoch, content) = rest.split_once('.')?;
                Named::Stretch(StretchId {
                    since: Hlc(fixed_u64(since)?),
                    epoch: Epoch(fixed_decimal(epoch)?),
                    content: fixed_u64(content)?,
                })
            }
            _ => return None,
        };
        // Capitals, say, would be another name for the same.
        let is_exact = named.to_string() == rest;
        is_exact.then_some((lineage.parse().ok()?, named))
    }
}

/// What the last part of the name of an archived object says.
fn archived(log: LogId, part: &str) -> Option<Named> {
    let fields: Vec<&str> = part.split('.').collect();
    let chain = |text| fixed_hex(text, 32).map(Chain);
    match *fields.as_slice() {
        ["end", last, chained] => Some(Named::End(End {
            log,
            last: Seq(fixed_decimal(last)?),
            chain: chain(chained)?,
        })),
        [range, newest, chained] => {
            let (from, to) = range.split_once('-')?;
            let segment = Segment {
                log,
                from: Seq(fixed_decimal(from)?),
                to: Seq(fixed_decimal(to)?),
                newest: Hlc(fixed_u64(newest)?),
                chain: chain(chained)?,
            };
            let holds_some = Seq::NONE < segment.from && segment.from <= segment.to;
            holds_some.then_some(Named::Segment(segment))
        }
        _ => None,
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named::Point(point) => write!(f, "points/{point}"),
            Named::Dropped(point) => write!(f, "dropped/{point}"),
            Named::StoreFile(FileId { generation, digest }) => {
                write!(f, "files/{generation}/{digest}")
            }
            Named::Segment(segment) => segment.fmt(f),
            Named::End(End { log, last, chain }) => {
                write!(f, "{}end.{:020}.{:032x}", folder(*log), last.0, chain.0)
            }
            Named::Stretch(StretchId {
                since,
                epoch,
                content,
            }) => {
                let (since, epoch) = (since.0, epoch.0);
                write!(f, "stretches/{since:016x}.{epoch:020}.{content:016x}")
            }
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Segment {
            log,
            from,
            to,
            newest,
            chain,
        } = self;
        let (folder, from, to) = (folder(*log), from.0, to.0);
        write!(
            f,
            "{folder}{from:020}-{to:020}.{:016x}.{:032x}",
            newest.0, chain.0
        )
    }
}

/// Where the records of a log are, within the objects of a lineage.
#[must_use]
pub fn folder(log: LogId) -> String {
    format!("archive/{}/{:020}/", log.region, log.epoch.0)
}

fn fixed_decimal(text: &str) -> Option<u64> {
    let is_fixed = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_fixed.then(|| text.parse().ok())?
}

fn fixed_u64(text: &str) -> Option<u64> {
    u64::try_from(fixed_hex(text, 16)?).ok()
}

fn fixed_hex(text: &str, digits: usize) -> Option<u128> {
    let is_fixed = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_fixed.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Up to the year 9999, which the form of the time can tell.
    fn points() -> impl Strategy<Value = PointId> {
        (0..253_402_300_800_000u64, any::<u32>()).prop_map(|(begun_millis, random)| PointId {
            begun_millis,
            random,
        })
    }

    fn logs() -> impl Strategy<Value = LogId> {
        let parts = (any::<u64>(), any::<u64>());
        parts.prop_map(|(region, epoch)| LogId {
            region: RegionId(region),
            epoch: Epoch(epoch),
        })
    }

    fn names() -> impl Strategy<Value = Named> {
        let files = (points(), any::<[u8; 32]>()).prop_map(|(generation, digest)| {
            Named::StoreFile(FileId {
                generation,
                digest: digest.into(),
            })
        });
        let segments = (
            logs(),
            1..u64::MAX,
            any::<u64>(),
            any::<u64>(),
            any::<u128>(),
        );
        let segments = segments.prop_map(|(log, from, more, newest, chain)| {
            Named::Segment(Segment {
                log,
                from: Seq(from),
                to: Seq(from.saturating_add(more)),
                newest: Hlc(newest),
                chain: Chain(chain),
            })
        });
        let ends = (logs(), any::<u64>(), any::<u128>()).prop_map(|(log, last, chain)| {
            Named::End(End {
                log,
                last: Seq(last),
                chain: Chain(chain),
            })
        });
        let stretches = any::<(u64, u64, u64)>().prop_map(|(since, epoch, content)| {
            Named::Stretch(StretchId {
                since: Hlc(since),
                epoch: Epoch(epoch),
                content,
            })
        });
        prop_oneof![
            points().prop_map(Named::Point),
            points().prop_map(Named::Dropped),
            files,
            segments,
            ends,
            stretches,
        ]
    }

    proptest! {
        #[test]
        fn a_name_says_what_it_names(lineage: u128, named in names()) {
            let lineage = LineageId(lineage);
            prop_assert_eq!(Named::parse(&named.in_lineage(lineage)), Some((lineage, named)));
        }

        #[test]
        fn points_sort_as_their_times(one in points(), other in points()) {
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn segments_of_a_log_sort_as_their_records(log in logs(), ranges: Vec<(u64, u64)>) {
            let mut segments: Vec<Segment> = ranges.iter().map(|(from, more)| Segment {
                log,
                from: Seq(from.saturating_add(1)),
                to: Seq(from.saturating_add(*more).saturating_add(1)),
                newest: Hlc(*more),
                chain: Chain(u128::from(*from)),
            }).collect();
            segments.sort_unstable();
            prop_assert!(segments.is_sorted_by_key(Segment::to_string));
        }

        #[test]
        fn no_text_is_a_name_by_chance(text in "[0-9a-fA-F/.-]{0,80}|[0-9a-f]{32}/(points|files|archive)/.{0,60}") {
            if let Some((lineage, named)) = Named::parse(&text) {
                prop_assert_eq!(named.in_lineage(lineage), text);
            }
        }

        #[test]
        fn a_changed_name_is_another_one_or_none(named in names(), at: prop::sample::Index, by in 1..128u8) {
            let name = named.in_lineage(LineageId(7));
            let mut bytes = name.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = bytes[at].wrapping_add(by) & 0x7f;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_ne!(Named::parse(&changed), Named::parse(&name));
        }
    }

    #[test]
    fn a_segment_without_records_is_none() {
        let segment = |from: u64, to: u64| {
            let name = format!(
                "{}/{}",
                LineageId(1),
                Segment {
                    log: LogId {
                        region: RegionId(2),
                        epoch: Epoch(3)
                    },
                    from: Seq(from),
                    to: Seq(to),
                    newest: Hlc(4),
                    chain: Chain(5),
                }
            );
            Named::parse(&name)
        };
        assert!(segment(1, 1).is_some());
        assert_eq!(segment(0, 1), None);
        assert_eq!(segment(2, 1), None);
    }
}
