//! What is promised about who comes, goes and takes part.

use proptest::prelude::*;

use super::*;
use crate::base::{
    BootNumber, BootToken, CommitLevel, LineageId, NodeNumber, RegionId, VersionVector,
};
use crate::control::{Addresses, BootClaim, Command, FailoverPolicy, LEVEL, SettingsChange};
use std::collections::{BTreeMap, BTreeSet};

const HASH: TokenHash = TokenHash([7; 32]);

fn id(at: u128) -> IncarnationId {
    IncarnationId(at)
}

fn set() -> ControlState {
    ControlState::new(LineageId(1), RegionId(5), id(1))
}

fn register(at: u128) -> Command {
    Command::Register {
        incarnation: id(at),
        role: Role::Data,
    }
}

fn boot(at: u128, token: u64, peer: &str, level: u32) -> Command {
    Command::Boot(BootClaim {
        incarnation: id(at),
        known: BTreeSet::new(),
        token: BootToken(token),
        held: VersionVector::new(),
        addresses: Addresses {
            peer: peer.to_owned(),
            client: String::new(),
        },
        level,
    })
}

fn issue(expires: u64, now: u64) -> Command {
    Command::IssueToken {
        hash: HASH,
        role: Role::Arbiter,
        expires,
        now,
    }
}

fn redeem(at: u128, now: u64) -> Command {
    Command::Redeem {
        hash: HASH,
        incarnation: id(at),
        now,
    }
}

proptest! {
    #[test]
    fn a_number_names_one_member_for_ever(steps in proptest::collection::vec((1..6u128, any::<bool>()), 1..40)) {
        let mut state = set();
        let mut named = BTreeMap::from([(NodeNumber::FIRST, id(1))]);
        for (at, evicts) in steps {
            let command = if evicts { Command::Evict { incarnation: id(at), expected_open: None } } else { register(at) };
            let _refused_or_done = state.apply(command);
            for (incarnation, member) in &state.members {
                let first = *named.entry(member.number).or_insert(*incarnation);
                prop_assert_eq!(first, *incarnation);
                prop_assert_eq!(state.member_by_number(member.number).unwrap().0, *incarnation);
            }
        }
    }
}

#[test]
fn a_start_that_moves_tells_its_new_addresses_and_stays_the_same_start() {
    let mut state = set();
    for peer in ["a:1", "b:2"] {
        let booted = state.apply(boot(1, 10, peer, LEVEL));
        assert_eq!(booted, Ok(Effect::Booted(BootNumber(1))));
        assert_eq!(state.members[&id(1)].addresses.peer, peer);
    }
}

#[test]
fn the_level_rises_only_to_what_every_started_member_understands_and_keeps_older_ones_out() {
    let mut state = set();
    state.apply(register(2)).unwrap();
    state.apply(register(3)).unwrap();
    state.apply(boot(1, 10, "", LEVEL + 2)).unwrap();
    state.apply(boot(2, 20, "", LEVEL + 1)).unwrap();
    let too_low = |at, level, needed| {
        Err(Rejection::LevelTooLow {
            incarnation: id(at),
            level,
            needed,
        })
    };
    assert_eq!(state.level_due(), Some(LEVEL + 1));
    let raised = state.apply(Command::RaiseLevel(LEVEL + 2));
    assert_eq!(raised, too_low(2, LEVEL + 1, LEVEL + 2));
    state.apply(Command::RaiseLevel(LEVEL + 1)).unwrap();
    state.apply(Command::RaiseLevel(LEVEL + 1)).unwrap();
    assert_eq!(
        state.apply(Command::RaiseLevel(LEVEL)),
        Err(Rejection::LevelFalls {
            level: LEVEL,
            agreed: LEVEL + 1
        })
    );
    let old = state.apply(boot(3, 30, "", LEVEL));
    assert_eq!(old, too_low(3, LEVEL, LEVEL + 1));
    assert!(state.apply(boot(3, 30, "", LEVEL + 1)).is_ok());
}

#[test]
fn settings_that_cannot_be_are_refused_and_change_nothing() {
    let mut state = set();
    let sound = state.settings.clone();
    let silent = |silence_ms| SettingsChange {
        silence_ms: Some(silence_ms),
        ..SettingsChange::default()
    };
    let floor = SettingsChange {
        commit_floor: Some(CommitLevel::All),
        ..SettingsChange::default()
    };
    for (change, named) in [
        (silent(399), "399"),
        (silent(60_001), "60001"),
        (floor, "all"),
        (preferring(&[(1, 1), (2, 1)]), "2"),
    ] {
        let refused = state.apply(Command::Set(change)).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
        assert_eq!(state.settings, sound);
    }
    state.apply(Command::Set(silent(400))).unwrap();
    assert_eq!(state.settings.silence_ms, 400);
}

fn preferring(priorities: &[(u64, u8)]) -> SettingsChange {
    let named = priorities.iter();
    SettingsChange {
        priorities: named
            .map(|(number, priority)| (NodeNumber(*number), *priority))
            .collect(),
        ..SettingsChange::default()
    }
}

#[test]
fn of_two_changes_of_settings_neither_undoes_the_other() {
    let hybrid = SettingsChange {
        failover: Some(FailoverPolicy::Hybrid),
        ..SettingsChange::default()
    };
    let silent = SettingsChange {
        silence_ms: Some(2_000),
        ..SettingsChange::default()
    };
    let changes = [hybrid, silent, preferring(&[(1, 9)]), preferring(&[(2, 7)])];
    let settled = |order: [usize; 4]| {
        let mut state = set();
        state.apply(register(2)).unwrap();
        let mut last = None;
        for at in order {
            last = Some(state.apply(Command::Set(changes[at].clone())).unwrap());
        }
        assert_eq!(last, Some(Effect::Settings(state.settings.clone())));
        state.settings
    };
    let settings = settled([0, 1, 2, 3]);
    assert_eq!(settings.failover, FailoverPolicy::Hybrid);
    assert_eq!(settings.silence_ms, 2_000);
    let both = BTreeMap::from([(NodeNumber(1), 9), (NodeNumber(2), 7)]);
    assert_eq!(settings.priorities, both);
    for order in [[3, 2, 1, 0], [2, 0, 3, 1]] {
        assert_eq!(settled(order), settings);
    }
}

#[test]
fn the_priority_of_an_evicted_member_goes_with_it() {
    let mut state = set();
    state.apply(register(2)).unwrap();
    let prefer = Command::Set(preferring(&[(1, 1), (2, 2)]));
    state.apply(prefer).unwrap();
    let evict = Command::Evict {
        incarnation: id(2),
        expected_open: None,
    };
    state.apply(evict).unwrap();
    let left = BTreeMap::from([(NodeNumber(1), 1)]);
    assert_eq!(state.settings.priorities, left);
    let lost = Command::Set(preferring(&[(1, 0)]));
    state.apply(lost).unwrap();
    assert_eq!(state.settings.priorities, BTreeMap::new());
}

#[test]
fn a_token_lets_in_one_directory_before_it_expires() {
    let mut state = set();
    assert_eq!(state.apply(redeem(2, 0)), Err(Rejection::UnknownToken));
    state.apply(issue(1_000, 0)).unwrap();
    assert_eq!(
        state.apply(redeem(2, 1_000)),
        Err(Rejection::ExpiredToken {
            expires: 1_000,
            now: 1_000
        })
    );
    for now in [999, 2_000] {
        state.apply(redeem(2, now)).unwrap();
    }
    assert_eq!(state.members[&id(2)].role, Role::Arbiter);
    assert_eq!(
        state.intents,
        BTreeSet::from([Intent::Add { incarnation: id(2) }])
    );
    let other = state.apply(redeem(3, 999));
    assert_eq!(other, Err(Rejection::UsedToken { by: id(2) }));
    assert!(!state.members.contains_key(&id(3)));
    state
        .apply(Command::Evict {
            incarnation: id(2),
            expected_open: None,
        })
        .unwrap();
    let returned = state.apply(redeem(2, 999));
    assert_eq!(returned, Err(Rejection::Evicted { incarnation: id(2) }));
}

#[test]
fn what_has_expired_is_forgotten_when_another_token_is_issued() {
    let mut state = set();
    state.apply(issue(1_000, 0)).unwrap();
    let other = |now| Command::IssueToken {
        hash: TokenHash([8; 32]),
        role: Role::Data,
        expires: 9_000,
        now,
    };
    state.apply(other(999)).unwrap();
    assert_eq!(state.tokens.len(), 2);
    state.apply(other(1_000)).unwrap();
    assert_eq!(Vec::from_iter(state.tokens.keys()), [&TokenHash([8; 32])]);
}

#[test]
fn a_member_is_changed_by_one_intent_at_a_time() {
    let mut state = set();
    let replace = Intent::Replace {
        old: id(1),
        new: id(2),
    };
    let refused = state.apply(Command::Intend(replace));
    let stranger = Rejection::NotAMember { incarnation: id(2) };
    assert_eq!(refused, Err(stranger));
    for at in [2, 3] {
        state.apply(register(at)).unwrap();
    }
    for _again in 0..2 {
        state.apply(Command::Intend(replace)).unwrap();
    }
    let add = |at| Intent::Add {
        incarnation: id(at),
    };
    let refused = state.apply(Command::Intend(add(2)));
    assert_eq!(refused, Err(Rejection::OtherIntent { intent: replace }));
    state.apply(Command::Intend(add(3))).unwrap();
    for _again in 0..2 {
        state.apply(Command::Fulfil(replace)).unwrap();
    }
    state.apply(Command::Intend(add(2))).unwrap();
    state
        .apply(Command::Evict {
            incarnation: id(3),
            expected_open: None,
        })
        .unwrap();
    assert_eq!(state.intents, BTreeSet::from([add(2)]));
    // Who is to be added may be wanted for something else meanwhile.
    state.apply(Command::Intend(replace)).unwrap();
    assert_eq!(state.intents, BTreeSet::from([replace]));
}
