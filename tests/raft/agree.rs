//! What is agreed stays agreed, whoever leads.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use steadfast::base::clock::now_monotonic;
use steadfast::base::{BootNumber, Epoch, Hlc, IncarnationId, NodeNumber, VersionVector};
use steadfast::control::raft::{self, Error};
use steadfast::control::{Attempt, Cause, Command, ControlState, Effect, Rejection};

use crate::group::{Member, control, group, leader, register, until};

fn begin(state: &ControlState, candidate: &Member) -> Command {
    Command::Begin {
        candidate: candidate.incarnation,
        boot: BootNumber::NONE,
        members: BTreeSet::from([candidate.incarnation]),
        expected_open: state.open_epoch(),
        expected_attempt: state.attempt_epoch(),
        cause: Cause::Unrecorded,
    }
}

/// Begins and opens an epoch.
fn reign(member: &Member) -> Attempt {
    let attempt = loop {
        match member.insist(&begin(&member.state(), member)) {
            Ok(Effect::Begun(attempt)) => break attempt,
            // It did not know all that was agreed, or it was begun before, and the answer was lost.
            Err(Error::Rejected(Rejection::Stale { attempt, open, .. })) => {
                member
                    .learns(|state| state.attempt_epoch() >= attempt && state.open_epoch() >= open);
            }
            other => panic!("{other:?}"),
        }
    };
    let epoch = attempt.epoch;
    member.insist(&Command::Open { epoch }).unwrap();
    member.learns(|state| state.open_epoch() == epoch);
    attempt
}

fn all_learn(group: &[Member], wanted: impl Fn(&ControlState) -> bool) {
    for member in group.iter().filter(|member| member.is_running()) {
        member.learns(|state| wanted(state));
    }
}

#[test]
fn a_group_of_one_goes_on_from_the_lone_node_and_numbers_no_epoch_twice() {
    let mut lone = control();
    let mut member = Member::new(1);
    let numbered: Vec<Epoch> = (0..3)
        .map(|_| {
            let begun = lone.apply(begin(&lone, &member)).unwrap();
            let epoch = lone.attempt_epoch();
            assert!(matches!(begun, Effect::Begun(_)));
            lone.apply(Command::Open { epoch }).unwrap();
            epoch
        })
        .collect();
    lone.ceiling = Hlc(99);
    let seen = numbered[2];
    let found = |lone| {
        let (path, addresses) = (member.path(), member.addresses());
        raft::found(&path, member.incarnation, addresses, lone)
    };
    found(lone.clone()).unwrap();
    let mut epochs = BTreeSet::from([seen]);
    for _start in 0..3 {
        member.start();
        member.run(member.raft().admitted()).unwrap();
        let before = member.state();
        assert_eq!((before.lineage, before.ceiling), (lone.lineage, Hlc(99)));
        for _reign in 0..2 {
            let attempt = reign(&member);
            assert!(attempt.epoch > *epochs.last().unwrap());
            assert!(attempt.floor >= Hlc(99));
            epochs.insert(attempt.epoch);
        }
        let last = member.state();
        member.kill();
        member.start();
        let after = member.learns(|state| state.index >= last.index);
        assert_eq!(after.open, last.open);
        member.kill();
    }
    assert_eq!(epochs.len(), 7);
    let addresses = member.addresses();
    let again = raft::found(&member.path(), member.incarnation, addresses, lone);
    assert!(matches!(again, Err(raft::StoreError::Taken { .. })));
}

#[test]
fn whoever_is_asked_all_members_agree_on_it() {
    let group = group(3);
    for (at, member) in group.iter().enumerate() {
        // Entries that are no commands count, too.
        until("its state is that of the log", || {
            member.status().applied == member.state().index
        });
        let stranger = IncarnationId(50 + at as u128);
        member.propose(register(stranger)).unwrap();
        all_learn(&group, |state| state.members.contains_key(&stranger));
    }
    let numbers: BTreeSet<NodeNumber> = group[0]
        .state()
        .members
        .values()
        .map(|member| member.number)
        .collect();
    assert_eq!(numbers, (1..=6).map(NodeNumber).collect());
}

#[test]
fn a_refused_command_says_why_wherever_it_is_asked_and_takes_an_index() {
    let group = group(3);
    for member in &group {
        let before = member.state().index;
        let epoch = Epoch(1);
        let refused = member.propose(Command::Open { epoch });
        let stale = |error: &Error| matches!(error, Error::Rejected(Rejection::Stale { named, .. }) if *named == epoch);
        assert!(refused.as_ref().is_err_and(stale), "{refused:?}");
        all_learn(&group, |state| state.index > before);
    }
}

#[test]
fn what_was_agreed_outlives_each_leader_and_no_epoch_is_numbered_twice() {
    let mut group = group(3);
    let mut epochs = BTreeSet::new();
    for round in 0..4 {
        let attempt = reign(&group[round % 3]);
        assert!(epochs.insert(attempt.epoch), "{epochs:?} and {attempt:?}");
        assert!(epochs.last() == Some(&attempt.epoch));
        let gone = leader(&group);
        group[gone].kill();
        let killed = now_monotonic();
        let next = leader(&group);
        println!("another one leads after {:?}", killed.elapsed());
        let attempt = reign(&group[next]);
        assert!(epochs.last() < Some(&attempt.epoch));
        epochs.insert(attempt.epoch);
        group[gone].start();
        all_learn(&group, |state| state.open_epoch() == attempt.epoch);
    }
    // All at once.
    let last = group[0].state().open_epoch();
    group.iter_mut().for_each(Member::kill);
    group.iter_mut().for_each(Member::start);
    let next = reign(&group[2]);
    assert!(next.epoch > last);
    all_learn(&group, |state| state.open_epoch() == next.epoch);
}

#[test]
fn without_a_majority_it_is_said_soon_that_nothing_is_agreed() {
    let mut group = group(3);
    let left = leader(&group);
    for at in (0..3).filter(|at| *at != left) {
        group[at].kill();
    }
    let before = group[left].state();
    for _ in 0..3 {
        let since = now_monotonic();
        let refused = group[left].propose(register(IncarnationId(99)));
        assert!(since.elapsed() < Duration::from_secs(4));
        let unsettled = |error: &Error| matches!(error, Error::NoLeader | Error::Unknown { .. });
        assert!(refused.as_ref().is_err_and(unsettled), "{refused:?}");
    }
    assert_eq!(group[left].state().members, before.members);
    let other = (left + 1) % 3;
    group[other].start();
    group[other].insist(&register(IncarnationId(98))).unwrap();
}

#[test]
fn one_that_is_cut_off_disturbs_nobody_and_follows_again() {
    let mut group = group(3);
    let lead = leader(&group);
    let term = group[lead].status().term;
    let cut = (lead + 1) % 3;
    group[cut].cut_off();
    // Several times longer than it takes to suspect a leader: first while its log is as long as the others', then not.
    let since = now_monotonic();
    let mut at = 60;
    until("time has passed", || {
        since.elapsed() > Duration::from_millis(1_500)
    });
    while since.elapsed() < Duration::from_millis(2_500) {
        at += 1;
        group[lead].propose(register(IncarnationId(at))).unwrap();
    }
    assert_eq!(group[lead].status().term, term);
    group[cut].serve();
    group[cut].learns(|state| state.members.contains_key(&IncarnationId(at)));
    assert_eq!(group[cut].status().term, term);
}

#[test]
fn a_leader_that_hangs_is_replaced_by_one_that_the_other_votes_for() {
    let mut group = group(3);
    let first = group[leader(&group)].status().term;
    for round in 0..3 {
        let gone = leader(&group);
        group[gone].kill();
        // Whoever asks it is not refused, and not answered.
        let hung = TcpListener::bind(group[gone].addresses().peer).unwrap();
        let next = leader(&group);
        // Longer than it takes the other one to stand as well.
        let since = now_monotonic();
        while since.elapsed() < Duration::from_millis(600) {
            group[next]
                .insist(&register(IncarnationId(60 + round)))
                .unwrap();
        }
        drop(hung);
        group[gone].start();
        group[gone].run(group[gone].raft().admitted()).unwrap();
    }
    let elections = group[leader(&group)].status().term - first;
    // Two may stand at the same moment, but not time after time.
    assert!(elections <= 6, "{elections} elections for 3 leaders");
}

#[test]
fn a_ceiling_follows_the_clocks_of_most_voters() {
    let mut group = group(3);
    let wrong = leader(&group);
    let epoch = reign(&group[wrong]).epoch;
    let hour = 3_600_000;
    for at in 0..3 {
        group[at].kill();
        group[at].skew_millis = if at == wrong { hour } else { 0 };
    }
    group.iter_mut().for_each(Member::start);
    // Whoever leads, the one with the wrong clock included.
    let mut seen = BTreeSet::new();
    for number in 1..40 {
        let lead = leader(&group);
        seen.insert(lead);
        let acked = vec![(IncarnationId(1), VersionVector::new())];
        let asked = group[lead].raft().extend(epoch, number, acked);
        if group[lead].run(asked).is_ok() {
            let ceiling = group[lead]
                .learns(|state| state.extended.is_some_and(|last| last.number == number));
            let now = chrono_millis();
            let ahead = ceiling.ceiling.0 >> 16;
            assert!(
                ahead <= now + 3_500 && ahead + 60_000 > now,
                "{ahead} at {now}"
            );
        }
        if number % 13 == 0 {
            group[lead].kill();
            leader(&group);
            group[lead].start();
        }
    }
    println!("led: {seen:?}");
    until("all are well", || group.iter().all(Member::is_running));
}

fn chrono_millis() -> u64 {
    use steadfast::base::Clock as _;
    steadfast::base::clock::SystemClock::new().wall_millis()
}

#[test]
fn how_long_it_takes_to_agree() {
    let group = group(3);
    let lead = leader(&group);
    for (who, at) in [("the leader", lead), ("a follower", (lead + 1) % 3)] {
        let member = &group[at];
        let mut took: Vec<Duration> = (0..200u128)
            .map(|n| {
                let since = now_monotonic();
                let stranger = IncarnationId(1_000 + (at as u128) * 1_000 + n);
                member.propose(register(stranger)).unwrap();
                since.elapsed()
            })
            .collect();
        took.sort_unstable();
        println!(
            "asked of {who}: median {:?}, p99 {:?}, max {:?}",
            took[100], took[198], took[199]
        );
    }
}
