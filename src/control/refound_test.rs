use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, CommitLevel, RegionId};
use crate::control::{Command, SettingsChange};

const REGION: RegionId = RegionId(5);

fn id(at: u128) -> IncarnationId {
    IncarnationId(at)
}

fn log(epoch: Epoch) -> LogId {
    LogId {
        region: REGION,
        epoch,
    }
}

fn open(state: &mut ControlState, candidate: u128) -> Epoch {
    let begin = Command::Begin {
        candidate: id(candidate),
        boot: BootNumber::NONE,
        members: (1..=3).map(id).collect(),
        expected_open: state.open_epoch(),
        expected_attempt: state.attempt_epoch(),
        cause: crate::control::Cause::Planned,
    };
    state.apply(begin).unwrap();
    let epoch = state.attempt_epoch();
    state.apply(Command::Open { epoch }).unwrap();
    epoch
}

/// Three members; the first epoch's log is closed at 7, the second's is open.
fn set() -> (ControlState, Epoch, Epoch) {
    let mut state = ControlState::new(LineageId(1), REGION, id(1));
    for at in 2..=3 {
        let register = Command::Register {
            incarnation: id(at),
            role: Role::Data,
        };
        state.apply(register).unwrap();
    }
    let change = SettingsChange {
        commit_floor: Some(CommitLevel::Quorum),
        priorities: [(NodeNumber(2), 4)].into(),
        ..SettingsChange::default()
    };
    state.apply(Command::Set(change)).unwrap();
    let (first, second) = (open(&mut state, 1), open(&mut state, 2));
    let close = Command::Close {
        by: second,
        epoch: first,
        last: Seq(7),
        digest: 9,
    };
    state.apply(close).unwrap();
    (state, first, second)
}

fn vector(held: &[(Epoch, u64)]) -> VersionVector {
    let mut vector = VersionVector::new();
    for (epoch, seq) in held {
        vector.advance(log(*epoch), Seq(*seq));
    }
    vector
}

static NO_CHAINS: BTreeMap<LogId, u128> = BTreeMap::new();

fn survivor(held: &VersionVector) -> Survivor<'_> {
    Survivor {
        chains: &NO_CHAINS,
        incarnation: id(1),
        promise: Epoch(40),
        held,
        newest: Hlc(900),
    }
}

#[test]
fn the_new_set_is_of_one_and_none_of_the_old_is_of_it() {
    let (state, first, second) = set();
    let held = vector(&[(first, 7), (second, 4)]);
    let new = state.refounded(&survivor(&held), LineageId(2), id(9));
    assert_eq!(new.lineage, LineageId(2));
    assert!(new.members.keys().eq([&id(9)]));
    assert_eq!(
        (new.open_epoch(), new.attempt_epoch()),
        (Epoch::NONE, Epoch::NONE)
    );
    assert_eq!(new.settings.commit_floor, CommitLevel::Quorum);
    assert!(new.settings.priorities.is_empty());
    assert!(new.writers.is_empty() && new.intents.is_empty());
    assert_eq!(new.history, state.history);
}

#[test]
fn the_new_set_opens_an_epoch_and_holds_all_logs_to_their_ends() {
    let (state, first, second) = set();
    let held = vector(&[(first, 5), (second, 4)]);
    let mut new = state.refounded(&survivor(&held), LineageId(2), id(9));
    let begin = Command::Begin {
        candidate: id(9),
        boot: BootNumber::NONE,
        members: [id(9)].into(),
        expected_open: Epoch::NONE,
        expected_attempt: Epoch::NONE,
        cause: crate::control::Cause::First,
    };
    new.apply(begin).unwrap();
    let epoch = new.attempt_epoch();
    assert!(epoch > Epoch(GENERATION + 40), "{epoch}");
    new.apply(Command::Open { epoch }).unwrap();
    // Although the old set's log was longer.
    assert_eq!(new.foldable(&held), Epoch(epoch.0 - 1));
    assert!(new.covers(&held, &held));
}

#[test]
fn what_cannot_be_proven_is_named() {
    let (mut state, first, second) = set();
    let all = vector(&[(first, 7), (second, 4)]);
    let doubts = state.unproven(&survivor(&all)).join("; ");
    assert!(
        doubts.contains(&format!(
            "log of epoch {second} is whole: here it ends at record 4"
        )),
        "{doubts}"
    );
    assert!(doubts.contains("2 of 3 data members"), "{doubts}");
    assert!(!doubts.contains(&format!("epoch {first}")), "{doubts}");
    state.members.get_mut(&id(3)).unwrap().acked = vector(&[(second, 5)]);
    let short = vector(&[(first, 6)]);
    let doubts = state.unproven(&survivor(&short)).join("; ");
    assert!(
        doubts.contains(&format!(
            "epoch {first}, which ended at record 7: here it ends at record 6"
        )),
        "{doubts}"
    );
    assert!(doubts.contains("member 3 was known to hold"), "{doubts}");
}

proptest! {
    #[test]
    fn epochs_and_stamps_go_on_above_all_that_may_have_been(
        (index, promise, newest, ceiling) in (0_u64..1 << 40, 0_u64..1 << 40, 0_u64..1 << 60, 0_u64..1 << 60),
        seq in 0_u64..9,
    ) {
        let (mut state, first, second) = set();
        (state.index, state.ceiling) = (state.index + index, Hlc(ceiling));
        let held = vector(&[(first, 7), (second, seq)]);
        let survivor = Survivor {
            chains: &NO_CHAINS,
            incarnation: id(1),
            promise: Epoch(promise),
            held: &held,
            newest: Hlc(newest),
        };
        let new = state.refounded(&survivor, LineageId(2), id(9));
        let next = new.epoch_base + new.index + 1;
        prop_assert!(next > promise && next > state.epoch_base + state.index && next > second.0);
        prop_assert!(new.ceiling > Hlc(newest) && new.ceiling > Hlc(ceiling));
        prop_assert!(new.logs.values().all(|log| *log != LogState::Active));
    }
}
