//! Pure: when a primary last heard from enough members.
//!
//! The primary pings in numbered rounds; a member echoes the greatest round it heard while its promise is the epoch. A
//! round is *confirmed* once W members, the primary included, have echoed it or a later one. Whatever arrived before a
//! confirmed round began may rely on this: no later epoch could have committed anything by then without one of these W.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::IncarnationId;
use crate::control::nth_greatest;

/// The number of a round of pings; the first is 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Round(pub u64);

impl Round {
    /// Before the first round.
    pub const NONE: Round = Round(0);

    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Round {
        Round(self.0 + 1)
    }
}

/// The rounds of one primary. Times are monotonic, since any fixed moment.
#[derive(Debug)]
pub struct Contact {
    me: IncarnationId,
    needed: usize,
    latest: Round,
    /// When each round began that is not yet confirmed, and the last confirmed one.
    begun: VecDeque<(Round, Duration)>,
    echoed: BTreeMap<IncarnationId, Round>,
}

/// Rounds remembered while nobody answers; older ones cannot help any more.
const REMEMBERED: usize = 1_000;

impl Contact {
    /// For a primary among these data members, of which `needed` confirm.
    pub fn new(
        me: IncarnationId,
        members: impl IntoIterator<Item = IncarnationId>,
        needed: usize,
    ) -> Contact {
        let echoed = members
            .into_iter()
            .map(|member| (member, Round::NONE))
            .collect();
        Contact {
            me,
            needed,
            latest: Round::NONE,
            begun: VecDeque::new(),
            echoed,
        }
    }

    /// Begins a round. The primary counts itself: it is to stop asking as soon as it has promised another epoch.
    pub fn begin(&mut self, now: Duration) -> Round {
        self.latest = self.latest.next();
        self.begun.push_back((self.latest, now));
        if self.begun.len() > REMEMBERED {
            self.begun.pop_front();
        }
        self.echo(self.me, self.latest);
        self.latest
    }

    /// The round begun last.
    #[must_use]
    pub fn latest(&self) -> Round {
        self.latest
    }

    /// A member has heard this round. Others than data members do not count.
    pub fn echo(&mut self, member: IncarnationId, round: Round) {
        if let Some(echoed) = self.echoed.get_mut(&member) {
            *echoed = round.max(*echoed);
        }
        let confirmed = self.confirmed();
        while self
            .begun
            .get(1)
            .is_some_and(|(next, _)| *next <= confirmed)
        {
            self.begun.pop_front();
        }
    }

    /// The last confirmed round.
    #[must_use]
    pub fn confirmed(&self) -> Round {
        nth_greatest(self.echoed.values().copied(), self.needed).unwrap_or(Round::NONE)
    }

    /// When the last confirmed round began.
    #[must_use]
    pub fn last(&self) -> Option<Duration> {
        let (round, begun) = self.begun.front()?;
        (*round <= self.confirmed()).then_some(*begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_confirmed_round_was_heard_by_as_many_as_are_needed(
            members in 1..6u128,
            steps in proptest::collection::vec((0..7u128, 0..9u64, any::<bool>()), 0..60),
        ) {
            let needed = usize::try_from(members).unwrap() / 2 + 1;
            let mut contact = Contact::new(IncarnationId(0), (0..members).map(IncarnationId), needed);
            let mut begun: Vec<Duration> = vec![];
            let mut heard: BTreeMap<u128, u64> = BTreeMap::new();
            for (at, (member, back, begin)) in (1..).zip(steps) {
                if begin {
                    let now = Duration::from_millis(at);
                    begun.push(now);
                    prop_assert_eq!(contact.begin(now).0, u64::try_from(begun.len()).unwrap());
                    heard.insert(0, contact.latest().0);
                } else {
                    let round = contact.latest().0.saturating_sub(back);
                    contact.echo(IncarnationId(member), Round(round));
                    if member < members {
                        let best = heard.entry(member).or_default();
                        *best = round.max(*best);
                    }
                }
                let confirmed = contact.confirmed().0;
                prop_assert!(confirmed == 0 || heard.values().filter(|round| **round >= confirmed).count() >= needed);
                prop_assert!(heard.values().filter(|round| **round > confirmed).count() < needed);
                let expected = usize::try_from(confirmed).unwrap().checked_sub(1).map(|at| begun[at]);
                prop_assert_eq!(contact.last(), expected);
            }
        }
    }
}
