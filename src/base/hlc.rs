//! Pure: hybrid logical time, and the stamp that says when and where a record was written.
//!
//! Layout of an [`Hlc`]: 48 bits of milliseconds since the Unix epoch, 16 bits of counter. The counter carries into the
//! milliseconds, so that stamps rise however many records one millisecond holds. After Kulkarni et al., "Logical
//! Physical Clocks" (2014).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::ids::{Epoch, LogId, RegionId, Seq};

/// Hybrid logical time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Hlc(pub u64);

const COUNTER_BITS: u32 = 16;

impl Hlc {
    /// Before every stamp.
    pub const ZERO: Hlc = Hlc(0);

    /// The first value of the given millisecond since the Unix epoch (of its low 48 bits).
    #[must_use]
    pub fn from_millis(millis: u64) -> Hlc {
        Hlc(millis << COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The smallest greater value; the counter carries into the milliseconds.
    #[must_use]
    pub fn next(self) -> Hlc {
        Hlc(self.0 + 1)
    }

    /// This value's millisecond as a time in microseconds, the unit of event times.
    #[must_use]
    pub fn micros(self) -> Micros {
        Micros(i64::try_from(self.millis() * 1000).unwrap_or(i64::MAX))
    }

    /// The place `millis` milliseconds later, counter kept.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Hlc {
        Hlc(self.0.saturating_add(millis << COUNTER_BITS))
    }

    /// The place `millis` milliseconds earlier, counter kept; zero at the least.
    #[must_use]
    pub fn minus_millis(self, millis: u64) -> Hlc {
        Hlc(self.0.saturating_sub(millis << COUNTER_BITS))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}",
            self.millis(),
            self.0 & ((1 << COUNTER_BITS) - 1)
        )
    }
}

/// When and where a record was written. Total: no two records of any region share one, and stamps rise with `seq` in a log.
///
/// Prints as `millis.counter@region/epoch/seq` and parses back from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid time of the writer.
    pub hlc: Hlc,
    /// The writer's replica set.
    pub region: RegionId,
    /// The reign it wrote in.
    pub epoch: Epoch,
    /// The record's place in that reign's log.
    pub seq: Seq,
}

impl Stamp {
    /// The log the record lies in.
    #[must_use]
    pub fn log(&self) -> LogId {
        LogId {
            region: self.region,
            epoch: self.epoch,
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}/{}/{}",
            self.hlc, self.region, self.epoch, self.seq
        )
    }
}

/// A text that is not a printed stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stamp: expected millis.counter@region/epoch/seq")]
pub struct ParseStampError(String);

impl FromStr for Stamp {
    type Err = ParseStampError;

    fn from_str(text: &str) -> Result<Self, ParseStampError> {
        parse_stamp(text).ok_or_else(|| ParseStampError(text.chars().take(100).collect()))
    }
}

fn parse_stamp(text: &str) -> Option<Stamp> {
    let (time, place) = text.split_once('@')?;
    let (millis, counter) = time.split_once('.')?;
    let millis: u64 = millis
        .parse()
        .ok()
        .filter(|m| *m < 1 << (64 - COUNTER_BITS))?;
    let counter: u16 = counter.parse().ok()?;
    let mut parts = place.split('/');
    let stamp = Stamp {
        hlc: Hlc(millis << COUNTER_BITS | u64::from(counter)),
        region: parts.next()?.parse().ok()?,
        epoch: Epoch(parts.next()?.parse().ok()?),
        seq: Seq(parts.next()?.parse().ok()?),
    };
    parts.next().is_none().then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_counter_carries_into_the_milliseconds() {
        let last_of_millisecond = Hlc(Hlc::from_millis(7).0 | 0xffff);
        assert_eq!(last_of_millisecond.next(), Hlc::from_millis(8));
    }

    proptest! {
        #[test]
        fn a_stamp_parses_back_from_what_it_prints(hlc: u64, region: u64, epoch: u64, seq: u64) {
            let stamp = Stamp { hlc: Hlc(hlc), region: RegionId(region), epoch: Epoch(epoch), seq: Seq(seq) };
            prop_assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }
    }
}
