use proptest::prelude::*;

use super::*;
use crate::base::{Epoch, Micros, RegionId, Stamp};
use crate::model::cells::put_cell;
use crate::model::row::{Merged, Write, merge_write};
use crate::model::{FeatureId, MergeMode, Order, Scalar, Value, ValueType, Version};

const LOG: LogId = LogId {
    region: RegionId(1),
    epoch: Epoch(1),
};

/// Writes of one row: event time, feature, and whether it is a deletion. The first is record 1 of the log.
fn writes() -> impl Strategy<Value = Vec<(i64, u32, bool)>> {
    prop::collection::vec((0..4i64, 0..3u32, any::<bool>()), 1..12)
}

/// The row after so many of the writes, and the position.
fn member(
    writes: &[(i64, u32, bool)],
    merge: MergeMode,
    order: Order,
) -> (VersionVector, Option<SeenRow>) {
    let mut applied = VersionVector::new();
    let mut row: Option<Vec<u8>> = None;
    for (at, (event_time, feature, deletes)) in (1..).zip(writes) {
        let seq = Seq(at);
        let stamp = Stamp {
            hlc: Hlc(at),
            region: LOG.region,
            epoch: LOG.epoch,
            seq,
        };
        let mut cells = Vec::new();
        let int64 = ValueType::Scalar(Scalar::Int64);
        put_cell(
            &mut cells,
            FeatureId(*feature),
            int64,
            &Value::Int64(at.cast_signed()),
        );
        let write = Write {
            merge,
            order,
            version: Version {
                event_time: Micros(*event_time),
                stamp,
            },
            cells: (!deletes).then_some(cells.as_slice()),
        };
        if let Merged::Applied(new) = merge_write(row.as_deref(), &write).unwrap() {
            row = Some(new);
        }
        applied.advance(LOG, seq);
    }
    let seen = row.map(|row| SeenRow::of(b"key", &row));
    (applied, seen)
}

fn sight<'a>(of: &'a (VersionVector, Option<SeenRow>), horizon: u64) -> Sight<'a> {
    Sight {
        applied: &of.0,
        horizon: Hlc(horizon),
        row: of.1.as_ref(),
    }
}

proptest! {
    #[test]
    fn sound_members_never_differ_wherever_they_stand(
        writes in writes(),
        one in 0..12usize,
        other in 0..12usize,
        by_cell: bool,
        arrival: bool,
    ) {
        let merge = if by_cell { MergeMode::Cell } else { MergeMode::Row };
        let order = if arrival { Order::Arrival } else { Order::EventTime };
        let upto = |at: usize| member(&writes[..at.min(writes.len())], merge, order);
        let (one, other) = (upto(one), upto(other));
        prop_assert_ne!(compare(sight(&one, 0), sight(&other, 0)), Verdict::Different);
        prop_assert_eq!(compare(sight(&one, 0), sight(&one, 0)), Verdict::Equal);
    }

    #[test]
    fn a_row_that_is_altered_or_gone_differs_between_equal_positions(
        writes in writes(),
        is_gone: bool,
        by_cell: bool,
    ) {
        let merge = if by_cell { MergeMode::Cell } else { MergeMode::Row };
        let sound = member(&writes, merge, Order::EventTime);
        let mut damaged = sound.clone();
        damaged.1 = damaged.1.filter(|_| !is_gone).map(|row| SeenRow {
            digest: row.digest.plus(Digest(1)),
            ..row
        });
        let verdict = compare(sight(&sound, 3), sight(&damaged, 3));
        prop_assert_eq!(verdict, Verdict::Different);
        let at_other_horizons = compare(sight(&sound, 3), sight(&damaged, 4));
        prop_assert_eq!(at_other_horizons, Verdict::Unsettled);
    }
}

#[test]
fn a_member_that_lacks_a_write_is_looked_at_again() {
    let writes = [(1, 1, false), (2, 1, false)];
    let (behind, ahead) = (
        member(&writes[..1], MergeMode::Row, Order::EventTime),
        member(&writes, MergeMode::Row, Order::EventTime),
    );
    let verdict = compare(sight(&behind, 0), sight(&ahead, 0));
    assert_eq!(verdict, Verdict::Unsettled);
}
