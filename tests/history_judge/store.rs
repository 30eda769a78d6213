//! A store that is correct, simulated, and the histories that its clients record.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::history::{
    Action, Fact, Healed, History, Operation, ReadLevel, ReadOutcome, Version, WriteLevel,
    WriteOutcome,
};

const CLIENTS: usize = 6;

/// A linearizable store: each operation takes effect at one moment between its invocation and its response.
struct Store {
    chance: StdRng,
    by_event_time: bool,
    /// Per key the versions in the order in which they became visible, each with its moment and value.
    shown: BTreeMap<u64, Vec<(u64, Version, u64)>>,
    /// Per client the moment up to which its session has seen.
    seen: Vec<u64>,
    history: History,
    next: u64,
}

/// The history of so many operations, and what all nodes hold at the end.
pub fn correct(seed: u64, operations: usize, keys: u64) -> (History, Healed) {
    let mut store = Store {
        chance: StdRng::seed_from_u64(seed),
        by_event_time: seed % 2 == 1,
        shown: BTreeMap::new(),
        seen: vec![0; CLIENTS],
        history: History::default(),
        next: 1,
    };
    let mut free = [1; CLIENTS];
    for _ in 0..operations {
        // The client whose turn is next, by the moment at which its operation takes effect.
        let client = (0..CLIENTS).min_by_key(|c| free[*c]).unwrap();
        let point = free[client];
        let key = store.chance.random_range(0..keys);
        let (before, after) = (
            store.chance.random_range(0..40),
            store.chance.random_range(0..40),
        );
        store.step(
            client,
            key,
            (point - before.min(point), point, point + after),
        );
        // The next invocation, up to 40 before its moment, comes after this response.
        free[client] = point + after + 41 + store.chance.random_range(0..60);
    }
    let ends = store.shown.iter();
    let end: BTreeMap<u64, Version> = ends
        .map(|(key, shown)| (*key, shown.last().unwrap().1))
        .collect();
    let healed = (0..3).map(|node| (node, end.clone())).collect();
    (store.history, healed)
}

impl Store {
    fn step(&mut self, client: usize, key: u64, (invoked, point, end): (u64, u64, u64)) {
        let session = (client.is_multiple_of(2)).then_some(client as u64);
        let (responded, action) = if self.chance.random_bool(0.4) {
            self.write(key, point, end, session)
        } else {
            (Some(end), self.read(client, key, point, invoked))
        };
        if !matches!(action, Action::Read { .. }) && responded.is_some() {
            self.seen[client] = point;
        }
        self.history.operations.push(Operation {
            key,
            session,
            invoked,
            responded,
            action,
        });
    }

    fn write(
        &mut self,
        key: u64,
        point: u64,
        end: u64,
        session: Option<u64>,
    ) -> (Option<u64>, Action) {
        let value = self.next;
        self.next += 1;
        let version = Version {
            event_time: self
                .by_event_time
                .then(|| self.chance.random_range(0..1 + value as i64 / 4)),
            hlc: point * 1_000_000 + value,
            epoch: 1 + point / 2000,
            seq: value,
        };
        let level = [WriteLevel::Async, WriteLevel::Quorum, WriteLevel::All]
            [self.chance.random_range(0..3)];
        let acked = WriteOutcome::Acked {
            version,
            node: value,
        };
        let is_lost =
            level == WriteLevel::Async && session.is_none() && self.chance.random_bool(0.2);
        let outcome = match self.chance.random_range(0..10) {
            0 => WriteOutcome::Unknown,
            1 => WriteOutcome::Refused,
            _ => acked,
        };
        let is_applied = match outcome {
            WriteOutcome::Acked { .. } => !is_lost,
            WriteOutcome::Unknown => self.chance.random_bool(0.5),
            WriteOutcome::Refused => false,
        };
        if outcome == acked && is_lost {
            let fact = [
                Fact::DiskLost {
                    node: value,
                    time: end,
                },
                Fact::Evicted {
                    node: value,
                    time: end,
                },
            ];
            self.history
                .facts
                .push(fact[self.chance.random_range(0..2)]);
        }
        let shown = self.shown.entry(key).or_default();
        if is_applied && shown.last().is_none_or(|last| last.1 < version) {
            shown.push((point, version, value));
        }
        let shown_none = shown.is_empty();
        if shown_none {
            self.shown.remove(&key);
        }
        let action = Action::Write {
            value,
            level,
            event_time: version.event_time,
            outcome,
        };
        ((outcome != WriteOutcome::Unknown).then_some(end), action)
    }

    fn read(&mut self, client: usize, key: u64, point: u64, invoked: u64) -> Action {
        let bound = self.chance.random_range(0..300);
        let level = [
            ReadLevel::Local,
            ReadLevel::Bounded(bound),
            ReadLevel::Primary,
            ReadLevel::Quorum,
        ][self.chance.random_range(0..4)];
        match self.chance.random_range(0..20) {
            0 => {
                return Action::Read {
                    level,
                    outcome: ReadOutcome::Failed,
                };
            }
            1 => {
                self.seen[client] = 0;
                return Action::Read {
                    level,
                    outcome: ReadOutcome::Unrecovered,
                };
            }
            _ => {}
        }
        let oldest = match level {
            ReadLevel::Local => self.chance.random_range(0..=point),
            ReadLevel::Bounded(bound) => invoked.saturating_sub(bound),
            ReadLevel::Primary | ReadLevel::Quorum => point,
        };
        let as_of = oldest.max(self.seen[client]);
        self.seen[client] = as_of;
        let staleness = (level == ReadLevel::Local).then(|| invoked.saturating_sub(as_of));
        let shown = self
            .shown
            .get(&key)
            .and_then(|shown| shown.iter().rfind(|(time, ..)| *time <= as_of));
        let outcome = ReadOutcome::Value {
            value: shown.map(|(.., value)| *value),
            version: shown.map(|(_, version, _)| *version),
            staleness,
        };
        Action::Read { level, outcome }
    }
}
