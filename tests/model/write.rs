//! The primary's streams, its writes and their acknowledgements, and what members take.

use crate::rule::Rule;
use crate::scope::{Model, Sync};
use crate::set::{commit_size, each, has, one, seal_size, size};
use crate::state::{State, number};
use crate::step::{Kind, Steps};

impl Model {
    /// The primary of `e`, or the candidate that has caught up.
    pub fn lead(&self, s: &State, e: usize, out: &mut Steps) {
        let c = s.primary(e);
        if s.is_open(e) && !(s.is_fenced(e) && self.holds(Rule::StopOld)) {
            self.append(s, e, c, out);
        }
        if !(s.is_fenced(e) && self.holds(Rule::StopOld)) {
            for n in each(s.alive & !one(c) & !s.evicted) {
                self.fetch_tail(s, e, n, out);
                if has(s.members[e], n) || self.scope.learners {
                    self.replicate(s, e, n, out);
                    self.ping(s, e, n, out);
                    self.opening_record(s, e, n, out);
                    self.snapshot(s, e, n, out);
                }
            }
        }
        self.quorum_ack(s, e, c, out);
    }

    fn append(&self, s: &State, e: usize, c: usize, out: &mut Steps) {
        let log = self.log(e);
        let i = e * self.scope.keys.len() + size(s.held[c] & log);
        if !has(log, i) || !has(self.scope.writers, e) {
            return;
        }
        let above_last = each(log & s.held[c])
            .map(|j| s.hlc[j] + 1)
            .max()
            .unwrap_or(0);
        let low = match self.holds(Rule::Floor) {
            true => above_last.max(s.floor[e]),
            false => above_last,
        };
        let high = match (self.scope.windows, self.holds(Rule::Ceiling)) {
            (0, _) => low + 1,
            (_, true) => s.granted[e],
            (windows, false) => windows,
        };
        for hlc in low..high {
            let mut t = *s;
            if self.scope.windows > 0 {
                t.hlc[i] = hlc;
            }
            self.append_at(&mut t, c, i);
            out.push(Kind::Append, e, c, one(i), t);
        }
    }

    fn append_at(&self, t: &mut State, c: usize, i: usize) {
        t.held[c] |= one(i);
        t.unsynced[c] |= one(i);
        // A second use of one place has other bytes.
        t.other_bytes[c] |= t.written & one(i);
        t.written |= one(i);
        if self.version(t, i) < t.done[usize::from(self.key(i))] {
            t.late |= one(i);
        }
        if !self.holds(Rule::OwnSync) {
            self.acknowledge_async(t, c, one(i));
        }
        if self.scope.sync == Sync::AtOnce {
            self.sync(t, c, one(i));
        }
    }

    /// A returning member's tail is merged and synced at the primary, then streamed like anything else.
    fn fetch_tail(&self, s: &State, e: usize, n: usize, out: &mut Steps) {
        let c = s.primary(e);
        let tail = s.durable(n) & !s.held[c] & !self.beyond(s);
        if s.is_open(e) && tail != 0 && self.hears(s, n, e) {
            let mut t = *s;
            self.store(&mut t, c, n, tail);
            out.push(Kind::FetchTail, e, n, tail, t);
        }
    }

    fn replicate(&self, s: &State, e: usize, n: usize, out: &mut Steps) {
        let c = s.primary(e);
        let is_late = !self.holds(Rule::Fence) && self.can_answer(s, n) && s.promise[n] > number(e);
        if !self.hears(s, n, e) && !is_late {
            return;
        }
        let next = match self.holds(Rule::Contiguous) {
            true => self.next_missing(s.held[n]),
            false => !s.held[n],
        };
        for i in each(next & self.shippable(s, c)) {
            let before_opening = has(self.log(e), i) && !s.is_in(n, e);
            if before_opening && !is_late && self.holds(Rule::OpenLeads) {
                continue;
            }
            let mut t = *s;
            t.promise(n, e);
            let synced = self.holds(Rule::AckDurable) && self.scope.sync != Sync::MembersToo;
            if synced {
                self.store(&mut t, n, c, one(i));
            } else {
                t.copy(n, c, one(i));
            }
            if is_late || !self.holds(Rule::AckDurable) {
                t.acks[e][n] |= one(i);
            }
            out.push(Kind::Replicate, e, n, one(i), t);
        }
    }

    fn ping(&self, s: &State, e: usize, n: usize, out: &mut Steps) {
        if self.hears(s, n, e) && s.promise[n] < number(e) && has(s.members[e], n) {
            let mut t = *s;
            t.promise(n, e);
            out.push(Kind::Ping, e, n, 0, t);
        }
    }

    fn opening_record(&self, s: &State, e: usize, n: usize, out: &mut Steps) {
        let c = s.primary(e);
        let is_due = s.is_open(e) || !self.holds(Rule::OpenFirst);
        if !is_due || !self.hears(s, n, e) || s.is_in(n, e) {
            return;
        }
        let shown = match self.holds(Rule::OpenCoversUnsynced) {
            true => s.held[n],
            false => s.durable(n),
        };
        let more = shown & !s.held[c];
        if more != 0 && self.holds(Rule::OpenCovers) && self.holds(Rule::MergeTail) {
            return;
        }
        let mut t = *s;
        t.promise(n, e);
        t.joined |= one(n);
        if !self.holds(Rule::MergeTail) {
            t.cut(n, more);
        }
        out.push(Kind::Join, e, n, 0, t);
    }

    /// A checkpoint of the primary takes the place of the member's store, opening record included.
    fn snapshot(&self, s: &State, e: usize, n: usize, out: &mut Steps) {
        let c = s.primary(e);
        let is_due = self.scope.snapshots && s.is_open(e) && s.is_in(c, e);
        if !is_due || !self.hears(s, n, e) || s.held[n] == s.held[c] {
            return;
        }
        let beyond = s.held[n] & self.beyond(s);
        let content = s.durable(c);
        let lost = s.held[n] & !content & !beyond;
        if lost != 0 && self.holds(Rule::SnapshotCovers) {
            return;
        }
        let mut t = *s;
        t.cut(n, lost | beyond);
        t.dead_letter |= beyond;
        t.promise(n, e);
        t.copy(n, c, content);
        t.joined |= one(n);
        if self.holds(Rule::SnapshotDurable) {
            self.sync(&mut t, n, content);
        } else {
            t.acks[e][n] |= content;
        }
        let kind = if beyond == 0 {
            Kind::Snapshot
        } else {
            Kind::Reseed
        };
        out.push(kind, e, n, if beyond == 0 { content } else { beyond }, t);
    }

    fn quorum_ack(&self, s: &State, e: usize, c: usize, out: &mut Steps) {
        let open = self.log(e) & s.written & !s.quorum_acked;
        for i in each(open & self.committed(s, e)) {
            let mut t = *s;
            t.quorum_acked |= one(i);
            let done = &mut t.done[usize::from(self.key(i))];
            *done = (*done).max(self.version(s, i));
            out.push(Kind::QuorumAck, e, c, one(i), t);
        }
    }

    /// Quorum contact: a round of pings, or, where one member seals alone, an Extend. It is spent when L passes.
    pub fn contact(&self, s: &State, out: &mut Steps) {
        for e in each(s.running & s.opened & !s.contact) {
            let (c, d) = (s.primary(e), s.members[e]);
            let t = State {
                contact: s.contact | one(e),
                ..*s
            };
            let with_it = each(d).filter(|&n| self.hears(s, n, e) && s.promise[n] == number(e));
            if !s.is_fenced(e) && with_it.count() >= commit_size(d) {
                out.push(Kind::PingRound, e, c, 0, t);
            }
            if seal_size(d) == 1 && (s.is_latest(e) || !self.holds(Rule::Freeze)) {
                out.push(Kind::ExtendContact, e, c, 0, t);
            }
        }
        let overtaken = one(s.open_epoch()) - 1;
        let t = State {
            contact: 0,
            overdue: s.overdue | overtaken,
            ..*s
        };
        if t != *s {
            out.push(Kind::Lapse, 0, 0, 0, t);
        }
    }

    /// Syncs, and what moves records past the primary where `Star` is left out.
    pub fn move_on(&self, s: &State, out: &mut Steps) {
        for n in each(s.alive) {
            if s.unsynced[n] != 0 {
                let mut t = *s;
                self.sync(&mut t, n, !0);
                out.push(Kind::Sync, 0, n, s.unsynced[n], t);
            }
            if self.holds(Rule::Star) {
                continue;
            }
            for m in each(s.alive & !one(n)) {
                for i in each(self.next_missing(s.held[n]) & s.durable(m)) {
                    let mut t = *s;
                    self.store(&mut t, n, m, one(i));
                    out.push(Kind::Gossip, 0, n, one(i), t);
                }
            }
        }
    }
}
