//! Pure: what of a control state goes into a backup, and what a set begins with that is made of one.
//!
//! **Invariants** (I25). What is disclosed holds no secret and says nothing of members. A restored set has a lineage and a region
//! of its own, so that nothing it writes can be taken for a record of the old set, or of another restore; its epochs are
//! numbered above all that are known to have been begun, its stamps lie above all that were granted or are held, and its
//! horizon is not below the old one's.

use std::collections::{BTreeMap, BTreeSet};

use super::refound::GENERATION;
use super::state::ControlState;
use super::window::WINDOW_MILLIS;
use crate::base::{Epoch, Hlc, IncarnationId, LineageId, RegionId};

/// What a set is restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Its lineage, which no other set has.
    pub lineage: LineageId,
    /// Its region, which no other set has.
    pub region: RegionId,
    /// Its only member.
    pub first: IncarnationId,
    /// The greatest epoch of which anything is known.
    pub begun: Epoch,
    /// The greatest stamp time that is held.
    pub newest: Hlc,
    /// The horizon that is held.
    pub horizon: Hlc,
}

impl ControlState {
    /// This state without what only members may know, and without them.
    #[must_use]
    pub fn disclosed(&self) -> ControlState {
        ControlState {
            secret: None,
            tokens: BTreeMap::new(),
            intents: BTreeSet::new(),
            members: BTreeMap::new(),
            evicted: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// The state of a set that is made of a backup of this one.
    #[must_use]
    pub fn restored(&self, to: &Restored) -> ControlState {
        let numbered = Epoch(self.epoch_base.saturating_add(self.index));
        let begun = to.begun.max(numbered).max(self.attempt_epoch());
        let granted = self.ceiling.max(to.newest);
        let mut settings = self.settings.clone();
        settings.priorities.clear();
        // A copy of a set must not be taken for the set.
        settings.backup.bucket = None;
        ControlState {
            epoch_base: begun.0.saturating_add(GENERATION),
            ceiling: granted.plus_millis(WINDOW_MILLIS),
            horizon: self.horizon.max(to.horizon),
            level: self.level,
            settings,
            ..ControlState::new(to.lineage, to.region, to.first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{BootNumber, CommitLevel, NodeNumber};
    use crate::control::{Cause, Command, Role, SetSecret, SettingsChange};
    use proptest::prelude::*;

    fn old() -> ControlState {
        let mut state = ControlState::new(LineageId(1), RegionId(2), IncarnationId(3));
        let secret = SetSecret([7; 32]);
        let settings = SettingsChange {
            commit_floor: Some(CommitLevel::Quorum),
            commit_default: Some(CommitLevel::Quorum),
            priorities: [(NodeNumber(1), 4)].into(),
            ..SettingsChange::default()
        };
        let register = Command::Register {
            incarnation: IncarnationId(4),
            role: Role::Data,
        };
        let begin = Command::Begin {
            candidate: IncarnationId(3),
            boot: BootNumber::NONE,
            members: [IncarnationId(3)].into(),
            expected_open: Epoch::NONE,
            expected_attempt: Epoch::NONE,
            cause: Cause::Planned,
        };
        let commands = [
            Command::ChooseSecret(secret),
            Command::Set(settings),
            register,
            begin,
        ];
        for command in commands {
            state.apply(command).unwrap();
        }
        state
    }

    proptest! {
        #[test]
        fn nothing_begins_where_anything_has_been(begun: u32, newest: u32, horizon: u32, base: u32, ceiling: u32) {
            let mut old = old();
            (old.epoch_base, old.ceiling) = (base.into(), Hlc(ceiling.into()));
            old.horizon = Hlc(9);
            let to = Restored {
                lineage: LineageId(10),
                region: RegionId(20),
                first: IncarnationId(30),
                begun: Epoch(begun.into()),
                newest: Hlc(newest.into()),
                horizon: Hlc(horizon.into()),
            };
            let new = old.restored(&to);
            prop_assert!(new.epoch_base > to.begun.0.max(old.epoch_base + old.index));
            prop_assert!(new.ceiling > to.newest.max(old.ceiling));
            prop_assert_eq!(new.horizon, to.horizon.max(Hlc(9)));
            prop_assert_eq!((new.lineage, new.region), (to.lineage, to.region));
            prop_assert_eq!(new.members.keys().collect::<Vec<_>>(), [&to.first]);
            prop_assert_eq!(new.open_epoch(), Epoch::NONE);
            prop_assert_eq!(new.settings.commit_floor, CommitLevel::Quorum);
            prop_assert!(new.settings.priorities.is_empty(), "of members that are no more");
        }
    }

    #[test]
    fn what_is_disclosed_names_nobody_and_tells_no_secret() {
        let old = old();
        let text = serde_json::to_string(&old.disclosed()).unwrap();
        assert!(!text.contains(&"07".repeat(32)), "{text}");
        assert!(!text.contains("address"), "{text}");
        let disclosed: ControlState = serde_json::from_str(&text).unwrap();
        assert_eq!(disclosed.attempt, old.attempt);
        assert_eq!(disclosed.settings, old.settings);
    }
}
