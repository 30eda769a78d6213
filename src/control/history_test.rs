use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, LineageId, RegionId};
use crate::control::{Command, Role};

fn id(at: u128) -> IncarnationId {
    IncarnationId(at)
}

fn set() -> ControlState {
    let mut state = ControlState::new(LineageId(1), RegionId(5), id(1));
    let register = Command::Register {
        incarnation: id(2),
        role: Role::Data,
    };
    state.apply(register).unwrap();
    state
}

fn begin(state: &mut ControlState, candidate: u128, cause: Cause) -> Epoch {
    let begin = Command::Begin {
        candidate: id(candidate),
        boot: BootNumber::NONE,
        members: [id(1), id(2)].into(),
        expected_open: state.open_epoch(),
        expected_attempt: state.attempt_epoch(),
        cause,
    };
    state.apply(begin).unwrap();
    state.attempt_epoch()
}

fn open(state: &mut ControlState, candidate: u128, cause: Cause) -> Epoch {
    let epoch = begin(state, candidate, cause);
    state.apply(Command::Open { epoch }).unwrap();
    epoch
}

fn served(at: u64) -> Served {
    Served {
        at,
        unavailable_ms: Some(at + 1),
        recovered: Some((Epoch(at), Seq(at))),
    }
}

#[test]
fn an_epoch_is_remembered_from_its_opening_to_the_end_of_its_log() {
    let mut state = set();
    let first = open(&mut state, 1, Cause::First);
    let overtaken = begin(&mut state, 2, Cause::Silence);
    let second = open(&mut state, 2, Cause::Gone);
    assert!(!state.history.contains_key(&overtaken), "it never opened");
    let serve = |epoch, at| Command::Serve {
        epoch,
        served: served(at),
    };
    for (epoch, at) in [(second, 40), (second, 50), (overtaken, 60)] {
        assert_eq!(state.apply(serve(epoch, at)), Ok(Effect::Done));
    }
    let close = Command::Close {
        by: second,
        epoch: first,
        last: Seq(7),
        digest: 9,
    };
    state.apply(close).unwrap();
    let both = BTreeSet::from([NodeNumber(1), NodeNumber(2)]);
    let note = |primary, cause, served, last| EpochNote {
        primary: NodeNumber(primary),
        members: both.clone(),
        cause,
        served,
        last,
    };
    let expected = [
        (first, note(1, Cause::First, None, Some(Seq(7)))),
        (second, note(2, Cause::Gone, Some(served(40)), None)),
    ];
    assert_eq!(state.history, expected.into());
}

#[test]
fn an_epoch_that_opens_twice_is_noted_once() {
    let mut state = set();
    let epoch = open(&mut state, 1, Cause::First);
    let serve = Command::Serve {
        epoch,
        served: served(3),
    };
    state.apply(serve).unwrap();
    let noted = state.history.clone();
    state.apply(Command::Open { epoch }).unwrap();
    assert_eq!(state.history, noted);
}

proptest! {
    #[test]
    fn the_latest_epochs_are_remembered_and_no_more(epochs in 1_usize..3 * KEPT) {
        let mut state = set();
        let opened: Vec<Epoch> = (0..epochs)
            .map(|_| open(&mut state, 1, Cause::Planned))
            .collect();
        let latest = opened.iter().rev().take(KEPT).rev();
        prop_assert!(state.history.keys().eq(latest));
    }
}
