//! The end of a log and of an incarnation: Close and Evict.

use crate::rule::Rule;
use crate::scope::Model;
use crate::set::{Set, each, has, one};
use crate::state::{NO_READ, Phase, State, number};
use crate::step::{Kind, Steps};

impl Model {
    /// The primary of `e` closes an earlier log at what it holds of it.
    pub fn close(&self, s: &State, e: usize, out: &mut Steps) {
        let c = s.primary(e);
        let overtaken = !s.is_latest(e) && self.holds(Rule::CloseLatest);
        if !s.is_open(e) || overtaken || s.is_fenced(e) {
            return;
        }
        for l in each(s.opened & !s.closed & (one(e) - 1)) {
            let last = s.durable(c) & self.log(l);
            let committed = last & !self.committed(s, e) == 0;
            if !committed && self.holds(Rule::CloseCommitted) {
                continue;
            }
            if !self.is_complete(s, l, last) && self.holds(Rule::CloseComplete) {
                continue;
            }
            let mut t = *s;
            t.closed |= one(l);
            t.beyond |= self.log(l) & !last;
            out.push(Kind::Close, l, c, last, t);
        }
    }

    /// The writer of the log, which writes no more of it, has no record beyond `last`; or it has been evicted.
    fn is_complete(&self, s: &State, l: usize, last: Set) -> bool {
        let writer = s.primary(l);
        let reports = self.can_answer(s, writer) && s.promise[writer] > number(l);
        let reported = reports && s.held[writer] & self.log(l) & !last == 0;
        reported || has(s.evicted, writer)
    }

    pub fn evict(&self, s: &State, out: &mut Steps) {
        if s.evictions_left == 0 {
            return;
        }
        let latest = usize::from(s.begun) - 1;
        let in_open = s.members[s.open_epoch()];
        let in_attempt = match s.is_open(latest) {
            true => 0,
            false => s.basis[latest] | s.members[latest],
        };
        let everyone = self.scope.configs.iter().fold(0, |all, d| all | d);
        let mut refused = s.evicted;
        if self.holds(Rule::EvictOpen) {
            refused |= in_open;
        }
        if self.holds(Rule::EvictAttempt) {
            refused |= in_attempt;
        }
        for n in each(everyone & !refused) {
            let mut t = *s;
            t.evicted |= one(n);
            t.evictions_left -= 1;
            out.push(Kind::Evict, 0, n, 0, t);
        }
    }

    /// Merges states that differ only in what nobody can look at any more.
    pub fn forget(&self, t: &mut State) {
        for e in 0..usize::from(t.begun) {
            let (runs, opened) = (has(t.running, e), has(t.opened, e));
            if !runs {
                t.acks[e] = Default::default();
                t.caught_up &= !one(e);
                t.contact &= !one(e);
            }
            if !runs || has(t.caught_up, e) {
                (t.sealed[e], t.read_early[e], t.planned[e]) = (0, 0, 0);
                t.seal_held[e] = Default::default();
            }
            if opened || !runs && !t.is_latest(e) {
                (t.basis[e], t.target[e]) = (0, 0);
            }
            if !runs && !opened && !t.is_latest(e) && self.holds(Rule::OpenFirst) {
                t.members[e] = 0;
            }
        }
        let is_primary_read = matches!(t.read.phase, Phase::Confirming | Phase::Committing);
        if is_primary_read && !has(t.running, usize::from(t.read.epoch)) {
            t.read = NO_READ;
        }
    }
}
