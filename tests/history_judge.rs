//! The judges of histories, judged: what a correct store shows passes, and each planted fault is found.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

mod history;

use std::collections::BTreeMap;

use history::{
    Action, Fact, Healed, History, Operation, ReadLevel, ReadOutcome, Rule, Version, WriteLevel,
    WriteOutcome, by_key, judge, judge_healed, linear,
};
use proptest::prelude::*;
use proptest::sample::Index;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const CLIENTS: u64 = 6;

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

fn correct(seed: u64, operations: usize, keys: u64) -> (History, Healed) {
    let mut store = Store {
        chance: StdRng::seed_from_u64(seed),
        by_event_time: seed % 2 == 1,
        shown: BTreeMap::new(),
        seen: vec![0; CLIENTS as usize],
        history: History::default(),
        next: 1,
    };
    let mut free = [1; CLIENTS as usize];
    for _ in 0..operations {
        // The client whose turn is next, by the moment at which its operation takes effect.
        let client = (0..CLIENTS as usize).min_by_key(|c| free[*c]).unwrap();
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
        let session = (client % 2 == 0).then_some(client as u64);
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

#[test]
fn what_a_correct_store_shows_passes() {
    for seed in 0..400 {
        let (history, healed) = correct(seed, 300, 1 + seed % 5);
        judge(&history).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        judge_healed(&history, &healed).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}

/// Changes what the read at `at` answered.
fn answer(history: &mut History, at: usize, new: Option<(u64, Version)>) {
    if let Action::Read {
        outcome: ReadOutcome::Value { value, version, .. },
        ..
    } = &mut history.operations[at].action
    {
        *value = new.map(|(value, _)| value);
        *version = new.map(|(_, version)| version);
    }
}

fn acked(operation: &Operation) -> Option<(u64, Version)> {
    match operation.action {
        Action::Write {
            value,
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } => Some((value, version)),
        Action::Write { .. } | Action::Read { .. } => None,
    }
}

fn is_quorum_acked(operation: &Operation) -> bool {
    let is_async = matches!(
        operation.action,
        Action::Write {
            level: WriteLevel::Async,
            ..
        }
    );
    acked(operation).is_some() && !is_async
}

fn read_level(operation: &Operation) -> Option<ReadLevel> {
    match operation.action {
        Action::Read {
            level,
            outcome: ReadOutcome::Value { .. },
        } => Some(level),
        Action::Read { .. } | Action::Write { .. } => None,
    }
}

/// The places of operations that some operation of the same key, ended before, fits.
fn after(
    history: &History,
    is_read: impl Fn(&Operation) -> bool,
    fits: impl Fn(&Operation, &Operation) -> bool,
) -> Vec<usize> {
    let all = &history.operations;
    let follows = |read: &Operation| {
        all.iter().any(|o| {
            o.key == read.key && o.responded.is_some_and(|end| end < read.invoked) && fits(o, read)
        })
    };
    (0..all.len())
        .filter(|at| is_read(&all[*at]) && follows(&all[*at]))
        .collect()
}

fn is_strong(read: &Operation) -> bool {
    matches!(
        read_level(read),
        Some(ReadLevel::Primary | ReadLevel::Quorum)
    )
}

fn pick(places: &[usize], index: &Index) -> Option<usize> {
    (!places.is_empty()).then(|| places[index.index(places.len())])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_stale_strong_read_is_found_by_both_judges(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 24, 1);
        let is_sessionless = |o: &Operation| is_strong(o) && o.session.is_none();
        let at = pick(&after(&history, is_sessionless, |o, _| is_quorum_acked(o)), &index);
        prop_assume!(at.is_some());
        let at = at.unwrap();
        answer(&mut history, at, None);
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::StaleStrongRead);
        let found = linear::judge(&by_key(&history.operations)[&0]);
        prop_assert_eq!(found.unwrap_err().rule, Rule::NotLinearizable);
    }

    #[test]
    fn a_value_from_nowhere_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 3);
        let reads = after(&history, |o| read_level(o).is_some(), |_, _| true);
        let at = pick(&reads, &index).unwrap();
        answer(&mut history, at, Some((u64::MAX, Version { event_time: None, hlc: 1, epoch: 1, seq: 0 })));
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::ValueFromNowhere);
    }

    #[test]
    fn a_refused_write_that_is_read_is_found(seed: u64, index: Index, other: Index) {
        let (mut history, _) = correct(seed, 200, 1);
        let is_refused = |o: &Operation| matches!(o.action, Action::Write { outcome: WriteOutcome::Refused, .. });
        let at = pick(&after(&history, |o| read_level(o).is_some(), |o, _| is_refused(o)), &index);
        prop_assume!(at.is_some());
        let at = at.unwrap();
        let read = history.operations[at];
        let refused: Vec<usize> = (0..200)
            .filter(|i| is_refused(&history.operations[*i]) && history.operations[*i].invoked <= read.invoked)
            .collect();
        let Action::Write { value, event_time, .. } = history.operations[pick(&refused, &other).unwrap()].action else {
            unreachable!("picked from writes");
        };
        answer(&mut history, at, Some((value, Version { event_time, hlc: 1, epoch: 1, seq: 0 })));
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::RefusedWriteRead);
    }

    #[test]
    fn a_session_that_goes_back_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        let is_local = |o: &Operation| read_level(o) == Some(ReadLevel::Local) && o.session.is_some();
        let began_anew = |o: &Operation, read: &Operation| history.operations.iter().any(|other| {
            other.session == read.session
                && o.invoked <= other.invoked
                && other.invoked < read.invoked
                && matches!(other.action, Action::Read { outcome: ReadOutcome::Unrecovered, .. })
        });
        let places = after(&history, is_local, |o, read| {
            o.session == read.session && acked(o).is_some() && !began_anew(o, read)
        });
        let at = pick(&places, &index);
        prop_assume!(at.is_some());
        let at = at.unwrap();
        judge(&history).unwrap();
        answer(&mut history, at, None);
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::SessionWentBack);
    }

    #[test]
    fn a_read_staler_than_its_bound_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        let bound = |o: &Operation| {
            let Some(ReadLevel::Bounded(bound)) = read_level(o) else { return None };
            o.session.is_none().then_some(bound)
        };
        let places = after(&history, |o| bound(o).is_some(), |o, read| {
            is_quorum_acked(o) && o.responded.unwrap() + bound(read).unwrap() < read.invoked
        });
        let at = pick(&places, &index);
        prop_assume!(at.is_some());
        let at = at.unwrap();
        answer(&mut history, at, None);
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::TooStale);
    }

    #[test]
    fn a_lost_write_is_found(seed: u64, index: Index, node in 0..3_u64) {
        let (history, mut healed) = correct(seed, 200, 4);
        let keys: Vec<usize> = healed[&node].keys().map(|key| *key as usize).collect();
        let key = pick(&keys, &index).unwrap() as u64;
        let is_promised = history.operations.iter().any(|o| o.key == key && is_quorum_acked(o));
        healed.get_mut(&node).unwrap().remove(&key);
        let rule = judge_healed(&history, &healed).unwrap_err().rule;
        prop_assert!(!is_promised || matches!(rule, Rule::Lost { found: None, .. }), "{}", rule);
    }

    #[test]
    fn an_async_write_is_excused_only_by_its_own_node(seed: u64) {
        let (mut history, _) = correct(seed, 300, 2);
        let lost = history.facts.clone();
        history.facts.clear();
        history.operations.retain(|o| matches!(o.action, Action::Write { level: WriteLevel::Async, .. }));
        let Some(write) = history.operations.iter().copied().find(|o| acked(o).is_some()) else {
            return Err(TestCaseError::reject("no async write"));
        };
        let Action::Write { outcome: WriteOutcome::Acked { node, .. }, .. } = write.action else {
            unreachable!("it is acked");
        };
        history.operations = vec![write];
        let empty: Healed = [(0, BTreeMap::new())].into();
        history.facts = lost.into_iter().filter(|fact| !matches!(fact,
            Fact::DiskLost { node: n, .. } | Fact::Evicted { node: n, .. } if *n == node)).collect();
        prop_assert!(judge_healed(&history, &empty).is_err());
        history.facts.push(Fact::Evicted { node, time: write.invoked.saturating_sub(1) });
        prop_assert_eq!(judge_healed(&history, &empty).is_ok(), write.invoked == 0);
        history.facts.push(Fact::DiskLost { node, time: write.invoked });
        prop_assert!(judge_healed(&history, &empty).is_ok());
    }

    #[test]
    fn a_stamp_below_an_earlier_ack_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        history.operations.retain(|o| read_level(o).is_none());
        let writes: Vec<usize> = after(&history, is_quorum_acked, |o, _| is_quorum_acked(o));
        let at = pick(&writes, &index).unwrap();
        if let Action::Write { outcome: WriteOutcome::Acked { version, .. }, .. } = &mut history.operations[at].action {
            version.hlc = 0;
            version.epoch = 0;
            version.seq = 0;
        }
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::StampNotAbove);
        if let Action::Write { outcome: WriteOutcome::Acked { version, .. }, .. } = &mut history.operations[at].action {
            version.epoch = 1_000_000;
        }
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::LogOutOfOrder);
    }
}

#[test]
fn a_hundred_thousand_operations_are_judged_and_most_strong_ones_twice() {
    let (history, healed) = correct(8, 100_000, 500);
    judge(&history).unwrap();
    judge_healed(&history, &healed).unwrap();
    let keys = by_key(&history.operations);
    let twice: usize = keys.values().map(|key| linear::judge(key).unwrap()).sum();
    let strong = history
        .operations
        .iter()
        .filter(|o| is_strong(o) || is_quorum_acked(o))
        .count();
    assert!(twice * 10 > strong * 9, "{twice} of {strong}");
}
