//! What a member takes and answers.

use proptest::prelude::*;

use super::*;
use crate::replication::testing::{append, control, log, records, vector};

fn fresh(promise: u64) -> Member {
    Member::new(Epoch(promise), Heads::default(), None)
}

fn taken(member: &mut Member, append: &Append) -> Vec<u64> {
    match member.take(&control(), append).unwrap() {
        Taken::Records(records) => records.iter().map(|record| record.seq().0).collect(),
        Taken::Fenced(promise) => panic!("fenced at {promise}"),
    }
}

#[test]
fn what_comes_from_below_the_promise_is_fenced() {
    let mut member = fresh(5);
    let old = append(4, vector(&[]), &records(4, 3, 0));
    assert_eq!(member.take(&control(), &old), Ok(Taken::Fenced(Epoch(5))));
    assert_eq!(member.appended(), &Heads::default());
    assert!(!member.promise_to(Epoch(4)));
    assert!(!member.promise_to(Epoch(5)), "it has not risen");
    assert_eq!(member.promise(), Epoch(5));
}

#[test]
fn a_record_under_a_held_name_with_other_bytes_is_a_fork() {
    let (ours, theirs) = (records(3, 4, 0), records(3, 4, 9));
    let mut member = fresh(3);
    taken(&mut member, &append(3, vector(&[]), &ours[..3]));
    for at in 2..4 {
        let forked = append(3, vector(&[]), &theirs[at..=at]);
        let fork = member.take(&control(), &forked).unwrap_err();
        assert_eq!((fork.log, fork.seq), (log(3), theirs[at].seq()));
    }
}

#[test]
fn an_opening_record_is_taken_only_from_a_primary_that_holds_all_that_is_held_here() {
    let mut member = fresh(3);
    taken(&mut member, &append(3, vector(&[]), &records(3, 4, 0)));
    member.promise_to(Epoch(6));
    let opening = records(6, 2, 0);
    assert_eq!(
        taken(&mut member, &append(6, vector(&[(3, 3)]), &opening)),
        [0; 0]
    );
    assert_eq!(member.opening().unwrap().log, log(3));
    assert_eq!(
        taken(&mut member, &append(6, vector(&[(3, 4)]), &opening)),
        [1, 2]
    );
    assert_eq!(member.opening().unwrap().log, log(6));
}

#[test]
fn a_member_vouches_only_in_the_promised_epoch_whose_opening_record_is_applied() {
    let mut member = fresh(3);
    taken(&mut member, &append(3, vector(&[]), &records(3, 2, 0)));
    assert_eq!(member.vouch(&vector(&[])), None, "not applied yet");
    let vouched = member.vouch(&vector(&[(3, 1)])).unwrap();
    assert_eq!(vouched.epoch, Epoch(3));
    assert_eq!(vouched.members.len(), 3);
    member.promise_to(Epoch(4));
    assert_eq!(
        member.vouch(&vector(&[(3, 2)])),
        None,
        "it has promised another"
    );
}

#[test]
fn a_snapshot_is_taken_only_if_it_covers_what_is_held() {
    let mut member = fresh(3);
    taken(&mut member, &append(3, vector(&[]), &records(3, 4, 0)));
    assert!(!member.accepts_snapshot(&control(), &vector(&[(3, 3), (9, 99)])));
    let covering = vector(&[(3, 4), (9, 99)]);
    assert!(member.accepts_snapshot(&control(), &covering));
    // Nor once more is folded here than there, though it may cover that: the ends may be forgotten by the next start.
    member.fold(control().region, Epoch(2));
    assert!(!member.accepts_snapshot(&control(), &covering));
    let mut folded = covering;
    folded.fold(control().region, Epoch(2));
    assert!(member.accepts_snapshot(&control(), &folded));
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_an_unbroken_prefix_is_held(
        spans in proptest::collection::vec((0..20usize, 0..8usize), 1..40),
    ) {
        let all = records(3, 20, 0);
        let mut member = fresh(3);
        let mut held = 0;
        for (from, length) in spans {
            let to = (from + length).min(all.len());
            let got = taken(&mut member, &append(3, vector(&[]), &all[from..to]));
            let expected: Vec<u64> = if from <= held { (held as u64 + 1..=to.max(held) as u64).collect() } else { vec![] };
            prop_assert_eq!(&got, &expected);
            held += got.len();
            prop_assert_eq!(member.appended().vector(), &vector(&[(3, held as u64)]));
        }
    }
}
