//! Pure: what may go at a purge horizon, and what is then left of a row (P5, P6).
//!
//! **Invariants** (I23). What may go follows from the horizon, the definitions stamped at or below it, and the version
//! alone, so that every replica lets go of the same. A write stamped above the horizon, and admitted under the same
//! definitions, never needs what may go: leaving it out before or after the merge makes the same row.

use super::catalogue::Catalogue;
use super::row::{BodyRef, Content, Row, RowRef};
use super::version::{Order, Version};
use super::view::ViewId;
use crate::base::codec::{DecodeError, Reader};
use crate::base::{Hlc, Micros};

/// What may go at a horizon. The default is the horizon before everything, at which nothing goes.
#[derive(Debug, Clone, Default)]
pub struct Purge {
    horizon: Hlc,
    catalogue: Catalogue,
}

/// What may go of one view at a horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ViewPurge {
    horizon: Hlc,
    is_dropped: bool,
    expiry_floor: Option<Micros>,
    lateness_floor: Option<Micros>,
}

/// What is left of a row at a horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// This row, encoded; so many cells and tombstones of it go.
    Part(Vec<u8>, u64),
    /// Nothing.
    Nothing,
}

impl Purge {
    /// What may go at `horizon`; `catalogue` is what the definitions stamped at or below it make.
    #[must_use]
    pub fn new(horizon: Hlc, catalogue: Catalogue) -> Purge {
        Purge { horizon, catalogue }
    }

    /// The horizon.
    #[must_use]
    pub fn horizon(&self) -> Hlc {
        self.horizon
    }

    /// What may go of one view.
    #[must_use]
    pub fn of(&self, view: ViewId) -> ViewPurge {
        let at = self.horizon.micros();
        let known = self.catalogue.by_id(view);
        ViewPurge {
            horizon: self.horizon,
            is_dropped: self.catalogue.is_dropped(view),
            expiry_floor: known.and_then(|view| view.expiry_floor(at)),
            lateness_floor: known.and_then(|view| view.lateness_floor(at)),
        }
    }
}

impl ViewPurge {
    /// Can anything go of a view whose versions are so ordered? Else its rows need not be looked at.
    #[must_use]
    pub fn concerns(&self, order: Order) -> bool {
        self.is_dropped
            || order == Order::Arrival
            || self.expiry_floor.or(self.lateness_floor).is_some()
    }

    /// May a row or cell, or a deletion, of this version go?
    #[must_use]
    pub fn lets_go(&self, order: Order, version: &Version, is_tombstone: bool) -> bool {
        let is_below = |floor: Option<Micros>| floor.is_some_and(|at| version.event_time < at);
        let is_expired =
            is_below(self.expiry_floor) || Some(version.event_time) == self.expiry_floor;
        self.is_dropped
            || match order {
                Order::Arrival => version.stamp.hlc <= self.horizon && (is_tombstone || is_expired),
                Order::EventTime => is_expired || is_tombstone && is_below(self.lateness_floor),
            }
    }

    /// What is left of an encoded row.
    ///
    /// # Errors
    /// If the row is damaged.
    pub fn left_of(&self, encoded: &[u8]) -> Result<Left, DecodeError> {
        let row = RowRef::parse(encoded)?;
        let mut stays = true;
        for version in versions(&row) {
            let (version, is_tombstone) = version?;
            stays &= !self.lets_go(row.order, &version, is_tombstone);
        }
        if stays {
            return Ok(Left::All);
        }
        let Row { order, content } = Row::decode(encoded)?;
        let Content::Cells {
            tombstone,
            mut cells,
        } = content
        else {
            return Ok(Left::Nothing);
        };
        let before = cells.len() + usize::from(tombstone.is_some());
        let tombstone = tombstone.filter(|dead| !self.lets_go(order, dead, true));
        cells.retain(|_, cell| !self.lets_go(order, &cell.version, false));
        let after = cells.len() + usize::from(tombstone.is_some());
        if after == 0 {
            return Ok(Left::Nothing);
        }
        let gone = u64::try_from(before - after).unwrap_or(u64::MAX);
        let content = Content::Cells { tombstone, cells };
        Ok(Left::Part(Row { order, content }.encode(), gone))
    }
}

/// The versions in a row, each with whether it is that of a deletion.
fn versions<'a>(
    row: &RowRef<'a>,
) -> impl Iterator<Item = Result<(Version, bool), DecodeError>> + use<'a> {
    let (first, table) = match row.body {
        BodyRef::Whole { version, cells } => (Some((version, cells.is_none())), &[][..]),
        BodyRef::Cells {
            tombstone,
            versions,
            ..
        } => (tombstone.map(|dead| (dead, true)), versions),
    };
    let table = table.chunks_exact(Version::BYTES);
    let table = table.map(|version| Ok((Version::decode(&mut Reader::new(version))?, false)));
    first.map(Ok).into_iter().chain(table)
}

#[cfg(test)]
#[path = "purge_test.rs"]
mod tests;
