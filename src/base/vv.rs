//! Pure: version vectors. Per log the last sequence number of an unbroken prefix.
//!
//! **Base.** Per region, the greatest epoch up to which every log is closed and held to its final record. Entries at or
//! below the base are folded into it, so a vector stays as short as the logs that are still open somewhere.
//!
//! **Kinds.** What is durable, applied and flushed are three types; one becomes another only by naming it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use bytes::BufMut;
use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, put_count};
use super::ids::{Epoch, LogId, RegionId, Seq};

/// A set of records that is an unbroken prefix of each log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct VersionVector {
    base: BTreeMap<RegionId, Epoch>,
    logs: BTreeMap<LogId, Seq>,
}

impl VersionVector {
    /// The empty set.
    #[must_use]
    pub fn new() -> VersionVector {
        VersionVector::default()
    }

    /// The epoch up to which every log of `region` is closed and held whole.
    #[must_use]
    pub fn base(&self, region: RegionId) -> Epoch {
        self.base.get(&region).copied().unwrap_or(Epoch::NONE)
    }

    /// The regions of which logs are folded, each with the epoch up to which they are.
    pub fn bases(&self) -> impl Iterator<Item = (RegionId, Epoch)> + '_ {
        self.base.iter().map(|(region, epoch)| (*region, *epoch))
    }

    /// The last held record of `log`; `None` if the log is folded into the base, where only the registry knows its end.
    #[must_use]
    pub fn last(&self, log: LogId) -> Option<Seq> {
        if log.epoch <= self.base(log.region) {
            return None;
        }
        Some(self.logs.get(&log).copied().unwrap_or(Seq::NONE))
    }

    /// The logs that are not folded, with their last held records.
    pub fn logs(&self) -> impl Iterator<Item = (LogId, Seq)> + '_ {
        self.logs.iter().map(|(log, seq)| (*log, *seq))
    }

    /// Is this record in the set?
    #[must_use]
    pub fn contains(&self, log: LogId, seq: Seq) -> bool {
        self.last(log).is_none_or(|last| last >= seq)
    }

    /// Is every record of `other` in the set? Says no where only a registry of finals could tell.
    #[must_use]
    pub fn covers(&self, other: &VersionVector) -> bool {
        other
            .base
            .iter()
            .all(|(region, epoch)| self.base(*region) >= *epoch)
            && other
                .logs
                .iter()
                .all(|(log, seq)| self.contains(*log, *seq))
    }

    /// Adds the records of `log` up to `seq`. Never takes any away.
    pub fn advance(&mut self, log: LogId, seq: Seq) {
        if log.epoch <= self.base(log.region) || seq == Seq::NONE {
            return;
        }
        let last = self.logs.entry(log).or_insert(Seq::NONE);
        *last = seq.max(*last);
    }

    /// Declares that every log of `region` up to `epoch` is closed and held to its final record, and folds them.
    pub fn fold(&mut self, region: RegionId, epoch: Epoch) {
        if epoch <= self.base(region) {
            return;
        }
        self.base.insert(region, epoch);
        self.logs
            .retain(|log, _| log.region != region || log.epoch > epoch);
    }

    /// The union with another set.
    pub fn join(&mut self, other: &VersionVector) {
        for (region, epoch) in &other.base {
            self.fold(*region, *epoch);
        }
        for (log, seq) in &other.logs {
            self.advance(*log, *seq);
        }
    }

    /// Appends the encoding: `count u32, (region u64, epoch u64)*, count u32, (region u64, epoch u64, seq u64)*`, sorted.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.base.len());
        for (region, epoch) in &self.base {
            out.put_u64_le(region.0);
            out.put_u64_le(epoch.0);
        }
        put_count(out, self.logs.len());
        for (log, seq) in &self.logs {
            out.put_u64_le(log.region.0);
            out.put_u64_le(log.epoch.0);
            out.put_u64_le(seq.0);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are cut off.
    pub fn decode(reader: &mut Reader<'_>) -> Result<VersionVector, DecodeError> {
        let mut vector = VersionVector::new();
        for _ in 0..reader.count("version vector bases", 16)? {
            let region = RegionId(reader.u64("base region")?);
            vector.fold(region, Epoch(reader.u64("base epoch")?));
        }
        for _ in 0..reader.count("version vector logs", 24)? {
            let log = LogId {
                region: RegionId(reader.u64("log region")?),
                epoch: Epoch(reader.u64("log epoch")?),
            };
            vector.advance(log, Seq(reader.u64("log seq")?));
        }
        Ok(vector)
    }
}

/// Prints as `region≤epoch region/epoch:seq …`.
impl fmt::Display for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bases = self
            .base
            .iter()
            .map(|(region, epoch)| format!("{region}≤{epoch}"));
        let logs = self.logs.iter().map(|(log, seq)| format!("{log}:{seq}"));
        f.write_str(&bases.chain(logs).collect::<Vec<_>>().join(" "))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    base: Vec<(RegionId, Epoch)>,
    logs: Vec<(RegionId, Epoch, Seq)>,
}

impl Serialize for VersionVector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Plain {
            base: self
                .base
                .iter()
                .map(|(region, epoch)| (*region, *epoch))
                .collect(),
            logs: self
                .logs
                .iter()
                .map(|(log, seq)| (log.region, log.epoch, *seq))
                .collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for VersionVector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = Plain::deserialize(deserializer)?;
        let mut vector = VersionVector::new();
        for (region, epoch) in plain.base {
            vector.fold(region, epoch);
        }
        for (region, epoch, seq) in plain.logs {
            vector.advance(LogId { region, epoch }, seq);
        }
        Ok(vector)
    }
}

/// Records of one log that somebody lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The log.
    pub log: LogId,
    /// The last record held.
    pub after: Seq,
    /// The last record wanted.
    pub through: Seq,
}

/// What is fdatasynced here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DurableVv(pub VersionVector);

/// What can be read from the store here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedVv(pub VersionVector);

/// What is in the store after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlushedVv(pub VersionVector);

impl Deref for DurableVv {
    type Target = VersionVector;

    fn deref(&self) -> &VersionVector {
        &self.0
    }
}

impl Deref for AppliedVv {
    type Target = VersionVector;

    fn deref(&self) -> &VersionVector {
        &self.0
    }
}

impl Deref for FlushedVv {
    type Target = VersionVector;

    fn deref(&self) -> &VersionVector {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors() -> impl Strategy<Value = VersionVector> {
        let step = (0..3u64, 1..5u64, 0..6u64, any::<bool>());
        proptest::collection::vec(step, 0..12).prop_map(|steps| {
            let mut vector = VersionVector::new();
            for (region, epoch, seq, fold) in steps {
                let (region, epoch) = (RegionId(region), Epoch(epoch));
                if fold && seq == 0 {
                    vector.fold(region, epoch);
                } else {
                    vector.advance(LogId { region, epoch }, Seq(seq));
                }
            }
            vector
        })
    }

    fn joined(a: &VersionVector, b: &VersionVector) -> VersionVector {
        let mut both = a.clone();
        both.join(b);
        both
    }

    proptest! {
        #[test]
        fn join_is_the_least_vector_that_covers_both(a in vectors(), b in vectors(), c in vectors()) {
            let both = joined(&a, &b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            prop_assert_eq!(&both, &joined(&b, &a));
            prop_assert_eq!(&both, &joined(&both, &a));
            prop_assert_eq!(joined(&both, &c), joined(&a, &joined(&b, &c)));
            if c.covers(&a) && c.covers(&b) {
                prop_assert!(c.covers(&both));
            }
        }

        #[test]
        fn covers_is_a_partial_order(a in vectors(), b in vectors(), c in vectors()) {
            prop_assert!(a.covers(&a));
            if a.covers(&b) && b.covers(&a) {
                prop_assert_eq!(&a, &b);
            }
            if a.covers(&b) && b.covers(&c) {
                prop_assert!(a.covers(&c));
            }
        }

        #[test]
        fn advancing_and_folding_take_nothing_away(a in vectors(), region in 0..3u64, epoch in 1..5u64, seq in 0..6u64) {
            let mut more = a.clone();
            more.advance(LogId { region: RegionId(region), epoch: Epoch(epoch) }, Seq(seq));
            prop_assert!(more.covers(&a));
            more.fold(RegionId(region), Epoch(epoch));
            prop_assert!(more.covers(&a));
        }

        #[test]
        fn both_encodings_read_back(a in vectors()) {
            let mut out = Vec::new();
            a.encode(&mut out);
            prop_assert_eq!(&VersionVector::decode(&mut Reader::new(&out)).unwrap(), &a);
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<VersionVector>(&json).unwrap(), a);
        }
    }
}
