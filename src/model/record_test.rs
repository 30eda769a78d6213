//! What the encoding of records promises.

use proptest::prelude::*;

use super::*;
use crate::model::testing::records;

/// The same record with other bytes under a checksum that fits.
fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    change(&mut bytes);
    put_checksum(&mut bytes, 0);
    bytes
}

fn marker(chain_before: Digest) -> Record {
    let stamp = Stamp {
        hlc: Hlc(5),
        region: RegionId(1),
        epoch: Epoch(2),
        seq: Seq(3),
    };
    let body = Body::Marker(Marker {
        applied: VersionVector::new(),
        swept: Hlc::ZERO,
        digest: Digest::EMPTY,
    });
    Record {
        stamp,
        chain_before,
        request: None,
        body,
    }
}

fn invalid(field: &'static str, value: u64) -> Result<Record, DecodeError> {
    Err(DecodeError::Invalid { field, value })
}

proptest! {
    #[test]
    fn a_record_of_every_kind_reads_back(record in records()) {
        let bytes = record.encode();
        let read = Record::decode(&bytes).unwrap();
        // Through Debug, so that NaN equals itself.
        prop_assert_eq!(format!("{read:?}"), format!("{record:?}"));
        prop_assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _random = Record::decode(&bytes);
    }

    #[test]
    fn no_bytes_under_a_checksum_that_fits_make_decoding_panic(
        record in records(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = record.encode();
        let _changed = Record::decode(&resealed(bytes.clone(), |bytes| {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
        }));
        let cut = cut.index(bytes.len() - 4);
        let _cut = Record::decode(&resealed(bytes, |bytes| bytes.truncate(cut)));
    }

    #[test]
    fn a_flipped_bit_anywhere_fails_the_checksum(record in records(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let refused = matches!(Record::decode(&bytes), Err(DecodeError::Checksum { field: "record", .. }));
        prop_assert!(refused);
    }

    #[test]
    fn a_record_that_is_cut_or_extended_is_refused(record in records(), cut: prop::sample::Index, more in proptest::collection::vec(any::<u8>(), 1..9)) {
        let bytes = record.encode();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let extended = Record::decode(&resealed(bytes, |bytes| bytes.extend_from_slice(&more)));
        prop_assert_eq!(extended, Err(DecodeError::Trailing { field: "record", left: more.len() }));
    }

    #[test]
    fn a_change_of_one_record_changes_every_chain_digest_after_it(
        log in proptest::collection::vec(records(), 1..6),
        at: prop::sample::Index,
        other in records(),
    ) {
        let chain = |log: &[Record]| {
            let mut last = Digest::EMPTY;
            let mut digests = Vec::new();
            for record in log {
                let record = Record { chain_before: last, ..record.clone() };
                last = Record::chain_after(&record.encode());
                digests.push(last);
            }
            digests
        };
        let at = at.index(log.len());
        prop_assume!(format!("{:?}", Record { chain_before: log[at].chain_before, ..other.clone() }) != format!("{:?}", log[at]));
        let mut forked = log.clone();
        forked[at] = other;
        let (kept, forked) = (chain(&log), chain(&forked));
        prop_assert_eq!(&kept[..at], &forked[..at]);
        prop_assert!(kept[at..].iter().zip(&forked[at..]).all(|(a, b)| a != b));
    }
}

#[test]
fn a_newer_format_or_an_unknown_kind_is_named() {
    let with = |at: usize, byte| {
        Record::decode(&resealed(marker(Digest::EMPTY).encode(), |bytes| {
            bytes[at] = byte;
        }))
    };
    assert_eq!(with(0, 2), invalid("record format", 2));
    assert_eq!(with(1, 0), invalid("record kind", 0));
    assert_eq!(with(1, 6), invalid("record kind", 6));
}

#[test]
fn a_count_beyond_the_bytes_is_refused_before_memory_is_reserved() {
    let huge = resealed(marker(Digest::EMPTY).encode(), |bytes| {
        // The body of a marker begins with its version vector's first count.
        let body = bytes.len() - (4 + 4 + 8 + 16);
        bytes[body..body + 4].fill(0xff);
    });
    let field = "version vector bases";
    let refused = matches!(Record::decode(&huge), Err(DecodeError::Truncated { field: found, .. }) if found == field);
    assert!(refused);
}

#[test]
fn cells_out_of_order_are_refused_where_a_record_is_read() {
    let mut cells = Vec::new();
    for feature in [2, 1] {
        let null = crate::model::Value::Null;
        let double = crate::model::ValueType::Scalar(crate::model::Scalar::Double);
        cells::put_cell(&mut cells, crate::model::FeatureId(feature), double, &null);
    }
    let write = RowWrite {
        key: EntityKey::encode(&[crate::model::KeyValue::Int64(7)]),
        event_time: Micros(1),
        cells: Some(cells.into()),
    };
    let group = RowGroup {
        view: ViewId(9),
        merge: MergeMode::Row,
        order: Order::EventTime,
        rows: vec![write],
    };
    let rows = Rows {
        groups: vec![group],
        ..Rows::default()
    };
    let record = Record {
        body: Body::Rows(rows),
        ..marker(Digest::EMPTY)
    };
    assert_eq!(
        Record::decode(&record.encode()),
        invalid("feature order", 1)
    );
}
