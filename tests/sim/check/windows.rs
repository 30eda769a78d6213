//! I7: an epoch's stamps lie above its floor and below the ceiling; the floor of a later one lies above them. I9: a node
//! assigns only stamps above all it has made visible.

use steadfast::base::{Hlc, Stamp};
use steadfast::control::{Command, ControlState};

use crate::world::World;

impl World {
    pub fn note_window(&mut self, before: &ControlState, command: &Command) {
        if let Command::Begin { .. } = command {
            let epoch = self.agreement.now().attempt_epoch();
            self.seen.floors.insert(epoch, before.ceiling);
        }
        if let Command::Open { epoch } = command
            && before.open_epoch() < *epoch
        {
            self.counts.epochs += 1;
            self.seen.opened.insert(*epoch, self.now);
        }
    }

    /// No ceiling is granted to an epoch that another one, whose floor is fixed, has overtaken.
    pub fn check_frozen(&mut self, command: &Command) {
        let Command::Extend { epoch, ceiling, .. } = command else {
            return;
        };
        let later = self.seen.floors.range(epoch.next()..).next();
        if let Some((later, floor)) = later
            && ceiling > floor
        {
            self.fail(format!(
                "I7: epoch {epoch} is granted {ceiling} after epoch {later} began at {floor}"
            ));
        }
    }

    pub fn check_window(&mut self, stamp: Stamp) {
        let floors = &self.seen.floors;
        let floor = floors.get(&stamp.epoch).copied().unwrap_or(Hlc::ZERO);
        let later = floors.range(stamp.epoch.next()..).next();
        let frozen = later.map_or(Hlc(u64::MAX), |(_, floor)| *floor);
        if stamp.hlc >= frozen {
            self.fail(format!(
                "I7: {stamp} lies above the floor of a later epoch, {frozen}"
            ));
        }
        if stamp.hlc <= floor || stamp.hlc >= self.agreement.now().ceiling {
            self.fail(format!(
                "I7: {stamp} lies outside of its window, above {floor}"
            ));
        }
    }

    pub fn check_above_visible(&mut self, at: usize, hlc: Hlc) {
        let newest = self.nodes[at].live.as_ref().map(|live| live.store.newest);
        if newest >= Some(hlc) {
            self.fail(format!(
                "I9: node {at} stamps {hlc}, it has made {newest:?} visible"
            ));
        }
    }
}
