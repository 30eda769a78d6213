//! What the store says of itself.

use std::collections::{BTreeMap, BTreeSet};

use steadfast::base::{
    AppliedVv, Epoch, Hlc, IncarnationId, LogId, Lsn, RegionId, Seq, VersionVector,
};
use steadfast::model::record::Horizon;
use steadfast::model::{Digest, HeldOpening, ViewId};
use steadfast::storage::{State, Sweep};

use super::{bounded, resealed};

/// A node of a map for each entry.
const MULTIPLE: u64 = 80;

pub fn check(bytes: &[u8]) {
    for input in [bytes.to_vec(), resealed(bytes)] {
        let Ok(mut state) = bounded(input.len(), MULTIPLE, || State::decode(&input)) else {
            continue;
        };
        assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
        // To act on a horizon is to act on the greatest that is covered, once.
        let before = state.purge_horizon();
        state.settle_horizon();
        assert!(state.purge_horizon() >= before);
        let settled = state.clone();
        state.settle_horizon();
        assert_eq!(state, settled);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut applied = VersionVector::new();
    applied.fold(RegionId(1), Epoch(1));
    let log = |epoch| LogId {
        region: RegionId(1),
        epoch: Epoch(epoch),
    };
    (2..5).for_each(|epoch| applied.advance(log(epoch), Seq(epoch)));
    let horizon = |at| Horizon {
        horizon: Hlc(at),
        covered: applied.clone(),
    };
    let full = State {
        applied: AppliedVv(applied.clone()),
        lsn: Lsn(5),
        newest: Hlc(6),
        digest: Digest(7),
        swept: Hlc(8),
        sweep: Some(Sweep {
            horizon: Hlc(9),
            next: vec![1, 2, 3],
        }),
        horizon: Some(horizon(9)),
        pending_horizons: vec![horizon(10), horizon(11)],
        opening: Some(HeldOpening {
            log: log(4),
            members: BTreeSet::from([IncarnationId(12), IncarnationId(13)]),
            recovered: applied.clone(),
        }),
        chains: (2..5).map(|epoch| (log(epoch), Digest(1))).collect(),
        rows: BTreeMap::from([(ViewId(1), 2), (ViewId(3), 4)]),
    };
    vec![State::default().encode(), full.encode()]
}
