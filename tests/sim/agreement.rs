//! Raft as its users see it: one agreed log, learnt by each node at its own time; proposals may be lost, and nothing is
//! agreed while there is no leader.

use std::sync::Arc;

use steadfast::base::{Hlc, IncarnationId, LineageId, RegionId};
use steadfast::control::{Command, ControlState, Rejection, grant};

pub struct Agreement {
    pub states: Vec<Arc<ControlState>>,
    /// There is no leader before this time.
    pub leaderless_until: u64,
}

impl Agreement {
    pub fn new(first: IncarnationId) -> Agreement {
        let state = ControlState::new(LineageId(1), RegionId(1), first);
        Agreement {
            states: vec![Arc::new(state)],
            leaderless_until: 0,
        }
    }

    pub fn now(&self) -> &Arc<ControlState> {
        self.states.last().unwrap()
    }

    pub fn apply(&mut self, command: Command) -> Result<(), Rejection> {
        let mut state = ControlState::clone(self.now());
        let outcome = state.apply(command);
        self.states.push(Arc::new(state));
        outcome.map(drop)
    }

    /// The ceiling granted when the voters' clocks show this.
    pub fn ceiling(&self, mut clocks: Vec<u64>) -> Hlc {
        clocks.sort_unstable();
        grant(clocks[clocks.len() / 2], self.now().ceiling)
    }
}
