//! Pure: is the primary silent? A guess that decides when to act and never what is true.

use std::time::Duration;

use super::timing::SILENCE;
use crate::base::{Epoch, IncarnationId};
use crate::control::{ControlState, Extended};
use crate::replication::PreSeal;

/// What one member has noticed of its primary.
#[derive(Debug)]
pub struct Detector {
    me: IncarnationId,
    open: Epoch,
    attempt: Epoch,
    /// Of the primary of the open epoch.
    heard: Duration,
    /// Since when the latest attempt is known.
    attempted: Duration,
    extended: Option<Extended>,
    /// The primary's process was seen to be gone.
    gone: bool,
    /// As a primary: a member has promised another epoch.
    fenced: bool,
}

impl Detector {
    /// Of a member that starts now: it gives whoever is primary the time to be heard.
    #[must_use]
    pub fn new(me: IncarnationId, now: Duration) -> Detector {
        Detector {
            me,
            open: Epoch::NONE,
            attempt: Epoch::NONE,
            heard: now,
            attempted: now,
            extended: None,
            gone: false,
            fenced: false,
        }
    }

    /// The primary of an epoch was heard.
    pub fn hear(&mut self, now: Duration, epoch: Epoch) {
        if epoch >= self.open {
            self.heard = now;
            self.gone = false;
        }
    }

    /// The primary's connections are closed and new ones are refused.
    pub fn see_gone(&mut self) {
        self.gone = true;
    }

    /// As a primary: a member answered that it has promised another epoch.
    pub fn fence(&mut self) {
        self.fenced = true;
    }

    /// The agreed state has changed.
    pub fn agree(&mut self, now: Duration, control: &ControlState, is_primary: bool) {
        if control.open_epoch() > self.open {
            self.open = control.open_epoch();
            self.heard = now;
            self.gone = false;
            self.fenced = false;
        }
        if control.attempt_epoch() > self.attempt {
            self.attempt = control.attempt_epoch();
            self.attempted = now;
        }
        // A set whose seal needs only one member hears its primary through what it is granted, too.
        if control.extended != self.extended {
            self.extended = control.extended;
            let one_seals = control
                .open
                .as_ref()
                .is_some_and(|open| crate::replication::seal_size(open.members.len()) == 1);
            if one_seals && control.extended.is_some_and(|last| last.epoch == self.open) {
                self.hear(now, self.open);
            }
        }
        // Its own process of before is gone for certain.
        if control.primary() == Some(self.me) && !is_primary {
            self.gone = true;
        }
    }

    /// Is there reason to replace the primary?
    #[must_use]
    pub fn suspects(&self, now: Duration, is_primary: bool) -> bool {
        let is_stuck = self.attempt > self.open && now.saturating_sub(self.attempted) >= SILENCE;
        if is_primary {
            return self.fenced || is_stuck;
        }
        self.gone || is_stuck || now.saturating_sub(self.heard) >= SILENCE
    }

    /// Does the member agree that the primary be replaced by somebody who sees this?
    #[must_use]
    pub fn agrees(&self, now: Duration, asked: &PreSeal, is_primary: bool) -> bool {
        (asked.open, asked.attempt) >= (self.open, self.attempt) && self.suspects(now, is_primary)
    }

    /// How long ago the primary was heard.
    #[must_use]
    pub fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard)
    }
}
