use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, IncarnationId, LineageId, RegionId, Seq};
use crate::control::{ArchiveClaim, BackupChange, BucketChange, Cause, Command, SettingsChange};

const MEMBER: IncarnationId = IncarnationId(2);
const BUCKET: &str = "file:///b";
const DAY: u64 = 86_400_000;

fn set(every_ms: u64, full_every_ms: u64) -> ControlState {
    let mut state = ControlState::new(LineageId(1), RegionId(5), MEMBER);
    let change = SettingsChange {
        backup: BackupChange {
            bucket: Some(BucketChange::Into(BUCKET.to_owned())),
            every_ms: Some(every_ms),
            full_every_ms: Some(full_every_ms),
            ..BackupChange::default()
        },
        ..SettingsChange::default()
    };
    state.apply(Command::Set(change)).unwrap();
    let begin = Command::Begin {
        candidate: MEMBER,
        boot: BootNumber::NONE,
        members: [MEMBER].into(),
        expected_open: Epoch::NONE,
        expected_attempt: Epoch::NONE,
        cause: Cause::First,
    };
    state.apply(begin).unwrap();
    let epoch = state.attempt_epoch();
    state.apply(Command::Open { epoch }).unwrap();
    state
}

fn vector(state: &ControlState, seq: u64) -> VersionVector {
    let mut vector = VersionVector::new();
    vector.advance(state.log(state.open_epoch()), Seq(seq));
    vector
}

fn archive(state: &mut ControlState, base: u64) {
    let claim = ArchiveClaim {
        by: state.open_epoch(),
        bucket: BUCKET.to_owned(),
        base: Some(vector(state, base)),
        through: vector(state, base),
    };
    state.apply(Command::Archive(claim)).unwrap();
}

fn order(state: &mut ControlState, member: u64, at: u64) {
    let order = Ordered {
        member: NodeNumber(member),
        full: false,
        at,
    };
    let by = state.open_epoch();
    let note = BackupNote::Ordered { by, order };
    state.apply(Command::Backup(note)).unwrap();
}

fn make(state: &mut ControlState, full: bool, at: u64, held: u64) {
    let made = Made {
        point: "p".to_owned(),
        member: NodeNumber(1),
        full,
        at,
        held: vector(state, held),
    };
    let bucket = BUCKET.to_owned();
    let note = BackupNote::Made { bucket, made };
    state.apply(Command::Backup(note)).unwrap();
}

fn fail(state: &mut ControlState, member: u64, at: u64) {
    let failed = Failed {
        member: NodeNumber(member),
        at,
        why: "no".to_owned(),
    };
    let bucket = BUCKET.to_owned();
    let note = BackupNote::Failed { bucket, failed };
    state.apply(Command::Backup(note)).unwrap();
}

#[test]
fn what_is_archived_gets_a_restore_point_that_it_follows() {
    let mut state = set(0, 0);
    assert_eq!(
        state.backup_due(DAY),
        None,
        "nothing is archived, and no schedule"
    );
    archive(&mut state, 5);
    assert_eq!(state.backup_due(DAY), Some(false));
    assert!(!state.can_be_restored());
    make(&mut state, true, DAY, 4);
    assert_eq!(state.backup_due(DAY), Some(false), "it holds too little");
    assert!(!state.can_be_restored());
    make(&mut state, false, DAY, 5);
    assert_eq!(state.backup_due(100 * DAY), None);
    assert!(state.can_be_restored());
    // A gap.
    archive(&mut state, 9);
    assert_eq!(state.backup_due(100 * DAY), Some(false));
    assert!(!state.can_be_restored());
}

#[test]
fn one_is_ordered_at_a_time_and_one_that_failed_is_ordered_again_later() {
    let mut state = set(DAY, 0);
    archive(&mut state, 0);
    order(&mut state, 1, 10);
    assert_eq!(state.backup_due(DAY * 2), None);
    fail(&mut state, 2, 20);
    assert!(state.backups.ordered.is_some(), "another's");
    fail(&mut state, 1, 30);
    assert_eq!(state.backups.ordered, None);
    assert_eq!(state.backup_due(30 + AGAIN_MILLIS - 1), None);
    assert_eq!(state.backup_due(30 + AGAIN_MILLIS), Some(false));
    order(&mut state, 1, 40);
    make(&mut state, false, DAY, 7);
    assert_eq!(
        (state.backups.ordered, &state.backups.failed),
        (None, &None)
    );
    // Whatever the clock of the member says.
    assert_eq!(state.backup_due(DAY + 39), None);
    assert_eq!(state.backup_due(DAY + 40), Some(false));
    let stale = BackupNote::Ordered {
        by: Epoch(999),
        order: Ordered {
            member: NodeNumber(1),
            full: true,
            at: 0,
        },
    };
    let refused = state.apply(Command::Backup(stale)).unwrap_err();
    assert!(matches!(refused, Rejection::Stale { .. }), "{refused}");
}

#[test]
fn when_all_were_last_found_whole_is_remembered() {
    let mut state = set(DAY, 0);
    let mut look = |at, problem: Option<&str>| {
        let problem = problem.map(str::to_owned);
        let bucket = BUCKET.to_owned();
        let note = BackupNote::Looked {
            bucket,
            at,
            problem,
        };
        state.apply(Command::Backup(note)).unwrap();
        (state.backups.whole_at, state.backups.problem.clone())
    };
    assert_eq!(look(5, None), (Some(5), None));
    assert_eq!(
        look(9, Some("a file")),
        (Some(5), Some("a file".to_owned()))
    );
    assert_eq!(look(12, None), (Some(12), None));
}

#[test]
fn another_bucket_has_no_restore_points() {
    let mut state = set(DAY, 0);
    archive(&mut state, 0);
    make(&mut state, true, 50, 7);
    let change = SettingsChange {
        backup: BackupChange {
            bucket: Some(BucketChange::Into("file:///c".to_owned())),
            ..BackupChange::default()
        },
        ..SettingsChange::default()
    };
    state.apply(Command::Set(change)).unwrap();
    assert!(state.backups.is_empty());
    let made = Made {
        point: "p".to_owned(),
        member: NodeNumber(1),
        full: true,
        at: 60,
        held: VersionVector::new(),
    };
    let bucket = || BUCKET.to_owned();
    let failed = Failed {
        member: NodeNumber(1),
        at: 60,
        why: "no".to_owned(),
    };
    let late = [
        BackupNote::Made {
            bucket: bucket(),
            made,
        },
        BackupNote::Failed {
            bucket: bucket(),
            failed,
        },
        BackupNote::Looked {
            bucket: bucket(),
            at: 60,
            problem: None,
        },
    ];
    for note in late {
        let refused = state.apply(Command::Backup(note));
        assert!(
            matches!(refused, Err(Rejection::ArchivedElsewhere { .. })),
            "{refused:?}"
        );
        assert!(state.backups.is_empty());
    }
}

proptest! {
    #[test]
    fn the_schedule_is_kept_though_clocks_step(
        every in 0..10u64, full_every in 0..10u64, at in 0..2_000_000u64, full_at in 0..2_000_000u64, now in 0..4_000_000u64,
    ) {
        let (every, full_every) = (every * 60_000, full_every * 60_000);
        let mut state = set(every, full_every);
        archive(&mut state, 3);
        make(&mut state, true, full_at, 3);
        make(&mut state, false, at, 3);
        let is_over = |since: u64, span| span > 0 && (since + span <= now || now + span <= since);
        let full = is_over(full_at, full_every);
        let due = full || is_over(at, every);
        prop_assert_eq!(state.backup_due(now), due.then_some(full));
    }
}
