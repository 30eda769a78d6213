//! What the control state machine promises.

use proptest::prelude::*;

use super::*;
use crate::base::{BootToken, LineageId, RegionId};
use crate::control::{Addresses, BootClaim, LEVEL};

const REGION: RegionId = RegionId(5);

fn id(at: u128) -> IncarnationId {
    IncarnationId(at)
}

fn set_of(members: u128) -> ControlState {
    let mut state = ControlState::new(LineageId(1), REGION, id(1));
    for at in 2..=members {
        let member = state.members[&id(1)].clone();
        state.members.insert(id(at), member);
    }
    state
}

fn begin(state: &mut ControlState, candidate: u128, members: &[u128]) -> Attempt {
    let command = Command::Begin {
        candidate: id(candidate),
        boot: state.members[&id(candidate)].boot,
        members: members.iter().map(|at| id(*at)).collect(),
        expected_open: state.open_epoch(),
        expected_attempt: state.attempt_epoch(),
        cause: Cause::Unrecorded,
    };
    match state.apply(command).unwrap() {
        Effect::Begun(attempt) => attempt,
        other @ (Effect::Booted(_) | Effect::Settings(_) | Effect::Done) => panic!("{other:?}"),
    }
}

fn held(epoch: Epoch, seq: u64) -> VersionVector {
    let mut held = VersionVector::new();
    held.advance(
        LogId {
            region: REGION,
            epoch,
        },
        Seq(seq),
    );
    held
}

fn claim(known: &[u64], token: u64, held: VersionVector) -> Command {
    let known = known.iter().map(|token| BootToken(*token)).collect();
    Command::Boot(BootClaim {
        incarnation: id(1),
        known,
        token: BootToken(token),
        held,
        addresses: Addresses::default(),
        level: LEVEL,
    })
}

#[test]
fn only_the_latest_attempt_opens_and_an_overtaken_one_is_closed_empty() {
    let mut state = set_of(2);
    let first = begin(&mut state, 1, &[1, 2]);
    let second = begin(&mut state, 2, &[1, 2]);
    assert!(second.epoch > first.epoch);
    assert!(matches!(
        state.apply(Command::Open { epoch: first.epoch }),
        Err(Rejection::Stale { .. })
    ));
    assert_eq!(
        state.logs[&first.epoch],
        LogState::Closed {
            last: Seq::NONE,
            digest: 0
        }
    );
    state
        .apply(Command::Open {
            epoch: second.epoch,
        })
        .unwrap();
    assert_eq!(state.open_epoch(), second.epoch);
}

#[test]
fn a_begin_that_saw_an_older_state_is_refused() {
    let mut state = set_of(1);
    let attempt = begin(&mut state, 1, &[1]);
    let stale = Command::Begin {
        candidate: id(1),
        boot: BootNumber::NONE,
        members: BTreeSet::from([id(1)]),
        expected_open: Epoch::NONE,
        expected_attempt: Epoch::NONE,
        cause: Cause::Unrecorded,
    };
    assert!(matches!(state.apply(stale), Err(Rejection::Stale { .. })));
    assert_eq!(state.attempt_epoch(), attempt.epoch);
}

#[test]
fn the_basis_of_an_attempt_is_the_open_configuration() {
    let mut state = set_of(3);
    let first = begin(&mut state, 1, &[1, 2]);
    state.apply(Command::Open { epoch: first.epoch }).unwrap();
    let second = begin(&mut state, 3, &[2, 3]);
    assert_eq!(second.basis, BTreeSet::from([id(1), id(2)]));
    let third = begin(&mut state, 3, &[3]);
    assert_eq!(
        third.basis,
        BTreeSet::from([id(1), id(2)]),
        "an attempt that never opened changes no basis"
    );
}

#[test]
fn a_floor_lies_at_every_ceiling_granted_before() {
    let mut state = set_of(1);
    let first = begin(&mut state, 1, &[1]);
    state.apply(Command::Open { epoch: first.epoch }).unwrap();
    for ceiling in [50, 30] {
        state
            .apply(Command::Extend {
                epoch: first.epoch,
                number: 1,
                ceiling: Hlc(ceiling),
                acked: vec![],
            })
            .unwrap();
    }
    let second = begin(&mut state, 1, &[1]);
    assert_eq!(second.floor, Hlc(50));
    let late = Command::Extend {
        epoch: first.epoch,
        number: 1,
        ceiling: Hlc(99),
        acked: vec![],
    };
    assert!(
        matches!(state.apply(late), Err(Rejection::Stale { .. })),
        "the window is frozen once overtaken"
    );
    assert_eq!(state.ceiling, Hlc(50));
}

#[test]
fn a_copied_directory_boots_only_where_it_is_the_last_started() {
    let mut state = set_of(1);
    assert_eq!(
        state.apply(claim(&[], 10, VersionVector::new())),
        Ok(Effect::Booted(BootNumber(1)))
    );
    // The original goes on; the copy still knows only the first token.
    assert_eq!(
        state.apply(claim(&[10], 11, VersionVector::new())),
        Ok(Effect::Booted(BootNumber(2)))
    );
    let copy = state.apply(claim(&[10], 12, VersionVector::new()));
    assert_eq!(
        copy,
        Err(Rejection::DeadDirectory {
            incarnation: id(1),
            boot: BootNumber(2)
        })
    );
    // A start whose answer was lost presents its token among those tried.
    assert_eq!(
        state.apply(claim(&[10, 11], 13, VersionVector::new())),
        Ok(Effect::Booted(BootNumber(3)))
    );
}

#[test]
fn a_directory_that_lost_records_is_refused() {
    let mut state = set_of(1);
    let attempt = begin(&mut state, 1, &[1]);
    state
        .apply(Command::Open {
            epoch: attempt.epoch,
        })
        .unwrap();
    let acked = vec![(id(1), held(attempt.epoch, 7))];
    state
        .apply(Command::Extend {
            epoch: attempt.epoch,
            number: 1,
            ceiling: Hlc(1),
            acked,
        })
        .unwrap();
    let lost = state.apply(claim(&[], 10, held(attempt.epoch, 6)));
    assert!(matches!(lost, Err(Rejection::LostRecords { .. })));
    assert!(state.apply(claim(&[], 10, held(attempt.epoch, 7))).is_ok());
}

#[test]
fn a_closed_log_is_kept_until_every_member_has_folded_it() {
    let mut state = set_of(2);
    let first = begin(&mut state, 1, &[1, 2]);
    state.apply(Command::Open { epoch: first.epoch }).unwrap();
    let current = state.apply(Command::Close {
        by: first.epoch,
        epoch: first.epoch,
        last: Seq(4),
        digest: 9,
    });
    assert_eq!(
        current,
        Err(Rejection::NotActive { epoch: first.epoch }),
        "the open epoch's log still grows"
    );
    let second = begin(&mut state, 1, &[1, 2]);
    state
        .apply(Command::Open {
            epoch: second.epoch,
        })
        .unwrap();
    assert_eq!(state.closed_through(), Epoch(first.epoch.0 - 1));
    state
        .apply(Command::Close {
            by: second.epoch,
            epoch: first.epoch,
            last: Seq(4),
            digest: 9,
        })
        .unwrap();
    assert_eq!(state.closed_through(), Epoch(second.epoch.0 - 1));

    let mut folded = VersionVector::new();
    folded.fold(REGION, state.closed_through());
    for (member, left) in [(1, true), (2, false)] {
        let acked = vec![(id(member), folded.clone())];
        state
            .apply(Command::Extend {
                epoch: second.epoch,
                number: 1,
                ceiling: Hlc(1),
                acked,
            })
            .unwrap();
        assert_eq!(state.logs.contains_key(&first.epoch), left);
    }
    assert!(state.logs.contains_key(&second.epoch));
}

#[test]
fn a_horizon_needs_every_active_log_and_every_member() {
    let mut state = set_of(2);
    let attempt = begin(&mut state, 1, &[1, 2]);
    state
        .apply(Command::Open {
            epoch: attempt.epoch,
        })
        .unwrap();
    let covered = held(attempt.epoch, 3);
    let log = LogId {
        region: REGION,
        epoch: attempt.epoch,
    };
    let set = |horizon, mark, applied: &[u128]| Command::SetHorizon {
        horizon: Hlc(horizon),
        covered: covered.clone(),
        closed_marks: vec![(log, Hlc(mark))],
        applied: applied
            .iter()
            .map(|at| (id(*at), covered.clone()))
            .collect(),
    };
    assert!(matches!(
        state.apply(set(10, 9, &[1, 2])),
        Err(Rejection::HorizonRefused { .. })
    ));
    assert!(matches!(
        state.apply(set(10, 10, &[1])),
        Err(Rejection::HorizonRefused { .. })
    ));
    state.apply(set(10, 10, &[1, 2])).unwrap();
    assert!(matches!(
        state.apply(set(10, 11, &[1, 2])),
        Err(Rejection::HorizonRefused { .. })
    ));
    assert_eq!(state.horizon, Hlc(10));
}

#[test]
fn a_horizon_asks_each_active_log_and_each_holder_of_rows_for_its_own_and_nobody_else() {
    let mut state = set_of(2);
    let arbiter = Member {
        role: Role::Arbiter,
        ..state.members[&id(2)].clone()
    };
    state.members.insert(id(3), arbiter);
    let first = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: first }).unwrap();
    let second = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: second }).unwrap();
    let set = |promised: &[Epoch], applied: [u64; 2]| Command::SetHorizon {
        horizon: Hlc(10),
        covered: held(second, 3),
        closed_marks: promised
            .iter()
            .map(|epoch| (log_of(*epoch), Hlc(10)))
            .collect(),
        applied: [id(1), id(2)]
            .into_iter()
            .zip(applied.map(|seq| held(second, seq)))
            .collect(),
    };
    for (refused, why) in [
        (set(&[second], [3, 3]), "the first log is active still"),
        (set(&[first, first], [3, 3]), "another log's mark"),
        (set(&[first, second], [3, 2]), "one has not applied enough"),
    ] {
        let refusal = state.clone().apply(refused);
        assert!(
            matches!(refusal, Err(Rejection::HorizonRefused { .. })),
            "{why}: {refusal:?}"
        );
    }
    state.clone().apply(set(&[first, second], [3, 4])).unwrap();
    state
        .apply(Command::Close {
            by: second,
            epoch: first,
            last: Seq(4),
            digest: 9,
        })
        .unwrap();
    state.apply(set(&[second], [3, 3])).unwrap();
    assert_eq!(state.horizon, Hlc(10));
}

fn log_of(epoch: Epoch) -> LogId {
    LogId {
        region: REGION,
        epoch,
    }
}

/// Commands that name what exists often enough to matter.
fn commands() -> impl Strategy<Value = Command> {
    let epoch = (0..12u64).prop_map(Epoch);
    let members = proptest::collection::btree_set((1..4u128).prop_map(id), 1..4);
    prop_oneof![
        (members, 1..4u128, epoch.clone(), epoch.clone()).prop_map(
            |(members, candidate, open, attempt)| {
                Command::Begin {
                    boot: BootNumber::NONE,
                    candidate: id(candidate),
                    members,
                    expected_open: open,
                    expected_attempt: attempt,
                    cause: Cause::Unrecorded,
                }
            }
        ),
        epoch.clone().prop_map(|epoch| Command::Open { epoch }),
        (epoch.clone(), 0..100u64).prop_map(|(epoch, ceiling)| Command::Extend {
            epoch,
            number: 1,
            ceiling: Hlc(ceiling),
            acked: vec![]
        }),
        epoch.prop_map(|epoch| Command::Close {
            by: epoch,
            epoch,
            last: Seq(1),
            digest: 1
        }),
    ]
}

proptest! {
    #[test]
    fn epochs_ceilings_and_floors_never_go_back(commands in proptest::collection::vec((commands(), any::<bool>()), 1..60)) {
        let mut state = set_of(3);
        let mut begun = BTreeSet::new();
        for (mut command, sound) in commands {
            if let Command::Begin { expected_open, expected_attempt, .. } = &mut command
                && sound
            {
                (*expected_open, *expected_attempt) = (state.open_epoch(), state.attempt_epoch());
            }
            if let (Command::Open { epoch } | Command::Extend { epoch, number: 1, .. } | Command::Close { by: epoch, .. }, true) = (&mut command, sound) {
                *epoch = state.attempt_epoch();
            }
            let before = state.clone();
            let outcome = state.apply(command);
            prop_assert!(state.ceiling >= before.ceiling && state.open_epoch() >= before.open_epoch());
            prop_assert!(state.closed_through() >= before.closed_through());
            match outcome {
                Ok(Effect::Begun(attempt)) => {
                    prop_assert!(begun.insert(attempt.epoch), "an epoch number was used twice");
                    prop_assert!(attempt.floor >= before.ceiling);
                }
                Ok(Effect::Booted(_) | Effect::Settings(_) | Effect::Done) => {}
                Err(_) => prop_assert_eq!(&ControlState { index: before.index, ..state.clone() }, &before),
            }
        }
    }
}

#[test]
fn a_member_in_force_is_not_evicted_and_an_evicted_one_never_returns() {
    let mut state = set_of(3);
    let first = begin(&mut state, 1, &[1, 2]);
    state.apply(Command::Open { epoch: first.epoch }).unwrap();
    let evict = |at| Command::Evict {
        incarnation: id(at),
        expected_open: None,
    };
    assert_eq!(
        state.apply(evict(2)),
        Err(Rejection::InUse { incarnation: id(2) })
    );
    let second = begin(&mut state, 1, &[1, 3]);
    for at in [2, 3] {
        let in_use = Err(Rejection::InUse {
            incarnation: id(at),
        });
        assert_eq!(state.apply(evict(at)), in_use, "basis and new members");
    }
    state
        .apply(Command::Open {
            epoch: second.epoch,
        })
        .unwrap();
    let seen = |epoch| Command::Evict {
        incarnation: id(2),
        expected_open: Some(epoch),
    };
    let stale = state.apply(seen(first.epoch));
    assert!(matches!(stale, Err(Rejection::Stale { .. })), "{stale:?}");
    assert!(state.members.contains_key(&id(2)));
    assert_eq!(state.apply(seen(second.epoch)), Ok(Effect::Done));
    assert_eq!(state.apply(evict(2)), Ok(Effect::Done), "said twice");
    let again = Command::Register {
        incarnation: id(2),
        role: Role::Data,
    };
    let evicted = Rejection::Evicted { incarnation: id(2) };
    assert_eq!(state.apply(again), Err(evicted));
}

#[test]
fn an_epoch_is_begun_only_by_the_last_start_of_one_of_its_data_members() {
    let mut state = set_of(2);
    let arbiter = Command::Register {
        incarnation: id(9),
        role: Role::Arbiter,
    };
    state.apply(arbiter).unwrap();
    state.members.get_mut(&id(1)).unwrap().boot = BootNumber(3);
    let mut begin = |boot, members: &[u128]| {
        let command = Command::Begin {
            candidate: id(1),
            boot: BootNumber(boot),
            members: members.iter().map(|at| id(*at)).collect(),
            expected_open: Epoch::NONE,
            expected_attempt: Epoch::NONE,
            cause: Cause::Unrecorded,
        };
        state.apply(command).err()
    };
    assert!(matches!(
        begin(2, &[1, 2]),
        Some(Rejection::OtherBoot { .. })
    ));
    assert!(matches!(
        begin(3, &[2]),
        Some(Rejection::CandidateOutside { .. })
    ));
    assert!(matches!(begin(3, &[1, 9]), Some(Rejection::NotData { .. })));
    assert_eq!(begin(3, &[1, 2]), None);
}

#[test]
fn who_is_not_of_the_set_is_told_so() {
    let mut state = set_of(2);
    let stranger = Command::Evict {
        incarnation: id(77),
        expected_open: None,
    };
    let refused = Rejection::NotAMember {
        incarnation: id(77),
    };
    assert_eq!(state.apply(stranger), Err(refused));
}

#[test]
fn a_primary_that_has_been_overtaken_closes_no_log() {
    let mut state = set_of(2);
    let [first, second] = [1, 2].map(|candidate| {
        let epoch = begin(&mut state, candidate, &[1, 2]).epoch;
        state.apply(Command::Open { epoch }).unwrap();
        epoch
    });
    let third = begin(&mut state, 1, &[1, 2]).epoch;
    let close = |by| Command::Close {
        by,
        epoch: first,
        last: Seq(1),
        digest: 1,
    };
    let stale = state.apply(close(second));
    assert!(matches!(stale, Err(Rejection::Stale { .. })), "{stale:?}");
    state.apply(Command::Open { epoch: third }).unwrap();
    assert_eq!(state.apply(close(third)), Ok(Effect::Done));
}

#[test]
fn what_is_missing_is_told_across_folded_logs() {
    let mut state = set_of(2);
    let first = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: first }).unwrap();
    let second = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: second }).unwrap();
    state
        .apply(Command::Close {
            by: second,
            epoch: first,
            last: Seq(7),
            digest: 1,
        })
        .unwrap();
    let mut whole = held(first, 7);
    whole.join(&held(second, 2));
    assert_eq!(state.foldable(&whole), Epoch(second.0 - 1));
    assert_eq!(state.foldable(&held(first, 6)), Epoch(first.0 - 1));
    let mut folded = whole.clone();
    folded.fold(REGION, first);
    assert!(state.covers(&whole, &folded) && state.covers(&folded, &whole));
    let lacks = |held: &VersionVector| state.missing(&folded, held).unwrap();
    let missing = lacks(&held(first, 6));
    let spans: Vec<_> = missing
        .iter()
        .map(|missing| (missing.log.epoch, missing.after, missing.through))
        .collect();
    assert_eq!(
        spans,
        [(first, Seq(6), Seq(7)), (second, Seq::NONE, Seq(2))]
    );
    let mut forgetful = state.clone();
    let acked = vec![(id(1), folded.clone()), (id(2), folded.clone())];
    forgetful
        .apply(Command::Extend {
            epoch: second,
            number: 1,
            ceiling: Hlc(1),
            acked,
        })
        .unwrap();
    assert_eq!(forgetful.forgotten, first);
    assert_eq!(forgetful.missing(&folded, &held(first, 6)), None);
    assert!(!forgetful.covers(&VersionVector::new(), &folded));
    assert!(forgetful.covers(&folded, &held(first, 7)));
}

/// A restored set holds the logs of the set before as those of another region, folded.
#[test]
fn folded_logs_of_another_region_come_by_a_snapshot_only() {
    let mut state = set_of(2);
    let first = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: first }).unwrap();
    let mut whole = held(first, 3);
    whole.fold(RegionId(REGION.0 + 1), Epoch(40));
    assert_eq!(state.missing(&whole, &held(first, 3)), None);
    assert!(!state.covers(&held(first, 3), &whole));
    let mut short = held(first, 1);
    short.fold(RegionId(REGION.0 + 1), Epoch(40));
    let lacks = state.missing(&whole, &short).unwrap();
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(state.covers(&whole, &held(first, 3)));
}

/// A member that is cut off from the agreement does not know of the logs that others have folded since.
#[test]
fn what_was_folded_beyond_what_is_agreed_here_is_not_covered() {
    let mut state = set_of(2);
    let first = begin(&mut state, 1, &[1, 2]).epoch;
    state.apply(Command::Open { epoch: first }).unwrap();
    let mut folded = VersionVector::new();
    folded.fold(REGION, Epoch(first.0 + 5));
    // Its log is open as far as is known here, and there may be others.
    assert_eq!(state.missing(&folded, &held(first, 3)), None);
    assert!(!state.covers(&held(first, 3), &folded));
    assert!(state.covers(&folded, &folded));
}
