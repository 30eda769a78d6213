//! Members come and go.

use std::collections::BTreeSet;

use steadfast::base::{IncarnationId, NodeNumber};
use steadfast::control::Command;
use steadfast::control::raft::Error;

use crate::group::{bring_in, founder, group, insist, leader, register, until};

#[test]
fn a_learner_follows_and_becomes_a_voter_and_goes_again() {
    let mut group = vec![founder()];
    group[0].propose(register(IncarnationId(77))).unwrap();
    let second = bring_in(&group, 2);
    until("it follows", || {
        second.status().leader == Some(NodeNumber(1))
    });
    assert_eq!(second.number(), NodeNumber(3));
    second.learns(|state| state.members.contains_key(&IncarnationId(77)));
    assert_eq!(
        group[0].status().learners,
        BTreeSet::from([second.number()])
    );
    group.push(second);
    let both = BTreeSet::from([NodeNumber(1), NodeNumber(3)]);
    // Asked of the learner, too.
    group[1]
        .run(group[1].raft().set_voters(both.clone()))
        .unwrap();
    until("both vote", || {
        group.iter().all(|member| member.status().voters == both)
    });
    let gone = group[0].raft().remove(NodeNumber(3));
    group[0].run(gone).unwrap();
    until("one votes", || {
        group[0].status().voters == BTreeSet::from([NodeNumber(1)])
    });
    assert_eq!(group[0].status().learners, BTreeSet::new());
    group[1].kill();
    group[0].propose(register(IncarnationId(78))).unwrap();
}

#[test]
fn who_is_not_known_cannot_vote() {
    let group = group(1);
    let strangers = BTreeSet::from([NodeNumber(1), NodeNumber(9)]);
    let refused = group[0].run(group[0].raft().set_voters(strangers));
    assert!(matches!(refused, Err(Error::Members { .. })), "{refused:?}");
}

#[test]
fn one_that_was_away_for_longer_than_the_log_reaches_back_catches_up() {
    let mut group = group(3);
    let lead = leader(&group);
    let away = (lead + 1) % 3;
    group[away].kill();
    // Many at once, but not so many that a busy machine takes too long for one of them.
    for some in (0..1_700u128).step_by(100) {
        let all = (some..some + 100).map(|at| register(IncarnationId(10_000 + at)));
        let all: Vec<Command> = all.collect();
        let raft = group[lead].raft();
        let agreed = all.iter().map(|command| insist(raft, command));
        let agreed = group[lead].run(futures::future::join_all(agreed));
        assert!(agreed.iter().all(Result::is_ok), "{agreed:?}");
    }
    group[away].start();
    let last = IncarnationId(11_699);
    group[away].learns(|state| state.members.contains_key(&last));
    assert_eq!(group[away].state().members, group[lead].state().members);
}
