use super::*;
use crate::base::{BootNumber, LineageId, RegionId};
use crate::control::Cause;
use crate::model::Heads;
use crate::replication::Round;

const MEMBERS: [IncarnationId; 3] = [IncarnationId(1), IncarnationId(2), IncarnationId(3)];

fn control() -> ControlState {
    ControlState::new(LineageId(1), RegionId(1), MEMBERS[0])
}

/// The reign of the first of three members, which serves.
fn reign() -> Reign {
    let attempt = Attempt {
        epoch: Epoch(1),
        candidate: MEMBERS[0],
        boot: BootNumber(1),
        members: MEMBERS.into(),
        basis: MEMBERS.into(),
        floor: Hlc::ZERO,
        cause: Cause::default(),
    };
    let nothing = VersionVector::new();
    let mut reign = Reign::new(MEMBERS[0], Duration::ZERO, attempt, nothing, &control());
    reign.stage = Stage::Serving;
    reign
}

fn echo(reign: &mut Reign, now: Duration, round: Round) {
    let held = Held {
        epoch: Epoch(1),
        number: 0,
        round,
        durable: VersionVector::new(),
        appended: Heads::default(),
        applied: VersionVector::new(),
    };
    reign.report(now, MEMBERS[1], &control(), held);
}

#[test]
fn who_was_away_admits_nothing_until_a_round_that_it_began_since_is_confirmed() {
    let mut reign = reign();
    let level = CommitLevel::Quorum;
    let before = reign.contact.begin(Duration::ZERO);
    assert!(
        reign.admits(Duration::ZERO, level).is_err(),
        "nobody is heard"
    );
    echo(&mut reign, Duration::ZERO, before);
    let silence = reign.silence;
    let soon = silence - Duration::from_millis(1);
    assert!(reign.admits(soon, level).is_ok());
    assert!(reign.has_contact(soon) && !reign.has_contact(silence));
    // It stands still for a while, and hears then what had been sent to it before.
    let back = silence * 10;
    echo(&mut reign, back, before);
    assert!(reign.hears(back, MEMBERS[1]));
    let (present, needed) = (1, 2);
    let refused = Refused::TooFew { present, needed };
    assert_eq!(reign.admits(back, level), Err(refused));
    let since = reign.contact.begin(back);
    assert!(reign.admits(back, level).is_err());
    echo(&mut reign, back, since);
    assert!(reign.admits(back, level).is_ok());
}

#[test]
fn a_disk_stands_still_once_nothing_has_become_durable_for_l_of_what_was_appended() {
    let mut reign = reign();
    let silence = reign.silence;
    let soon = silence - Duration::from_millis(1);
    let mut at = Duration::ZERO;
    for durable in 1..4 {
        reign.watch_log(at, Some(Seq(durable)), Some(Seq(4)));
        reign.watch_log(at + soon, Some(Seq(durable)), Some(Seq(9)));
        assert!(!reign.stands_still(at + soon));
        assert!(reign.stands_still(at + silence));
        at += silence;
    }
    reign.watch_log(at, Some(Seq(9)), Some(Seq(9)));
    assert!(!reign.stands_still(at + silence * 2));
}

#[test]
fn a_takeover_names_the_latest_log_of_its_region_before_its_own() {
    let mut reign = reign();
    let log = |region, epoch| LogId {
        region: RegionId(region),
        epoch: Epoch(epoch),
    };
    reign.log = log(1, 5);
    for (region, epoch, last) in [(1, 2, 9), (1, 4, 3), (1, 5, 1), (1, 6, 1), (2, 4, 8)] {
        reign.recovered.advance(log(region, epoch), Seq(last));
    }
    assert_eq!(reign.takeover(), None, "it does not take writes");
    reign.served = Some(Duration::ZERO);
    let recovered = reign.takeover().unwrap().recovered;
    assert_eq!(recovered, Some((Epoch(4), Seq(3))));
}
