//! Pure: an opening record that is held: what an epoch began with.

use std::collections::BTreeSet;

use super::logged::Logged;
use super::record::Opening;
use crate::base::{IncarnationId, LogId, VersionVector};

/// An opening record that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOpening {
    /// The log it opens.
    pub log: LogId,
    /// The epoch's data members.
    pub members: BTreeSet<IncarnationId>,
    /// What was recovered when the epoch opened.
    pub recovered: VersionVector,
}

impl HeldOpening {
    /// What the first record of a log says.
    #[must_use]
    pub fn new(log: LogId, opening: &Opening) -> HeldOpening {
        HeldOpening {
            log,
            members: opening.members.iter().copied().collect(),
            recovered: opening.recovered.clone(),
        }
    }

    /// What a record says if it is an opening record.
    #[must_use]
    pub fn of(record: &Logged) -> Option<HeldOpening> {
        let opening = record.opening.as_ref()?;
        Some(HeldOpening::new(record.log(), opening))
    }
}
