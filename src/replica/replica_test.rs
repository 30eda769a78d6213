//! One member of three, by what it is told and what it asks for.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out what it is about"
)]

use super::testing::{ALL, Bench, ME, OTHERS, begin, members, millis, open};
use super::*;
use crate::base::{CommitLevel, Seq};
use crate::control::{FailoverPolicy, Role, SettingsChange, TwoNode};
use crate::epoch::Stage as Way;
use crate::replication::testing::records;
use crate::replication::{Append, Fetched, Logged, Seal, SealAck};

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
    bench.hear(OTHERS[0], Message::Seal(Seal { epoch: later }));
    assert_eq!(bench.count(|action| *action == Action::Promise(later)), 1);
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
    let mut durable = bench.replica.member().durable().clone();
    durable.advance(bench.control.log(epoch), Seq(1));
    bench.replica.synced(bench.now, &durable);
    bench.replica.read_for_quorum(bench.now, ReadId(1));
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
    let ends = [Action::Abandon(ReadId(1)), Action::Halt(Fault::Evicted)];
    assert!(bench.asked.ends_with(&ends), "{:?}", bench.asked);
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
    bench.pass(950);
    let all = bench.count(|action| matches!(action, Action::Send(_, Message::HandOver { .. })));
    assert_eq!(all, 5, "it is asked five times a second");
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
    bench.pass(900);
    assert_eq!(opened(&bench), 2, "it may be heard yet");
    bench.pass(5_000);
    assert_eq!(opened(&bench), 1);
    let stamp = bench.write(1, CommitLevel::Quorum);
    assert_eq!(bench.acknowledged(), [1]);
    bench.pass(2_000);
    assert_eq!(opened(&bench), 1, "it is silent yet");
    bench.report_of(OTHERS[0], VersionVector::new(), Heads::default());
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

#[test]
fn whoever_hands_over_waits_while_somebody_else_tries() {
    let mut bench = Bench::primary(&ALL);
    begin(&mut bench.control, OTHERS[1], &ALL);
    bench.learn();
    bench
        .replica
        .hand_over(bench.now, OTHERS[0], ALL.into())
        .unwrap();
    bench.report(OTHERS[0]);
    bench.pass(300);
    let asked = bench.count(|action| matches!(action, Action::Send(_, Message::HandOver { .. })));
    assert_eq!(asked, 0);
}

#[test]
fn a_primary_whose_own_change_comes_to_nothing_serves_on() {
    let mut bench = Bench::primary(&ALL);
    let epoch = bench.replica.serves();
    bench.report(OTHERS[0]);
    bench.is_unheard = true;
    bench
        .replica
        .hand_over(bench.now, ME, [ME, OTHERS[0]].into())
        .unwrap();
    bench.settle();
    assert!(bench.replica.change().is_some());
    bench.pass(3_500);
    assert!(bench.replica.change().is_none());
    assert_eq!(bench.replica.serves(), epoch);
    let admitted = bench.replica.admits(bench.now, CommitLevel::Async);
    assert_eq!(admitted, Ok(()));
}

#[test]
fn whoever_has_promised_a_later_epoch_does_not_reign_in_its_own_even_if_that_opens() {
    let mut bench = Bench::member();
    let before = bench.control.open_epoch();
    bench.replica.force(bench.now, before).unwrap();
    bench.settle();
    bench.is_unheard = true;
    bench.seal();
    let epoch = bench.control.attempt_epoch();
    let later = Epoch(epoch.0 + 1);
    bench.hear(OTHERS[1], Message::Seal(Seal { epoch: later }));
    bench.is_unheard = false;
    bench.agree(Command::Open { epoch });
    bench.settle();
    bench.pass(1_000);
    assert_eq!(bench.control.open_epoch(), epoch);
    assert_eq!(bench.replica.serves(), None);
    assert!(bench.appended.is_empty());
}

#[test]
fn a_reign_that_began_with_the_transfer_goes_on_and_logs_nothing_before_its_epoch_is_open() {
    let mut bench = Bench::primary(&ALL);
    bench.report(OTHERS[0]);
    bench.pass(200);
    bench
        .replica
        .hand_over(bench.now, ME, [ME, OTHERS[0]].into())
        .unwrap();
    bench.pass(50);
    let logged = bench.appended.len();
    let before = bench.control.open_epoch();
    bench.seal();
    bench.pass(500);
    let way = |bench: &Bench| bench.replica.change().map(Change::stage);
    assert_eq!(way(&bench), Some(Way::Transferring));
    bench.is_unheard = true;
    bench.report(OTHERS[0]);
    assert_eq!(way(&bench), Some(Way::Opening));
    bench.is_unheard = false;
    let epoch = bench.control.attempt_epoch();
    bench.pass(0);
    assert_eq!(
        (bench.replica.serves(), bench.appended.len()),
        (None, logged)
    );
    assert!(
        bench
            .control
            .extended
            .is_some_and(|extended| extended.epoch == epoch)
    );
    bench.pass(500);
    assert_eq!(bench.control.open_epoch(), epoch);
    assert!(epoch > before);
    assert_eq!(bench.replica.serves(), Some(epoch));
    assert!(bench.replica.reports(bench.now).contains_key(&OTHERS[0]));
}

#[test]
fn a_log_opens_with_its_one_opening_record() {
    let mut bench = Bench::primary(&ALL);
    bench.report(OTHERS[0]);
    bench.write(1, CommitLevel::Quorum);
    bench.pass(3_000);
    let opens = |record: &Logged| (record.seq(), record.opening.is_some());
    let logged: Vec<_> = bench.appended.iter().map(opens).collect();
    assert_eq!(logged, [(Seq(1), true), (Seq(2), false)]);
}

#[test]
fn a_member_echoes_the_greatest_number_and_round_it_has_heard_from_the_primary_of_this_epoch() {
    let mut bench = Bench::member();
    let open = bench.control.open_epoch().0;
    for (epoch, said, greatest) in [(open, 5, 5), (open, 3, 5), (open, 7, 7), (open + 1, 2, 2)] {
        let ping = Append {
            epoch: Epoch(epoch),
            number: said,
            round: Round(said),
            vector: VersionVector::new(),
            records: vec![],
        };
        bench.hear(OTHERS[0], Message::Append(ping));
        let Some(Action::Send(_, Message::Held(held))) = bench.asked.last() else {
            panic!("{:?}", bench.asked);
        };
        let heard = (held.epoch, held.number, held.round);
        assert_eq!(heard, (Epoch(epoch), greatest, Round(greatest)));
    }
}

#[test]
fn a_tail_is_asked_for_five_times_a_second_until_it_comes() {
    let mut bench = Bench::primary(&ALL);
    let before = *bench.control.logs.keys().next().unwrap();
    let mut held = Heads::default();
    let tail = records(before.0, 1, 0);
    held.advance(&tail[0]);
    let mut durable = bench.replica.member().durable().clone();
    durable.join(held.vector());
    let fetches =
        |bench: &Bench| bench.count(|action| matches!(action, Action::Send(_, Message::Fetch(_))));
    for (passed, asked) in [(0, 1), (150, 1), (50, 2), (50, 2)] {
        bench.now += millis(passed);
        bench.report_of(OTHERS[0], durable.clone(), held.clone());
        assert_eq!(fetches(&bench), asked);
    }
    let leads_on = |action: &Action| matches!(action, Action::Read(_));
    assert_eq!(bench.count(leads_on), 0, "it may hold what is not here");
    let logged = bench.appended.len();
    let epoch = bench.replica.serves().unwrap();
    for brings in [Some(vec![]), Some(tail.clone()), Some(tail)] {
        let records = brings;
        bench.hear(OTHERS[0], Message::Fetched(Fetched { epoch, records }));
    }
    assert_eq!(bench.appended.len(), logged + 1);
    bench.now += millis(200);
    bench.report_of(OTHERS[0], durable, held);
    assert_eq!(fetches(&bench), 2, "it is here");
}

#[test]
fn members_that_hold_rows_are_pinged_five_times_a_second_and_nobody_else() {
    let mut control = members(&ALL);
    let incarnation = IncarnationId(4);
    let role = Role::Arbiter;
    control
        .apply(Command::Register { incarnation, role })
        .unwrap();
    open(&mut control, OTHERS[0], &ALL);
    let mut bench = Bench::start(control, 1);
    bench.take_over();
    bench.asked.clear();
    bench.pass(1_000);
    let pings = |to| bench.pings(to).count();
    assert_eq!(ALL.map(pings), [0, 5, 5]);
    assert_eq!(pings(incarnation), 0);
}

#[test]
fn a_ceiling_is_asked_for_twice_a_second_and_more_often_as_long_as_none_was_granted() {
    let mut bench = Bench::member();
    bench.is_unheard = true;
    let before = bench.control.open_epoch();
    bench.replica.force(bench.now, before).unwrap();
    bench.settle();
    bench.agree(bench.proposed.last().unwrap().clone());
    bench.settle();
    bench.seal();
    bench.agree(bench.proposed.last().unwrap().clone());
    bench.settle();
    bench.pass(1_150);
    assert_eq!(bench.extensions, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bench.replica.serves(), None, "no stamp may be given");
    bench.is_unheard = false;
    bench.pass(50);
    assert!(bench.replica.serves().is_some());
    bench.pass(2_000);
    assert_eq!(bench.extensions.len(), 13);
}

#[test]
fn a_store_is_sent_again_only_after_a_while() {
    let mut bench = Bench::primary(&ALL);
    let epoch = bench.replica.serves().unwrap();
    let to = OTHERS[0];
    bench.report_of(to, VersionVector::new(), Heads::default());
    let wanted = bench.asked.iter().find_map(|action| match action {
        Action::Read(wanted) => Some(wanted.clone()),
        _ => None,
    });
    bench.replica.records(bench.now, wanted.unwrap(), None);
    let sent = |bench: &mut Bench| {
        bench.settle();
        bench.count(|action| *action == Action::Snapshot { to, epoch })
    };
    for (passed, times) in [(0, 1), (4_950, 1), (50, 2), (50, 2)] {
        bench.pass(passed);
        assert_eq!(sent(&mut bench), times);
    }
}

/// A primary that holds a record of the epoch before, which the second member wrote.
fn holds_a_record_of_before() -> (Bench, Vec<Logged>) {
    let mut bench = Bench::member();
    let epoch = bench.control.open_epoch();
    let log = records(epoch.0, 2, 0);
    let append = Append {
        epoch,
        number: 1,
        round: Round(1),
        vector: VersionVector::new(),
        records: log[..1].to_vec(),
    };
    bench.hear(OTHERS[0], Message::Append(append));
    bench.take_over();
    (bench, log)
}

#[test]
fn a_log_is_not_closed_below_what_its_writer_has_appended_nor_above_what_it_holds() {
    let (mut bench, log) = holds_a_record_of_before();
    let epoch = log[0].log().epoch;
    let serves = bench.replica.serves().unwrap();
    let is_closed = |bench: &Bench| bench.control.closed_through() >= epoch;
    bench.report(OTHERS[1]);
    bench.report_of(OTHERS[0], VersionVector::new(), Heads::default());
    bench.pass(500);
    assert!(!is_closed(&bench), "its writer holds less");
    let ours = bench.replica.member().durable().clone();
    let mut more = bench.replica.member().appended().clone();
    more.advance(&log[1]);
    bench.report_of(OTHERS[0], ours, more);
    bench.pass(500);
    assert!(!is_closed(&bench), "its writer has appended more");
    bench.report(OTHERS[0]);
    bench.pass(1_000);
    assert!(is_closed(&bench));
    let closed = bench.proposed.iter().filter_map(|command| match command {
        Command::Close { epoch, .. } => Some(*epoch),
        _ => None,
    });
    let closed: Vec<Epoch> = closed.collect();
    assert!(closed.is_sorted_by(|one, next| one < next), "{closed:?}");
    assert!(closed.iter().all(|epoch| *epoch < serves));
}

#[test]
fn a_log_whose_writer_was_given_up_is_closed_once_all_who_are_left_have_nothing_more_of_it() {
    let (mut bench, log) = holds_a_record_of_before();
    let is_closed = |bench: &Bench| bench.control.closed_through() >= log[0].log().epoch;
    bench.control.members.remove(&OTHERS[0]);
    bench.learn();
    bench.pass(500);
    assert!(!is_closed(&bench));
    bench.report(OTHERS[1]);
    bench.pass(500);
    assert!(is_closed(&bench));
}

#[test]
fn a_read_is_confirmed_by_a_round_of_pings_that_begins_at_once_unless_one_is_under_way() {
    let mut bench = Bench::primary(&ALL);
    bench.report(OTHERS[0]);
    let pings = |bench: &Bench| bench.pings(OTHERS[0]).count();
    let before = pings(&bench);
    for (read, more) in [(1, 1), (2, 1)] {
        bench.replica.read_primary(bench.now, ReadId(read)).unwrap();
        bench.settle();
        assert_eq!(pings(&bench), before + more);
    }
    let rows = |read| move |action: &Action| *action == Action::ReadRows(ReadId(read));
    assert_eq!(bench.count(rows(1)), 0);
    bench.report(OTHERS[0]);
    assert_eq!((bench.count(rows(1)), bench.count(rows(2))), (1, 0));
    bench.pass(200);
    bench.report(OTHERS[0]);
    assert_eq!(bench.count(rows(2)), 1);
}

#[test]
fn rows_are_answered_once_they_are_committed_and_to_nobody_who_has_gone() {
    let mut bench = Bench::primary(&ALL);
    let stamp = bench.write(1, CommitLevel::Quorum);
    for read in [1, 2, 3] {
        bench.replica.read_primary(bench.now, ReadId(read)).unwrap();
    }
    bench.replica.drop_read(ReadId(3));
    bench.settle();
    bench.pass(200);
    bench.report(OTHERS[0]);
    let rows = |read| move |action: &Action| *action == Action::ReadRows(ReadId(read));
    let read = |bench: &Bench| [1, 2, 3].map(|read| bench.count(rows(read)));
    assert_eq!(read(&bench), [1, 1, 0]);
    let answers = |bench: &Bench| {
        [1, 2].map(|read| bench.count(|action| *action == Action::Answer(ReadId(read))))
    };
    let next = Seq(stamp.seq.0 + 1);
    for read in [1, 2] {
        let records = vec![(stamp.log(), stamp.seq), (stamp.log(), next)];
        bench.replica.rows(bench.now, ReadId(read), records);
    }
    bench.replica.drop_read(ReadId(2));
    bench.settle();
    assert_eq!(answers(&bench), [0, 0], "one record is not committed");
    bench.write(2, CommitLevel::Quorum);
    bench.report(OTHERS[0]);
    assert_eq!(answers(&bench), [1, 0]);
}

#[test]
fn staleness_is_the_age_of_the_newest_answer_whose_records_are_applied() {
    let mut bench = Bench::member();
    let epoch = bench.control.open_epoch();
    assert_eq!(bench.replica.staleness(bench.now), None);
    bench.ping(OTHERS[0], epoch, VersionVector::new());
    let probes = |bench: &Bench| {
        let number = |action: &Action| match action {
            Action::Send(to, Message::Probe { number }) if *to == OTHERS[0] => Some(*number),
            _ => None,
        };
        bench.asked.iter().filter_map(number).collect::<Vec<_>>()
    };
    bench.pass(950);
    let asked = probes(&bench);
    assert_eq!(asked.len(), 5);
    let appended = bench.replica.member().durable().clone();
    let number = asked[1];
    bench.hear(OTHERS[0], Message::Probed { number, appended });
    assert_eq!(
        bench.replica.staleness(bench.now),
        Some(bench.now - millis(200))
    );
    assert_eq!(bench.replica.fresh_at(), Some(millis(200)));
}

#[test]
fn a_primary_answers_probes_with_what_it_had_appended_once_a_round_is_confirmed() {
    let mut bench = Bench::primary(&ALL);
    bench.report(OTHERS[0]);
    let appended = bench.replica.member().appended().vector().clone();
    bench.hear(OTHERS[1], Message::Probe { number: 9 });
    bench.write(1, CommitLevel::Quorum);
    let answer = |action: &Action| matches!(action, Action::Send(_, Message::Probed { .. }));
    assert_eq!(bench.count(answer), 0);
    bench.pass(200);
    bench.report(OTHERS[0]);
    let sent: Vec<_> = bench.asked.iter().filter(|action| answer(action)).collect();
    let number = 9;
    let expected = Action::Send(OTHERS[1], Message::Probed { number, appended });
    assert_eq!(sent, [&expected]);
    assert!(
        bench.replica.staleness(bench.now).is_some(),
        "it asks itself"
    );
}

#[test]
fn nothing_is_done_about_an_absent_member_of_three_or_taken_back_before_it_is_heard() {
    let shrink = || SettingsChange {
        two_node: Some(TwoNode::Shrink),
        ..SettingsChange::default()
    };
    let two = [ME, OTHERS[0]];
    let opened = |bench: &Bench| bench.control.attempt.as_ref().unwrap().members.len();
    let mut control = members(&ALL);
    open(&mut control, OTHERS[0], &two);
    let mut bench = Bench::start(control, 1);
    bench.take_over();
    bench.set(shrink());
    bench.pass(3_000);
    assert_eq!(opened(&bench), 2);
    let mut control = members(&two);
    open(&mut control, ME, &[ME]);
    let mut bench = Bench::start(control, 1);
    bench.pass(500);
    assert!(bench.replica.serves().is_some());
    bench.report(OTHERS[0]);
    bench.pass(2_000);
    bench.set(shrink());
    bench.pass(500);
    assert_eq!(opened(&bench), 1);
}

#[test]
fn a_takeover_says_for_how_long_nobody_took_writes() {
    let mut bench = Bench::member();
    let epoch = bench.control.open_epoch();
    bench.pass(300);
    bench.ping(OTHERS[0], epoch, VersionVector::new());
    bench.pass(2_000);
    let number = *bench.questions().last().unwrap();
    let agrees = true;
    bench.hear(OTHERS[1], Message::PreSealed { number, agrees });
    bench.pass(0);
    bench.seal();
    bench.pass(0);
    let takeover = bench.replica.takeover().unwrap();
    assert_eq!(takeover.at, bench.now);
    assert_eq!(takeover.unavailable, Some(bench.now - millis(300)));
    let mut first = Bench::start(members(&[ME]), 1);
    first.pass(300);
    assert_eq!(first.replica.takeover().unwrap().unavailable, None);
}
