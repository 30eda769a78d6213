//! What the store says of itself.

use std::collections::{BTreeMap, BTreeSet};

use steadfast::base::codec::{DecodeError, put_checksum};
use steadfast::base::{AppliedVv, Epoch, Hlc, IncarnationId, LogId, Lsn, RegionId};
use steadfast::model::record::Horizon;
use steadfast::model::{Digest, HeldOpening, ViewId};
use steadfast::storage::{RequestEntry, State, Sweep};

use crate::{VERSION_VECTOR, bytes, stamp, version_vector};

/// Everything but a sweep.
fn state() -> State {
    let log = LogId {
        region: RegionId(5),
        epoch: Epoch(3),
    };
    let horizon = Horizon {
        horizon: Hlc::from_millis(1000),
        covered: version_vector(),
    };
    let opening = HeldOpening {
        log,
        members: BTreeSet::from([IncarnationId(0x70), IncarnationId(0x71)]),
        recovered: version_vector(),
    };
    State {
        applied: AppliedVv(version_vector()),
        lsn: Lsn(42),
        newest: stamp(7).hlc,
        digest: Digest(0x40),
        swept: Hlc::from_millis(1000),
        horizon: Some(horizon),
        opening: Some(opening),
        chains: BTreeMap::from([(log, Digest(0x50))]),
        rows: BTreeMap::from([(ViewId(0xabcd), 17)]),
        pending_horizons: Vec::new(),
        sweep: None,
    }
}

/// What formats 1 and 2 tell of it.
fn state_without_opening() -> State {
    State {
        opening: None,
        ..state()
    }
}

/// [`state`] between its format and its sweep, with what follows the log of its opening.
fn golden_body(opening: &str) -> String {
    [
        // lsn, applied
        "2a00000000000000",
        VERSION_VECTOR,
        // newest, digest, swept
        "0200e80300000000",
        "40000000000000000000000000000000",
        "0000e80300000000",
        // horizon
        "010000e80300000000",
        VERSION_VECTOR,
        // opening
        "0105000000000000000300000000000000",
        opening,
        // one chain
        "0100000005000000000000000300000000000000",
        "50000000000000000000000000000000",
        // one count of rows
        "01000000cdab0000000000001100000000000000",
    ]
    .concat()
}

#[test]
fn a_state_of_version_1_is_still_read() {
    let golden = bytes(&["01", &golden_body(""), "c1240c09"]);
    assert_eq!(State::decode(&golden), Ok(state_without_opening()));
}

#[test]
fn a_state_of_version_2_is_still_read() {
    let golden = bytes(&["02", &golden_body(""), "0000000000f78ba63b"]);
    assert_eq!(State::decode(&golden), Ok(state_without_opening()));
}

#[test]
fn the_state_of_a_store_is_as_in_version_3() {
    let sweep = Sweep {
        horizon: Hlc::from_millis(2000),
        next: vec![0xab, 0xcd],
    };
    let swept = state();
    let pending = Horizon {
        horizon: Hlc::from_millis(3000),
        covered: version_vector(),
    };
    let sweeping = State {
        pending_horizons: vec![pending],
        sweep: Some(sweep),
        ..state()
    };
    let pending = ["010000000000b80b00000000", VERSION_VECTOR].concat();
    let opening = [
        "02000000",
        "70000000000000000000000000000000",
        "71000000000000000000000000000000",
        VERSION_VECTOR,
    ]
    .concat();
    for (state, end) in [
        (swept, "0000000000325a7d67".to_owned()),
        (sweeping, pending + "010000d0070000000002000000abcd5dbdc635"),
    ] {
        let golden = ["03", &golden_body(&opening), &end].concat();
        assert_eq!(hex::encode(state.encode()), golden);
        assert_eq!(State::decode(&bytes(&[&golden])), Ok(state));
    }
}

#[test]
fn a_state_of_a_newer_format_is_refused_by_its_number() {
    let mut newer = State::default().encode();
    newer.truncate(newer.len() - 4);
    newer[0] = 4;
    put_checksum(&mut newer, 0);
    let refused = State::decode(&newer);
    assert!(
        matches!(refused, Err(DecodeError::Invalid { value: 4, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_result_of_a_named_write_is_as_in_version_1() {
    let entry = RequestEntry {
        stamp: stamp(7),
        body_hash: Digest(0x60),
        applied: 3,
        older: 2,
        folded: 1,
    };
    let golden = [
        // stamp: time, region, epoch, seq
        "0200e80300000000",
        "8877665544332211",
        "0300000000000000",
        "0700000000000000",
        // applied, older, folded
        "0300000000000000",
        "0200000000000000",
        "0100000000000000",
        // body hash, checksum
        "60000000000000000000000000000000",
        "cd10e4b2",
    ]
    .concat();
    assert_eq!(hex::encode(entry.encode()), golden);
    assert_eq!(RequestEntry::decode(&bytes(&[&golden])), Ok(entry));
}
