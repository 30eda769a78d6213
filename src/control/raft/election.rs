//! Pure: when to stand for election. Raft alone lets a voter that hears nobody disturb those who hear each other; so one
//! first asks the others whether they would vote for it, and stands only if enough of them would.
//!
//! These times decide when something is tried, never what is true.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::NodeNumber;

/// After so long without its leader a voter votes for another: the lease that openraft keeps (`election_timeout_max`).
pub(super) const LEASE: Duration = Duration::from_millis(300);
/// The longest time by which one voter waits longer than another.
const STAGGER_MILLIS: u64 = 150;

/// What one voter knows of its leader.
#[derive(Debug)]
pub(super) struct Election {
    heard: Duration,
    /// How much longer than the lease it waits this time.
    stagger: Duration,
    next: Duration,
}

impl Election {
    /// Of a voter that starts: it gives whoever leads the time to be heard.
    pub fn new(now: Duration, chance: u64) -> Election {
        let mut election = Election {
            heard: now,
            stagger: Duration::ZERO,
            next: Duration::ZERO,
        };
        election.draw(now, chance);
        election
    }

    fn draw(&mut self, now: Duration, chance: u64) {
        self.stagger = Duration::from_millis(chance % STAGGER_MILLIS);
        self.next = now + self.stagger;
    }

    /// A leader was heard.
    pub fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Has the leader been silent so long that another one may stand?
    pub fn would_vote(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) > LEASE
    }

    /// Is it time to ask the others? Not again, then, before some time has passed.
    pub fn is_due(&mut self, now: Duration, chance: u64) -> bool {
        let is_due = now.saturating_sub(self.heard) > LEASE + self.stagger && now >= self.next;
        if is_due {
            self.draw(now + LEASE / 2, chance);
        }
        is_due
    }
}

/// Do so many say yes that, in each set of voters, they are a majority?
pub(super) fn is_majority(voters: &[BTreeSet<NodeNumber>], yes: &BTreeSet<NodeNumber>) -> bool {
    let mut voters = voters.iter();
    voters.all(|voters| voters.intersection(yes).count() * 2 > voters.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    proptest! {
        #[test]
        fn nobody_stands_while_the_leader_is_heard_and_everybody_soon_after(chances: [u64; 3], silence in 0..2_000u64) {
            for chance in chances {
                let mut election = Election::new(millis(0), chance);
                election.hear(millis(5_000));
                let now = 5_000 + silence;
                let (votes, stands) = (election.would_vote(millis(now)), election.is_due(millis(now), chance));
                prop_assert_eq!(votes, silence > 300);
                prop_assert!(!stands || votes, "it stands only where others of its mind would vote");
                prop_assert!(stands || silence <= 450);
            }
        }

        #[test]
        fn who_failed_lets_others_try_before_it_tries_again(chance: u64, next: u64) {
            let mut election = Election::new(millis(0), chance);
            prop_assert!(election.is_due(millis(1_000), next));
            prop_assert!(!election.is_due(millis(1_149), next));
            prop_assert!(election.is_due(millis(1_300), next));
        }
    }

    #[test]
    fn a_majority_is_one_in_each_set_of_voters() {
        let set = |numbers: &[u64]| {
            numbers
                .iter()
                .copied()
                .map(NodeNumber)
                .collect::<BTreeSet<_>>()
        };
        let joint = [set(&[1, 2, 3]), set(&[3, 4])];
        assert!(is_majority(&joint[..1], &set(&[1, 2, 9])));
        assert!(!is_majority(&joint, &set(&[1, 2])));
        assert!(!is_majority(&joint, &set(&[1, 3])));
        assert!(is_majority(&joint, &set(&[1, 3, 4])));
    }
}
