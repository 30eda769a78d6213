//! I4: a start is registered only of the directory that was started last, with everything it is known to have held.

use steadfast::control::{Command, ControlState};

use crate::world::World;

impl World {
    pub fn check_booted(&mut self, before: &ControlState, command: &Command) {
        let Command::Boot(claim) = command else {
            return;
        };
        let incarnation = claim.incarnation;
        let Some(member) = before.members.get(&incarnation) else {
            return;
        };
        let is_again = member.token == Some(claim.token);
        let is_last = member
            .token
            .is_none_or(|token| claim.known.contains(&token));
        let holds_all = before.covers(&claim.held, &member.acked);
        if !(is_again || is_last && holds_all) {
            self.fail(format!("I4: a rolled-back {incarnation} is registered"));
        }
    }
}
