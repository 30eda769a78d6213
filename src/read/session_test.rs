use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, IncarnationId, RegionId};
use crate::control::OpenConfig;

const LINEAGE: LineageId = LineageId(7);
const REGION: RegionId = RegionId(1);

fn key() -> SessionKey {
    SessionKey::derive(&[3; 32])
}

fn control() -> ControlState {
    ControlState::new(LINEAGE, REGION, IncarnationId(1))
}

fn log(epoch: u64) -> LogId {
    let epoch = Epoch(epoch);
    LogId {
        region: REGION,
        epoch,
    }
}

fn vector(held: &[(u64, u64)]) -> VersionVector {
    let mut vector = VersionVector::new();
    for (epoch, seq) in held {
        vector.advance(log(*epoch), Seq(*seq));
    }
    vector
}

fn token(seen: &[(u64, u64)]) -> Token {
    let epochs = seen.iter().map(|(epoch, _)| *epoch);
    Token {
        lineage: LINEAGE,
        doubtful: Epoch(epochs.max().unwrap_or(0)),
        seen: vector(seen),
    }
}

fn opening(epoch: u64, recovered: VersionVector) -> HeldOpening {
    HeldOpening {
        log: log(epoch),
        members: BTreeSet::new(),
        recovered,
    }
}

fn closed(last: u64) -> LogState {
    LogState::Closed {
        last: Seq(last),
        digest: 0,
    }
}

fn tokens() -> impl Strategy<Value = Token> {
    let positions = proptest::collection::vec((0..3u64, 1..6u64, 0..9u64, any::<bool>()), 0..8);
    (positions, 0..4u64).prop_map(|(positions, base)| {
        let mut token = Token::new(LINEAGE);
        for (region, epoch, seq, is_committed) in positions {
            let (region, epoch) = (RegionId(region), Epoch(epoch));
            token.see(LogId { region, epoch }, Seq(seq), is_committed);
        }
        token.seen.fold(REGION, Epoch(base));
        token
    })
}

fn joined(a: &Token, b: &Token) -> Token {
    let mut both = a.clone();
    both.join(b).unwrap();
    both
}

proptest! {
    #[test]
    fn a_token_opens_as_what_was_sealed_and_is_safe_in_an_address(token in tokens()) {
        let text = token.seal(&key());
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        prop_assert_eq!(Token::open(&key(), &text).unwrap(), token);
    }

    #[test]
    fn no_altered_text_opens(token in tokens(), at: prop::sample::Index, bit in 0..8u8, cut in 1..76usize) {
        let text = token.seal(&key());
        let mut bytes = BASE64.decode(&text).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let error = Token::open(&key(), &BASE64.encode(&bytes)).unwrap_err();
        prop_assert_eq!(matches!(error, Error::Format { .. }), at == 0, "{}", error);
        prop_assert!(at == 0 || error == Error::Forged);
        prop_assert!(Token::open(&key(), &text[..text.len() - cut]).is_err());
        let longer = text + "AAAA";
        prop_assert!(Token::open(&key(), &longer).is_err());
    }

    #[test]
    fn a_token_of_another_key_does_not_open(token in tokens(), secret: [u8; 32]) {
        prop_assume!(secret != [3; 32]);
        let text = token.seal(&SessionKey::derive(&secret));
        prop_assert_eq!(Token::open(&key(), &text), Err(Error::Forged));
    }

    #[test]
    fn no_text_makes_opening_panic(text in ".{0,80}") {
        prop_assert!(Token::open(&key(), &text).is_err());
    }

    #[test]
    fn joining_is_a_union(a in tokens(), b in tokens(), c in tokens()) {
        let both = joined(&a, &b);
        prop_assert_eq!(&both, &joined(&b, &a));
        prop_assert_eq!(&both, &joined(&both, &a));
        prop_assert_eq!(joined(&both, &c), joined(&a, &joined(&b, &c)));
        prop_assert!(both.seen.covers(&a.seen) && both.seen.covers(&b.seen));
    }

    /// Logs end where a real history lets them: epoch e is closed at `ends[e]`, and no node holds more of it.
    #[test]
    fn a_satisfied_session_stays_so_when_settled_and_no_node_that_lacks_a_record_satisfies_it(
        ends in proptest::collection::vec(0..5u64, 4),
        held in proptest::collection::vec(0..5u64, 5),
        seen in proptest::collection::vec((1..6usize, 0..5u64), 0..6),
        other in proptest::collection::vec(0..5u64, 5),
    ) {
        let mut control = control();
        for (epoch, end) in (1..).zip(&ends) {
            control.logs.insert(Epoch(epoch), closed(*end));
        }
        control.logs.insert(Epoch(5), LogState::Active);
        control.open = Some(OpenConfig { epoch: Epoch(5), members: BTreeSet::new() });
        let node = |held: &[u64]| {
            let end = |epoch: usize| ends.get(epoch).copied().unwrap_or(u64::MAX);
            let held: Vec<_> = (0..5).map(|epoch| (epoch as u64 + 1, held[epoch].min(end(epoch)))).collect();
            let mut applied = vector(&held);
            applied.fold(REGION, control.foldable(&applied));
            (applied, held)
        };
        let token = token(&seen.iter().map(|(epoch, seq)| (*epoch as u64, *seq)).collect::<Vec<_>>());
        let (applied, held) = node(&held);
        let holds = |held: &[(u64, u64)]| seen.iter().all(|(epoch, seq)| held[*epoch - 1].1 >= *seq);
        let is_recovered = seen.iter().all(|(epoch, seq)| ends.get(*epoch - 1).is_none_or(|end| end >= seq));
        let verdict = judge(&token, &control, &applied, None);
        prop_assert_eq!(verdict == Verdict::Satisfied, holds(&held));
        prop_assert_eq!(verdict == Verdict::Unrecovered, !is_recovered);
        if verdict == Verdict::Satisfied {
            let mut settled = token.clone();
            settled.settle(&applied);
            prop_assert!(settled.seen.logs().all(|(log, _)| log.epoch > applied.base(REGION)));
            prop_assert_eq!(judge(&settled, &control, &applied, None), Verdict::Satisfied);
            let (elsewhere, held) = node(&other);
            if judge(&settled, &control, &elsewhere, None) == Verdict::Satisfied {
                prop_assert!(holds(&held), "{:?} at {}", settled, elsewhere);
            }
        }
    }
}

#[test]
fn an_over_long_text_is_not_looked_into() {
    let text = "A".repeat(TEXT_BYTES_MAX + 1);
    let error = Token::open(&key(), &text).unwrap_err();
    assert_eq!(error, Error::TooLong { len: text.len() });
    let longest = Token::open(&key(), &text[..TEXT_BYTES_MAX]).unwrap_err();
    assert_ne!(
        longest,
        Error::TooLong {
            len: TEXT_BYTES_MAX
        }
    );
}

#[test]
fn a_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", key()), "SessionKey(..)");
}

#[test]
fn a_session_waits_for_what_may_still_come() {
    let applied = vector(&[(1, 4)]);
    let judged = |seen: &[(u64, u64)]| judge(&token(seen), &control(), &applied, None);
    assert_eq!(judged(&[]), Verdict::Satisfied);
    assert_eq!(judged(&[(1, 4)]), Verdict::Satisfied);
    assert_eq!(judged(&[(1, 5)]), Verdict::Wait);
    assert_eq!(judged(&[(1, 3), (2, 1)]), Verdict::Wait);
}

#[test]
fn a_record_that_a_later_epoch_opened_without_is_unrecovered_until_it_returns() {
    let session = token(&[(1, 5)]);
    let later = opening(2, vector(&[(1, 4)]));
    let judged = |held: &[(u64, u64)], opening: &HeldOpening| {
        judge(&session, &control(), &vector(held), Some(opening))
    };
    assert_eq!(judged(&[(1, 4), (2, 1)], &later), Verdict::Unrecovered);
    assert_eq!(judged(&[(1, 5), (2, 1)], &later), Verdict::Satisfied);
    let with_it = opening(2, vector(&[(1, 5)]));
    assert_eq!(judged(&[(1, 4), (2, 1)], &with_it), Verdict::Wait);
    let same = opening(1, vector(&[]));
    assert_eq!(judged(&[(1, 4)], &same), Verdict::Wait);
    let mut elsewhere = later;
    elsewhere.log.region = RegionId(9);
    assert_eq!(judged(&[(1, 4)], &elsewhere), Verdict::Wait);
}

#[test]
fn what_was_committed_is_not_told_as_lost_where_it_is_late() {
    let mut session = Token::new(LINEAGE);
    session.see(log(1), Seq(5), true);
    let later = opening(2, vector(&[(1, 4)]));
    let verdict = judge(
        &session,
        &control(),
        &vector(&[(1, 4), (2, 1)]),
        Some(&later),
    );
    assert_eq!(verdict, Verdict::Wait);
}

#[test]
fn a_text_says_of_which_history_it_claims_to_be() {
    let text = token(&[(1, 2)]).seal(&SessionKey::derive(&[9; 32]));
    assert_eq!(Token::open(&key(), &text), Err(Error::Forged));
    assert_eq!(Token::claimed_lineage(&text), Some(LINEAGE));
    assert_eq!(Token::claimed_lineage("x"), None);
}

#[test]
fn a_record_beyond_its_logs_end_is_unrecovered_even_where_the_log_is_folded() {
    let mut control = control();
    control.logs.insert(Epoch(1), closed(4));
    let mut folded = vector(&[(1, 4), (2, 1)]);
    folded.fold(REGION, Epoch(1));
    for applied in [vector(&[]), vector(&[(1, 4)]), folded] {
        let judged = |seq| judge(&token(&[(1, seq)]), &control, &applied, None);
        assert_eq!(judged(5), Verdict::Unrecovered);
        assert_ne!(judged(4), Verdict::Unrecovered);
    }
    assert!(is_recovered(&control, log(1), Seq(4)));
    assert!(!is_recovered(&control, log(1), Seq(5)));
    assert!(!is_recovered(&control, log(2), Seq(1)), "it is not closed");
    let mut session = Token::new(LINEAGE);
    let (region, epoch) = (RegionId(9), Epoch(1));
    let elsewhere = LogId { region, epoch };
    assert!(!is_recovered(&control, elsewhere, Seq(4)));
    session.see(elsewhere, Seq(5), true);
    let verdict = judge(&session, &control, &vector(&[]), None);
    assert_eq!(
        verdict,
        Verdict::Wait,
        "the end is that of this region's log"
    );
}

#[test]
fn a_lost_record_is_not_told_as_held_when_its_logs_end_is_forgotten() {
    let members = BTreeSet::new();
    let epoch = Epoch(2);
    let mut control = control();
    control.logs.insert(epoch, LogState::Active);
    control.open = Some(OpenConfig { epoch, members });
    control.logs.insert(Epoch(1), closed(4));
    let mut folded = vector(&[(2, 1)]);
    folded.fold(REGION, Epoch(1));
    let mut settled = token(&[(1, 4)]);
    settled.settle(&folded);
    let judged = |control: &ControlState, token: &Token, held| judge(token, control, held, None);
    let (held, lost) = (token(&[(1, 4)]), token(&[(1, 5)]));
    assert_eq!(judged(&control, &held, &folded), Verdict::Satisfied);
    assert_eq!(judged(&control, &lost, &folded), Verdict::Unrecovered);

    control.logs.remove(&Epoch(1));
    control.forgotten = Epoch(1);
    for token in [&held, &lost] {
        assert_eq!(judged(&control, token, &folded), Verdict::Forgotten);
    }
    assert_eq!(judged(&control, &settled, &folded), Verdict::Satisfied);
    // What was committed when it was seen is not lost.
    let mut committed = Token::new(LINEAGE);
    committed.see(log(1), Seq(4), true);
    assert_eq!(judged(&control, &committed, &folded), Verdict::Satisfied);
    committed.see(log(2), Seq(1), false);
    assert_eq!(judged(&control, &committed, &folded), Verdict::Forgotten);
    let newer = token(&[(1, 4), (2, 2)]);
    assert_eq!(judged(&control, &newer, &folded), Verdict::Forgotten);
}

#[test]
fn a_session_of_another_history_is_told_so_and_not_joined() {
    let mut other = token(&[(1, 9)]);
    other.lineage = LineageId(8);
    let verdict = judge(&other, &control(), &vector(&[(1, 9)]), None);
    assert_eq!(verdict, Verdict::OtherLineage);
    let mut ours = token(&[]);
    assert!(matches!(ours.join(&other), Err(Error::OtherLineage { .. })));
    assert_eq!(ours, token(&[]));
}

#[test]
fn a_settled_session_is_satisfied_where_the_log_is_held_whole_but_not_folded() {
    let mut control = control();
    control.logs.insert(Epoch(1), closed(4));
    // A log is closed once a later epoch is open.
    control.logs.insert(Epoch(2), LogState::Active);
    control.open = Some(OpenConfig {
        epoch: Epoch(2),
        members: [IncarnationId(1)].into(),
    });
    let mut folded = vector(&[(1, 4), (2, 1)]);
    folded.fold(REGION, Epoch(1));
    let mut session = token(&[(1, 3)]);
    session.settle(&folded);
    assert_eq!(session.seen.logs().count(), 0);
    let judged = |held: &[(u64, u64)]| judge(&session, &control, &vector(held), None);
    assert_eq!(judged(&[(1, 4)]), Verdict::Satisfied);
    assert_eq!(judged(&[(1, 3)]), Verdict::Wait);
}

#[test]
fn a_session_that_has_seen_records_of_a_hundred_logs_goes_on() {
    let seen: Vec<_> = (1..=100).map(|epoch| (epoch, u64::MAX - epoch)).collect();
    let token = token(&seen);
    assert_eq!(Token::open(&key(), &token.seal(&key())), Ok(token));
}
