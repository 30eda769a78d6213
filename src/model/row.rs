//! Pure: rows and their merge, the one function by which every path (write, replica, region, restore) lets the last
//! write win.
//!
//! ```text
//! row    := format u8 = 1 | flags u8 | body
//! flags  := 1: merge = cell (else row) | 2: order = arrival (else event time) | 4: tombstone
//! body, merge = row   := version | cells            (no cells under a tombstone)
//! body, merge = cell  := [version of the tombstone] | count u16 | versions | (version index u16 | cell)*
//! ```
//! Cells as in [`cells`]. The versions of a cell row are sorted, distinct and all used.
//!
//! **Invariants** (I6, M1). Merge reads nothing but its arguments: rows carry merge mode and order. It is total,
//! commutative, associative and idempotent. In a cell row no cell has a version below the tombstone's. Equal rows have
//! equal bytes.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use super::cells::{self, CellRef, Expected};
use super::version::{Order, Version};
use super::view::{FeatureId, MergeMode};
use crate::base::codec::{DecodeError, Reader};
use crate::base::{Micros, Stamp};

const FORMAT: u8 = 1;
const CELL_MODE: u8 = 1;
const ARRIVAL: u8 = 2;
const TOMBSTONE: u8 = 4;

/// What is known of one entity in one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// By what its versions are ordered.
    pub order: Order,
    /// Its features or its deletion.
    pub content: Content,
}

/// The features of a row, or their deletion, by merge mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// `merge = row`: all features have one version.
    Whole {
        /// The version of the row or of its deletion.
        version: Version,
        /// The encoded cells; `None` is a tombstone.
        cells: Option<Bytes>,
    },
    /// `merge = cell`: each feature has its own version.
    Cells {
        /// The greatest deletion so far.
        tombstone: Option<Version>,
        /// The live cells.
        cells: BTreeMap<FeatureId, VersionedCell>,
    },
}

/// One encoded cell with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedCell {
    /// When and where it was written.
    pub version: Version,
    /// The cell: feature id, tag and payload.
    pub encoded: Bytes,
}

/// One write to a row, as its record says it.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The unit of last-write-wins.
    pub merge: MergeMode,
    /// By what versions are ordered.
    pub order: Order,
    /// Event time and stamp of the write.
    pub version: Version,
    /// The encoded cells of a put; `None` is a deletion.
    pub cells: Option<&'a [u8]>,
}

impl Write<'_> {
    /// The row that the write makes where there was none.
    ///
    /// # Errors
    /// If `cells` is no list of cells.
    pub fn row(&self) -> Result<Row, DecodeError> {
        let Write { version, .. } = *self;
        let content = match (self.merge, self.cells) {
            (MergeMode::Row, cells) => Content::Whole {
                version,
                cells: cells.map(Bytes::copy_from_slice),
            },
            (MergeMode::Cell, None) => Content::Cells {
                tombstone: Some(version),
                cells: BTreeMap::new(),
            },
            (MergeMode::Cell, Some(encoded)) => {
                let mut cells = BTreeMap::new();
                for cell in cells::Cells::new(encoded) {
                    let cell = cell?;
                    cells.insert(cell.feature, versioned(&cell, version));
                }
                Content::Cells {
                    tombstone: None,
                    cells,
                }
            }
        };
        Ok(Row {
            order: self.order,
            content,
        })
    }

    /// The encoding of the row that it makes, `merge = row`.
    fn encode_whole(&self) -> Vec<u8> {
        encode_whole(self.order, &self.version, self.cells)
    }
}

impl Row {
    /// The merge of what two replicas, or a row and a write, know.
    ///
    /// Rows of different modes or orders never meet, because both are part of the view's id; should they, the one whose
    /// mode comes later wins, so that the function stays total and order-free.
    #[must_use]
    pub fn merge(self, other: Row) -> Row {
        if self.kind() != other.kind() {
            return if self.kind() > other.kind() {
                self
            } else {
                other
            };
        }
        let order = self.order;
        let content = match (self.content, other.content) {
            (
                Content::Cells {
                    tombstone: a,
                    cells: mut all,
                },
                Content::Cells {
                    tombstone: b,
                    cells: more,
                },
            ) => {
                let tombstone = newest(a, b, order);
                for (feature, cell) in more {
                    let held = all.entry(feature).or_insert_with(|| cell.clone());
                    if cell.version.is_newer(&held.version, order) {
                        *held = cell;
                    }
                }
                all.retain(|_, cell| {
                    tombstone.is_none_or(|dead| !dead.is_newer(&cell.version, order))
                });
                Content::Cells {
                    tombstone,
                    cells: all,
                }
            }
            (a, b) => match a.whole_version().zip(b.whole_version()) {
                Some((held, new)) if new.is_newer(&held, order) => b,
                _ => a,
            },
        };
        Row { order, content }
    }

    fn kind(&self) -> (bool, bool) {
        (
            matches!(self.content, Content::Cells { .. }),
            self.order == Order::Arrival,
        )
    }

    /// The greatest event time in the row: tombstone and every cell (M3).
    #[must_use]
    pub fn max_event_time(&self) -> Option<Micros> {
        match &self.content {
            Content::Whole { version, .. } => Some(version.event_time),
            Content::Cells { tombstone, cells } => {
                let times = cells.values().map(|cell| cell.version.event_time);
                times.chain(tombstone.map(|dead| dead.event_time)).max()
            }
        }
    }

    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.content {
            Content::Whole { version, cells } => {
                encode_whole(self.order, version, cells.as_deref())
            }
            Content::Cells { tombstone, cells } => {
                let dead = if tombstone.is_some() { TOMBSTONE } else { 0 };
                let mut out = vec![FORMAT, CELL_MODE | order_flag(self.order) | dead];
                if let Some(dead) = tombstone {
                    dead.encode(&mut out);
                }
                encode_cells(&mut out, cells);
                out
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn decode(bytes: &[u8]) -> Result<Row, DecodeError> {
        let row = RowRef::parse(bytes)?;
        let content = match row.body {
            BodyRef::Whole { version, cells } => Content::Whole {
                version,
                cells: cells.map(Bytes::copy_from_slice),
            },
            BodyRef::Cells { tombstone, .. } => {
                let mut cells = BTreeMap::new();
                for cell in row.cells() {
                    let (cell, version) = cell?;
                    cells.insert(cell.feature, versioned(&cell, version));
                }
                Content::Cells { tombstone, cells }
            }
        };
        Ok(Row {
            order: row.order,
            content,
        })
    }
}

/// Checks a stored row through and through: every value can be decoded, no cell lies below the tombstone, and the
/// encoding is the canonical one.
///
/// # Errors
/// What is wrong first.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let row = Row::decode(bytes)?;
    match &row.content {
        Content::Whole { cells, .. } => cells::check(cells.as_deref().unwrap_or_default())?,
        Content::Cells { tombstone, cells } => {
            for (feature, cell) in cells {
                cells::check(&cell.encoded)?;
                if tombstone.is_some_and(|dead| dead.is_newer(&cell.version, row.order)) {
                    let (field, value) =
                        ("cell below the tombstone, feature", u64::from(feature.0));
                    return Err(DecodeError::Invalid { field, value });
                }
            }
        }
    }
    if row.encode() != bytes {
        let (field, value) = ("row that is not canonical, format", u64::from(FORMAT));
        return Err(DecodeError::Invalid { field, value });
    }
    Ok(())
}

impl Content {
    fn whole_version(&self) -> Option<Version> {
        match self {
            Content::Whole { version, .. } => Some(*version),
            Content::Cells { .. } => None,
        }
    }
}

fn versioned(cell: &CellRef<'_>, version: Version) -> VersionedCell {
    let mut encoded = Vec::new();
    cells::put_cell_ref(&mut encoded, cell);
    VersionedCell {
        version,
        encoded: encoded.into(),
    }
}

fn newest(a: Option<Version>, b: Option<Version>, order: Order) -> Option<Version> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.is_newer(&a, order) { b } else { a }),
        (one, other) => one.or(other),
    }
}

fn order_flag(order: Order) -> u8 {
    match order {
        Order::EventTime => 0,
        Order::Arrival => ARRIVAL,
    }
}

fn encode_whole(order: Order, version: &Version, cells: Option<&[u8]>) -> Vec<u8> {
    let dead = if cells.is_none() { TOMBSTONE } else { 0 };
    let cells = cells.unwrap_or_default();
    let mut out = Vec::with_capacity(2 + Version::BYTES + cells.len());
    out.extend_from_slice(&[FORMAT, order_flag(order) | dead]);
    version.encode(&mut out);
    out.extend_from_slice(cells);
    out
}

fn encode_cells(out: &mut Vec<u8>, cells: &BTreeMap<FeatureId, VersionedCell>) {
    let mut versions: Vec<Version> = cells.values().map(|cell| cell.version).collect();
    versions.sort_by_key(version_key);
    versions.dedup();
    out.put_u16_le(index(versions.len()));
    versions.iter().for_each(|version| version.encode(out));
    for cell in cells.values() {
        let at = versions.binary_search_by_key(&version_key(&cell.version), version_key);
        out.put_u16_le(index(at.expect("the table holds every cell's version")));
        out.extend_from_slice(&cell.encoded);
    }
}

fn version_key(version: &Version) -> (Micros, Stamp) {
    (version.event_time, version.stamp)
}

fn index(at: usize) -> u16 {
    u16::try_from(at).expect("limits::FEATURES keeps the number of cells within 16 bits")
}

/// A row still encoded, for reading without building it.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    /// By what its versions are ordered.
    pub order: Order,
    /// Its features or its deletion.
    pub body: BodyRef<'a>,
}

/// The body of an encoded row.
#[derive(Debug, Clone, Copy)]
pub enum BodyRef<'a> {
    /// `merge = row`.
    Whole {
        /// The version of the row or of its deletion.
        version: Version,
        /// The encoded cells; `None` is a tombstone.
        cells: Option<&'a [u8]>,
    },
    /// `merge = cell`.
    Cells {
        /// The greatest deletion so far.
        tombstone: Option<Version>,
        /// The encoded version table.
        versions: &'a [u8],
        /// The encoded cells, each behind its version's index.
        cells: &'a [u8],
    },
}

impl<'a> RowRef<'a> {
    /// Reads the head of an encoded row.
    ///
    /// # Errors
    /// If the format is another one or the head is cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<RowRef<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("row format")? {
            FORMAT => {}
            other => {
                return Err(DecodeError::Invalid {
                    field: "row format",
                    value: u64::from(other),
                });
            }
        }
        let flags = reader.u8("row flags")?;
        if flags & !(CELL_MODE | ARRIVAL | TOMBSTONE) != 0 {
            return Err(DecodeError::Invalid {
                field: "row flags",
                value: u64::from(flags),
            });
        }
        let order = if flags & ARRIVAL == 0 {
            Order::EventTime
        } else {
            Order::Arrival
        };
        let dead = flags & TOMBSTONE != 0;
        let body = if flags & CELL_MODE == 0 {
            let version = Version::decode(&mut reader)?;
            if dead {
                reader.finish("tombstone")?;
            }
            BodyRef::Whole {
                version,
                cells: (!dead).then(|| reader.rest()),
            }
        } else {
            let tombstone = if dead {
                Some(Version::decode(&mut reader)?)
            } else {
                None
            };
            let count = usize::from(reader.u16("version count")?);
            let versions = reader.bytes("version table", count * Version::BYTES)?;
            BodyRef::Cells {
                tombstone,
                versions,
                cells: reader.rest(),
            }
        };
        Ok(RowRef { order, body })
    }

    /// The live cells with their versions, sorted by feature.
    #[must_use]
    pub fn cells(&self) -> RowCells<'a> {
        match self.body {
            BodyRef::Whole { version, cells } => RowCells {
                reader: Some(Reader::new(cells.unwrap_or_default())),
                source: Source::One(version),
            },
            BodyRef::Cells {
                versions, cells, ..
            } => RowCells {
                reader: Some(Reader::new(cells)),
                source: Source::Table(versions),
            },
        }
    }

    /// Of which writes the row is the merge, as far as they left anything in it.
    ///
    /// # Errors
    /// If a version cannot be read.
    pub fn stamps(&self) -> Result<Vec<Stamp>, DecodeError> {
        match self.body {
            BodyRef::Whole { version, .. } => Ok(vec![version.stamp]),
            BodyRef::Cells {
                tombstone,
                versions,
                ..
            } => {
                let table = versions.chunks(Version::BYTES);
                let cells = table.map(|version| Version::decode(&mut Reader::new(version)));
                let all = tombstone.map(Ok).into_iter().chain(cells);
                all.map(|version| Ok(version?.stamp)).collect()
            }
        }
    }

    /// Does the row hold any feature, or the fact that it has none? A tombstone alone does not.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.body {
            BodyRef::Whole { cells, .. } => cells.is_some(),
            BodyRef::Cells { cells, .. } => !cells.is_empty(),
        }
    }
}

/// The cells of an encoded row. Ends after the first error.
#[derive(Debug, Clone)]
pub struct RowCells<'a> {
    reader: Option<Reader<'a>>,
    source: Source<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    One(Version),
    Table(&'a [u8]),
}

/// What a row says of a feature that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The payload; `None` is null.
    pub payload: Option<&'a [u8]>,
    /// The event time of the cell's version.
    pub event_time: Micros,
    /// Is it of the expected type?
    pub is_expected: bool,
}

impl<'a> RowCells<'a> {
    /// No cells.
    #[must_use]
    pub fn none() -> RowCells<'a> {
        RowCells {
            reader: None,
            source: Source::Table(&[]),
        }
    }

    /// Takes the cell of a feature, passing over those before it. Features must be asked for in the order of their ids,
    /// each once.
    ///
    /// # Errors
    /// If the cell or one before it is damaged.
    #[inline]
    pub fn take_feature(&mut self, expected: &Expected) -> Result<Option<Found<'a>>, DecodeError> {
        // In most rows it is the next one.
        if let (Some(reader), Source::One(version)) = (&mut self.reader, &self.source)
            && let Some(payload) = expected.take(reader)
        {
            return Ok(Some(Found {
                payload: Some(payload),
                event_time: version.event_time,
                is_expected: true,
            }));
        }
        self.search(expected)
    }

    fn search(&mut self, expected: &Expected) -> Result<Option<Found<'a>>, DecodeError> {
        while let Some(here) = self.reader.filter(|reader| !reader.is_empty()) {
            let mut reader = here;
            let event_time = match self.source {
                Source::One(version) => version.event_time,
                Source::Table(table) => {
                    let at = usize::from(reader.u16("version index")?);
                    let entry = table.get(at * Version::BYTES..).unwrap_or_default();
                    Version::event_time(&mut Reader::new(entry))?
                }
            };
            let (feature, payload, is_expected) = match expected.take(&mut reader) {
                Some(payload) => (expected.feature, Some(payload), true),
                None => {
                    let cell = cells::read_cell(&mut reader)?;
                    let is_expected = cell.value_type == expected.value_type;
                    (cell.feature, cell.payload, is_expected)
                }
            };
            if feature > expected.feature {
                break;
            }
            self.reader = Some(reader);
            if feature == expected.feature {
                return Ok(Some(Found {
                    payload,
                    event_time,
                    is_expected,
                }));
            }
        }
        Ok(None)
    }

    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(CellRef<'a>, Version), DecodeError> {
        let version = match self.source {
            Source::One(version) => version,
            Source::Table(table) => {
                let at = usize::from(reader.u16("version index")?);
                let entry = table.get(at * Version::BYTES..).unwrap_or_default();
                Version::decode(&mut Reader::new(entry))?
            }
        };
        Ok((cells::read_cell(reader)?, version))
    }
}

impl<'a> Iterator for RowCells<'a> {
    type Item = Result<(CellRef<'a>, Version), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take().filter(|reader| !reader.is_empty())?;
        let cell = self.read(&mut reader);
        if cell.is_ok() {
            self.reader = Some(reader);
        }
        Some(cell)
    }
}

/// What a write changes in the stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Nothing: what is stored is newer, or the same.
    Older,
    /// The row is now this.
    Applied(Vec<u8>),
}

/// [`Row::merge`] of an encoded row and a write, without building them where the versions alone decide.
///
/// # Errors
/// If either is not encoded as it must be.
pub fn merge_write(stored: Option<&[u8]>, write: &Write<'_>) -> Result<Merged, DecodeError> {
    let held = stored.map(RowRef::parse).transpose()?;
    match (write.merge, held.map(|held| (held.order, held.body))) {
        (MergeMode::Row, None) => return Ok(Merged::Applied(write.encode_whole())),
        (MergeMode::Row, Some((order, BodyRef::Whole { version: held, .. })))
            if order == write.order =>
        {
            return Ok(if write.version.is_newer(&held, order) {
                Merged::Applied(write.encode_whole())
            } else {
                Merged::Older
            });
        }
        _ => {}
    }
    let row = write.row()?;
    let Some(stored) = stored else {
        return Ok(Merged::Applied(row.encode()));
    };
    let merged = Row::decode(stored)?.merge(row).encode();
    Ok(if merged == stored {
        Merged::Older
    } else {
        Merged::Applied(merged)
    })
}

#[cfg(test)]
#[path = "row_test.rs"]
mod tests;
