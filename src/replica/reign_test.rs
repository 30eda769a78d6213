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
    // It stands still for a while, and hears then what had been sent to it before.
    let back = silence * 10;
    echo(&mut reign, back, before);
    assert!(reign.hears(back, MEMBERS[1]));
    assert!(reign.admits(back, level).is_err());
    let since = reign.contact.begin(back);
    assert!(reign.admits(back, level).is_err());
    echo(&mut reign, back, since);
    assert!(reign.admits(back, level).is_ok());
}
