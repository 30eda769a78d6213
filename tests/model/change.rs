//! Raft's decisions about epochs, and CHANGE: seal, catch up, transfer, open.

use crate::rule::Rule;
use crate::scope::Model;
use crate::set::{Set, each, has, one, seal_size, size};
use crate::state::{NODES, State, number};
use crate::step::{Kind, Steps};

impl Model {
    pub fn begin(&self, s: &State, out: &mut Steps) {
        let (e, basis) = (usize::from(s.begun), s.members[s.open_epoch()]);
        if s.begun >= self.scope.epochs {
            return;
        }
        let refused = if self.holds(Rule::BeginEvicted) {
            s.evicted
        } else {
            0
        };
        for &d in self.scope.configs {
            // Whoever is added is up and registered; whoever stays may be down.
            if d & !basis & (!s.alive | s.mute) != 0 || d & refused != 0 {
                continue;
            }
            for c in each(d & s.alive & !s.mute) {
                if s.held[c] & self.beyond(s) != 0 {
                    continue;
                }
                let mut t = *s;
                t.begun += 1;
                t.running |= one(e);
                t.candidate[e] = c as u8;
                (t.members[e], t.basis[e]) = (d, basis);
                (t.floor[e], t.granted[e]) = (s.ceiling, s.ceiling);
                let handing_over = has(s.running, s.open_epoch());
                if self.scope.planned && handing_over {
                    let planned = State {
                        planned: with(t.planned, e, s.last_open),
                        ..t
                    };
                    out.push(Kind::BeginPlanned, e, c, d, planned);
                }
                out.push(Kind::Begin, e, c, d, t);
            }
        }
    }

    /// Extend(e): a ceiling where windows are explicit, and what members acknowledged where disks roll back.
    pub fn extend(&self, s: &State, out: &mut Steps) {
        for e in each(s.running & s.opened) {
            if self.holds(Rule::Freeze) && !s.is_latest(e) {
                continue;
            }
            if s.ceiling < self.scope.windows {
                let mut t = *s;
                t.ceiling += 1;
                t.granted[e] = t.ceiling;
                out.push(Kind::Extend, e, s.primary(e), t.ceiling, t);
            }
            let mut t = *s;
            for n in each(s.members[e]) {
                t.recorded[n] |= s.acks[e][n];
            }
            if self.scope.rollback && t.recorded != s.recorded {
                out.push(Kind::Record, e, s.primary(e), 0, t);
            }
        }
    }

    /// CHANGE by the candidate of `e`.
    pub fn change(&self, s: &State, e: usize, out: &mut Steps) {
        if has(s.caught_up, e) {
            self.open(s, e, out);
            return;
        }
        self.seal(s, e, out);
        self.catch_up(s, e, out);
    }

    fn sealing(&self, s: &State, e: usize) -> Set {
        match self.holds(Rule::SealBasis) {
            true => s.basis[e],
            false => s.members[e],
        }
    }

    fn seal(&self, s: &State, e: usize, out: &mut Steps) {
        for n in each(self.sealing(s, e) & !s.sealed[e] & !s.evicted) {
            if !self.hears(s, n, e) {
                continue;
            }
            let mut t = *s;
            if !self.holds(Rule::PromiseFirst) && !has(s.read_early[e], n) {
                t.seal_held[e][n] = s.durable(n);
                t.read_early[e] |= one(n);
                out.push(Kind::ReadEarly, e, n, s.durable(n), t);
                continue;
            }
            t.promise(n, e);
            if s.promise[n] < number(e) {
                out.push(Kind::SealAckLost, e, n, 0, t);
            }
            t.sealed[e] |= one(n);
            if self.holds(Rule::PromiseFirst) {
                t.seal_held[e][n] = s.durable(n) & !self.beyond(s);
            }
            out.push(Kind::Seal, e, n, t.seal_held[e][n], t);
        }
    }

    /// T is the join of any R SealAcks of living members; the candidate fetches what it lacks of it.
    fn catch_up(&self, s: &State, e: usize, out: &mut Steps) {
        let c = s.primary(e);
        if !self.hears(s, c, e) || s.held[c] & self.beyond(s) != 0 {
            return;
        }
        let sealing = self.sealing(s, e);
        let needed = match self.holds(Rule::SealSize) {
            true => seal_size(sealing),
            false => seal_size(sealing).saturating_sub(1).max(1),
        };
        let counted = match self.holds(Rule::SealAgain) {
            true => s.sealed[e] & s.alive,
            false => s.sealed[e],
        };
        let awaited = self.awaited(s, e);
        if size(counted) < needed || awaited & !counted != 0 {
            return;
        }
        let mut seen = [0u64; 4];
        for holders in 1..1u8 << NODES {
            if holders & !counted != 0 || awaited & !holders != 0 || size(holders) < needed {
                continue;
            }
            let joined = each(holders & s.alive).fold(0, |t, n| t | s.seal_held[e][n]);
            let target = joined & !self.beyond(s);
            let (word, bit) = (usize::from(target >> 6), target & 63);
            if seen[word] >> bit & 1 == 1 {
                continue;
            }
            seen[word] |= 1 << bit;
            let mut t = *s;
            t.promise(c, e);
            if self.holds(Rule::CatchUp) {
                self.fetch(&mut t, c, target);
                if target & !t.durable(c) != 0 {
                    continue;
                }
            }
            t.caught_up |= one(e);
            t.target[e] = target;
            if !self.holds(Rule::OpenFirst) {
                t.joined |= one(c);
            }
            out.push(Kind::CatchUp, e, c, target, t);
        }
    }

    /// The candidate takes what it lacks of `target` from whoever is up, and syncs.
    fn fetch(&self, t: &mut State, c: usize, target: Set) {
        for n in 0..NODES {
            if !self.can_answer(t, n) {
                continue;
            }
            let missing = target & !t.held[c] & t.durable(n);
            self.store(t, c, n, missing);
        }
    }

    /// The old primary, where the change is planned and that process still runs: its SealAck is part of T.
    fn awaited(&self, s: &State, e: usize) -> Set {
        match usize::from(s.planned[e]).checked_sub(1) {
            Some(old) if has(s.running, old) && self.holds(Rule::PlannedSeal) => {
                one(s.primary(old))
            }
            _ => 0,
        }
    }

    fn open(&self, s: &State, e: usize, out: &mut Steps) {
        let (c, d) = (s.primary(e), s.members[e]);
        if self.holds(Rule::LatestOpens) && !s.is_latest(e) {
            return;
        }
        let changed = d != s.basis[e];
        if self.holds(Rule::Transfer) && changed && s.target[e] & !self.committed(s, e) != 0 {
            return;
        }
        let mut t = *s;
        t.opened |= one(e);
        t.last_open = s.last_open.max(number(e));
        if s.promise[c] == number(e) {
            t.joined |= one(c);
        }
        if self.scope.contact {
            t.contact |= one(e);
        }
        out.push(Kind::Open, e, c, d, t);
    }
}

fn with<const N: usize>(mut row: [u8; N], at: usize, value: u8) -> [u8; N] {
    row[at] = value;
    row
}
