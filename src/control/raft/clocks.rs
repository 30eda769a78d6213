//! Pure: what the clocks of other members show, by what they said last.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::NodeNumber;

/// Of a member that has not been heard for so long the clock is not asked.
const FRESH: Duration = Duration::from_secs(10);

/// The clocks of other members.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// What a clock showed, in milliseconds, and when that was heard.
    heard: BTreeMap<NodeNumber, (u64, Duration)>,
}

impl Clocks {
    /// A member's clock showed this.
    pub fn hear(&mut self, now: Duration, member: NodeNumber, wall_millis: u64) {
        self.heard.insert(member, (wall_millis, now));
    }

    /// What the clocks of these members show by now.
    pub fn shown(
        &self,
        now: Duration,
        members: impl Iterator<Item = NodeNumber>,
    ) -> impl Iterator<Item = u64> {
        members.filter_map(move |member| {
            let (wall, heard) = *self.heard.get(&member)?;
            let since = now.saturating_sub(heard);
            let passed = u64::try_from(since.as_millis()).ok()?;
            (since < FRESH).then(|| wall.saturating_add(passed))
        })
    }
}

/// The clock that as many are ahead of as behind; of two in the middle, the one ahead.
pub(super) fn median(mut clocks: Vec<u64>) -> Option<u64> {
    clocks.sort_unstable();
    clocks.get(clocks.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(clocks: &Clocks, now: u64) -> Vec<u64> {
        let members = [1, 2, 3].map(NodeNumber).into_iter();
        let shown = clocks.shown(Duration::from_millis(now), members);
        shown.collect()
    }

    #[test]
    fn a_clock_goes_on_from_what_it_showed_last_until_nobody_can_say() {
        let mut clocks = Clocks::default();
        for (at, wall) in [(0, 9_000), (500, 1_000)] {
            clocks.hear(Duration::from_millis(at), NodeNumber(2), wall);
        }
        clocks.hear(Duration::from_millis(500), NodeNumber(9), 5);
        assert_eq!(shown(&clocks, 750), [1_250]);
        assert_eq!(shown(&clocks, 10_499), [10_999]);
        assert_eq!(shown(&clocks, 10_500), [0; 0]);
    }

    proptest! {
        #[test]
        fn a_minority_of_wrong_clocks_does_not_move_the_median_out_of_the_others(
            right in proptest::collection::vec(1_000..1_100u64, 2..5), wrong in proptest::collection::vec(any::<u64>(), 0..4)
        ) {
            prop_assume!(wrong.len() < right.len());
            let (least, most) = (*right.iter().min().unwrap(), *right.iter().max().unwrap());
            let median = median([right, wrong].concat()).unwrap();
            prop_assert!((least..=most).contains(&median));
        }
    }
}
