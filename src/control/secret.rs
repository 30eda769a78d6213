//! Pure: what only the members of a set know.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::command::Effect;
use super::state::ControlState;

/// The feature level from which on a set has one, and its members answer quorum reads.
const SINCE_LEVEL: u32 = 2;

/// A secret of the set, from which keys for its several purposes are derived. A new lineage has a new one.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetSecret(#[serde(with = "hex::serde")] pub [u8; 32]);

impl fmt::Debug for SetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetSecret(..)")
    }
}

impl ControlState {
    /// Is a secret to be chosen?
    #[must_use]
    pub fn lacks_secret(&self) -> bool {
        self.secret.is_none() && self.level >= SINCE_LEVEL
    }

    /// Does every member name its rows to the others?
    #[must_use]
    pub fn has_quorum_reads(&self) -> bool {
        self.level >= SINCE_LEVEL
    }

    pub(super) fn choose_secret(&mut self, secret: SetSecret) -> Effect {
        self.secret.get_or_insert(secret);
        Effect::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{IncarnationId, LineageId, RegionId};
    use crate::control::Command;

    #[test]
    fn the_first_secret_stays_and_does_not_show_itself() {
        let mut state = ControlState::new(LineageId(1), RegionId(2), IncarnationId(3));
        assert!(state.lacks_secret());
        for byte in [7, 8] {
            let choose = Command::ChooseSecret(SetSecret([byte; 32]));
            state.apply(choose).unwrap();
            assert_eq!(state.secret, Some(SetSecret([7; 32])));
        }
        assert!(!state.lacks_secret());
        assert!(!format!("{state:?}").contains("7, 7"));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<ControlState>(&text).unwrap(), state);
    }

    /// Programs that know of no secret understand neither the command nor a state with one.
    #[test]
    fn none_is_chosen_before_all_members_understand_it() {
        let mut state = ControlState::new(LineageId(1), RegionId(2), IncarnationId(3));
        state.level = SINCE_LEVEL - 1;
        assert!(!state.lacks_secret());
        let text = serde_json::to_string(&state).unwrap();
        assert!(!text.contains("secret"));
    }
}
