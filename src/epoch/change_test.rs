//! A candidate's way, step by step.

use super::*;
use crate::base::{BootToken, LineageId, LogId, RegionId, Seq};
use crate::control::{Addresses, BootClaim, LEVEL, Role};
use crate::replication::Heads;

const REGION: RegionId = RegionId(7);
const BOOT: BootNumber = BootNumber(1);
/// The first epoch of a [`set`].
const E: u64 = 11;

fn id(at: u128) -> IncarnationId {
    IncarnationId(at)
}

fn ids(members: &[u128]) -> BTreeSet<IncarnationId> {
    members.iter().map(|at| id(*at)).collect()
}

fn vector(held: &[(u64, u64)]) -> VersionVector {
    let mut vector = VersionVector::new();
    for (epoch, seq) in held {
        let log = LogId {
            region: REGION,
            epoch: Epoch(*epoch),
        };
        vector.advance(log, Seq(*seq));
    }
    vector
}

/// A set whose first epoch is open with these members, all of five members registered and started.
fn set(members: &[u128]) -> ControlState {
    let mut control = ControlState::new(LineageId(1), REGION, id(1));
    for at in 1..=5 {
        let role = Role::Data;
        let incarnation = id(at);
        control
            .apply(Command::Register { incarnation, role })
            .unwrap();
        let claim = BootClaim {
            incarnation,
            known: BTreeSet::new(),
            token: BootToken(1),
            held: VersionVector::new(),
            addresses: Addresses::default(),
            level: LEVEL,
        };
        control.apply(Command::Boot(claim)).unwrap();
    }
    let begin = Command::Begin {
        candidate: id(members[0]),
        boot: BOOT,
        members: ids(members),
        expected_open: Epoch::NONE,
        expected_attempt: Epoch::NONE,
        cause: Cause::Unrecorded,
    };
    control.apply(begin).unwrap();
    let epoch = control.attempt_epoch();
    control.apply(Command::Open { epoch }).unwrap();
    assert_eq!(epoch, Epoch(E));
    control
}

fn at<'a>(millis: u64, control: &'a ControlState, durable: &'a VersionVector) -> Sight<'a> {
    Sight {
        now: Duration::from_millis(millis),
        control,
        durable,
        appended: durable,
        suspects: Some(Cause::Silence),
        heard: Duration::ZERO,
        commit: None,
    }
}

fn ack(attempt: &Attempt, held: &[(u64, u64)]) -> SealAck {
    SealAck {
        epoch: attempt.epoch,
        boot: BOOT,
        durable: vector(held),
        appended: Heads::default(),
    }
}

/// The command proposed, applied.
fn agree(control: &mut ControlState, instructions: &[Instruction]) {
    for instruction in instructions {
        if let Instruction::Propose(command) = instruction {
            control.apply(command.clone()).unwrap();
        }
    }
}

/// A candidate 2 of members 1, 2, 3 whose attempt is agreed, with what it was told last.
fn sealing(members: &[u128]) -> (Change, ControlState, Attempt) {
    let mut control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let mut change = Change::unplanned(
        id(2),
        BOOT,
        ids(members),
        1,
        Seals::Enough,
        &at(0, &control, &none),
    );
    change.step(&at(0, &control, &none));
    change.agree(id(3), 1);
    let begin = change.step(&at(10, &control, &none));
    agree(&mut control, &begin);
    let seal = change.step(&at(20, &control, &none));
    let attempt = control.attempt.clone().unwrap();
    assert_eq!(seal, [Instruction::Seal(ids(&[1, 2, 3]), attempt.epoch)]);
    (change, control, attempt)
}

#[test]
fn a_candidate_asks_begins_seals_fetches_opens_and_reigns() {
    let (mut change, mut control, attempt) = sealing(&[1, 2, 3]);
    let (mine, theirs) = ([(E, 4)], [(E, 9)]);
    change.seal(id(2), ack(&attempt, &mine));
    let held = vector(&mine);
    assert_eq!(change.step(&at(30, &control, &held)), [], "one seal of two");
    change.seal(id(3), ack(&attempt, &theirs));
    let fetch = change.step(&at(40, &control, &held));
    let missing = Missing {
        log: control.log(Epoch(E)),
        after: Seq(4),
        through: Seq(9),
    };
    assert_eq!(fetch, [Instruction::Fetch(id(3), vec![missing])]);
    change.fetched(Duration::from_millis(50), id(3), Brought::Something);
    let held = vector(&theirs);
    let open = change.step(&at(60, &control, &held));
    let epoch = attempt.epoch;
    assert_eq!(open, [Instruction::Propose(Command::Open { epoch })]);
    agree(&mut control, &open);
    assert_eq!(
        change.step(&at(70, &control, &held)),
        [Instruction::Reign(attempt)]
    );
    assert_eq!(change.recovered(), held);
}

#[test]
fn without_enough_agreement_nothing_is_begun() {
    let control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let mut change = Change::unplanned(
        id(2),
        BOOT,
        ids(&[1, 2, 3]),
        7,
        Seals::Enough,
        &at(0, &control, &none),
    );
    let asked = change.step(&at(0, &control, &none));
    assert!(matches!(&asked[..], [Instruction::Ask(others, _)] if *others == ids(&[1, 3])));
    // Its own yes, that of a stranger, and one to an earlier question.
    change.agree(id(5), 7);
    change.agree(id(3), 6);
    assert_eq!(change.step(&at(100, &control, &none)), []);
    let again = change.step(&at(200, &control, &none));
    assert!(matches!(&again[..], [Instruction::Ask(..)]));
    let late = change.step(&at(3_000, &control, &none));
    assert_eq!(late, [Instruction::GiveUp(Why::NotAgreed)]);
}

#[test]
fn a_candidate_that_hears_the_primary_again_gives_up() {
    let control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let mut change = Change::unplanned(
        id(2),
        BOOT,
        ids(&[1, 2, 3]),
        1,
        Seals::Enough,
        &at(0, &control, &none),
    );
    let sight = Sight {
        suspects: None,
        ..at(10, &control, &none)
    };
    assert_eq!(change.step(&sight), [Instruction::GiveUp(Why::NotAgreed)]);
}

#[test]
fn an_overtaken_candidate_gives_up() {
    let (mut change, mut control, attempt) = sealing(&[1, 2, 3]);
    let begin = Command::Begin {
        candidate: id(3),
        boot: BOOT,
        members: ids(&[1, 2, 3]),
        expected_open: control.open_epoch(),
        expected_attempt: attempt.epoch,
        cause: Cause::Unrecorded,
    };
    control.apply(begin).unwrap();
    let all = vector(&[]);
    change.seal(id(2), ack(&attempt, &[]));
    change.seal(id(3), ack(&attempt, &[]));
    let given_up = change.step(&at(30, &control, &all));
    assert_eq!(given_up, [Instruction::GiveUp(Why::Overtaken)]);
}

#[test]
fn a_begin_that_was_lost_is_proposed_again_and_is_not_answered_by_another() {
    let mut control = set(&[1]);
    let none = vector(&[]);
    let mut change = Change::unplanned(
        id(1),
        BOOT,
        ids(&[1]),
        1,
        Seals::Enough,
        &at(0, &control, &none),
    );
    let first = change.step(&at(0, &control, &none));
    assert!(matches!(
        &first[..],
        [Instruction::Propose(Command::Begin { .. })]
    ));
    assert_eq!(change.step(&at(100, &control, &none)), []);
    assert_eq!(change.step(&at(200, &control, &none)), first);
    // An attempt of this member, but of an earlier process.
    control.members.get_mut(&id(1)).unwrap().boot = BootNumber(0);
    let Some(Instruction::Propose(Command::Begin {
        candidate,
        members,
        expected_open,
        expected_attempt,
        ..
    })) = first.into_iter().next()
    else {
        panic!()
    };
    let boot = BootNumber(0);
    control
        .apply(Command::Begin {
            candidate,
            boot,
            members,
            expected_open,
            expected_attempt,
            cause: Cause::Restart,
        })
        .unwrap();
    let given_up = change.step(&at(300, &control, &none));
    assert_eq!(given_up, [Instruction::GiveUp(Why::Overtaken)]);
}

#[test]
fn a_holder_that_does_not_answer_loses_its_seal_and_what_it_held_is_not_taken_for_recovered() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let held = vector(&[(E, 4)]);
    change.seal(id(2), ack(&attempt, &[(E, 4)]));
    change.seal(id(3), ack(&attempt, &[(E, 9)]));
    assert!(matches!(
        &change.step(&at(30, &control, &held))[..],
        [Instruction::Fetch(..)]
    ));
    assert_eq!(change.step(&at(100, &control, &held)), []);
    let again = change.step(&at(230, &control, &held));
    assert_eq!(again, [Instruction::Seal(ids(&[1, 3]), attempt.epoch)]);
    // Another one will do.
    change.seal(id(1), ack(&attempt, &[(E, 4)]));
    let open = change.step(&at(240, &control, &held));
    assert!(matches!(
        &open[..],
        [Instruction::Propose(Command::Open { .. })]
    ));
}

#[test]
fn a_holder_whose_log_no_longer_reaches_back_does_not_count_either() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let held = vector(&[(E, 4)]);
    change.seal(id(2), ack(&attempt, &[(E, 4)]));
    change.seal(id(3), ack(&attempt, &[(E, 9)]));
    change.step(&at(30, &control, &held));
    change.fetched(Duration::from_millis(40), id(3), Brought::OutOfReach);
    let sealed = change.step(&at(50, &control, &held));
    assert_eq!(sealed, [Instruction::Seal(ids(&[1, 3]), attempt.epoch)]);
}

#[test]
fn what_has_come_and_is_not_durable_yet_is_not_asked_for_again() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let (held, come) = (vector(&[(E, 4)]), vector(&[(E, 9)]));
    change.seal(id(2), ack(&attempt, &[(E, 4)]));
    change.seal(id(3), ack(&attempt, &[(E, 9)]));
    change.step(&at(30, &control, &held));
    change.fetched(Duration::from_millis(40), id(3), Brought::Something);
    let slow = |millis| Sight {
        appended: &come,
        ..at(millis, &control, &held)
    };
    for millis in (50..3_000).step_by(50) {
        assert_eq!(change.step(&slow(millis)), []);
        change.fetched(Duration::from_millis(millis), id(3), Brought::Nothing);
    }
    // Another one may have a disk that works.
    let late = change.step(&slow(3_040));
    assert_eq!(late, [Instruction::GiveUp(Why::Unreachable)]);
}

#[test]
fn an_answer_that_brings_nothing_is_none() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let held = vector(&[(E, 4)]);
    change.seal(id(2), ack(&attempt, &[(E, 4)]));
    change.seal(id(3), ack(&attempt, &[(E, 9)]));
    change.step(&at(30, &control, &held));
    change.fetched(Duration::from_millis(40), id(3), Brought::Nothing);
    assert_eq!(change.step(&at(50, &control, &held)), []);
    let again = change.step(&at(230, &control, &held));
    assert_eq!(again, [Instruction::Seal(ids(&[1, 3]), attempt.epoch)]);
}

#[test]
fn changed_members_hold_what_was_recovered_before_the_epoch_opens() {
    let (mut change, control, attempt) = sealing(&[2, 4, 5]);
    let held = vector(&[(E, 9)]);
    change.seal(id(2), ack(&attempt, &[(E, 9)]));
    change.seal(id(1), ack(&attempt, &[(E, 3)]));
    let mut commit = Commit::new(ids(&[2, 4, 5]), 2);
    assert_eq!(
        change.step(&at(30, &control, &held)),
        [Instruction::Transfer]
    );
    commit.ack(id(2), &held);
    commit.ack(id(4), &vector(&[(E, 8)]));
    let sight = Sight {
        commit: Some(&commit),
        ..at(40, &control, &held)
    };
    assert_eq!(change.step(&sight), []);
    commit.ack(id(4), &held);
    let sight = Sight {
        commit: Some(&commit),
        ..at(50, &control, &held)
    };
    let open = change.step(&sight);
    assert!(matches!(
        &open[..],
        [Instruction::Propose(Command::Open { .. })]
    ));
}

#[test]
fn seals_of_strangers_and_of_other_attempts_do_not_count() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let held = vector(&[]);
    change.seal(id(2), ack(&attempt, &[]));
    change.seal(id(4), ack(&attempt, &[]));
    let earlier = SealAck {
        epoch: Epoch(attempt.epoch.0 - 1),
        ..ack(&attempt, &[])
    };
    change.seal(id(3), earlier);
    assert_eq!(change.step(&at(30, &control, &held)), []);
}

#[test]
fn a_planned_change_waits_for_the_seal_of_the_primary_that_handed_over_unless_it_dies() {
    let mut control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let mut change = Change::planned(
        id(2),
        BOOT,
        ids(&[1, 2, 3]),
        id(1),
        1,
        &at(0, &control, &none),
    );
    let begin = change.step(&at(0, &control, &none));
    agree(&mut control, &begin);
    change.step(&at(10, &control, &none));
    let attempt = control.attempt.clone().unwrap();
    change.seal(id(2), ack(&attempt, &[]));
    change.seal(id(3), ack(&attempt, &[]));
    assert_eq!(change.step(&at(20, &control, &none)), []);
    let mut dead = change.step(&at(1_600, &control, &none));
    assert!(matches!(
        dead.pop(),
        Some(Instruction::Propose(Command::Open { .. }))
    ));
}

/// A candidate 2 of members 1, 2, 3 that wants all seals, whose attempt is agreed.
fn sealing_all() -> (Change, ControlState, Attempt) {
    let mut control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let members = ids(&[1, 2, 3]);
    let sight = at(0, &control, &none);
    let mut change = Change::unplanned(id(2), BOOT, members, 1, Seals::All, &sight);
    change.step(&sight);
    change.agree(id(3), 1);
    assert_eq!(change.step(&at(10, &control, &none)), [], "two do not do");
    change.agree(id(1), 1);
    let begin = change.step(&at(20, &control, &none));
    agree(&mut control, &begin);
    change.step(&at(30, &control, &none));
    let attempt = control.attempt.clone().unwrap();
    change.seal(id(2), ack(&attempt, &[]));
    change.seal(id(3), ack(&attempt, &[]));
    (change, control, attempt)
}

#[test]
fn who_wants_all_seals_does_not_open_with_fewer() {
    let (mut change, control, attempt) = sealing_all();
    let none = vector(&[]);
    assert_eq!(change.step(&at(40, &control, &none)), []);
    let late = change.step(&at(4_000, &control, &none));
    assert_eq!(late, [Instruction::GiveUp(Why::Unreachable)]);
    change.seal(id(1), ack(&attempt, &[]));
    let open = change.step(&at(4_010, &control, &none));
    assert!(matches!(
        &open[..],
        [Instruction::Propose(Command::Open { .. })]
    ));
}

#[test]
fn who_may_take_fewer_seals_after_all_opens_with_enough() {
    let (mut change, control, _) = sealing_all();
    let none = vector(&[]);
    change.take_enough();
    let open = change.step(&at(40, &control, &none));
    assert!(matches!(
        &open[..],
        [Instruction::Propose(Command::Open { .. })]
    ));
}

#[test]
fn who_is_told_to_asks_nobody() {
    let control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let sight = Sight {
        suspects: None,
        ..at(0, &control, &none)
    };
    let mut change = Change::forced(id(2), BOOT, ids(&[1, 2, 3]), 1, &sight);
    let begin = change.step(&sight);
    assert!(matches!(
        &begin[..],
        [Instruction::Propose(Command::Begin {
            cause: Cause::Forced,
            ..
        })]
    ));
}

#[test]
fn whoever_goes_back_and_forth_between_seals_and_a_silent_holder_gives_up() {
    let (mut change, control, attempt) = sealing(&[1, 2, 3]);
    let none = vector(&[]);
    let gives_up = |told: &Instruction| matches!(told, Instruction::GiveUp(_));
    let given_up = (30..10_000).step_by(50).find(|millis| {
        change.seal(id(2), ack(&attempt, &[]));
        change.seal(id(3), ack(&attempt, &[(E, 4)]));
        let told = change.step(&at(*millis, &control, &none));
        told.iter().any(gives_up)
    });
    assert!(given_up.is_some_and(|millis| (3_000..4_000).contains(&millis)));
}

#[test]
fn a_planned_or_forced_change_waits_for_the_seal_of_the_former_primary_and_no_longer() {
    for is_planned in [true, false] {
        let mut control = set(&[1, 2, 3]);
        let none = vector(&[]);
        let sight = at(0, &control, &none);
        let mut change = if is_planned {
            Change::planned(id(2), BOOT, ids(&[1, 2, 3]), id(1), 1, &sight)
        } else {
            Change::forced(id(2), BOOT, ids(&[1, 2, 3]), 1, &sight)
        };
        let begin = change.step(&sight);
        agree(&mut control, &begin);
        change.step(&at(10, &control, &none));
        let attempt = control.attempt.clone().unwrap();
        for (millis, member, stage) in [
            (20, 2, Stage::Sealing),
            (30, 3, Stage::Sealing),
            (40, 1, Stage::Opening),
        ] {
            change.seal(id(member), ack(&attempt, &[]));
            change.step(&at(millis, &control, &none));
            assert_eq!(change.stage(), stage);
        }
    }
}

#[test]
fn an_attempt_says_why_it_was_begun() {
    let (_, _, attempt) = sealing(&[1, 2, 3]);
    assert_eq!(attempt.cause, Cause::Silence);
    let control = set(&[1, 2, 3]);
    let none = vector(&[]);
    let sight = at(0, &control, &none);
    let members = || ids(&[1, 2, 3]);
    let forced = Change::forced(id(2), BOOT, members(), 1, &sight);
    let planned = Change::planned(id(2), BOOT, members(), id(1), 1, &sight);
    for (mut change, cause) in [(forced, Cause::Forced), (planned, Cause::Planned)] {
        let mut control = control.clone();
        agree(&mut control, &change.step(&sight));
        assert_eq!(control.attempt.unwrap().cause, cause);
    }
}

#[test]
fn what_is_missing_is_fetched_from_a_member_as_far_as_that_holds_it() {
    for (others, from, through) in [([&[(E, 4)][..], &[]], 1, 4), ([&[(E, 4)], &[(E, 2)]], 3, 2)] {
        let (mut change, control, attempt) = sealing(&[1, 2, 3]);
        let none = vector(&[]);
        for (member, held) in [1, 3, 2].into_iter().zip([others[0], others[1], &[]]) {
            change.seal(id(member), ack(&attempt, held));
        }
        let told = change.step(&at(30, &control, &none));
        let missing = Missing {
            log: control.log(Epoch(E)),
            after: Seq(0),
            through: Seq(through),
        };
        assert_eq!(told, [Instruction::Fetch(id(from), vec![missing])]);
    }
}
