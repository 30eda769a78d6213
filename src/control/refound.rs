//! Pure: a set made anew from what one directory holds, after the majority of the old one was lost for good.
//!
//! **Invariants.** Its lineage is another, so nobody of the old set takes part in it. The region stays, because records are
//! named by it; epochs are numbered far above every one that the old set can have begun, so no record of the one is ever named
//! as one of the other. Stamps lie above all that were granted or are held, by a window. Every log of the old set ends where it
//! ends in that directory.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Member, Role};
use super::quorum::commit_size;
use super::state::{ControlState, LogState};
use super::window::WINDOW_MILLIS;
use crate::base::{Epoch, Hlc, IncarnationId, LineageId, LogId, NodeNumber, Seq, VersionVector};

/// By so many the numbers of epochs rise: more than a set that lives on elsewhere will ever begin.
pub(super) const GENERATION: u64 = 1_000_000;

/// What a directory has to make a set of.
#[derive(Debug)]
pub struct Survivor<'a> {
    /// Whose directory it is.
    pub incarnation: IncarnationId,
    /// The epoch it has promised.
    pub promise: Epoch,
    /// What is applied there.
    pub held: &'a VersionVector,
    /// The chain digests of logs up to there.
    pub chains: &'a BTreeMap<LogId, u128>,
    /// The greatest stamp time applied there.
    pub newest: Hlc,
}

impl ControlState {
    /// The state of the new set, of this one member.
    #[must_use]
    pub fn refounded(
        &self,
        survivor: &Survivor<'_>,
        lineage: LineageId,
        first: IncarnationId,
    ) -> ControlState {
        let held = survivor.held;
        let own = held.logs().filter(|(log, _)| log.region == self.region);
        let begun = own.map(|(log, _)| log.epoch).max().unwrap_or(Epoch::NONE);
        let numbered = Epoch(self.epoch_base.saturating_add(self.index));
        let seen = begun
            .max(numbered)
            .max(survivor.promise)
            .max(self.attempt_epoch());
        let granted = self.ceiling.max(survivor.newest);
        let mut settings = self.settings.clone();
        settings.priorities.clear();
        ControlState {
            epoch_base: seen.0.saturating_add(GENERATION),
            ceiling: granted.plus_millis(WINDOW_MILLIS),
            logs: self.ended_logs(survivor),
            forgotten: self.forgotten.min(held.base(self.region)),
            horizon: self.horizon,
            members: BTreeMap::from([(first, Member::new(NodeNumber::FIRST, Role::Data))]),
            level: self.level,
            settings,
            history: self.history.clone(),
            ..ControlState::new(lineage, self.region, first)
        }
    }

    /// The logs of the old set, each closed at the end that it has there.
    fn ended_logs(&self, survivor: &Survivor<'_>) -> BTreeMap<Epoch, LogState> {
        let held = survivor.held;
        let known = self.logs.keys().copied();
        let own = held.logs().filter(|(log, _)| log.region == self.region);
        let begun = known
            .chain(own.map(|(log, _)| log.epoch))
            .chain(self.attempt.as_ref().map(|attempt| attempt.epoch));
        let epochs: BTreeSet<Epoch> = begun
            .filter(|epoch| *epoch > held.base(self.region))
            .collect();
        let ended = |epoch| {
            let log = self.log(epoch);
            let last = held.last(log).unwrap_or(Seq::NONE);
            let digest = survivor.chains.get(&log).copied().unwrap_or_default();
            (epoch, LogState::Closed { last, digest })
        };
        epochs.into_iter().map(ended).collect()
    }

    /// What cannot be proven to be in a directory, as far as this state tells.
    #[must_use]
    pub fn unproven(&self, survivor: &Survivor<'_>) -> Vec<String> {
        let held = survivor.held;
        let mut unproven = Vec::new();
        let end = |epoch| {
            let last = held.last(self.log(epoch));
            last.filter(|last| *last > Seq::NONE)
                .map_or("none of it is here".to_owned(), |last| {
                    format!("here it ends at record {last}")
                })
        };
        for (epoch, log) in &self.logs {
            let of = |log: LogId, last| !held.contains(log, last);
            match log {
                LogState::Active if *epoch > held.base(self.region) => unproven.push(format!(
                    "whether the log of epoch {epoch} is whole: {}",
                    end(*epoch)
                )),
                LogState::Closed { last, .. } if of(self.log(*epoch), *last) => {
                    unproven.push(format!(
                        "the log of epoch {epoch}, which ended at record {last}: {}",
                        end(*epoch)
                    ))
                }
                LogState::Active | LogState::Closed { .. } => {}
            }
        }
        let others = self
            .members
            .iter()
            .filter(|(member, _)| **member != survivor.incarnation);
        for (_, member) in others {
            if !self.covers(held, &member.acked) {
                unproven.push(format!(
                    "what member {} was known to hold, {}: here is {held}",
                    member.number, member.acked
                ));
            }
        }
        let data = self.open.as_ref().map_or(0, |open| open.members.len());
        if data > 1 {
            unproven.push(format!(
                "any write that was acknowledged by {} of {data} data members without this one",
                commit_size(data)
            ));
        }
        unproven
    }
}

#[cfg(test)]
#[path = "refound_test.rs"]
mod tests;
