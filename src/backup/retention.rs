//! Pure: which restore points are kept, and which of the others are over.
//!
//! ```text
//!   kept ── a mark is written ──► dropped ── GRACE ──► over: its files may go, then its manifest, last its mark
//! ```
//! **Invariants.** The latest restore point is always kept, and so is whatever is later than one that is kept: from the earliest
//! of them on, each moment that could be restored still can be. What is dropped stays as it was until nobody who began to use it
//! before can be at it any more. Ages are differences of two times of one clock, that of the bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use super::inventory::Object;
use super::layout::{Named, PointId};
use super::take::TAKEN_UP_MILLIS;
use crate::base::Micros;

/// What is dropped stays for so long, for those who restore or verify it, and nothing younger is removed at all, for those who
/// are making a restore point of it: longer than any of that takes.
pub const GRACE: Duration = Duration::from_secs(24 * 3_600);

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Which restore points are to be kept. Where both are given, what either keeps is kept; where neither is, everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// So many days back each moment can be restored that can be now.
    pub days: Option<u32>,
    /// So many of the latest ones.
    pub points: Option<NonZeroU32>,
}

/// What becomes of the restore points of a lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// They stay.
    pub kept: BTreeSet<PointId>,
    /// They are not kept any more, and are to be marked so.
    pub dropped: BTreeSet<PointId>,
    /// They were marked less than [`GRACE`] ago.
    pub waiting: BTreeSet<PointId>,
    /// They were marked so long ago that nobody uses them any more.
    pub over: BTreeSet<PointId>,
}

impl Keep {
    /// The earliest of some restore points that is kept; all later ones are.
    fn earliest(self, points: &BTreeSet<PointId>, now: Micros) -> Option<PointId> {
        let first = *points.first()?;
        let by_number = self.points.map(|number| {
            let back = usize::try_from(number.get() - 1).unwrap_or(usize::MAX);
            points.iter().nth_back(back).copied().unwrap_or(first)
        });
        let by_days = self.days.map(|days| {
            let window = now.minus(DAY.saturating_mul(days));
            let before = points.iter().rfind(|point| lies_before(**point, window));
            before.copied().unwrap_or(first)
        });
        let earliest = by_number.into_iter().chain(by_days).min();
        Some(earliest.unwrap_or(first))
    }
}

/// Does a restore point hold no record from behind this time? It is called by when it was begun, but if it was broken off then,
/// what was taken up may be as much later as that is done.
fn lies_before(point: PointId, time: Micros) -> bool {
    let holds_until = Duration::from_millis(point.begun_millis.saturating_add(TAKEN_UP_MILLIS));
    Micros(0).plus(holds_until) <= time
}

impl Choice {
    /// Decides by what there is of a lineage, at a time of the bucket's clock.
    #[must_use]
    pub fn new(keep: Keep, objects: &[Object], now: Micros) -> Choice {
        let (mut points, mut marks) = (BTreeSet::new(), BTreeMap::new());
        for object in objects {
            match object.named {
                Named::Point(point) => {
                    points.insert(point);
                }
                Named::Dropped(point) => {
                    marks.insert(point, object.age(now));
                }
                Named::StoreFile(_) | Named::Segment(_) | Named::End(_) | Named::Stretch(_) => {}
            }
        }
        let (marked, standing): (BTreeSet<PointId>, BTreeSet<PointId>) =
            points.iter().partition(|point| marks.contains_key(point));
        let is_over = |point: &PointId| marks.get(point).is_some_and(|age| *age >= GRACE);
        let (over, waiting) = marked.into_iter().partition(is_over);
        let earliest = keep.earliest(&standing, now);
        let is_kept = |point: &PointId| earliest.is_some_and(|earliest| *point >= earliest);
        let (kept, dropped) = standing.into_iter().partition(is_kept);
        Choice {
            kept,
            dropped,
            waiting,
            over,
        }
    }

    /// Those whose files and whose ways through the archive stay.
    pub fn needed(&self) -> impl Iterator<Item = PointId> + '_ {
        let needed = self.kept.iter().chain(&self.dropped).chain(&self.waiting);
        needed.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MILLIS: u64 = 3_600_000;

    fn point(hours: u64) -> PointId {
        PointId {
            begun_millis: hours * HOUR_MILLIS,
            random: 7,
        }
    }

    fn at(hours: u64) -> Micros {
        Micros(0).plus(Duration::from_secs(hours * 3_600))
    }

    fn object(named: Named, hours: u64) -> Object {
        Object {
            named,
            bytes: 0,
            modified: at(hours),
        }
    }

    fn hours(points: &BTreeSet<PointId>) -> Vec<u64> {
        let hours = points.iter().map(|point| point.begun_millis / HOUR_MILLIS);
        hours.collect()
    }

    fn choose(days: Option<u32>, number: Option<u32>, begun: &[u64], now: u64) -> Choice {
        let keep = Keep {
            days,
            points: number.map(|number| NonZeroU32::new(number).unwrap()),
        };
        let objects = begun
            .iter()
            .map(|hour| object(Named::Point(point(*hour)), *hour));
        Choice::new(keep, &objects.collect::<Vec<_>>(), at(now))
    }

    proptest! {
        #[test]
        fn what_is_asked_for_is_kept_and_no_more(
            begun in proptest::collection::btree_set(0..2_000u64, 0..30),
            days in proptest::option::of(0..60u32),
            number in proptest::option::of(1..40u32),
            later in 0..500u64,
        ) {
            let begun: Vec<u64> = begun.into_iter().collect();
            let now = begun.last().copied().unwrap_or(0) + later;
            let choice = choose(days, number, &begun, now);
            let kept = hours(&choice.kept);
            prop_assert_eq!(&[hours(&choice.dropped), kept.clone()].concat(), &begun, "all later ones are kept");
            prop_assert_eq!(kept.is_empty(), begun.is_empty());
            let number = number.map(|number| usize::try_from(number).unwrap());
            prop_assert!(number.is_none_or(|number| kept.len() >= number.min(begun.len())));
            // Whatever is restored of the window is restored of what was the best for it before.
            let window = days.map(|days| now.saturating_sub(u64::from(days) * 24));
            let holds_until = |hour: &u64| hour + 12;
            if let Some(window) = window {
                for moment in window..=now {
                    let best = |of: &[u64]| of.iter().rfind(|hour| holds_until(hour) <= moment).copied();
                    prop_assert_eq!(best(&kept), best(&begun), "{}", moment);
                }
            }
            let second = kept.get(1).copied();
            let is_needed = number.is_some_and(|number| kept.len() <= number)
                || window.is_some_and(|window| second.is_none_or(|second| holds_until(&second) > window))
                || kept.len() == begun.len();
            prop_assert!(is_needed, "{kept:?} of {begun:?}, {window:?}");
        }
    }

    #[test]
    fn a_mark_is_waited_for_by_its_own_age() {
        let objects = [
            object(Named::Point(point(1)), 1),
            object(Named::Point(point(2)), 2),
            object(Named::Dropped(point(2)), 77),
            object(Named::Point(point(3)), 3),
            object(Named::Dropped(point(3)), 76),
            object(Named::Dropped(point(4)), 4),
            object(Named::Point(point(5)), 100),
        ];
        let keep = Keep {
            days: None,
            points: NonZeroU32::new(1),
        };
        let choice = Choice::new(keep, &objects, at(100));
        let parts = [&choice.kept, &choice.dropped, &choice.waiting, &choice.over];
        assert_eq!(parts.map(hours), [vec![5], vec![1], vec![2], vec![3]]);
        let needed: BTreeSet<PointId> = choice.needed().collect();
        assert_eq!(hours(&needed), [1, 2, 5]);
    }

    #[test]
    fn a_restore_point_of_the_future_is_none_of_before() {
        let choice = choose(Some(0), None, &[10, 900], 50);
        assert_eq!(hours(&choice.kept), [10, 900]);
    }
}
