//! Pure: which members answer soonest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::IncarnationId;

/// How long members take to answer: of each an average in which an answer weighs as much as all those after it together.
#[derive(Debug, Default)]
pub struct Nearness {
    took: BTreeMap<IncarnationId, Duration>,
}

impl Nearness {
    /// A member has taken this long, or has not answered for so long.
    pub fn note(&mut self, member: IncarnationId, took: Duration) {
        let average = self.took.entry(member).or_insert(took);
        *average = (*average + took) / 2;
    }

    /// Members, the nearest first. Of whom nothing is known comes before all, to be known.
    pub fn sort(&self, members: &mut [IncarnationId]) {
        members.sort_by_key(|member| self.took.get(member).copied().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_soonest_comes_first_and_who_is_not_known_before_all() {
        let [slow, fast, unknown] = [1, 2, 3].map(IncarnationId);
        let millis = Duration::from_millis;
        let mut nearness = Nearness::default();
        nearness.note(slow, millis(9));
        nearness.note(fast, millis(2));
        let sorted = |nearness: &Nearness| {
            let mut members = [slow, fast, unknown];
            nearness.sort(&mut members);
            members
        };
        assert_eq!(sorted(&nearness), [unknown, fast, slow]);
        nearness.note(fast, Duration::from_secs(1));
        assert_eq!(sorted(&nearness), [unknown, slow, fast]);
        for _ in 0..10 {
            nearness.note(fast, millis(2));
        }
        assert_eq!(sorted(&nearness), [unknown, fast, slow]);
    }
}
