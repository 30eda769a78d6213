//! Pure: whether what two members hold of a row may differ, though neither stops for the comparison.
//!
//! A row is the merge of the writes that a member has applied, and it names the records that left anything in it. Of
//! two members of which each has applied all that the other's row names, neither can know a write of it that the other's row
//! does not reflect: what left nothing lost to something that both have applied. So their rows must be equal, wherever the
//! two stand otherwise. Rows are compared less what may go at the horizon (I22), so only under equal horizons.

use super::digest::Digest;
use super::row::RowRef;
use crate::base::{Hlc, LogId, Seq, VersionVector};

/// What there is of a row at one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// Its digest, as in [`Digest::of_row`].
    pub digest: Digest,
    /// The records of which it is the merge.
    pub records: Vec<(LogId, Seq)>,
}

impl SeenRow {
    /// A row as it is stored, under its key in the store. One that cannot be decoded names no records.
    #[must_use]
    pub fn of(store_key: &[u8], row: &[u8]) -> SeenRow {
        let stamps = RowRef::parse(row).and_then(|row| row.stamps());
        let stamps = stamps.unwrap_or_default().into_iter();
        SeenRow {
            digest: Digest::of_row(store_key, row),
            records: stamps.map(|stamp| (stamp.log(), stamp.seq)).collect(),
        }
    }
}

/// What one member holds under a key, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// All it has applied.
    pub applied: &'a VersionVector,
    /// What may go at this horizon is left out.
    pub horizon: Hlc,
    /// `None` if there is no row.
    pub row: Option<&'a SeenRow>,
}

/// What is to be said of two members' rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are equal.
    Equal,
    /// They differ, and must not.
    Different,
    /// They differ, but one of the members has not applied all that the other one has: to be looked at again.
    Unsettled,
}

/// Compares what two members hold under one key.
#[must_use]
pub fn compare(one: Sight<'_>, other: Sight<'_>) -> Verdict {
    if one.horizon != other.horizon {
        return Verdict::Unsettled;
    }
    if one.row.map(|row| row.digest) == other.row.map(|row| row.digest) {
        return Verdict::Equal;
    }
    if has_applied(one.applied, other.row) && has_applied(other.applied, one.row) {
        Verdict::Different
    } else {
        Verdict::Unsettled
    }
}

fn has_applied(applied: &VersionVector, row: Option<&SeenRow>) -> bool {
    let mut records = row.into_iter().flat_map(|row| &row.records);
    records.all(|(log, seq)| applied.contains(*log, *seq))
}

#[cfg(test)]
#[path = "comparison_test.rs"]
mod tests;
