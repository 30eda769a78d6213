use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, IncarnationId, LineageId, RegionId, VersionVector};
use crate::control::Addresses;

fn member(number: u64, in_contact: bool, lag: Option<u64>) -> MemberStatus {
    MemberStatus {
        incarnation: IncarnationId(number.into()),
        role: Role::Data,
        counts: true,
        boot: BootNumber(1),
        addresses: Addresses::default(),
        is_self: number == 1,
        serves: number == 1,
        promise: None,
        durable: None,
        applied: None,
        lag_records: lag,
        alone: Vec::new(),
        in_contact,
        heard_ago: None,
        trouble: None,
    }
}

fn control(made: Option<u64>, failed: Option<u64>) -> ControlState {
    let mut control = ControlState::new(LineageId(1), RegionId(1), IncarnationId(1));
    control.backups.made = made.map(|number| Made {
        point: "p".to_owned(),
        member: NodeNumber(number),
        full: false,
        at: 1,
        held: VersionVector::new(),
    });
    control.backups.failed = failed.map(|number| Failed {
        member: NodeNumber(number),
        at: 1,
        why: String::new(),
    });
    control
}

/// Member 1 is the primary.
fn chosen(members: &[(bool, Option<u64>)], made: Option<u64>, failed: Option<u64>) -> Option<u64> {
    let members = (1..).zip(members);
    let members = members
        .map(|(number, (in_contact, lag))| (NodeNumber(number), member(number, *in_contact, *lag)));
    let chosen = choose(&control(made, failed), &members.collect());
    chosen.map(|number| number.0)
}

#[test]
fn the_one_that_made_the_last_makes_the_next_while_it_is_well() {
    let well = [(true, None), (true, Some(5)), (true, Some(9))];
    assert_eq!(chosen(&well, None, None), Some(2), "the least lag");
    assert_eq!(chosen(&well, Some(3), None), Some(3));
    assert_eq!(chosen(&well, Some(1), None), Some(1), "even the primary");
    assert_eq!(chosen(&well, Some(3), Some(3)), Some(2));
    let lagging = [(true, None), (true, Some(5)), (true, Some(CAUGHT_UP + 1))];
    assert_eq!(chosen(&lagging, Some(3), None), Some(2));
    let away = [(true, None), (false, Some(0)), (false, Some(0))];
    assert_eq!(chosen(&away, Some(3), None), Some(1));
    assert_eq!(
        chosen(&[(true, None)], None, Some(1)),
        Some(1),
        "there is no other"
    );
}

#[test]
fn who_has_no_rows_or_was_never_started_is_not_asked() {
    let mut arbiter = member(2, true, Some(0));
    arbiter.role = Role::Arbiter;
    let mut new = member(3, true, Some(0));
    new.boot = BootNumber::NONE;
    let members = [(NodeNumber(2), arbiter), (NodeNumber(3), new)].into();
    assert_eq!(choose(&control(None, None), &members), None);
}

proptest! {
    #[test]
    fn whoever_is_chosen_is_in_contact(members: Vec<(bool, Option<u64>)>, made in 1..5u64, failed in 1..5u64) {
        let place = |number: u64| usize::try_from(number - 1).unwrap();
        match chosen(&members, Some(made), Some(failed)) {
            Some(number) => prop_assert!(members[place(number)].0),
            None => prop_assert!(members.iter().all(|(in_contact, _)| !in_contact)),
        }
    }
}
