//! Crashes, lost disks, and directories that are replaced by a copy of themselves.

use crate::rule::Rule;
use crate::scope::{Model, Witness};
use crate::set::{Set, commit_size, each, has, one, size};
use crate::state::{Image, NO_IMAGE, State};
use crate::step::{Kind, Steps};

impl Model {
    pub fn faults(&self, s: &State, out: &mut Steps) {
        for n in each(s.alive) {
            self.crash(s, n, out);
            self.lose_disk(s, n, out);
            if s.rollbacks_left > 0 {
                self.copy_directory(s, n, out);
                self.roll_back(s, n, out);
                self.boot(s, n, out);
            }
        }
    }

    /// The process restarts, without what it had not synced.
    fn crash(&self, s: &State, n: usize, out: &mut Steps) {
        let reigns = s.reigns(n);
        let forgets = !self.holds(Rule::PromiseSync) && s.promise[n] > 1;
        let is_copied = s.image.of == Some(n as u8) && !s.image.is_old_boot;
        let matters = reigns != 0 || s.unsynced[n] != 0 || forgets || is_copied;
        if s.crashes_left == 0 || !matters || has(s.mute, n) {
            return;
        }
        let mut t = *s;
        t.crashes_left -= 1;
        t.cut(n, s.unsynced[n]);
        if self.holds(Rule::NewEpoch) {
            t.running &= !reigns;
        } else {
            t.restarted |= reigns;
        }
        if forgets {
            t.promise[n] = 1;
            t.joined |= one(n);
        }
        t.image.is_old_boot |= is_copied;
        if self.scope.rollback && self.holds(Rule::BootPromise) {
            t.promise(n, usize::from(s.begun) - 1);
        }
        out.push(Kind::Crash, 0, n, s.unsynced[n], t);
    }

    /// As many disks of a configuration are lost as it is to survive.
    fn can_lose(&self, s: &State, n: usize) -> bool {
        let spares = |d: Set| size(d & (!s.alive | one(n))) + commit_size(d) <= size(d);
        let latest = usize::from(s.begun) - 1;
        spares(s.members[s.open_epoch()]) && spares(s.members[latest])
    }

    fn lose_disk(&self, s: &State, n: usize, out: &mut Steps) {
        let reigns = s.reigns(n);
        if s.losses_left == 0 || !self.can_lose(s, n) || s.held[n] == 0 && reigns == 0 {
            return;
        }
        let mut t = *s;
        t.losses_left -= 1;
        t.running &= !reigns;
        t.cut(n, !0);
        t.joined &= !one(n);
        t.promise[n] = 0;
        if self.holds(Rule::Identity) {
            t.alive &= !one(n);
        }
        out.push(Kind::DiskLoss, 0, n, 0, t);
    }

    fn copy_directory(&self, s: &State, n: usize, out: &mut Steps) {
        if s.rollbacks_left == 0 || s.image.of.is_some() || has(s.mute, n) {
            return;
        }
        let image = Image {
            of: Some(n as u8),
            promise: s.promise[n],
            held: s.durable(n),
            joined: has(s.joined, n),
            is_old_boot: false,
        };
        out.push(Kind::Image, 0, n, 0, State { image, ..*s });
    }

    fn roll_back(&self, s: &State, n: usize, out: &mut Steps) {
        let image = s.image;
        let is_seen = image.is_old_boot || s.recorded[n] & !image.held != 0;
        let tells = is_seen || s.held[n] & !image.held == 0;
        let unseen = self.scope.witness == Some(Witness::UnseenRollback);
        if image.of != Some(n as u8) || !self.can_lose(s, n) || !(tells || unseen) {
            return;
        }
        let mut t = *s;
        t.running &= !s.reigns(n);
        t.cut(n, !image.held);
        t.promise[n] = image.promise;
        t.joined = s.joined & !one(n) | if image.joined { one(n) } else { 0 };
        t.mute |= one(n);
        out.push(Kind::Rollback, 0, n, 0, t);
    }

    /// Its start is registered, or its directory is dead.
    fn boot(&self, s: &State, n: usize, out: &mut Steps) {
        if !has(s.mute, n) {
            return;
        }
        let lacks = s.recorded[n] & !s.held[n] != 0;
        let is_dead = s.image.is_old_boot && self.holds(Rule::BootToken)
            || lacks && self.holds(Rule::BootCovers);
        let mut t = *s;
        t.mute &= !one(n);
        t.image = NO_IMAGE;
        t.rollbacks_left = 0;
        if is_dead {
            t.alive &= !one(n);
            t.joined &= !one(n);
            t.cut(n, !0);
        } else if self.holds(Rule::BootPromise) {
            t.promise(n, usize::from(s.begun) - 1);
        }
        out.push(Kind::Boot, 0, n, u8::from(!is_dead), t);
    }
}
