//! Pure: what the store says of itself, in the batch of the rows it describes.
//!
//! ```text
//! state := format u8 = 3 | lsn u64 | applied vv | newest hlc u64 | digest u128 | swept u64
//!        | horizon u8: 0, or 1 and time u64, covered vv
//!        | opening u8: 0, or 1 and region u64, epoch u64, members u32, incarnation u128 each, recovered vv
//!        | chains u32, (region u64, epoch u64, digest u128)* | views u32, (id u64, rows u64)*
//!        | pending horizons u32, (time u64, covered vv)*
//!        | sweep u8: 0, or 1 and horizon u64, next (length u32, bytes) | crc32 u32
//! ```
//! Format 1 ends before the pending horizons, and neither it nor format 2 tells of an opening more than its log. Both are
//! still read, without the opening: they are those of lone nodes, which log another one when they start.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BufMut;

use crate::base::codec::{DecodeError, Reader, check_checksum, put_blob, put_checksum, put_count};
use crate::base::{AppliedVv, Epoch, Hlc, IncarnationId, LogId, Lsn, RegionId, VersionVector};
use crate::model::record::Horizon;
use crate::model::{Digest, Heads, HeldOpening, ViewId};

const FORMAT: u8 = 3;
const WITHOUT_OPENING: u8 = 2;
const WITHOUT_SWEEP: u8 = 1;

/// The position of the store and summaries over its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Every record that the rows are the merge of.
    pub applied: AppliedVv,
    /// Everything below this place of the local WAL has been applied.
    pub lsn: Lsn,
    /// The greatest stamp time applied (M2, I9).
    pub newest: Hlc,
    /// Set digest over all rows with their versions.
    pub digest: Digest,
    /// Up to which horizon all rows have been swept.
    pub swept: Hlc,
    /// The sweep under way.
    pub sweep: Option<Sweep>,
    /// The horizon that is acted upon: the greatest applied (P2) of which all that it covers is applied (P3). A greater
    /// one that is not covered yet does not take its place, for rows may be swept to it.
    pub horizon: Option<Horizon>,
    /// Greater horizons, applied before all that they cover.
    pub pending_horizons: Vec<Horizon>,
    /// The opening record of the greatest epoch of which one has been applied.
    pub opening: Option<HeldOpening>,
    /// The chain digest at the applied end of each log that is not folded.
    pub chains: BTreeMap<LogId, Digest>,
    /// Rows that hold features, by view.
    pub rows: BTreeMap<ViewId, u64>,
}

/// A sweep under way: the rows before `next` are swept to its horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The horizon.
    pub horizon: Hlc,
    /// The key in the store at which it goes on.
    pub next: Vec<u8>,
}

impl State {
    /// The horizon by which rows are read and swept.
    #[must_use]
    pub fn purge_horizon(&self) -> Hlc {
        let horizon = self.horizon.as_ref();
        horizon.map_or(Hlc::ZERO, |horizon| horizon.horizon)
    }

    /// What is applied, with the chain digests.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads::new(self.applied.0.clone(), self.chains.clone())
    }

    /// Takes note of an opening record that is applied.
    pub fn open(&mut self, opening: HeldOpening) {
        let held = self.opening.as_ref();
        if held.is_none_or(|held| held.log.epoch < opening.log.epoch) {
            self.opening = Some(opening);
        }
    }

    /// Declares that every log of `region` up to `through` is closed and applied to its end.
    pub fn fold(&mut self, region: RegionId, through: Epoch) {
        self.applied.0.fold(region, through);
        self.chains
            .retain(|log, _| log.region != region || log.epoch > through);
        self.settle_horizon();
    }

    /// Acts from now on upon the greatest horizon that is covered. To be called when more has been applied.
    pub fn settle_horizon(&mut self) {
        for pending in std::mem::take(&mut self.pending_horizons) {
            if pending.horizon <= self.purge_horizon() {
                continue;
            }
            if self.applied.covers(&pending.covered) {
                self.horizon = Some(pending);
            } else {
                self.pending_horizons.push(pending);
            }
        }
        let acted_on = self.purge_horizon();
        self.pending_horizons
            .retain(|pending| pending.horizon > acted_on);
    }

    /// The horizon by which writes are left out: that of the sweep under way, or of the last one.
    #[must_use]
    pub fn sweep_horizon(&self) -> Hlc {
        self.sweep
            .as_ref()
            .map_or(self.swept, |sweep| sweep.horizon)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.put_u64_le(self.lsn.0);
        self.applied.encode(&mut out);
        out.put_u64_le(self.newest.0);
        out.put_u128_le(self.digest.0);
        out.put_u64_le(self.swept.0);
        out.put_u8(u8::from(self.horizon.is_some()));
        self.horizon
            .iter()
            .for_each(|horizon| put_horizon(&mut out, horizon));
        out.put_u8(u8::from(self.opening.is_some()));
        if let Some(opening) = &self.opening {
            put_opening(&mut out, opening);
        }
        put_count(&mut out, self.chains.len());
        for (log, digest) in &self.chains {
            put_log(&mut out, *log);
            out.put_u128_le(digest.0);
        }
        put_count(&mut out, self.rows.len());
        for (view, rows) in &self.rows {
            out.put_u64_le(view.0);
            out.put_u64_le(*rows);
        }
        put_count(&mut out, self.pending_horizons.len());
        self.pending_horizons
            .iter()
            .for_each(|horizon| put_horizon(&mut out, horizon));
        out.put_u8(u8::from(self.sweep.is_some()));
        if let Some(sweep) = &self.sweep {
            out.put_u64_le(sweep.horizon.0);
            put_blob(&mut out, &sweep.next);
        }
        put_checksum(&mut out, 0);
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn decode(bytes: &[u8]) -> Result<State, DecodeError> {
        let mut reader = Reader::new(check_checksum("store state", bytes)?);
        let format = reader.u8("state format")?;
        if !(WITHOUT_SWEEP..=FORMAT).contains(&format) {
            return Err(DecodeError::Invalid {
                field: "state format",
                value: u64::from(format),
            });
        }
        let mut state = State {
            lsn: Lsn(reader.u64("lsn")?),
            ..State::default()
        };
        state.applied = AppliedVv(VersionVector::decode(&mut reader)?);
        state.newest = Hlc(reader.u64("newest stamp")?);
        state.digest = Digest(reader.u128("digest")?);
        state.swept = Hlc(reader.u64("swept horizon")?);
        if read_flag(&mut reader, "horizon flag")? {
            state.horizon = Some(read_horizon(&mut reader)?);
        }
        if read_flag(&mut reader, "opening flag")? {
            let log = read_log(&mut reader)?;
            if format > WITHOUT_OPENING {
                state.opening = Some(read_opening(log, &mut reader)?);
            }
        }
        for _ in 0..reader.count("chains", 32)? {
            let log = read_log(&mut reader)?;
            state
                .chains
                .insert(log, Digest(reader.u128("chain digest")?));
        }
        for _ in 0..reader.count("views", 16)? {
            let view = ViewId(reader.u64("view id")?);
            state.rows.insert(view, reader.u64("row count")?);
        }
        if format > WITHOUT_SWEEP {
            state.decode_sweep(&mut reader)?;
        }
        reader.finish("store state")?;
        Ok(state)
    }

    fn decode_sweep(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..reader.count("pending horizons", 16)? {
            self.pending_horizons.push(read_horizon(reader)?);
        }
        if read_flag(reader, "sweep flag")? {
            self.sweep = Some(Sweep {
                horizon: Hlc(reader.u64("sweep horizon")?),
                next: reader.blob("sweep's next key")?.to_vec(),
            });
        }
        Ok(())
    }
}

fn put_horizon(out: &mut Vec<u8>, horizon: &Horizon) {
    out.put_u64_le(horizon.horizon.0);
    horizon.covered.encode(out);
}

fn read_horizon(reader: &mut Reader<'_>) -> Result<Horizon, DecodeError> {
    Ok(Horizon {
        horizon: Hlc(reader.u64("horizon")?),
        covered: VersionVector::decode(reader)?,
    })
}

fn put_opening(out: &mut Vec<u8>, opening: &HeldOpening) {
    put_log(out, opening.log);
    put_count(out, opening.members.len());
    opening
        .members
        .iter()
        .for_each(|member| out.put_u128_le(member.0));
    opening.recovered.encode(out);
}

fn read_opening(log: LogId, reader: &mut Reader<'_>) -> Result<HeldOpening, DecodeError> {
    let count = reader.count("members", 16)?;
    let members = (0..count).map(|_| reader.u128("member").map(IncarnationId));
    Ok(HeldOpening {
        log,
        members: members.collect::<Result<BTreeSet<_>, _>>()?,
        recovered: VersionVector::decode(reader)?,
    })
}

fn put_log(out: &mut Vec<u8>, log: LogId) {
    out.put_u64_le(log.region.0);
    out.put_u64_le(log.epoch.0);
}

fn read_log(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    Ok(LogId {
        region: RegionId(reader.u64("region")?),
        epoch: Epoch(reader.u64("epoch")?),
    })
}

fn read_flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Invalid {
            field,
            value: u64::from(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seq;
    use proptest::prelude::*;

    #[test]
    fn horizons_below_the_one_acted_upon_are_not_waited_for() {
        let horizon = |at, covered: &VersionVector| Horizon {
            horizon: Hlc(at),
            covered: covered.clone(),
        };
        let log = |epoch| LogId {
            region: RegionId(1),
            epoch: Epoch(epoch),
        };
        let (mut later, nothing) = (VersionVector::new(), VersionVector::new());
        later.advance(log(2), Seq(1));
        let mut state = State {
            pending_horizons: vec![horizon(4, &later), horizon(7, &later), horizon(5, &nothing)],
            ..State::default()
        };
        state.settle_horizon();
        assert_eq!(state.purge_horizon(), Hlc(5), "7 is not covered");
        assert_eq!(state.pending_horizons, [horizon(7, &later)]);
        state.applied.0.advance(log(2), Seq(1));
        state.settle_horizon();
        assert_eq!(state.purge_horizon(), Hlc(7));
        assert_eq!(state.pending_horizons, []);
        state.pending_horizons = vec![horizon(6, &nothing)];
        state.settle_horizon();
        assert_eq!(state.purge_horizon(), Hlc(7), "it does not fall");
    }

    proptest! {
        #[test]
        fn the_state_reads_back(
            lsn: u64,
            digest: u128,
            horizon: Option<u64>,
            opening: Option<(u64, Vec<u128>)>,
            rows: BTreeMap<u64, u64>,
            sweep: Option<(u64, Vec<u8>)>,
        ) {
            let log = LogId { region: RegionId(3), epoch: Epoch(lsn) };
            let mut applied = VersionVector::new();
            applied.advance(log, Seq(5));
            let state = State {
                applied: AppliedVv(applied.clone()),
                lsn: Lsn(lsn),
                newest: Hlc(lsn / 2),
                digest: Digest(digest),
                swept: Hlc(7),
                sweep: sweep.map(|(at, next)| Sweep { horizon: Hlc(at), next }),
                horizon: horizon.map(|at| Horizon { horizon: Hlc(at), covered: applied.clone() }),
                pending_horizons: horizon.map(|at| Horizon { horizon: Hlc(at), covered: applied.clone() }).into_iter().collect(),
                opening: opening.map(|(epoch, members)| HeldOpening {
                    log: LogId { region: RegionId(3), epoch: Epoch(epoch) },
                    members: members.into_iter().map(IncarnationId).collect(),
                    recovered: applied.clone(),
                }),
                chains: BTreeMap::from([(log, Digest(digest / 3))]),
                rows: rows.into_iter().map(|(view, count)| (ViewId(view), count)).collect(),
            };
            prop_assert_eq!(State::decode(&state.encode()).unwrap(), state);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let mut sealed = bytes;
            put_checksum(&mut sealed, 0);
            let _decoded = State::decode(&sealed);
        }
    }
}
