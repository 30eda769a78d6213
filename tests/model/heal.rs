//! Faults end, and one more CHANGE runs to its end: everything must be back, committed and readable.

use crate::rule::Rules;
use crate::scope::{Model, Scope};
use crate::set::{Set, each, has};
use crate::state::{NODES, State};
use crate::step::{Kind, Steps};

/// Every configuration, for those that are met here.
static EVERY: [Set; 1 << NODES] = {
    let mut every = [0; 1 << NODES];
    let mut set = 0;
    while set < every.len() {
        every[set] = set as Set;
        set += 1;
    }
    every
};

/// What is taken first, where it can be.
const ORDER: [Kind; 11] = [
    Kind::Sync,
    Kind::Boot,
    Kind::Begin,
    Kind::Seal,
    Kind::CatchUp,
    Kind::Open,
    Kind::FetchTail,
    Kind::Reseed,
    Kind::Join,
    Kind::Replicate,
    Kind::Ping,
];

impl Model {
    /// Whether healing is judged: not where a rule is left out, unless it is one that only healing can miss.
    pub fn is_healed(&self) -> bool {
        self.rules.are_complete() || self.scope.close || self.scope.evictions > 0
    }

    /// What is still wrong when the set had the time to heal.
    pub fn heal(&self, s: &State) -> Result<(), &'static str> {
        let (e, d) = (usize::from(s.begun), s.members[s.open_epoch()] & !s.evicted);
        let healing = Model::new(
            Scope {
                configs: &EVERY[usize::from(d)..=usize::from(d)],
                epochs: s.begun + 1,
                writers: 0,
                primary_reads: false,
                quorum_reads: false,
                planned: false,
                contact: false,
                close: false,
                snapshots: self.scope.snapshots || s.beyond != 0,
                windows: 0,
                witness: None,
                ..self.scope.clone()
            },
            Rules::ALL,
        );
        let mut t = State {
            crashes_left: 0,
            losses_left: 0,
            evictions_left: 0,
            ..*s
        };
        if t.image.of.is_some() && t.mute == 0 {
            t.rollbacks_left = 0;
        }
        let mut out = Steps::default();
        while let Some(next) = healing.next_to_heal(&t, e, d, &mut out) {
            t = next;
        }
        self.judge_healed(&t, e, d)
    }

    fn next_to_heal(&self, t: &State, e: usize, d: u8, out: &mut Steps) -> Option<State> {
        self.next(t, out);
        ORDER.iter().find_map(|&kind| {
            let is_ours =
                |epoch: u8| matches!(kind, Kind::Sync | Kind::Boot) || usize::from(epoch) == e;
            let taken = out
                .0
                .iter()
                .filter(|(step, _)| step.kind == kind && is_ours(step.epoch))
                .filter(|(step, _)| kind != Kind::Begin || step.detail == d)
                .max_by_key(|(step, _)| {
                    if kind == Kind::CatchUp {
                        step.detail.count_ones()
                    } else {
                        0
                    }
                });
            taken.map(|(_, after)| *after)
        })
    }

    fn judge_healed(&self, t: &State, e: usize, d: u8) -> Result<(), &'static str> {
        if !has(t.opened, e) {
            return Err("healing: no epoch can be opened");
        }
        let held = t.held[t.primary(e)];
        if t.async_acked & self.of_living_writers(t) & !held != 0 {
            return Err("healing: an async write is missing");
        }
        let up = t.alive & !t.evicted & !t.mute;
        if each(up).any(|n| t.held[n] & !held & !t.beyond != 0 || has(d, n) && t.held[n] != held) {
            return Err("healing: members differ");
        }
        if held & !self.committed(t, e) != 0 {
            return Err("healing: not everything is committed");
        }
        if (0..2).any(|key| self.row(t, held, key) < t.done[usize::from(key)]) {
            return Err("healing: what was acknowledged or read is gone");
        }
        Ok(())
    }
}
