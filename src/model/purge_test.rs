//! What goes, what stays, and that nobody can tell when it went.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, RegionId, Seq, Stamp};
use crate::model::cells::put_cell;
use crate::model::definition::{Alteration, Definition};
use crate::model::row::Write;
use crate::model::view_file::parse_view;
use crate::model::{FeatureId, MergeMode, Scalar, Value, ValueType};

fn stamp(millis: u64) -> Stamp {
    Stamp {
        hlc: Hlc::from_millis(millis),
        region: RegionId(1),
        epoch: Epoch(1),
        seq: Seq(millis),
    }
}

fn version(event_millis: i64, stamp_millis: u64) -> Version {
    Version {
        event_time: Micros(event_millis * 1_000),
        stamp: stamp(stamp_millis),
    }
}

fn cells(features: u8) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..3).filter(|at| features & (1 << at) != 0) {
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(&mut out, FeatureId(feature), int64, &Value::Int64(1));
    }
    out.into()
}

/// A write: a deletion if it names no feature.
fn write(merge: MergeMode, order: Order, version: Version, features: u8) -> Row {
    let cells = (features > 0).then(|| cells(features));
    let write = Write {
        merge,
        order,
        version,
        cells: cells.as_deref(),
    };
    write.row().unwrap()
}

fn left(purge: &ViewPurge, row: Option<Row>) -> Option<Row> {
    let row = row?;
    match purge.left_of(&row.encode()).unwrap() {
        Left::All => Some(row),
        Left::Part(encoded, gone) => {
            assert!(gone > 0);
            Some(Row::decode(&encoded).unwrap())
        }
        Left::Nothing => None,
    }
}

const HORIZON: u64 = 10;

/// What may go of a view with floors at or below the horizon.
fn purges() -> impl Strategy<Value = ViewPurge> {
    let floor = || proptest::option::of((0..=10i64).prop_map(|millis| Micros(millis * 1_000)));
    (floor(), floor()).prop_map(|(expiry_floor, lateness_floor)| ViewPurge {
        horizon: Hlc::from_millis(HORIZON),
        is_dropped: false,
        expiry_floor,
        lateness_floor,
    })
}

/// Whether a write would have been admitted: above the horizon, the lateness floor holds.
fn is_admitted(purge: &ViewPurge, version: &Version) -> bool {
    version.stamp.hlc <= purge.horizon
        || purge
            .lateness_floor
            .is_none_or(|floor| version.event_time >= floor)
}

fn modes() -> impl Strategy<Value = (MergeMode, Order)> {
    let merge = prop_oneof![Just(MergeMode::Row), Just(MergeMode::Cell)];
    let order = prop_oneof![Just(Order::EventTime), Just(Order::Arrival)];
    (merge, order)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_makes_no_difference_when_a_row_was_swept(
        (merge, order) in modes(),
        purge in purges(),
        writes in proptest::collection::vec((-2..24i64, 0..8u8, any::<bool>()), 1..10),
    ) {
        let (mut swept, mut never) = (None::<Row>, None::<Row>);
        // Stamps rise through the horizon; some sweep follows each write above it, or none.
        for (at, (event_time, features, sweep)) in writes.into_iter().enumerate() {
            let version = version(event_time, 6 + u64::try_from(at).unwrap());
            if !is_admitted(&purge, &version) {
                continue;
            }
            let is_above = version.stamp.hlc > purge.horizon;
            let row = write(merge, order, version, features);
            never = Some(never.map_or(row.clone(), |held| held.merge(row.clone())));
            let leaves_out = is_above && purge.lets_go(order, &version, features == 0);
            if !leaves_out {
                swept = Some(swept.map_or(row.clone(), |held| held.merge(row)));
            }
            if is_above && sweep {
                swept = left(&purge, swept);
            }
            prop_assert_eq!(left(&purge, swept.clone()), left(&purge, never.clone()));
        }
    }

    #[test]
    fn what_is_left_is_what_does_not_go(
        order in prop_oneof![Just(Order::EventTime), Just(Order::Arrival)],
        purge in purges(),
        writes in proptest::collection::vec((-2..24i64, 1..20u64, 0..8u8), 1..8),
    ) {
        let rows = writes.iter().map(|(event_time, at, features)| {
            write(MergeMode::Cell, order, version(*event_time, *at), *features)
        });
        let row = rows.reduce(Row::merge).unwrap();
        let Content::Cells { tombstone, cells } = row.content.clone() else { unreachable!() };
        let Some(Row { content: Content::Cells { tombstone: dead, cells: left }, .. }) = left(&purge, Some(row)) else {
            prop_assert!(tombstone.is_none_or(|dead| purge.lets_go(order, &dead, true)));
            prop_assert!(cells.values().all(|cell| purge.lets_go(order, &cell.version, false)));
            return Ok(());
        };
        prop_assert_eq!(dead, tombstone.filter(|dead| !purge.lets_go(order, dead, true)));
        for (feature, cell) in cells {
            let stays = !purge.lets_go(order, &cell.version, false);
            prop_assert_eq!(left.get(&feature), stays.then_some(&cell));
        }
    }
}

/// A view created at 1 with these settings, altered or dropped at some stamp.
fn catalogue(settings: &str, later: &[(u64, Definition)]) -> (ViewId, Catalogue) {
    let text = format!(
        r#"
        name = "v"
        entity = [{{ name = "id", type = "int64" }}]
        feature = [{{ name = "f", type = "int64" }}]
        {settings}
        "#
    );
    let mut catalogue = Catalogue::new();
    let create = catalogue.create(parse_view(&text).unwrap()).unwrap();
    catalogue.apply(stamp(1), &create);
    let view = catalogue.view("v").unwrap().id;
    for (at, definition) in later {
        let mut definition = definition.clone();
        match &mut definition {
            Definition::Alter { view: altered, .. } | Definition::Drop { view: altered } => {
                *altered = view
            }
            Definition::Create { .. } | Definition::AddFeature { .. } => {}
        }
        catalogue.apply(stamp(*at), &definition);
    }
    (view, catalogue)
}

fn alter_ttl(millis: u64) -> Definition {
    let alteration = Alteration {
        ttl: Some(Some(Duration::from_millis(millis))),
        ..Alteration::default()
    };
    Definition::Alter {
        view: ViewId(0),
        alteration,
    }
}

#[test]
fn without_ttl_and_lateness_nothing_of_an_event_time_view_goes() {
    let (view, catalogue) = catalogue("", &[]);
    let purge = Purge::new(Hlc::from_millis(1_000), catalogue).of(view);
    assert!(!purge.concerns(Order::EventTime));
    assert!(!purge.lets_go(Order::EventTime, &version(-900, 1), true));
}

#[test]
fn in_event_time_views_items_go_up_to_the_expiry_floor_and_tombstones_below_the_lateness_floor() {
    let (view, catalogue) = catalogue("ttl = \"20ms\"\nmax_lateness = \"5ms\"", &[]);
    let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
    let goes =
        |event_time, at, dead| purge.lets_go(Order::EventTime, &version(event_time, at), dead);
    assert!(purge.concerns(Order::EventTime));
    // Whatever the stamps: X = 80, Y = 95.
    for at in [1, 100, 200] {
        assert!(goes(80, at, false) && !goes(81, at, false));
        assert!(goes(94, at, true) && !goes(95, at, true));
    }
}

#[test]
fn with_a_ttl_alone_tombstones_go_up_to_the_expiry_floor_too() {
    let (view, catalogue) = catalogue("ttl = \"20ms\"", &[]);
    let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
    let goes = |event_time| purge.lets_go(Order::EventTime, &version(event_time, 1), true);
    assert!(goes(80) && !goes(81));
}

#[test]
fn rows_are_looked_at_of_each_view_of_which_something_can_go() {
    for (settings, order) in [
        ("order = \"arrival\"", Order::Arrival),
        ("ttl = \"20ms\"", Order::EventTime),
        ("max_lateness = \"20ms\"", Order::EventTime),
    ] {
        let (view, catalogue) = catalogue(settings, &[]);
        let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
        let dead = version(70, 90);
        assert!(purge.lets_go(order, &dead, true), "{settings}");
        assert!(purge.concerns(order), "{settings}");
    }
}

#[test]
fn a_deletion_goes_at_the_horizon_that_is_said_of_it_and_at_none_before() {
    let dead = version(70, 90);
    for (settings, order) in [
        ("order = \"arrival\"", Order::Arrival),
        ("", Order::EventTime),
        ("ttl = \"30ms\"", Order::EventTime),
        ("max_lateness = \"40ms\"", Order::EventTime),
        ("ttl = \"30ms\"\nmax_lateness = \"50ms\"", Order::EventTime),
        ("ttl = \"60ms\"\nmax_lateness = \"50ms\"", Order::EventTime),
    ] {
        let (view, catalogue) = catalogue(settings, &[]);
        let goes_at = |millis| {
            let purge = Purge::new(Hlc::from_millis(millis), catalogue.clone()).of(view);
            purge.lets_go(order, &dead, true)
        };
        let said = catalogue.by_id(view).unwrap().tombstone_goes(&dead);
        let Some(said) = said.map(|at| u64::try_from(at.0 / 1_000).unwrap()) else {
            assert!(!goes_at(1_000_000), "{settings}");
            continue;
        };
        assert!(
            !goes_at(said - 1) && goes_at(said + 1),
            "{settings}: {said}"
        );
    }
}

#[test]
fn the_floors_follow_the_settings_through_their_history_up_to_the_horizon() {
    let longer = |settings, spec| {
        let (view, catalogue) = catalogue(settings, &[(50, spec)]);
        Purge::new(Hlc::from_millis(100), catalogue).of(view)
    };
    let lateness = Alteration {
        max_lateness: Some(Some(Duration::from_millis(90))),
        ..Alteration::default()
    };
    let altered = Definition::Alter {
        view: ViewId(0),
        alteration: lateness,
    };
    let purge = longer("max_lateness = \"20ms\"", altered);
    let goes = |event_time| purge.lets_go(Order::EventTime, &version(event_time, 1), true);
    assert!(goes(29) && !goes(30), "Y stays at 50 - 20");
}

#[test]
fn in_arrival_views_only_what_is_stamped_at_or_below_the_horizon_goes() {
    let (view, catalogue) = catalogue("ttl = \"20ms\"\norder = \"arrival\"", &[]);
    let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
    let goes = |event_time, at, dead| purge.lets_go(Order::Arrival, &version(event_time, at), dead);
    assert!(goes(80, 100, false) && !goes(80, 101, false) && !goes(81, 100, false));
    assert!(goes(999, 100, true) && !goes(0, 101, true));
}

#[test]
fn a_longer_ttl_keeps_what_lives_and_revives_nothing() {
    let (view, catalogue) = catalogue("ttl = \"20ms\"", &[(50, alter_ttl(90))]);
    let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
    let goes = |event_time| purge.lets_go(Order::EventTime, &version(event_time, 1), false);
    assert!(goes(30) && !goes(31), "X stays at 50 - 20");
}

#[test]
fn everything_of_a_dropped_view_goes() {
    let dropped = Definition::Drop { view: ViewId(0) };
    let (view, catalogue) = catalogue("", &[(50, dropped)]);
    let purge = Purge::new(Hlc::from_millis(100), catalogue).of(view);
    assert!(purge.concerns(Order::EventTime));
    assert!(purge.lets_go(Order::EventTime, &version(999, 200), false));
    let row = write(MergeMode::Row, Order::EventTime, version(999, 200), 1);
    assert_eq!(left(&purge, Some(row)), None);
}

#[test]
fn at_the_horizon_before_everything_nothing_goes() {
    let purge = Purge::default().of(ViewId(7));
    assert!(!purge.lets_go(Order::Arrival, &version(i64::MIN / 1_000, 1), true));
    assert!(!purge.lets_go(Order::EventTime, &version(0, 1), true));
}
