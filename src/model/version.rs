//! Pure: versions, the total order that decides last-write-wins.

use std::cmp::Ordering;

use bytes::BufMut;
use serde::{Deserialize, Serialize};

use crate::base::codec::{DecodeError, Reader};
use crate::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp};

/// By what the versions of a view's rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By event time, then by stamp: the newest fact wins, however late it arrives.
    #[default]
    EventTime,
    /// By stamp alone: the last write wins.
    Arrival,
}

/// Event time and stamp of a row, cell or tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// When the fact became true, as the writer says.
    pub event_time: Micros,
    /// When and where it was written.
    pub stamp: Stamp,
}

impl Version {
    /// Bytes of the encoding: `event time i64, hlc u64, region u64, epoch u64, seq u64`.
    pub const BYTES: usize = 40;

    /// Compares two versions of the same row or cell. Equal only if the stamps are.
    #[must_use]
    pub fn compare(&self, other: &Version, order: Order) -> Ordering {
        match order {
            Order::EventTime => (self.event_time, self.stamp).cmp(&(other.event_time, other.stamp)),
            Order::Arrival => self.stamp.cmp(&other.stamp),
        }
    }

    /// Is this version greater than the other?
    #[must_use]
    pub fn is_newer(&self, other: &Version, order: Order) -> bool {
        self.compare(other, order) == Ordering::Greater
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64_le(self.event_time.0);
        out.put_u64_le(self.stamp.hlc.0);
        out.put_u64_le(self.stamp.region.0);
        out.put_u64_le(self.stamp.epoch.0);
        out.put_u64_le(self.stamp.seq.0);
    }

    /// Reads the event time of an encoded version and nothing else of it.
    ///
    /// # Errors
    /// If the bytes are cut off.
    pub fn event_time(reader: &mut Reader<'_>) -> Result<Micros, DecodeError> {
        reader.i64("event time").map(Micros)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are cut off.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
        Ok(Version {
            event_time: Version::event_time(reader)?,
            stamp: Stamp {
                hlc: Hlc(reader.u64("stamp time")?),
                region: RegionId(reader.u64("stamp region")?),
                epoch: Epoch(reader.u64("stamp epoch")?),
                seq: Seq(reader.u64("stamp seq")?),
            },
        })
    }
}
