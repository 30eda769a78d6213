//! Reads at the primary, and quorum reads without one.
//!
//! One read is in progress at a time. In a violating pair the first read ended before the second began, and all that
//! other reads leave behind are raised promises, which are free steps here.

use crate::rule::Rule;
use crate::scope::Model;
use crate::set::{commit_size, each, has, one, seal_size, size};
use crate::state::{NO_READ, Phase, Read, State, number, record_of};
use crate::step::{Kind, Steps};

impl Model {
    pub fn primary_read(&self, s: &State, out: &mut Steps) {
        self.start_primary_read(s, out);
        match s.read.phase {
            Phase::Confirming => self.confirm(s, out),
            Phase::Committing => self.await_commit(s, out),
            Phase::None | Phase::Gathering => {}
        }
    }

    fn start_primary_read(&self, s: &State, out: &mut Steps) {
        for e in each(s.running & s.opened).filter(|&e| !s.is_fenced(e)) {
            let c = s.primary(e);
            for key in 0..self.key_count() {
                // An earlier round, of which everyone was a part at the start.
                let earlier = e == 0 && !self.holds(Rule::ConfirmAfter);
                let mut t = *s;
                t.read = Read {
                    phase: Phase::Confirming,
                    epoch: e as u8,
                    key,
                    answered: if earlier { s.members[e] } else { one(c) },
                    hold: s.unsynced[c],
                    version: 0,
                    after: s.done[usize::from(key)],
                };
                if t.read != s.read {
                    out.push(Kind::ReadStart, e, c, key, t);
                }
            }
        }
    }

    fn confirm(&self, s: &State, out: &mut Steps) {
        let (read, e) = (s.read, usize::from(s.read.epoch));
        let (c, d) = (s.primary(e), s.members[e]);
        for n in each(d & !read.answered).filter(|&n| self.hears(s, n, e)) {
            let mut t = *s;
            t.promise(n, e);
            t.read.answered |= one(n);
            out.push(Kind::ReadPing, e, n, 0, t);
        }
        let needed = match self.holds(Rule::ConfirmSize) {
            true => commit_size(d),
            false => seal_size(d).min(commit_size(d) - 1),
        };
        let lags = read.hold & s.unsynced[c] != 0;
        if size(read.answered) < needed || lags && self.holds(Rule::ReadIndex) {
            return;
        }
        let sure = match self.holds(Rule::NoSkip) {
            true => !0,
            // Acknowledgements may be under way: the primary is sure of what it has answered.
            false if self.scope.quorum_reads => s.quorum_acked,
            false => self.committed(s, e),
        };
        let mut t = *s;
        t.read.phase = Phase::Committing;
        (t.read.answered, t.read.hold) = (0, 0);
        t.read.version = self.row(s, s.durable(c) & sure, read.key);
        out.push(Kind::ReadTake, e, c, t.read.version, t);
    }

    fn await_commit(&self, s: &State, out: &mut Steps) {
        let (version, e) = (s.read.version, usize::from(s.read.epoch));
        let is_committed = version == 0 || has(self.committed(s, e), record_of(version));
        if is_committed || !self.holds(Rule::WaitNewest) {
            self.finish_read(s, Kind::ReadReturn, out);
        }
    }

    pub fn quorum_read(&self, s: &State, out: &mut Steps) {
        let known = match self.holds(Rule::OpenFirst) {
            true => s.opened,
            false => one(usize::from(s.begun)) - 1,
        };
        for e in each(known) {
            let asked = match self.holds(Rule::ReadMembers) {
                true => s.members[e],
                false => s.alive,
            };
            for n in each(asked).filter(|&n| self.answers(s, n, e)) {
                for key in 0..self.key_count() {
                    self.reply(s, e, n, key, out);
                }
            }
        }
        if s.read.phase == Phase::Gathering {
            self.gather(s, out);
        }
    }

    /// Q1: n takes part in the quorum reads of `e`.
    fn answers(&self, s: &State, n: usize, e: usize) -> bool {
        let promised = s.promise[n] == number(e);
        self.can_answer(s, n)
            && (s.is_in(n, e)
                || promised && s.is_open(e) && !self.holds(Rule::ReadOpening)
                || !self.holds(Rule::ReadEpoch))
    }

    fn read_size(&self, s: &State, e: usize) -> usize {
        let d = s.members[e];
        match self.holds(Rule::ReadSize) {
            true => commit_size(d),
            false => commit_size(d) - 1,
        }
    }

    /// A read begins with its first reply. Of the replies only those that name its row matter.
    fn reply(&self, s: &State, e: usize, n: usize, key: u8, out: &mut Steps) {
        let read = s.read;
        let readable = match self.holds(Rule::AckDurable) {
            true => s.durable(n),
            false => s.held[n],
        };
        let version = self.row(s, readable, key);
        let fresh = Read {
            phase: Phase::Gathering,
            epoch: e as u8,
            key,
            answered: one(n),
            hold: one(n),
            version,
            after: s.done[usize::from(key)],
        };
        if fresh != read {
            out.push(
                Kind::QuorumReply,
                e,
                n,
                version,
                State { read: fresh, ..*s },
            );
        }
        let same = (read.phase, read.epoch, read.key) == (Phase::Gathering, e as u8, key);
        let wanted = size(read.answered) < self.read_size(s, e) && !has(read.answered, n);
        if !same || !wanted {
            return;
        }
        let picky = self.holds(Rule::ReadAgree) && self.holds(Rule::ReadRow);
        if picky && version != read.version {
            return;
        }
        let mut t = *s;
        t.read.answered |= one(n);
        if version > read.version {
            (t.read.version, t.read.hold) = (version, 0);
        }
        if version == t.read.version {
            t.read.hold |= one(n);
        }
        out.push(Kind::QuorumReply, e, n, version, t);
    }

    fn gather(&self, s: &State, out: &mut Steps) {
        let (read, e) = (s.read, usize::from(s.read.epoch));
        let needed = self.read_size(s, e);
        if size(read.answered) < needed {
            return;
        }
        if !self.holds(Rule::ReadRow) && read.version > 0 {
            let record = record_of(read.version);
            for n in each(s.members[e] & !read.hold) {
                if self.answers(s, n, e) && has(s.durable(n), record) {
                    let mut t = *s;
                    t.read.hold |= one(n);
                    out.push(Kind::QuorumVouch, e, n, read.version, t);
                }
            }
        }
        if size(read.hold) >= needed || !self.holds(Rule::ReadAgree) {
            self.finish_read(s, Kind::QuorumReturn, out);
        }
    }

    fn finish_read(&self, s: &State, kind: Kind, out: &mut Steps) {
        let (read, e) = (s.read, usize::from(s.read.epoch));
        let mut t = *s;
        let done = &mut t.done[usize::from(read.key)];
        *done = (*done).max(read.version);
        t.read = NO_READ;
        out.push(kind, e, s.primary(e), read.version, t);
    }
}
