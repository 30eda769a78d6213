//! The laws of merge and of the row encoding.

use proptest::prelude::*;

use super::*;
use crate::base::Stamp;
use crate::model::cells::{check, put_cell};
use crate::model::testing::{close_versions, typed_values};

/// The value of a record is a function of its stamp (I2), so cells are made from their versions.
fn cells_of(version: &Version, features: u8) -> Bytes {
    let mut out = Vec::new();
    for feature in (0..3).filter(|at| features & (1 << at) != 0) {
        let value = crate::model::Value::Int64(
            i64::try_from(version.stamp.hlc.0 * 100 + version.stamp.seq.0).unwrap(),
        );
        let int64 = crate::model::ValueType::Scalar(crate::model::Scalar::Int64);
        put_cell(&mut out, FeatureId(feature), int64, &value);
    }
    out.into()
}

/// What a write with this stamp was: equal stamps are the same record.
fn write(merge: MergeMode, order: Order, version: Version) -> Row {
    with_write(merge, order, version, |write| write.row().unwrap())
}

fn with_write<T>(
    merge: MergeMode,
    order: Order,
    mut version: Version,
    then: impl FnOnce(&Write<'_>) -> T,
) -> T {
    let Stamp {
        hlc,
        region,
        epoch,
        seq,
    } = version.stamp;
    let mix = hlc.0 * 31 + region.0 * 7 + epoch.0 * 3 + seq.0;
    version.event_time = Micros(i64::try_from(mix * 5 % 7).unwrap());
    let features = u8::try_from(mix % 8).unwrap();
    let cells = (mix % 3 != 0).then(|| cells_of(&version, features));
    then(&Write {
        merge,
        order,
        version,
        cells: cells.as_deref(),
    })
}

fn modes() -> impl Strategy<Value = (MergeMode, Order)> {
    let merge = prop_oneof![Just(MergeMode::Row), Just(MergeMode::Cell)];
    (
        merge,
        prop_oneof![Just(Order::EventTime), Just(Order::Arrival)],
    )
}

fn rows(merge: MergeMode, order: Order) -> impl Strategy<Value = Row> {
    proptest::collection::vec(close_versions(), 1..6).prop_map(move |versions| {
        let writes = versions
            .into_iter()
            .map(|version| write(merge, order, version));
        writes.reduce(Row::merge).unwrap()
    })
}

fn three_rows() -> impl Strategy<Value = (Row, Row, Row)> {
    modes().prop_flat_map(|(merge, order)| {
        (rows(merge, order), rows(merge, order), rows(merge, order))
    })
}

proptest! {
    #[test]
    fn merge_is_commutative_associative_and_idempotent((a, b, c) in three_rows()) {
        let ab = a.clone().merge(b.clone());
        prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
        prop_assert_eq!(ab.clone().merge(c.clone()), a.clone().merge(b.merge(c)));
        prop_assert_eq!(ab.clone().merge(a), ab);
    }

    #[test]
    fn merge_is_total_and_order_free_even_across_modes((a, _, _) in three_rows(), (b, _, _) in three_rows(), (c, _, _) in three_rows()) {
        let ab = a.clone().merge(b.clone());
        prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
        prop_assert_eq!(ab.merge(c.clone()), a.merge(b.merge(c)));
    }

    #[test]
    fn writes_end_in_the_same_row_in_every_order_and_however_often(
        (merge, order) in modes(),
        versions in proptest::collection::vec(close_versions(), 1..8),
        shuffled in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let once = versions.iter().map(|version| write(merge, order, *version)).reduce(Row::merge).unwrap();
        let again = shuffled.iter().map(|at| write(merge, order, *at.get(&versions)));
        let replayed = versions.iter().rev().map(|version| write(merge, order, *version)).chain(again);
        prop_assert_eq!(replayed.reduce(Row::merge).unwrap(), once);
    }

    #[test]
    fn merging_encoded_rows_is_merging_rows(
        (merge, order) in modes(),
        versions in proptest::collection::vec(close_versions(), 1..8),
    ) {
        let mut stored: Option<Vec<u8>> = None;
        let mut row: Option<Row> = None;
        for version in versions {
            let new = write(merge, order, version);
            let merged = row.clone().map_or(new.clone(), |held| held.merge(new.clone()));
            let changed = row.as_ref() != Some(&merged);
            match with_write(merge, order, version, |write| merge_write(stored.as_deref(), write)).unwrap() {
                Merged::Older => prop_assert!(!changed),
                Merged::Applied(bytes) => {
                    prop_assert!(changed);
                    stored = Some(bytes);
                }
            }
            prop_assert_eq!(&Row::decode(stored.as_deref().unwrap()).unwrap(), &merged);
            row = Some(merged);
        }
    }

    #[test]
    fn equal_rows_have_equal_bytes((a, b, _) in three_rows()) {
        let (a, b) = (a.clone().merge(b.clone()), b.merge(a));
        prop_assert_eq!(a.encode(), b.encode());
        prop_assert_eq!(Row::decode(&a.encode()).unwrap(), a);
    }

    #[test]
    fn a_cell_row_holds_no_cell_below_its_tombstone((a, b, c) in three_rows()) {
        let row = a.merge(b).merge(c);
        if let Content::Cells { tombstone: Some(dead), cells } = &row.content {
            prop_assert!(cells.values().all(|cell| !dead.is_newer(&cell.version, row.order)));
        }
    }

    #[test]
    fn cells_read_from_bytes_are_the_cells_written(values in proptest::collection::vec(typed_values(), 0..6), version in close_versions(), (merge, order) in modes()) {
        let mut encoded = Vec::new();
        for (at, (value_type, value)) in (0..).zip(&values) {
            put_cell(&mut encoded, FeatureId(at), *value_type, value);
        }
        let bytes = Write { merge, order, version, cells: Some(&encoded) }.row().unwrap().encode();
        let row = RowRef::parse(&bytes).unwrap();
        let mut read = Vec::new();
        for cell in row.cells() {
            let (cell, at) = cell.unwrap();
            prop_assert_eq!(at, version);
            cells::put_cell_ref(&mut read, &cell);
        }
        prop_assert_eq!(check(&read), Ok(()));
        prop_assert_eq!(read, encoded);
    }

    #[test]
    fn no_bytes_make_decoding_panic(mut bytes: Vec<u8>, flags in 0..8u8) {
        let _plain = Row::decode(&bytes);
        bytes.splice(0..0, [FORMAT, flags]);
        if let Ok(row) = Row::decode(&bytes) {
            let _again = row.encode();
        }
    }
}

#[test]
fn a_put_replaces_the_whole_row_only_in_a_row_view() {
    let version = |hlc| {
        let stamp = Stamp {
            hlc: crate::base::Hlc(hlc),
            region: crate::base::RegionId(1),
            epoch: crate::base::Epoch(1),
            seq: crate::base::Seq(hlc),
        };
        Version {
            event_time: Micros(0),
            stamp,
        }
    };
    let put = |merge, hlc, features| {
        let version = version(hlc);
        let write = Write {
            merge,
            order: Order::EventTime,
            version,
            cells: Some(&cells_of(&version, features)),
        };
        write.row().unwrap()
    };
    let features = |row: Row| {
        let bytes = row.encode();
        RowRef::parse(&bytes)
            .unwrap()
            .cells()
            .map(|cell| cell.unwrap().0.feature.0)
            .collect::<Vec<_>>()
    };
    for (merge, left) in [(MergeMode::Row, vec![1]), (MergeMode::Cell, vec![0, 1])] {
        assert_eq!(
            features(put(merge, 1, 0b01).merge(put(merge, 2, 0b10))),
            left
        );
    }
}

#[test]
fn a_row_with_a_cell_below_its_tombstone_is_found_by_its_feature() {
    let at = |event_time, seq| Version {
        event_time: Micros(event_time),
        stamp: Stamp {
            hlc: crate::base::Hlc(seq),
            region: crate::base::RegionId(1),
            epoch: crate::base::Epoch(1),
            seq: crate::base::Seq(seq),
        },
    };
    let mut cells = Vec::new();
    let bool = crate::model::ValueType::Scalar(crate::model::Scalar::Bool);
    put_cell(
        &mut cells,
        FeatureId(3),
        bool,
        &crate::model::Value::Bool(true),
    );
    let put = Write {
        merge: MergeMode::Cell,
        order: Order::EventTime,
        version: at(1, 1),
        cells: Some(&cells),
    };
    let mut row = put.row().unwrap();
    assert_eq!(super::check(&row.encode()), Ok(()));
    let Content::Cells { tombstone, .. } = &mut row.content else {
        unreachable!()
    };
    *tombstone = Some(at(2, 2));
    let refused = super::check(&row.encode());
    assert!(
        matches!(refused, Err(DecodeError::Invalid { value: 3, .. })),
        "{refused:?}"
    );
}
