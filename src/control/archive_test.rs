use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, Hlc, IncarnationId, LineageId, RegionId};
use crate::control::{BackupChange, BucketChange, Cause, Command, SettingsChange};

const REGION: RegionId = RegionId(5);
const MEMBER: IncarnationId = IncarnationId(2);

fn into(state: &mut ControlState, bucket: Option<&str>) {
    let bucket = bucket.map_or(BucketChange::Nowhere, |url| {
        BucketChange::Into(url.to_owned())
    });
    let change = SettingsChange {
        backup: BackupChange {
            bucket: Some(bucket),
            ..BackupChange::default()
        },
        ..SettingsChange::default()
    };
    state.apply(Command::Set(change)).unwrap();
}

fn replace(state: &mut ControlState) -> Epoch {
    let before = state.open_epoch();
    let begin = Command::Begin {
        candidate: MEMBER,
        boot: BootNumber::NONE,
        members: [MEMBER].into(),
        expected_open: before,
        expected_attempt: before,
        cause: Cause::Planned,
    };
    state.apply(begin).unwrap();
    let epoch = state.attempt_epoch();
    state.apply(Command::Open { epoch }).unwrap();
    epoch
}

fn set() -> ControlState {
    let mut state = ControlState::new(LineageId(1), REGION, MEMBER);
    into(&mut state, Some("file:///one"));
    replace(&mut state);
    state
}

fn vector(state: &ControlState, seq: u64) -> VersionVector {
    let mut vector = VersionVector::new();
    vector.advance(state.log(state.open_epoch()), Seq(seq));
    vector
}

fn claim(state: &ControlState, base: Option<u64>, through: u64) -> ArchiveClaim {
    ArchiveClaim {
        by: state.open_epoch(),
        bucket: "file:///one".to_owned(),
        base: base.map(|base| vector(state, base)),
        through: vector(state, through),
    }
}

fn extend(state: &mut ControlState, held: &VersionVector) {
    let extend = Command::Extend {
        epoch: state.attempt_epoch(),
        number: 1,
        ceiling: Hlc(9),
        acked: vec![(MEMBER, held.clone())],
    };
    state.apply(extend).unwrap();
}

#[test]
fn the_archive_begins_with_what_a_restore_point_must_hold_and_only_grows() {
    let mut state = set();
    let early = claim(&state, None, 5);
    let refused = state.apply(Command::Archive(early)).unwrap_err();
    assert!(
        matches!(refused, Rejection::ArchivedElsewhere { .. }),
        "{refused}"
    );
    // The first one comes again, late.
    let claims = [
        (Some(3), 3, 3),
        (None, 7, 7),
        (None, 5, 7),
        (Some(3), 3, 7),
        (Some(2), 2, 7),
    ];
    for (base, through, expected) in claims {
        state
            .apply(Command::Archive(claim(&state, base, through)))
            .unwrap();
        let archived = state.archived.clone().unwrap();
        assert_eq!(archived.base, vector(&state, 3));
        assert_eq!(archived.through, vector(&state, expected));
    }
    let log = state.log(state.open_epoch());
    assert!(!state.is_to_be_archived(log, Seq(7)) && state.is_to_be_archived(log, Seq(8)));
}

#[test]
fn only_the_primary_of_the_open_epoch_says_what_is_archived() {
    let mut state = set();
    let deposed = claim(&state, Some(3), 3);
    replace(&mut state);
    let refused = state.apply(Command::Archive(deposed)).unwrap_err();
    assert!(matches!(refused, Rejection::Stale { .. }), "{refused}");
}

#[test]
fn in_another_bucket_the_archive_begins_anew() {
    let mut state = set();
    state
        .apply(Command::Archive(claim(&state, Some(3), 3)))
        .unwrap();
    for elsewhere in [None, Some("file:///two")] {
        into(&mut state, elsewhere);
        assert_eq!(state.archived, None);
        let refused = state.apply(Command::Archive(claim(&state, Some(3), 4)));
        assert!(
            matches!(refused, Err(Rejection::ArchivedElsewhere { .. })),
            "{refused:?}"
        );
    }
    into(&mut state, Some("file:///one"));
    assert_eq!(
        state.archived, None,
        "what was written meanwhile is not there"
    );
}

#[test]
fn the_end_of_a_log_is_not_forgotten_before_it_is_archived() {
    let mut state = set();
    let first = state.open_epoch();
    state
        .apply(Command::Archive(claim(&state, Some(3), 3)))
        .unwrap();
    let by = replace(&mut state);
    let close = Command::Close {
        by,
        epoch: first,
        last: Seq(8),
        digest: 1,
    };
    state.apply(close).unwrap();
    let mut folded = VersionVector::new();
    folded.fold(REGION, first);
    extend(&mut state, &folded);
    assert!(
        state.logs.contains_key(&first),
        "every member has folded it, the archive has not"
    );
    let whole = ArchiveClaim {
        through: folded,
        ..claim(&state, None, 0)
    };
    state.apply(Command::Archive(whole)).unwrap();
    assert!(!state.logs.contains_key(&first));
    assert_eq!(state.forgotten, first);
}

#[test]
fn a_set_that_archives_nothing_is_written_as_it_always_was() {
    let mut state = set();
    into(&mut state, None);
    let text = serde_json::to_string(&state).unwrap();
    assert!(
        !text.contains("archive") && !text.contains("backup"),
        "{text}"
    );
    let change = serde_json::to_string(&SettingsChange::default()).unwrap();
    assert!(!change.contains("backup"), "{change}");
}

#[test]
fn intervals_that_make_no_sense_are_refused() {
    let mut state = set();
    let (hour, year) = (3_600_000, 31_536_000_000);
    let archive = |ms| (Some(ms), None, None);
    let every = |ms| (None, Some(ms), None);
    let full = |ms| (None, None, Some(ms));
    for ((archive_interval_ms, every_ms, full_every_ms), is_fine) in [
        (archive(0), false),
        (archive(999), false),
        (archive(1_000), true),
        (archive(hour), true),
        (archive(hour + 1), false),
        (every(0), true),
        (every(59_999), false),
        (every(60_000), true),
        (full(0), true),
        (full(1), false),
        (full(year), true),
        (full(year + 1), false),
    ] {
        let change = SettingsChange {
            backup: BackupChange {
                bucket: None,
                archive_interval_ms,
                every_ms,
                full_every_ms,
                ..BackupChange::default()
            },
            ..SettingsChange::default()
        };
        let outcome = state.apply(Command::Set(change));
        assert_eq!(outcome.is_ok(), is_fine, "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn only_what_is_spread_and_here_is_to_be_archived(archived in 0..20u64, spread in 0..20u64, durable in 0..20u64) {
        let mut state = set();
        let acked = vector(&state, spread);
        extend(&mut state, &acked);
        let (archived, held) = (vector(&state, archived), vector(&state, durable));
        let log = state.log(state.open_epoch());
        let after = archived.last(log).unwrap();
        let expected = |through: u64| {
            let through = Seq(through);
            let missing = Missing { log, after, through };
            Vec::from_iter((after < through).then_some(missing))
        };
        prop_assert_eq!(state.unarchived(&archived, &held), expected(durable));
        prop_assert_eq!(state.to_be_archived(&archived, &held), expected(durable.min(spread)));
    }
}
