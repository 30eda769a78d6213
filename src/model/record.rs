//! Pure: records, one write each as logged. A record's bytes never change: the same on every disk, wire and in the
//! archive (I2, I26).
//!
//! ```text
//! record   := format u8 = 1 | kind u8 | region u64 | epoch u64 | seq u64 | hlc u64 | chain digest before it u128
//!           | request u8: 0, or 1 and caller, id (length u32, text), body hash u128
//!           | body | crc32 of all before it u32
//! opening  := floor u64 | members u32, incarnation u128 each | T (version vector)
//! rows     := older u32 | folded u32 | groups u32, each: view u64 | flags u8 (1: merge = cell, 2: order = arrival) | rows u32, each:
//!             key (length u32, bytes) | event time i64 | change u8: 0 delete, 1 put and cells (length u32, bytes)
//! definition := JSON (length u32, text)
//! marker   := applied (version vector) | swept horizon u64 | digest u128
//! horizon  := horizon u64 | version vector
//! ```
//! The chain digest after a record is the digest of its bytes, which contain the digest before it.

use bytes::{BufMut, Bytes};

use super::cells;
use super::definition::Definition;
use super::digest::Digest;
use super::key::EntityKey;
use super::row::Write;
use super::version::{Order, Version};
use super::view::{MergeMode, ViewId};
use crate::base::codec::{DecodeError, Reader, check_checksum, put_blob, put_checksum, put_count};
use crate::base::{Epoch, Hlc, IncarnationId, Micros, RegionId, Seq, Stamp, VersionVector};

const FORMAT: u8 = 1;
/// The kind of opening records.
const OPENING: u8 = 1;

/// One logged write.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When and where it was written; its identity.
    pub stamp: Stamp,
    /// The chain digest of the log up to the record before this one.
    pub chain_before: Digest,
    /// The client's name for the write, if it gave one.
    pub request: Option<RequestId>,
    /// What it says.
    pub body: Body,
}

/// The client's name for a write, so that a repetition is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// On whose behalf: ids of different callers are different.
    pub caller: String,
    /// The id that the caller chose.
    pub id: String,
    /// Digest of what was asked for, so that another body under the same id is noticed.
    pub body_hash: Digest,
}

/// What every record begins with: enough to know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The record's stamp.
    pub stamp: Stamp,
    /// The chain digest of the log up to the record before this one.
    pub chain_before: Digest,
    kind: u8,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The first record of an epoch's log.
    Opening(Opening),
    /// Puts and deletes.
    Rows(Rows),
    /// A change of the catalogue.
    Definition(Definition),
    /// What the writer's store is at this place.
    Marker(Marker),
    /// A purge horizon that has been agreed.
    Horizon(Horizon),
}

/// The configuration under which an epoch's primary serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// All stamps of the epoch lie above it.
    pub floor: Hlc,
    /// The data members.
    pub members: Vec<IncarnationId>,
    /// What was found durable when the epoch began.
    pub recovered: VersionVector,
}

/// The writer's applied version vector, swept horizon and replica digest at the marker's place (I22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Everything before this record.
    pub applied: VersionVector,
    /// Up to which horizon rows have been swept.
    pub swept: Hlc,
    /// Over all rows with their versions.
    pub digest: Digest,
}

/// A stamp up to which everybody has applied everything (P1, P2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    /// The stamp's time.
    pub horizon: Hlc,
    /// At least what lies at or below it.
    pub covered: VersionVector,
}

/// The rows of one batch, as decided before logging.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// How many of the batch's rows counted as older and were not logged (M6).
    pub older: u32,
    /// How many of the batch's rows were folded into another one of the same entity.
    pub folded: u32,
    /// The rows, by view.
    pub groups: Vec<RowGroup>,
}

/// The rows of one view in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroup {
    /// The view.
    pub view: ViewId,
    /// The unit of last-write-wins in it (M1).
    pub merge: MergeMode,
    /// By what its versions are ordered (M1).
    pub order: Order,
    /// The rows.
    pub rows: Vec<RowWrite>,
}

/// One row of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowWrite {
    /// Whose row.
    pub key: EntityKey,
    /// When the fact became true.
    pub event_time: Micros,
    /// The encoded cells of a put; `None` is a deletion.
    pub cells: Option<Bytes>,
}

impl RowGroup {
    /// One of the group's writes as it counts under the stamp of its record.
    #[must_use]
    pub fn write<'a>(&self, write: &'a RowWrite, stamp: Stamp) -> Write<'a> {
        Write {
            merge: self.merge,
            order: self.order,
            version: Version {
                event_time: write.event_time,
                stamp,
            },
            cells: write.cells.as_deref(),
        }
    }
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.typical_bytes());
        out.extend_from_slice(&[FORMAT, self.body.kind()]);
        out.put_u64_le(self.stamp.region.0);
        out.put_u64_le(self.stamp.epoch.0);
        out.put_u64_le(self.stamp.seq.0);
        out.put_u64_le(self.stamp.hlc.0);
        out.put_u128_le(self.chain_before.0);
        match &self.request {
            None => out.put_u8(0),
            Some(request) => {
                out.put_u8(1);
                put_blob(&mut out, request.caller.as_bytes());
                put_blob(&mut out, request.id.as_bytes());
                out.put_u128_le(request.body_hash.0);
            }
        }
        self.body.encode(&mut out);
        put_checksum(&mut out, 0);
        out
    }

    /// The chain digest of the log up to and with the record of these bytes.
    #[must_use]
    pub fn chain_after(encoded: &[u8]) -> Digest {
        Digest::of(encoded)
    }

    /// Reads what [`encode`](Self::encode) wrote. Cells stay encoded but are checked.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
        let mut reader = Reader::new(check_checksum("record", bytes)?);
        let Head {
            stamp,
            chain_before,
            kind,
        } = Head::decode(&mut reader)?;
        let request = match reader.u8("request flag")? {
            0 => None,
            1 => Some(RequestId {
                caller: reader.text("caller")?.to_owned(),
                id: reader.text("request id")?.to_owned(),
                body_hash: Digest(reader.u128("body hash")?),
            }),
            other => {
                return Err(DecodeError::Invalid {
                    field: "request flag",
                    value: u64::from(other),
                });
            }
        };
        let body = Body::decode(kind, &mut reader)?;
        reader.finish("record")?;
        Ok(Record {
            stamp,
            chain_before,
            request,
            body,
        })
    }
}

impl Head {
    /// Reads the beginning of a record's bytes, which are known to be what was written.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn read(bytes: &[u8]) -> Result<Head, DecodeError> {
        Head::decode(&mut Reader::new(bytes))
    }

    /// Is it the first record of an epoch's log?
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.kind == OPENING
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Head, DecodeError> {
        match reader.u8("record format")? {
            FORMAT => {}
            other => {
                return Err(DecodeError::Invalid {
                    field: "record format",
                    value: u64::from(other),
                });
            }
        }
        Ok(Head {
            kind: reader.u8("record kind")?,
            stamp: read_stamp(reader)?,
            chain_before: Digest(reader.u128("chain digest")?),
        })
    }
}

fn read_stamp(reader: &mut Reader<'_>) -> Result<Stamp, DecodeError> {
    let region = RegionId(reader.u64("region")?);
    let epoch = Epoch(reader.u64("epoch")?);
    let seq = Seq(reader.u64("seq")?);
    Ok(Stamp {
        hlc: Hlc(reader.u64("stamp time")?),
        region,
        epoch,
        seq,
    })
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Body::Opening(_) => OPENING,
            Body::Rows(_) => 2,
            Body::Definition(_) => 3,
            Body::Marker(_) => 4,
            Body::Horizon(_) => 5,
        }
    }

    /// What is worth reserving for the whole record.
    fn typical_bytes(&self) -> usize {
        const HEAD: usize = 256;
        let Body::Rows(rows) = self else {
            return HEAD;
        };
        let writes = rows.groups.iter().flat_map(|group| &group.rows);
        let bytes = writes.map(|write| {
            let cells = write.cells.as_ref().map_or(0, Bytes::len);
            RowWrite::MIN_BYTES + 4 + write.key.as_bytes().len() + cells
        });
        HEAD + bytes.sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Body::Opening(opening) => {
                out.put_u64_le(opening.floor.0);
                put_count(out, opening.members.len());
                opening
                    .members
                    .iter()
                    .for_each(|member| out.put_u128_le(member.0));
                opening.recovered.encode(out);
            }
            Body::Rows(rows) => {
                out.put_u32_le(rows.older);
                out.put_u32_le(rows.folded);
                put_count(out, rows.groups.len());
                rows.groups.iter().for_each(|group| group.encode(out));
            }
            Body::Definition(definition) => put_blob(out, definition.to_json().as_bytes()),
            Body::Marker(marker) => {
                marker.applied.encode(out);
                out.put_u64_le(marker.swept.0);
                out.put_u128_le(marker.digest.0);
            }
            Body::Horizon(horizon) => {
                out.put_u64_le(horizon.horizon.0);
                horizon.covered.encode(out);
            }
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
        Ok(match kind {
            OPENING => {
                let floor = Hlc(reader.u64("floor")?);
                let count = reader.count("members", 16)?;
                let members = (0..count)
                    .map(|_| reader.u128("member").map(IncarnationId))
                    .collect::<Result<_, _>>()?;
                Body::Opening(Opening {
                    floor,
                    members,
                    recovered: VersionVector::decode(reader)?,
                })
            }
            2 => {
                let older = reader.u32("older rows")?;
                let folded = reader.u32("folded rows")?;
                let count = reader.count("row groups", RowGroup::MIN_BYTES)?;
                let groups = (0..count)
                    .map(|_| RowGroup::decode(reader))
                    .collect::<Result<_, _>>()?;
                Body::Rows(Rows {
                    older,
                    folded,
                    groups,
                })
            }
            3 => Body::Definition(Definition::from_json(reader.text("definition")?)?),
            4 => Body::Marker(Marker {
                applied: VersionVector::decode(reader)?,
                swept: Hlc(reader.u64("swept horizon")?),
                digest: Digest(reader.u128("digest")?),
            }),
            5 => Body::Horizon(Horizon {
                horizon: Hlc(reader.u64("horizon")?),
                covered: VersionVector::decode(reader)?,
            }),
            other => {
                return Err(DecodeError::Invalid {
                    field: "record kind",
                    value: u64::from(other),
                });
            }
        })
    }
}

impl RowGroup {
    const MIN_BYTES: usize = 13;
    const CELL_MODE: u8 = 1;
    const ARRIVAL: u8 = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.view.0);
        let merge = if self.merge == MergeMode::Cell {
            Self::CELL_MODE
        } else {
            0
        };
        let order = if self.order == Order::Arrival {
            Self::ARRIVAL
        } else {
            0
        };
        out.put_u8(merge | order);
        put_count(out, self.rows.len());
        for row in &self.rows {
            put_blob(out, row.key.as_bytes());
            out.put_i64_le(row.event_time.0);
            match &row.cells {
                None => out.put_u8(0),
                Some(cells) => {
                    out.put_u8(1);
                    put_blob(out, cells);
                }
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<RowGroup, DecodeError> {
        let view = ViewId(reader.u64("view id")?);
        let flags = reader.u8("row group flags")?;
        if flags & !(Self::CELL_MODE | Self::ARRIVAL) != 0 {
            return Err(DecodeError::Invalid {
                field: "row group flags",
                value: u64::from(flags),
            });
        }
        let merge = if flags & Self::CELL_MODE == 0 {
            MergeMode::Row
        } else {
            MergeMode::Cell
        };
        let order = if flags & Self::ARRIVAL == 0 {
            Order::EventTime
        } else {
            Order::Arrival
        };
        let count = reader.count("rows", RowWrite::MIN_BYTES)?;
        let rows = (0..count)
            .map(|_| RowWrite::decode(reader))
            .collect::<Result<_, _>>()?;
        Ok(RowGroup {
            view,
            merge,
            order,
            rows,
        })
    }
}

impl RowWrite {
    const MIN_BYTES: usize = 13;

    fn decode(reader: &mut Reader<'_>) -> Result<RowWrite, DecodeError> {
        let key = EntityKey::from_checked(Bytes::copy_from_slice(reader.blob("key")?));
        let event_time = Micros(reader.i64("event time")?);
        let cells = match reader.u8("change")? {
            0 => None,
            1 => {
                let encoded = reader.blob("cells")?;
                cells::check(encoded)?;
                Some(Bytes::copy_from_slice(encoded))
            }
            other => {
                return Err(DecodeError::Invalid {
                    field: "change",
                    value: u64::from(other),
                });
            }
        };
        Ok(RowWrite {
            key,
            event_time,
            cells,
        })
    }
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
