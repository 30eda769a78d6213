//! Pure: which records are committed in an epoch.
//!
//! **Invariant** (I11). Only what a data member said under the epoch counts: its promise was the epoch then, so it had
//! promised nothing later and whoever seals it later learns of the record.

use std::collections::BTreeMap;

use crate::base::{IncarnationId, LogId, Seq, VersionVector};

/// What the data members of one epoch have acknowledged under it.
#[derive(Debug)]
pub struct Commit {
    acked: BTreeMap<IncarnationId, VersionVector>,
    needed: usize,
}

impl Commit {
    /// For these data members, of which `needed` commit.
    pub fn new(members: impl IntoIterator<Item = IncarnationId>, needed: usize) -> Commit {
        let acked = members
            .into_iter()
            .map(|member| (member, VersionVector::new()))
            .collect();
        Commit { acked, needed }
    }

    /// A member acknowledged this under the epoch. Others than data members do not count.
    pub fn ack(&mut self, member: IncarnationId, durable: &VersionVector) {
        if let Some(acked) = self.acked.get_mut(&member) {
            acked.join(durable);
        }
    }

    /// On how many data members the record is.
    #[must_use]
    pub fn copies(&self, log: LogId, seq: Seq) -> usize {
        let holds = |acked: &&VersionVector| acked.contains(log, seq);
        self.acked.values().filter(holds).count()
    }

    /// Is the record on enough of them?
    #[must_use]
    pub fn is_committed(&self, log: LogId, seq: Seq) -> bool {
        self.copies(log, seq) >= self.needed
    }

    /// Is the record on all of them?
    #[must_use]
    pub fn is_everywhere(&self, log: LogId, seq: Seq) -> bool {
        self.copies(log, seq) == self.acked.len()
    }

    /// What a data member has acknowledged.
    #[must_use]
    pub fn acked(&self, member: IncarnationId) -> Option<&VersionVector> {
        self.acked.get(&member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, RegionId};
    use proptest::prelude::*;

    const LOG: LogId = LogId {
        region: RegionId(1),
        epoch: Epoch(3),
    };

    proptest! {
        #[test]
        fn committed_is_what_enough_data_members_hold(
            members in 1..6u128,
            acks in proptest::collection::vec((0..8u128, 0..9u64), 0..30),
            seq in 1..9u64,
        ) {
            let needed = usize::try_from(members).unwrap() / 2 + 1;
            let mut commit = Commit::new((0..members).map(IncarnationId), needed);
            let mut held: BTreeMap<u128, u64> = (0..members).map(|member| (member, 0)).collect();
            for (member, last) in acks {
                let mut durable = VersionVector::new();
                durable.advance(LOG, Seq(last));
                commit.ack(IncarnationId(member), &durable);
                if let Some(held) = held.get_mut(&member) {
                    *held = last.max(*held);
                }
            }
            let copies = held.values().filter(|held| **held >= seq).count();
            prop_assert_eq!(commit.copies(LOG, Seq(seq)), copies);
            prop_assert_eq!(commit.is_committed(LOG, Seq(seq)), copies >= needed);
            prop_assert_eq!(commit.is_everywhere(LOG, Seq(seq)), copies == held.len());
        }
    }
}
