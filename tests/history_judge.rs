//! The judges of histories, judged: what a correct store shows passes, and each planted fault is found.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

mod history;
#[path = "history_judge/store.rs"]
mod store;

use std::collections::BTreeMap;

use history::{
    Action, Fact, Healed, History, Operation, ReadLevel, ReadOutcome, Rule, Version, WriteLevel,
    WriteOutcome, by_key, judge, judge_healed, linear,
};
use proptest::prelude::*;
use proptest::sample::Index;
use store::correct;

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
        let at = pick(
            &after(&history, is_sessionless, |o, _| is_quorum_acked(o)),
            &index,
        );
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
        answer(
            &mut history,
            at,
            Some((
                u64::MAX,
                Version {
                    event_time: None,
                    hlc: 1,
                    epoch: 1,
                    seq: 0,
                },
            )),
        );
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::ValueFromNowhere);
    }

    #[test]
    fn a_refused_write_that_is_read_is_found(seed: u64, index: Index, other: Index) {
        let (mut history, _) = correct(seed, 200, 1);
        let is_refused = |o: &Operation| {
            matches!(
                o.action,
                Action::Write {
                    outcome: WriteOutcome::Refused,
                    ..
                }
            )
        };
        let at = pick(
            &after(&history, |o| read_level(o).is_some(), |o, _| is_refused(o)),
            &index,
        );
        prop_assume!(at.is_some());
        let at = at.unwrap();
        let read = history.operations[at];
        let refused: Vec<usize> = (0..200)
            .filter(|i| {
                is_refused(&history.operations[*i])
                    && history.operations[*i].invoked <= read.invoked
            })
            .collect();
        let Action::Write {
            value, event_time, ..
        } = history.operations[pick(&refused, &other).unwrap()].action
        else {
            unreachable!("picked from writes");
        };
        answer(
            &mut history,
            at,
            Some((
                value,
                Version {
                    event_time,
                    hlc: 1,
                    epoch: 1,
                    seq: 0,
                },
            )),
        );
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::RefusedWriteRead);
    }

    #[test]
    fn a_session_that_goes_back_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        let is_local =
            |o: &Operation| read_level(o) == Some(ReadLevel::Local) && o.session.is_some();
        let began_anew = |o: &Operation, read: &Operation| {
            history.operations.iter().any(|other| {
                other.session == read.session
                    && o.invoked <= other.invoked
                    && other.invoked < read.invoked
                    && matches!(
                        other.action,
                        Action::Read {
                            outcome: ReadOutcome::Unrecovered,
                            ..
                        }
                    )
            })
        };
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
            let Some(ReadLevel::Bounded(bound)) = read_level(o) else {
                return None;
            };
            o.session.is_none().then_some(bound)
        };
        let places = after(
            &history,
            |o| bound(o).is_some(),
            |o, read| {
                is_quorum_acked(o) && o.responded.unwrap() + bound(read).unwrap() < read.invoked
            },
        );
        let at = pick(&places, &index);
        prop_assume!(at.is_some());
        let at = at.unwrap();
        answer(&mut history, at, None);
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::TooStale);
    }

    #[test]
    fn a_value_that_was_overwritten_lately_is_found_by_both_judges(
        seed: u64,
        index: Index,
        other: Index,
    ) {
        let (mut history, _) = correct(seed, 200, 1);
        let is_sessionless = |o: &Operation| is_strong(o) && o.session.is_none();
        let lately = |o: &Operation, read: &Operation| {
            is_quorum_acked(o) && read.invoked - o.responded.unwrap() < 100
        };
        let at = pick(&after(&history, is_sessionless, lately), &index);
        prop_assume!(at.is_some());
        let read = history.operations[at.unwrap()];
        let overwriting: Vec<Operation> = history
            .operations
            .iter()
            .copied()
            .filter(|o| o.responded.is_some_and(|end| end < read.invoked) && lately(o, &read))
            .collect();
        let lost: Vec<(u64, Version)> = history
            .operations
            .iter()
            .filter(|o| {
                is_quorum_acked(o)
                    && overwriting.iter().any(|by| {
                        o.responded.unwrap() < by.invoked
                            && acked(o).unwrap().1 < acked(by).unwrap().1
                    })
            })
            .map(|o| acked(o).unwrap())
            .collect();
        prop_assume!(!lost.is_empty());
        answer(
            &mut history,
            at.unwrap(),
            Some(lost[other.index(lost.len())]),
        );
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::StaleStrongRead);
        let found = linear::judge(&by_key(&history.operations)[&0]);
        prop_assert_eq!(found.unwrap_err().rule, Rule::NotLinearizable);
    }

    #[test]
    fn what_an_older_event_hides_is_no_excuse(seed: u64, index: Index) {
        let (mut history, _) = correct(seed | 1, 200, 1);
        let all = history.operations.clone();
        // A write acknowledged though older than one before it, and read by a strong read after it.
        let older: Vec<(usize, usize)> = after(&history, is_strong, |o, _| is_quorum_acked(o))
            .into_iter()
            .flat_map(|read| (0..all.len()).map(move |older| (read, older)))
            .filter(|(read, older)| {
                all[*read].session.is_none()
                    && is_quorum_acked(&all[*older])
                    && all[*older].responded.unwrap() < all[*read].invoked
                    && all.iter().any(|o| {
                        is_quorum_acked(o)
                            && o.responded.unwrap() < all[*older].invoked
                            && acked(o).unwrap().1 > acked(&all[*older]).unwrap().1
                    })
            })
            .collect();
        prop_assume!(!older.is_empty());
        let (read, write) = older[index.index(older.len())];
        history.operations = vec![all[read]];
        history.operations.extend(
            all.iter()
                .copied()
                .filter(|o| is_quorum_acked(o) && o.responded <= all[write].responded),
        );
        answer(&mut history, 0, acked(&all[write]));
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::StaleStrongRead);
    }

    #[test]
    fn a_value_under_another_version_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        let value = |o: &Operation| match o.action {
            Action::Read {
                outcome: ReadOutcome::Value { value, version, .. },
                ..
            } => value.zip(version),
            Action::Read { .. } | Action::Write { .. } => None,
        };
        let acked: Vec<u64> = history
            .operations
            .iter()
            .filter_map(|o| Some(acked(o)?.0))
            .collect();
        let is_read = |o: &Operation| value(o).is_some_and(|(value, _)| acked.contains(&value));
        let at = pick(&after(&history, is_read, |_, _| true), &index).unwrap();
        let (found, version) = value(&history.operations[at]).unwrap();
        let other = Version {
            hlc: version.hlc + 1,
            ..version
        };
        answer(&mut history, at, Some((found, other)));
        // Where the log has another write at this hybrid time, the version is its.
        prop_assert!(
            judge(&history)
                .is_err_and(|fault| [Rule::OtherVersion, Rule::VersionTwice].contains(&fault.rule))
        );
        history.facts.push(Fact::AlsoWritten {
            value: found,
            version: other,
        });
        prop_assert!(
            judge(&history)
                .err()
                .is_none_or(|fault| fault.rule != Rule::OtherVersion)
        );
    }

    #[test]
    fn a_version_given_twice_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        history.operations.retain(|o| read_level(o).is_none());
        let writes: Vec<usize> = (0..history.operations.len())
            .filter(|at| is_quorum_acked(&history.operations[*at]))
            .collect();
        let (first, second) = (writes[0], writes[1 + index.index(writes.len() - 1)]);
        let given = acked(&history.operations[first]).unwrap().1;
        if let Action::Write {
            event_time,
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } = &mut history.operations[second].action
        {
            *version = given;
            *event_time = given.event_time;
        }
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::VersionTwice);
    }

    #[test]
    fn nodes_that_end_differently_are_found(seed: u64, index: Index, node in 0..3_u64) {
        let (history, mut healed) = correct(seed, 200, 4);
        let keys: Vec<usize> = healed[&node].keys().map(|key| *key as usize).collect();
        let key = pick(&keys, &index).unwrap() as u64;
        // One version above what was promised: nothing is lost, but only one node has it.
        healed.get_mut(&node).unwrap().get_mut(&key).unwrap().hlc += 1;
        let rule = judge_healed(&history, &healed).unwrap_err().rule;
        prop_assert!(
            matches!(rule, Rule::NotEqual { key: differing, .. } if differing == key),
            "{}",
            rule
        );
    }

    #[test]
    fn a_lost_write_is_found(seed: u64, index: Index, node in 0..3_u64) {
        let (history, mut healed) = correct(seed, 200, 4);
        let keys: Vec<usize> = healed[&node].keys().map(|key| *key as usize).collect();
        let key = pick(&keys, &index).unwrap() as u64;
        let is_promised = history
            .operations
            .iter()
            .any(|o| o.key == key && is_quorum_acked(o));
        healed.get_mut(&node).unwrap().remove(&key);
        let rule = judge_healed(&history, &healed).unwrap_err().rule;
        prop_assert!(
            !is_promised || matches!(rule, Rule::Lost { found: None, .. }),
            "{}",
            rule
        );
    }

    #[test]
    fn an_async_write_is_excused_only_by_its_own_node(seed: u64) {
        let (mut history, _) = correct(seed, 300, 2);
        let lost = history.facts.clone();
        history.facts.clear();
        history.operations.retain(|o| {
            matches!(
                o.action,
                Action::Write {
                    level: WriteLevel::Async,
                    ..
                }
            )
        });
        let Some(write) = history
            .operations
            .iter()
            .copied()
            .find(|o| acked(o).is_some())
        else {
            return Err(TestCaseError::reject("no async write"));
        };
        let Action::Write {
            outcome: WriteOutcome::Acked { node, .. },
            ..
        } = write.action
        else {
            unreachable!("it is acked");
        };
        history.operations = vec![write];
        let empty: Healed = [(0, BTreeMap::new())].into();
        history.facts = lost
            .into_iter()
            .filter(|fact| {
                !matches!(fact,
            Fact::DiskLost { node: n, .. } | Fact::Evicted { node: n, .. } if *n == node)
            })
            .collect();
        prop_assert!(judge_healed(&history, &empty).is_err());
        history.facts.push(Fact::Evicted {
            node,
            time: write.invoked.saturating_sub(1),
        });
        prop_assert_eq!(judge_healed(&history, &empty).is_ok(), write.invoked == 0);
        history.facts.push(Fact::DiskLost {
            node,
            time: write.invoked,
        });
        prop_assert!(judge_healed(&history, &empty).is_ok());
    }

    #[test]
    fn a_stamp_below_an_earlier_ack_is_found(seed: u64, index: Index) {
        let (mut history, _) = correct(seed, 200, 2);
        history.operations.retain(|o| read_level(o).is_none());
        let writes: Vec<usize> = after(&history, is_quorum_acked, |o, _| is_quorum_acked(o));
        let at = pick(&writes, &index).unwrap();
        if let Action::Write {
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } = &mut history.operations[at].action
        {
            version.hlc = 0;
            version.epoch = 0;
            version.seq = 0;
        }
        prop_assert_eq!(judge(&history).unwrap_err().rule, Rule::StampNotAbove);
        if let Action::Write {
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } = &mut history.operations[at].action
        {
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
