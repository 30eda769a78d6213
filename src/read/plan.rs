//! Pure: whom a quorum read asks, and when.
//!
//! ```text
//!  begin ──► the W nearest members ── hedge delay over, or all have answered and it is not decided ──► the others
//!        ──► after the retry delay, twice as long each time up to a limit: all of them, until the caller's deadline
//! ```
//! Members that disagree mostly wait for the same record, so that asking again soon helps; asking again at once does not.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::IncarnationId;
use crate::control::commit_size;

/// No retry delay grows beyond this.
const RETRY_MAX: Duration = Duration::from_millis(400);

/// The course of one quorum read. Times are monotonic, since any fixed moment.
#[derive(Debug)]
pub struct Plan {
    hedge: Duration,
    retry: Duration,
    stage: Stage,
    /// Who was asked last and has not answered.
    waiting: BTreeSet<IncarnationId>,
    due: Duration,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// Only these have been asked.
    Nearest(BTreeSet<IncarnationId>),
    All,
}

impl Plan {
    /// A read that asks others after the hedge delay, and everybody again after the retry delay, which doubles.
    #[must_use]
    pub fn new(hedge: Duration, retry: Duration) -> Plan {
        Plan {
            hedge,
            retry,
            stage: Stage::Begin,
            waiting: BTreeSet::new(),
            due: Duration::ZERO,
        }
    }

    /// A member has answered, if only that it may not answer.
    pub fn on_answer(&mut self, from: IncarnationId) {
        self.waiting.remove(&from);
    }

    /// Whom to ask now for what is not decided, given the data members known now, nearest first. To be called at the
    /// beginning, after each answer and when it is [`due`](Self::due); nobody is to be asked in between.
    pub fn ask(&mut self, now: Duration, members: &[IncarnationId]) -> Vec<IncarnationId> {
        let (next, asked, delay) = match &self.stage {
            Stage::Begin => {
                let nearest: Vec<_> = members
                    .iter()
                    .take(commit_size(members.len()))
                    .copied()
                    .collect();
                let stage = Stage::Nearest(nearest.iter().copied().collect());
                (stage, nearest, self.hedge)
            }
            Stage::Nearest(_) | Stage::All if now < self.due && !self.may_hedge() => {
                return Vec::new();
            }
            Stage::Nearest(nearest) => {
                let is_other = |member: &&IncarnationId| !nearest.contains(member);
                let others = members.iter().filter(is_other).copied().collect();
                (Stage::All, others, self.retry)
            }
            Stage::All => {
                self.retry = (self.retry * 2).min(RETRY_MAX);
                (Stage::All, members.to_vec(), self.retry)
            }
        };
        self.waiting.extend(&asked);
        self.stage = next;
        self.due = now.saturating_add(delay);
        asked
    }

    /// When to ask next, whatever is answered until then.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Nothing more can come of those asked first.
    fn may_hedge(&self) -> bool {
        matches!(self.stage, Stage::Nearest(_)) && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEDGE: Duration = Duration::from_millis(10);
    const RETRY: Duration = Duration::from_millis(25);

    fn members(count: u128) -> Vec<IncarnationId> {
        (0..count).map(IncarnationId).collect()
    }

    fn begun(members: &[IncarnationId]) -> Plan {
        let mut plan = Plan::new(HEDGE, RETRY);
        assert_eq!(
            plan.ask(Duration::ZERO, members),
            members[..commit_size(members.len())]
        );
        plan
    }

    #[test]
    fn the_others_are_asked_once_the_hedge_delay_is_over_and_not_before() {
        for count in 1..7 {
            let members = members(count);
            let mut plan = begun(&members);
            assert_eq!(plan.due(), HEDGE);
            assert!(
                plan.ask(HEDGE - Duration::from_nanos(1), &members)
                    .is_empty()
            );
            assert_eq!(
                plan.ask(HEDGE, &members),
                members[commit_size(members.len())..]
            );
            assert_eq!(plan.due(), HEDGE + RETRY);
        }
    }

    #[test]
    fn the_others_are_asked_as_soon_as_the_first_have_all_answered() {
        let members = members(5);
        let mut plan = begun(&members);
        let soon = Duration::from_millis(2);
        for answering in &members[..2] {
            plan.on_answer(*answering);
            assert!(plan.ask(soon, &members).is_empty());
        }
        plan.on_answer(members[2]);
        assert_eq!(plan.ask(soon, &members), members[3..]);
    }

    #[test]
    fn everybody_is_asked_again_ever_less_often_however_soon_they_answer() {
        let members = members(3);
        let mut plan = begun(&members);
        assert_eq!(plan.ask(HEDGE, &members), members[2..]);
        let mut now = HEDGE;
        for delay in [1, 2, 4, 8, 16, 16, 16] {
            members.iter().for_each(|member| plan.on_answer(*member));
            assert!(plan.ask(now, &members).is_empty());
            now += RETRY * delay;
            assert_eq!(plan.due(), now);
            assert_eq!(plan.ask(now, &members), members);
        }
    }

    #[test]
    fn a_member_that_joins_meanwhile_is_asked() {
        let mut plan = begun(&members(3));
        let joined = members(4)[1..].to_vec();
        assert_eq!(plan.ask(HEDGE, &joined), joined[1..]);
        assert_eq!(plan.ask(HEDGE + RETRY, &joined), joined);
    }
}
