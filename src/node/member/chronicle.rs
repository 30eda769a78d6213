//! What operators read in the log of how epochs come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use crate::base::Epoch;
use crate::control::{ControlState, LogState};
use crate::epoch::{Change, Stage};
use crate::replica::Replica;

/// What was noted last.
#[derive(Debug)]
pub(super) struct Chronicle {
    stage: Option<Stage>,
    serves: Option<Epoch>,
    control: Arc<ControlState>,
    /// Epochs whose logs could still grow.
    active: BTreeSet<Epoch>,
}

impl Chronicle {
    /// Notes what changes from now on.
    pub fn new(replica: &Replica) -> Chronicle {
        Chronicle {
            stage: None,
            serves: None,
            control: Arc::clone(replica.control()),
            active: active(replica.control()),
        }
    }

    /// Notes what has changed.
    pub fn note(&mut self, replica: &Replica) {
        let stage = replica.change().map(Change::stage);
        if stage != self.stage {
            self.stage = stage;
            if let Some(change) = replica.change() {
                note_stage(change);
            }
        }
        let serves = replica.serves();
        if serves != self.serves {
            match (serves, self.serves) {
                (Some(epoch), _) => info!(%epoch, "serves writes"),
                (None, Some(epoch)) => info!(%epoch, "serves writes no more"),
                (None, None) => {}
            }
            self.serves = serves;
        }
        if !Arc::ptr_eq(replica.control(), &self.control) {
            self.control = Arc::clone(replica.control());
            self.note_closed(replica);
        }
    }

    /// The primary says how much came back of the logs before its own.
    fn note_closed(&mut self, replica: &Replica) {
        let control = replica.control();
        let was_active = std::mem::replace(&mut self.active, active(control));
        let opening = replica.member().opening();
        let Some(opening) = opening.filter(|_| replica.serves().is_some()) else {
            return;
        };
        for epoch in was_active {
            let Some(LogState::Closed { last, .. }) = control.logs.get(&epoch) else {
                continue;
            };
            let recovered = opening.recovered.last(control.log(epoch));
            let returned = last.0.saturating_sub(recovered.unwrap_or(*last).0);
            info!(%epoch, records = last.0, returned, "the log of an earlier epoch is whole");
        }
    }
}

fn active(control: &ControlState) -> BTreeSet<Epoch> {
    let logs = control.logs.iter();
    let active = logs.filter(|(_, log)| **log == LogState::Active);
    active.map(|(epoch, _)| *epoch).collect()
}

fn note_stage(change: &Change) {
    let epoch = change
        .attempt()
        .map_or(Epoch::NONE, |attempt| attempt.epoch);
    match change.stage() {
        Stage::Asking => info!("suspects the primary: asks the others"),
        Stage::Beginning => info!("begins an epoch"),
        Stage::Sealing => info!(%epoch, "epoch begun: has it sealed"),
        Stage::CatchingUp => info!(%epoch, "epoch sealed: fetches what is missing here"),
        Stage::Transferring => info!(%epoch, "epoch sealed: sends what new members lack"),
        Stage::Opening => info!(%epoch, "epoch sealed: has it opened"),
    }
}
