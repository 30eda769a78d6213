//! The way from a bucket to a moment: which restore point, and which archived records after it.

use std::fmt;
use std::str::FromStr;

use super::inventory::Holdings;
use super::layout::PointId;
use super::manifest::Manifest;
use super::plan::{Impossible, Plan};
use super::repository::{self, Repository};
use crate::base::{Epoch, Hlc, LineageId};

/// What is to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All that there is.
    Latest,
    /// What had been written by the end of this millisecond since the Unix epoch, by the stamps of the writers.
    Time(u64),
    /// A restore point as it is.
    Point(PointId),
}

/// A text that names nothing that could be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither \"latest\", nor a time like 2026-11-22T04:12:03Z, nor a restore point like 20261122T041203.123Z-1f2e3d4c"
)]
pub struct NotATarget(String);

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Target, NotATarget> {
        if text == "latest" {
            return Ok(Target::Latest);
        }
        if let Ok(point) = text.parse() {
            return Ok(Target::Point(point));
        }
        let time: Option<jiff::Timestamp> = text.parse().ok();
        let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        let millis = millis.ok_or_else(|| NotATarget(text.chars().take(64).collect()))?;
        Ok(Target::Time(millis))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Latest => f.write_str("latest"),
            Target::Point(point) => point.fmt(f),
            Target::Time(millis) => {
                let millis = i64::try_from(*millis).unwrap_or(i64::MAX);
                let time = jiff::Timestamp::from_millisecond(millis);
                time.unwrap_or(jiff::Timestamp::MAX).fmt(f)
            }
        }
    }
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket, or what is in it.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// There is no restore point.
    #[error("{bucket} holds no restore point{}", of_lineage(*lineage))]
    NoPoint {
        /// The bucket.
        bucket: String,
        /// Of which lineage, if that was said.
        lineage: Option<LineageId>,
    },
    /// The moment lies before all restore points.
    #[error(
        "there is no restore point as early as {target}: the earliest holds records up to {earliest}"
    )]
    TooEarly {
        /// What was asked for.
        target: Target,
        /// The moment of the earliest restore point.
        earliest: Target,
    },
    /// Records are missing on the way.
    #[error("from restore point {point} there is no way to {target}: {why}")]
    Impossible {
        /// The restore point.
        point: PointId,
        /// What was asked for.
        target: Target,
        /// What stands in the way.
        why: Impossible,
    },
}

fn of_lineage(lineage: Option<LineageId>) -> String {
    lineage.map_or(String::new(), |lineage| format!(" of lineage {lineage}"))
}

/// A way to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The restore point.
    pub manifest: Manifest,
    /// What follows it.
    pub plan: Plan,
    /// Bytes of the archived objects that are taken.
    pub archived_bytes: u64,
    /// The greatest epoch of which anything is known.
    pub begun: Epoch,
}

impl Way {
    /// Finds the way to what is to be restored; of the lineage with the latest restore point, if none is given.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn find(
        repository: &Repository,
        lineage: Option<LineageId>,
        target: Target,
    ) -> Result<Way, Error> {
        let no_point = || Error::NoPoint {
            bucket: repository.bucket().to_string(),
            lineage,
        };
        let mut inventory = repository.inventory().await?;
        let found = lineage.or_else(|| inventory.latest_lineage());
        let lineage = found.ok_or_else(no_point)?;
        let holdings = inventory.lineages.remove(&lineage).unwrap_or_default();
        let until = match target {
            Target::Latest => Hlc(u64::MAX),
            Target::Time(millis) => Hlc(Hlc::from_millis(millis + 1).0 - 1),
            Target::Point(point) => {
                let manifest = repository.manifest(lineage, point).await?;
                let plan = Plan::nothing_after(&manifest);
                return Ok(Way::new(manifest, plan, &holdings));
            }
        };
        let (mut earliest, mut impossible, mut archive) = (None, None, None);
        for point in holdings.points().rev() {
            let manifest = match repository.manifest(lineage, point).await {
                // The gap is what stands in the way.
                Err(_) if impossible.is_some() => break,
                manifest => manifest?,
            };
            let newest = manifest.snapshot.state.newest;
            if newest > until {
                earliest = [earliest, Some(newest)].into_iter().flatten().min();
                continue;
            }
            let archive = match &archive {
                Some(archive) => archive,
                None => archive.insert(repository.archive(lineage, &holdings).await?),
            };
            let why = match Plan::new(&manifest, archive, until) {
                Ok(plan) => return Ok(Way::new(manifest, plan, &holdings)),
                Err(why) => why,
            };
            // Each holds what a member held: an earlier one may hold what was not archived, and a later one lack it.
            let is_gap = matches!(why, Impossible::Gap { .. });
            impossible.get_or_insert(Error::Impossible { point, target, why });
            if !is_gap {
                break;
            }
        }
        if let Some(impossible) = impossible {
            return Err(impossible);
        }
        let earliest = Target::Time(earliest.ok_or_else(no_point)?.millis());
        Err(Error::TooEarly { target, earliest })
    }

    /// The way that a plan takes from a restore point, where there is so much of its lineage.
    #[must_use]
    pub fn new(manifest: Manifest, plan: Plan, holdings: &Holdings) -> Way {
        let bytes = |segment| holdings.segment_bytes.get(segment).copied();
        let archived_bytes = plan.segments().filter_map(bytes).sum();
        let archived = holdings.segments.keys().map(|log| log.epoch);
        let stretches = holdings.stretches.iter().map(|stretch| stretch.epoch);
        let held = manifest.snapshot.state.applied.0.logs();
        let epochs = archived
            .chain(stretches)
            .chain(held.map(|(log, _)| log.epoch));
        let begun = epochs.max().unwrap_or(Epoch::NONE);
        Way {
            begun: begun.max(manifest.control.attempt_epoch()),
            manifest,
            plan,
            archived_bytes,
        }
    }

    /// Bytes that are fetched.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes().saturating_add(self.archived_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn targets_parse_back_from_what_they_print(millis in 0..253_402_300_799_000u64, random: u32) {
            let point = PointId { begun_millis: millis, random };
            for target in [Target::Latest, Target::Time(millis), Target::Point(point)] {
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }

    #[test]
    fn what_names_nothing_is_told() {
        for text in ["", "yesterday", "2026-11-22", "1969-12-31T23:59:59Z"] {
            assert_eq!(
                text.parse::<Target>(),
                Err(NotATarget(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            "2026-11-22T05:12:03.5+01:00".parse(),
            Ok(Target::Time(1_795_320_723_500))
        );
    }
}
