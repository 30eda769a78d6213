//! One member of three, by what it is told and what it asks for.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out what it is about"
)]

use super::testing::{ALL, Bench, ME, OTHERS, begin, members, millis, open};
use super::*;
use crate::base::{CommitLevel, Seq};
use crate::control::{FailoverPolicy, SettingsChange, TwoNode};
use crate::epoch::Stage as Way;
use crate::replication::{Held, Seal, SealAck};

fn policy(failover: FailoverPolicy) -> SettingsChange {
    SettingsChange {
        failover: Some(failover),
        ..SettingsChange::default()
    }
}

#[test]
fn whoever_promises_a_later_epoch_says_first_that_what_waits_in_its_own_is_unknown() {
    let mut bench = Bench::primary(&ALL);
    let epoch = bench.replica.serves().unwrap();
    bench.write(7, CommitLevel::Quorum);
    let now = bench.now;
    bench.replica.read_primary(now, ReadId(1)).unwrap();
    bench.settle();
    bench.asked.clear();
    let later = Epoch(epoch.0 + 1);
    bench.hear(OTHERS[0], Message::Seal(Seal { epoch: later }));
    let ack = SealAck {
        epoch: later,
        boot: bench.replica.boot().unwrap(),
        durable: bench.replica.member().durable().clone(),
        appended: bench.replica.member().appended().clone(),
    };
    let expected = [
        Action::Unknown(WriteId(7)),
        Action::Abandon(ReadId(1)),
        Action::Promise(later),
        Action::Send(OTHERS[0], Message::SealAck(ack)),
    ];
    assert_eq!(bench.asked, expected);
    assert_eq!(bench.replica.serves(), None);
    assert_eq!(bench.replica.takeover(), None);
    bench.asked.clear();
    bench.hear(OTHERS[0], Message::Seal(Seal { epoch }));
    let promise = later;
    let fenced = Message::Fenced { epoch, promise };
    assert_eq!(bench.asked, [Action::Send(OTHERS[0], fenced)]);
}

#[test]
fn whoever_learns_that_a_later_epoch_is_open_serves_no_more() {
    let mut bench = Bench::primary(&ALL);
    bench.write(7, CommitLevel::Quorum);
    assert!(bench.replica.takeover().is_some());
    begin(&mut bench.control, OTHERS[1], &ALL);
    bench.learn();
    assert!(bench.replica.serves().is_some(), "it has only begun");
    let epoch = bench.control.attempt_epoch();
    bench.agree(Command::Open { epoch });
    bench.settle();
    assert_eq!(bench.replica.serves(), None);
    assert!(bench.asked.contains(&Action::Unknown(WriteId(7))));
}

#[test]
fn a_start_promises_the_latest_attempt_and_later_ones_only_when_they_ask() {
    let mut bench = Bench::member();
    let epoch = bench.control.attempt_epoch();
    assert_eq!(bench.replica.member().promise(), epoch);
    begin(&mut bench.control, OTHERS[1], &ALL);
    bench.learn();
    assert_eq!(bench.replica.member().promise(), epoch);
}

#[test]
fn a_member_reports_to_the_primary_it_has_promised_to_and_to_no_earlier_one() {
    let mut bench = Bench::member();
    let epoch = bench.control.open_epoch();
    bench.ping(OTHERS[0], epoch, VersionVector::new());
    let reports = |bench: &Bench| {
        let to = |action: &Action| match action {
            Action::Send(to, Message::Held(_)) => Some(*to),
            _ => None,
        };
        bench.asked.iter().filter_map(to).collect::<Vec<_>>()
    };
    assert_eq!(reports(&bench), [OTHERS[0]]);
    let epoch = Epoch(epoch.0 + 1);
    bench.hear(OTHERS[1], Message::Seal(Seal { epoch }));
    bench.replica.synced(bench.now, &VersionVector::new());
    bench.settle();
    assert_eq!(reports(&bench), [OTHERS[0]]);
}

#[test]
fn a_primary_that_is_seen_gone_is_replaced_before_l_and_nobody_else_is_missed() {
    for (gone, sets_out) in [(OTHERS[0], true), (OTHERS[1], false)] {
        let mut bench = Bench::member();
        bench.replica.see_gone(gone);
        bench.pass(900);
        assert_eq!(bench.replica.change().is_some(), sets_out);
    }
}

#[test]
fn of_several_a_candidate_waits_for_a_moment_and_whoever_is_alone_does_not() {
    let sets_out_at_once = |of: &[IncarnationId], seed| {
        let mut control = members(of);
        open(&mut control, ME, of);
        let mut bench = Bench::start(control, seed);
        bench.pass(0);
        bench.control.attempt_epoch() > bench.control.open_epoch() || !bench.questions().is_empty()
    };
    let waits = (0..20).filter(|seed| !sets_out_at_once(&ALL, *seed));
    assert!(waits.count() > 10);
    for seed in 0..20 {
        let mut bench = Bench::start(members(&[ME]), seed);
        bench.pass(0);
        assert!(bench.control.attempt.is_some(), "seed {seed}");
    }
}

#[test]
fn a_question_keeps_its_number_until_it_is_given_up_and_the_next_has_another() {
    let mut bench = Bench::member();
    bench.pass(2_500);
    assert_eq!(bench.questions(), [1].into());
    bench.pass(10_000);
    assert!(bench.questions().len() > 1);
}

#[test]
fn whoever_is_no_data_member_replaces_nobody() {
    let mut control = members(&ALL);
    open(&mut control, OTHERS[0], &OTHERS);
    let mut bench = Bench::start(control, 1);
    bench.pass(5_000);
    assert!(bench.questions().is_empty());
    let epoch = bench.control.open_epoch();
    assert_eq!(bench.replica.force(bench.now, epoch), Err(Unfit::NotData));
}

#[test]
fn by_a_manual_policy_a_primary_is_replaced_only_by_word_or_by_itself() {
    for failover in [FailoverPolicy::Hybrid, FailoverPolicy::Manual] {
        let mut bench = Bench::member();
        bench.set(policy(failover));
        let epoch = bench.control.open_epoch();
        bench.replica.approve(Epoch(epoch.0 - 1));
        bench.pass(2_000);
        let is_asked = !bench.questions().is_empty();
        assert_eq!(is_asked, failover == FailoverPolicy::Hybrid);
        bench.replica.approve(epoch);
        bench.pass(2_000);
        assert!(!bench.questions().is_empty());
    }
    let mut control = members(&ALL);
    open(&mut control, ME, &ALL);
    let mut bench = Bench::start(control, 1);
    bench.set(policy(FailoverPolicy::Manual));
    bench.pass(500);
    assert!(!bench.questions().is_empty(), "its own process is gone");
}

#[test]
fn by_a_hybrid_policy_all_must_agree_unless_an_operator_approves_of_this_epoch() {
    let mut bench = Bench::member();
    bench.set(policy(FailoverPolicy::Hybrid));
    bench.pass(2_000);
    let open = bench.control.open_epoch();
    let number = *bench.questions().last().unwrap();
    let agrees = true;
    bench.hear(OTHERS[1], Message::PreSealed { number, agrees });
    bench.replica.approve(Epoch(open.0 - 1));
    bench.pass(0);
    assert_eq!(bench.control.attempt_epoch(), open);
    bench.replica.approve(open);
    bench.pass(0);
    assert!(bench.control.attempt_epoch() > open);
}

#[test]
fn an_operator_forces_a_member_that_takes_part_once_and_only_for_the_epoch_named() {
    let mut bench = Bench::member();
    let epoch = bench.control.open_epoch();
    let other = Epoch(epoch.0 + 1);
    assert_eq!(bench.replica.force(bench.now, other), Err(Unfit::Overtaken));
    assert_eq!(bench.replica.force(bench.now, epoch), Ok(()));
    assert_eq!(bench.replica.force(bench.now, epoch), Err(Unfit::UnderWay));
    let mut bench = Bench::primary(&ALL);
    let epoch = bench.replica.serves().unwrap();
    assert_eq!(bench.replica.force(bench.now, epoch), Err(Unfit::UnderWay));
    let mut bench = Bench::member();
    let incarnation = ME;
    let (expected_open, epoch) = (None, bench.control.open_epoch());
    bench.control.open.as_mut().unwrap().members = OTHERS.into();
    bench.control.attempt.as_mut().unwrap().basis = OTHERS.into();
    bench.control.attempt.as_mut().unwrap().members = OTHERS.into();
    bench.agree(Command::Evict {
        incarnation,
        expected_open,
    });
    bench.control.open.as_mut().unwrap().members = ALL.into();
    bench.learn();
    bench.settle();
    assert_eq!(bench.asked.last(), Some(&Action::Halt(Fault::Evicted)));
    let halts = bench.asked.len();
    assert_eq!(bench.replica.force(bench.now, epoch), Err(Unfit::Mute));
    bench.learn();
    bench.pass(500);
    assert_eq!(bench.asked.len(), halts, "that is said once");
}

#[test]
fn a_primary_that_is_fenced_in_its_own_epoch_sets_out_again() {
    for (back, sets_out) in [(0, true), (1, false)] {
        let mut bench = Bench::primary(&ALL);
        let serves = bench.replica.serves().unwrap();
        let epoch = Epoch(serves.0 - back);
        let promise = Epoch(serves.0 + 1);
        bench.hear(OTHERS[0], Message::Fenced { epoch, promise });
        bench.pass(100);
        assert_eq!(bench.replica.change().is_some(), sets_out);
    }
}

#[test]
fn a_member_takes_over_only_from_the_primary_of_the_open_epoch_and_with_all_that_it_holds() {
    let ours = |bench: &Bench| bench.replica.member().durable().clone();
    let mut more = VersionVector::new();
    let log = Bench::member()
        .control
        .log(Bench::member().control.open_epoch());
    more.advance(log, Seq(1));
    type Upset = fn(&mut Bench);
    let nothing: Upset = |_| ();
    let another: Upset = |bench| {
        begin(&mut bench.control, OTHERS[1], &ALL);
        bench.learn();
    };
    let cases = [
        (0, false, nothing),
        (1, false, nothing),
        (0, true, nothing),
        (0, false, another),
    ];
    for (at, (back, lacks, upset)) in cases.into_iter().enumerate() {
        let mut bench = Bench::member();
        let open = bench.control.open_epoch();
        upset(&mut bench);
        let message = Message::HandOver {
            epoch: Epoch(open.0 - back),
            members: ALL.into(),
            vector: if lacks { more.clone() } else { ours(&bench) },
        };
        let before = bench.control.attempt_epoch();
        bench.hear(OTHERS[0], message);
        assert_eq!(bench.control.attempt_epoch() > before, at == 0, "case {at}");
    }
    let mut bench = Bench::member();
    bench.pass(2_000);
    assert_eq!(bench.replica.change().unwrap().stage(), Way::Asking);
    let message = Message::HandOver {
        epoch: bench.control.open_epoch(),
        members: ALL.into(),
        vector: ours(&bench),
    };
    bench.hear(OTHERS[0], message);
    assert_eq!(bench.replica.change().unwrap().stage(), Way::Asking);
}

#[test]
fn a_primary_hands_over_to_who_holds_everything_once_nothing_waits() {
    let sent = |bench: &Bench| {
        let sent = |action: &Action| matches!(action, Action::Send(to, Message::HandOver { .. }) if *to == OTHERS[0]);
        bench.asked.iter().any(sent)
    };
    let mut bench = Bench::member();
    let hand_over = |bench: &mut Bench| {
        let refused = bench.replica.hand_over(bench.now, OTHERS[0], ALL.into());
        bench.settle();
        refused
    };
    assert_eq!(hand_over(&mut bench), Err(Refused::NotPrimary));
    let mut bench = Bench::primary(&ALL);
    bench.write(1, CommitLevel::All);
    assert_eq!(hand_over(&mut bench), Ok(()));
    assert_eq!(hand_over(&mut bench), Err(Refused::HandingOver));
    let refused = bench.replica.admits(bench.now, CommitLevel::Async);
    assert_eq!(refused, Err(Refused::HandingOver));
    assert!(!sent(&bench), "nobody holds it");
    bench.report(OTHERS[0]);
    assert!(!sent(&bench), "a write waits");
    bench.replica.forget(WriteId(1));
    bench.pass(0);
    assert!(sent(&bench));
    bench.pass(2_000);
    let admitted = bench.replica.admits(bench.now, CommitLevel::Async);
    assert_eq!(admitted, Ok(()), "nobody took over");
}

#[test]
fn a_log_is_closed_once_its_writer_has_said_that_this_is_all_and_folded_then() {
    let mut bench = Bench::primary(&ALL);
    let before = *bench.control.logs.keys().next().unwrap();
    let folded = |bench: &Bench| {
        let folded =
            |action: &Action| matches!(action, Action::Fold(through) if *through >= before);
        bench.asked.iter().filter(|action| folded(action)).count()
    };
    bench.report(OTHERS[1]);
    bench.pass(1_000);
    assert!(bench.control.closed_through() < before);
    assert_eq!(folded(&bench), 0);
    bench.report(OTHERS[0]);
    bench.pass(1_000);
    assert!(bench.control.closed_through() >= before);
    assert_eq!(folded(&bench), 1);
}

#[test]
fn writes_are_acknowledged_at_their_levels_to_all_who_wait_and_to_nobody_else() {
    let mut bench = Bench::primary(&ALL);
    let stamp = bench.write(1, CommitLevel::Quorum);
    bench.write(2, CommitLevel::All);
    bench.write(3, CommitLevel::Quorum);
    bench.write(4, CommitLevel::Async);
    let now = bench.now;
    let repeated = bench
        .replica
        .await_level(now, stamp, CommitLevel::Quorum, WriteId(5));
    assert_eq!(repeated, Ok(()));
    bench.replica.forget(WriteId(3));
    bench.settle();
    assert!(bench.acknowledged().is_empty(), "nobody is heard");
    bench.report(OTHERS[0]);
    assert_eq!(bench.acknowledged(), [4, 1, 5]);
    bench.report(OTHERS[1]);
    assert_eq!(bench.acknowledged(), [2]);
}

#[test]
fn a_primary_tells_what_others_have_reported_and_whom_it_hears() {
    let mut bench = Bench::primary(&ALL);
    assert!(bench.replica.reports(bench.now).is_empty());
    bench.report(OTHERS[1]);
    let durable = bench.replica.member().durable().clone();
    let told = Report {
        promise: bench.replica.serves().unwrap(),
        durable: durable.clone(),
        applied: durable.clone(),
        is_heard: true,
    };
    let reports = |bench: &Bench, now| bench.replica.reports(now).into_iter().collect::<Vec<_>>();
    assert_eq!(reports(&bench, bench.now), [(OTHERS[1], told.clone())]);
    let is_heard = false;
    let later = bench.now + millis(1_000);
    assert_eq!(
        reports(&bench, later),
        [(OTHERS[1], Report { is_heard, ..told })]
    );
    assert_eq!(
        bench.replica.applied_elsewhere(),
        [(OTHERS[1], durable)].into()
    );
}

#[test]
fn the_primary_of_two_shrinks_to_itself_while_the_other_is_silent_and_takes_it_back_with_everything()
 {
    let two = [ME, OTHERS[0]];
    let opened = |bench: &Bench| bench.control.open.as_ref().unwrap().members.len();
    let mut refuses = Bench::primary(&two);
    refuses.pass(5_000);
    assert_eq!(opened(&refuses), 2);
    let mut bench = Bench::primary(&two);
    bench.set(SettingsChange {
        two_node: Some(TwoNode::Shrink),
        ..SettingsChange::default()
    });
    bench.report(OTHERS[0]);
    bench.pass(900);
    assert_eq!(opened(&bench), 2, "it may be heard yet");
    bench.pass(5_000);
    assert_eq!(opened(&bench), 1);
    let stamp = bench.write(1, CommitLevel::Quorum);
    assert_eq!(bench.acknowledged(), [1]);
    bench.pass(2_000);
    assert_eq!(opened(&bench), 1, "it is silent yet");
    let held = Held {
        epoch: bench.replica.serves().unwrap(),
        number: 0,
        round: Round::NONE,
        durable: VersionVector::new(),
        appended: Heads::default(),
        applied: VersionVector::new(),
    };
    bench.hear(OTHERS[0], Message::Held(held));
    bench.pass(300);
    assert_eq!(opened(&bench), 1, "it lacks what was written");
    assert!(
        bench
            .replica
            .member()
            .durable()
            .contains(stamp.log(), stamp.seq)
    );
    bench.report(OTHERS[0]);
    bench.pass(300);
    assert_eq!(bench.control.attempt.as_ref().unwrap().members.len(), 2);
}

#[test]
fn the_store_of_another_is_taken_in_the_promised_epoch_only_and_only_with_more_than_is_held() {
    let bench = Bench::member();
    let epoch = bench.control.open_epoch();
    let nothing = bench.replica.member().durable().clone();
    let mut offered = nothing.clone();
    offered.advance(bench.control.log(epoch), Seq(1));
    assert!(bench.replica.accepts_snapshot(epoch, &offered));
    assert!(!bench.replica.accepts_snapshot(epoch, &nothing));
    assert!(!bench.replica.accepts_snapshot(Epoch(epoch.0 - 1), &offered));
    let mut primary = Bench::primary(&ALL);
    let epoch = primary.replica.serves().unwrap();
    let mut more = primary.replica.member().durable().clone();
    more.advance(primary.control.log(epoch), Seq(9));
    assert!(!primary.replica.accepts_snapshot(epoch, &more));
    let later = Epoch(epoch.0 + 1);
    primary.hear(OTHERS[0], Message::Seal(Seal { epoch: later }));
    assert!(primary.replica.accepts_snapshot(later, &more));
    let mut other = nothing;
    other.advance(primary.control.log(later), Seq(9));
    assert!(
        !primary.replica.accepts_snapshot(later, &other),
        "it lacks what is held"
    );
}

#[test]
fn a_log_keeps_what_is_not_on_enough_members() {
    let bench = Bench::member();
    let log = bench.control.log(bench.control.open_epoch());
    assert!(!bench.replica.may_release(log, Seq(1)));
    let mut bench = Bench::primary(&ALL);
    let stamp = bench.write(1, CommitLevel::Quorum);
    bench.report(OTHERS[0]);
    bench.pass(600);
    assert!(bench.replica.may_release(stamp.log(), stamp.seq));
}
