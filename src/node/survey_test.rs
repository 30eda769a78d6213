use proptest::prelude::*;

use super::*;
use crate::base::{LineageId, RegionId};
use crate::control::{OpenConfig, SettingsChange};

/// A set whose first `data` members count, the first being primary, and of which these are in contact.
fn set(data: u64, contact: &[bool]) -> (ControlState, BTreeMap<NodeNumber, MemberStatus>) {
    let id = |number: u64| IncarnationId(u128::from(number));
    let mut control = ControlState::new(LineageId(1), RegionId(1), id(1));
    control.open = Some(OpenConfig {
        epoch: Epoch(1),
        members: (1..=data).map(id).collect(),
    });
    control.writers.insert(Epoch(1), id(1));
    let member = |(number, in_contact): (u64, &bool)| {
        let status = MemberStatus {
            incarnation: id(number),
            role: if number <= data {
                Role::Data
            } else {
                Role::Arbiter
            },
            counts: number <= data,
            boot: BootNumber(1),
            addresses: Addresses::default(),
            is_self: false,
            serves: false,
            promise: None,
            durable: None,
            applied: None,
            lag_records: None,
            alone: Vec::new(),
            in_contact: *in_contact,
            heard_ago: None,
            trouble: None,
        };
        (NodeNumber(number), status)
    };
    (control, (1..).zip(contact).map(member).collect())
}

fn agreement(voters: usize) -> raft::Status {
    raft::Status {
        number: NodeNumber(1),
        leader: None,
        term: 1,
        last_quorum_acked: None,
        voters: (1..).take(voters).map(NodeNumber).collect(),
        learners: [].into(),
        last: 0,
        applied: 0,
        matched: BTreeMap::new(),
    }
}

fn judged(data: u64, contact: &[bool]) -> Result<(), String> {
    let (control, members) = set(data, contact);
    can_fail_over(&control, Some(&agreement(contact.len())), &members)
}

#[test]
fn two_data_members_and_an_arbiter_replace_a_primary_only_together() {
    assert_eq!(judged(2, &[true, true, true]), Ok(()));
    // Whether the primary is heard does not matter.
    assert_eq!(judged(2, &[false, true, true]), Ok(()));
    let data = judged(2, &[true, false, true]).unwrap_err();
    assert!(data.contains("0 data members"), "{data}");
    let voters = judged(2, &[true, true, false]).unwrap_err();
    assert!(voters.contains("1 voters"), "{voters}");
    assert!(judged(1, &[true]).is_err());
}

proptest! {
    /// Not more is claimed than what the others need: R data members to seal, and a majority of voters.
    #[test]
    fn others_take_over_if_enough_of_them_are_left(data in 1_u64..6, contact in prop::collection::vec(any::<bool>(), 1..8)) {
        let data = data.min(contact.len() as u64);
        let left = |upto: usize| contact[1..upto].iter().filter(|is_there| **is_there).count();
        let size = usize::try_from(data).unwrap();
        let expected = data > 1
            && left(size) >= seal_size(size)
            && left(contact.len()) > contact.len() / 2;
        prop_assert_eq!(judged(data, &contact).is_ok(), expected);
    }
}

#[test]
fn where_an_operator_decides_that_is_said() {
    let (mut control, members) = set(3, &[true, true, true]);
    for policy in [FailoverPolicy::Hybrid, FailoverPolicy::Manual] {
        control.settings = control.settings.with(&SettingsChange {
            failover: Some(policy),
            ..SettingsChange::default()
        });
        let why = can_fail_over(&control, Some(&agreement(3)), &members).unwrap_err();
        assert!(why.contains("an operator decides"), "{why}");
    }
}
