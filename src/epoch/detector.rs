//! Pure: is the primary silent? A guess that decides when to act and never what is true.

use std::time::Duration;

use crate::base::{Epoch, IncarnationId};
use crate::control::{Cause, ControlState, Extended, Settings, seal_size};
use crate::replication::PreSeal;

/// What one member has noticed of its primary.
#[derive(Debug)]
pub struct Detector {
    me: IncarnationId,
    /// L.
    silence: Duration,
    open: Epoch,
    attempt: Epoch,
    /// Of the primary of the open epoch.
    heard: Duration,
    /// Since when the latest attempt is known.
    attempted: Duration,
    extended: Option<Extended>,
    /// The primary's process is gone for certain, by what that is known.
    gone: Option<Cause>,
    /// As a primary: a member has promised another epoch.
    fenced: bool,
}

impl Detector {
    /// Of a member that starts now: it gives whoever is primary the time to be heard.
    #[must_use]
    pub fn new(me: IncarnationId, now: Duration) -> Detector {
        Detector {
            me,
            silence: Settings::default().silence(),
            open: Epoch::NONE,
            attempt: Epoch::NONE,
            heard: now,
            attempted: now,
            extended: None,
            gone: None,
            fenced: false,
        }
    }

    /// The primary of an epoch was heard.
    pub fn hear(&mut self, now: Duration, epoch: Epoch) {
        if epoch >= self.open {
            self.heard = now;
            self.gone = None;
        }
    }

    /// When the primary was last heard.
    #[must_use]
    pub fn heard(&self) -> Duration {
        self.heard
    }

    /// The primary's connections are closed and new ones are refused.
    pub fn see_gone(&mut self) {
        self.gone = Some(Cause::Gone);
    }

    /// As a primary: a member answered that it has promised another epoch.
    pub fn fence(&mut self) {
        self.fenced = true;
    }

    /// The agreed state has changed.
    pub fn agree(&mut self, now: Duration, control: &ControlState, is_primary: bool) {
        self.silence = control.settings.silence();
        if control.open_epoch() > self.open {
            self.open = control.open_epoch();
            self.heard = now;
            self.gone = None;
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
                .is_some_and(|open| seal_size(open.members.len()) == 1);
            if one_seals && control.extended.is_some_and(|last| last.epoch == self.open) {
                self.hear(now, self.open);
            }
        }
        // Its own process of before is gone for certain, and a new set never had a primary.
        if control.open.is_none() {
            self.gone = Some(Cause::First);
        } else if control.primary() == Some(self.me) && !is_primary {
            self.gone = Some(Cause::Restart);
        }
    }

    /// Why the primary is to be replaced, if there is reason to.
    #[must_use]
    pub fn suspects(&self, now: Duration, is_primary: bool) -> Option<Cause> {
        let is_stuck =
            self.attempt > self.open && now.saturating_sub(self.attempted) >= self.silence;
        let unopened = (is_stuck || is_primary && self.fenced).then_some(Cause::Unopened);
        if is_primary {
            return unopened;
        }
        let is_silent = now.saturating_sub(self.heard) >= self.silence;
        let silence = is_silent.then_some(Cause::Silence);
        self.gone.or(unopened).or(silence)
    }

    /// Does the member agree that the primary be replaced by somebody who sees this?
    #[must_use]
    pub fn agrees(&self, now: Duration, asked: &PreSeal, is_primary: bool) -> bool {
        (asked.open, asked.attempt) >= (self.open, self.attempt)
            && self.suspects(now, is_primary).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{BootNumber, Hlc, LineageId, RegionId};
    use crate::control::Command;

    const ME: IncarnationId = IncarnationId(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn set(members: u128) -> ControlState {
        let mut control = ControlState::new(LineageId(1), RegionId(1), IncarnationId(1));
        let template = control.members[&ME].clone();
        for at in 2..=members {
            control.members.insert(IncarnationId(at), template.clone());
        }
        begin(&mut control);
        let epoch = control.attempt_epoch();
        control.apply(Command::Open { epoch }).unwrap();
        control
    }

    /// Member 2 begins an epoch.
    fn begin(control: &mut ControlState) {
        let begin = Command::Begin {
            candidate: IncarnationId(2),
            boot: BootNumber::NONE,
            members: control.members.keys().copied().collect(),
            expected_open: control.open_epoch(),
            expected_attempt: control.attempt_epoch(),
            cause: Cause::Unrecorded,
        };
        control.apply(begin).unwrap();
    }

    fn extend(control: &mut ControlState, number: u64) {
        let extend = Command::Extend {
            epoch: control.attempt_epoch(),
            number,
            ceiling: Hlc(number),
            acked: vec![],
        };
        control.apply(extend).unwrap();
    }

    #[test]
    fn a_primary_is_suspected_after_silence_or_when_it_is_seen_gone() {
        let control = set(3);
        let mut detector = Detector::new(ME, millis(0));
        detector.agree(millis(0), &control, false);
        assert_eq!(detector.suspects(millis(999), false), None);
        assert_eq!(
            detector.suspects(millis(1_000), false),
            Some(Cause::Silence)
        );
        detector.hear(millis(1_500), control.open_epoch());
        assert_eq!(detector.suspects(millis(2_499), false), None);
        detector.see_gone();
        assert_eq!(detector.suspects(millis(1_501), false), Some(Cause::Gone));
        detector.hear(millis(1_600), control.open_epoch());
        assert_eq!(detector.suspects(millis(1_601), false), None);
    }

    #[test]
    fn an_earlier_epoch_is_no_sign_of_the_primary() {
        let control = set(3);
        let mut detector = Detector::new(ME, millis(0));
        detector.agree(millis(0), &control, false);
        detector.hear(millis(900), Epoch(control.open_epoch().0 - 1));
        assert_eq!(
            detector.suspects(millis(1_000), false),
            Some(Cause::Silence)
        );
    }

    #[test]
    fn an_attempt_that_stays_unopened_is_reason_to_act_for_a_primary_too() {
        let mut control = set(3);
        let mut detector = Detector::new(ME, millis(0));
        detector.agree(millis(0), &control, false);
        begin(&mut control);
        detector.agree(millis(100), &control, true);
        assert_eq!(detector.suspects(millis(1_099), true), None);
        assert_eq!(
            detector.suspects(millis(1_100), true),
            Some(Cause::Unopened)
        );
        detector.fence();
        assert_eq!(detector.suspects(millis(101), true), Some(Cause::Unopened));
    }

    #[test]
    fn only_where_one_seals_is_a_grant_a_sign_of_the_primary() {
        for (members, is_sign) in [(2, true), (3, false)] {
            let mut control = set(members);
            let mut detector = Detector::new(ME, millis(0));
            detector.agree(millis(0), &control, false);
            extend(&mut control, 1);
            detector.agree(millis(900), &control, false);
            detector.agree(millis(950), &control, false);
            assert_eq!(
                detector.suspects(millis(1_000), false).is_none(),
                is_sign,
                "{members}"
            );
            assert!(
                detector.suspects(millis(1_900), false).is_some(),
                "once, not each time it is looked at"
            );
        }
    }

    #[test]
    fn nobody_agrees_with_an_asker_who_sees_less() {
        let control = set(3);
        let mut detector = Detector::new(ME, millis(0));
        detector.agree(millis(0), &control, false);
        let mut asked = PreSeal {
            number: 1,
            open: control.open_epoch(),
            attempt: control.attempt_epoch(),
        };
        assert!(
            !detector.agrees(millis(10), &asked, false),
            "the primary is well"
        );
        assert!(detector.agrees(millis(2_000), &asked, false));
        asked.open = Epoch(asked.open.0 - 1);
        assert!(!detector.agrees(millis(2_000), &asked, false));
    }

    #[test]
    fn a_set_that_never_had_a_primary_needs_one_at_once() {
        let control = ControlState::new(LineageId(1), RegionId(1), ME);
        let mut detector = Detector::new(ME, millis(0));
        detector.agree(millis(0), &control, false);
        assert_eq!(detector.suspects(millis(0), false), Some(Cause::First));
    }

    #[test]
    fn the_former_process_of_this_member_is_gone_for_certain() {
        let control = set(3);
        let mut detector = Detector::new(IncarnationId(2), millis(0));
        detector.agree(millis(0), &control, false);
        assert_eq!(detector.suspects(millis(1), false), Some(Cause::Restart));
    }

    #[test]
    fn an_attempt_is_stuck_l_after_it_became_known_whatever_is_agreed_meanwhile() {
        let mut control = set(3);
        let mut detector = Detector::new(ME, millis(0));
        begin(&mut control);
        for at in [0, 900] {
            detector.agree(millis(at), &control, false);
            detector.hear(millis(at), control.open_epoch());
        }
        assert_eq!(detector.suspects(millis(999), false), None);
        let cause = detector.suspects(millis(1_000), false);
        assert_eq!(cause, Some(Cause::Unopened));
    }
}
