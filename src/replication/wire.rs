//! Pure: messages as they go over the wire, and back. `replication_service.proto` says how lists are packed.
//!
//! **Invariants.** What was made from a message reads back as that message. No bytes make reading panic or allocate much
//! more than they are. Records keep their bytes (I26), which are checked here as they are on disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes};

use super::contact::Round;
use super::message::{Append, Fetch, Fetched, Held, Message, PreSeal, Seal, SealAck};
use crate::base::codec::{DecodeError, Reader, put_blob, put_count};
use crate::base::{BootNumber, Epoch, IncarnationId, LogId, RegionId, Seq, VersionVector};
use crate::control::Missing;
use crate::model::{Digest, Heads, Logged};
use crate::proto::{Invalid, Problem, packed, read_packed, v1};
use v1::peer_message::Content;

impl From<&Message> for v1::PeerMessage {
    fn from(message: &Message) -> v1::PeerMessage {
        let content = Some(content(message));
        v1::PeerMessage { content }
    }
}

fn content(message: &Message) -> Content {
    match message {
        Message::Append(append) => Content::Append(v1::Append {
            epoch: append.epoch.0,
            number: append.number,
            round: append.round.0,
            vector: packed(|out| append.vector.encode(out)),
            records: put_records(&append.records),
        }),
        Message::Held(held) => Content::Held(v1::Held {
            epoch: held.epoch.0,
            number: held.number,
            round: held.round.0,
            durable: packed(|out| held.durable.encode(out)),
            appended: packed(|out| put_heads(out, &held.appended)),
            applied: packed(|out| held.applied.encode(out)),
        }),
        Message::Fenced { epoch, promise } => Content::Fenced(v1::Fenced {
            epoch: epoch.0,
            promise: promise.0,
        }),
        Message::Seal(seal) => Content::Seal(v1::Seal {
            epoch: seal.epoch.0,
        }),
        Message::SealAck(ack) => Content::SealAck(v1::SealAck {
            epoch: ack.epoch.0,
            boot: ack.boot.0,
            durable: packed(|out| ack.durable.encode(out)),
            appended: packed(|out| put_heads(out, &ack.appended)),
        }),
        Message::Fetch(fetch) => Content::Fetch(v1::Fetch {
            epoch: fetch.epoch.0,
            wanted: packed(|out| put_ranges(out, &fetch.wanted)),
        }),
        Message::Fetched(fetched) => Content::Fetched(v1::Fetched {
            epoch: fetched.epoch.0,
            out_of_reach: fetched.records.is_none(),
            records: put_records(fetched.records.as_deref().unwrap_or_default()),
        }),
        Message::PreSeal(pre_seal) => Content::PreSeal(v1::PreSeal {
            number: pre_seal.number,
            open: pre_seal.open.0,
            attempt: pre_seal.attempt.0,
        }),
        Message::PreSealed { number, agrees } => Content::PreSealed(v1::PreSealed {
            number: *number,
            agrees: *agrees,
        }),
        Message::HandOver {
            epoch,
            members,
            vector,
        } => Content::HandOver(v1::HandOver {
            epoch: epoch.0,
            members: encode_members(members),
            vector: packed(|out| vector.encode(out)),
        }),
        Message::Probe { number } => Content::Probe(v1::Probe { number: *number }),
        Message::Probed { number, appended } => Content::Probed(v1::Probed {
            number: *number,
            appended: packed(|out| appended.encode(out)),
        }),
    }
}

fn put_records(records: &[Logged]) -> Bytes {
    let sizes = records.iter().map(|record| 4 + record.bytes.len());
    let mut out = Vec::with_capacity(4 + sizes.sum::<usize>());
    put_count(&mut out, records.len());
    for record in records {
        put_blob(&mut out, &record.bytes);
    }
    out.into()
}

fn put_heads(out: &mut Vec<u8>, heads: &Heads) {
    heads.vector().encode(out);
    put_count(out, heads.chains().len());
    for (log, chain) in heads.chains() {
        put_log(out, *log);
        out.put_u128_le(chain.0);
    }
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[Missing]) {
    put_count(out, ranges.len());
    for missing in ranges {
        put_log(out, missing.log);
        out.put_u64_le(missing.after.0);
        out.put_u64_le(missing.through.0);
    }
}

/// Members, packed.
#[must_use]
pub fn encode_members(members: &BTreeSet<IncarnationId>) -> Bytes {
    packed(|out| {
        put_count(out, members.len());
        for member in members {
            out.put_u128_le(member.0);
        }
    })
}

fn put_log(out: &mut Vec<u8>, log: LogId) {
    out.put_u64_le(log.region.0);
    out.put_u64_le(log.epoch.0);
}

impl TryFrom<v1::PeerMessage> for Message {
    type Error = Invalid;

    fn try_from(message: v1::PeerMessage) -> Result<Message, Invalid> {
        let nothing = Problem::Nothing { what: "message" };
        let content = message.content.ok_or_else(|| nothing.at("content"))?;
        Ok(match content {
            Content::Hello(_) => return Err(Problem::HelloNotFirst.at("hello")),
            Content::Append(append) => Message::Append(Append {
                epoch: Epoch(append.epoch),
                number: append.number,
                round: Round(append.round),
                vector: read_packed("append.vector", &append.vector, VersionVector::decode)?,
                records: records("append.records", &append.records)?,
            }),
            Content::Held(held) => Message::Held(Held {
                epoch: Epoch(held.epoch),
                number: held.number,
                round: Round(held.round),
                durable: read_packed("held.durable", &held.durable, VersionVector::decode)?,
                appended: read_packed("held.appended", &held.appended, heads)?,
                applied: read_packed("held.applied", &held.applied, VersionVector::decode)?,
            }),
            Content::Fenced(fenced) => Message::Fenced {
                epoch: Epoch(fenced.epoch),
                promise: Epoch(fenced.promise),
            },
            Content::Seal(seal) => Message::Seal(Seal {
                epoch: Epoch(seal.epoch),
            }),
            Content::SealAck(ack) => Message::SealAck(SealAck {
                epoch: Epoch(ack.epoch),
                boot: BootNumber(ack.boot),
                durable: read_packed("seal_ack.durable", &ack.durable, VersionVector::decode)?,
                appended: read_packed("seal_ack.appended", &ack.appended, heads)?,
            }),
            Content::Fetch(fetch) => Message::Fetch(Fetch {
                epoch: Epoch(fetch.epoch),
                wanted: read_packed("fetch.wanted", &fetch.wanted, ranges)?,
            }),
            Content::Fetched(fetched) => {
                let records = records("fetched.records", &fetched.records)?;
                Message::Fetched(Fetched {
                    epoch: Epoch(fetched.epoch),
                    records: (!fetched.out_of_reach).then_some(records),
                })
            }
            Content::PreSeal(pre_seal) => Message::PreSeal(PreSeal {
                number: pre_seal.number,
                open: Epoch(pre_seal.open),
                attempt: Epoch(pre_seal.attempt),
            }),
            Content::PreSealed(v1::PreSealed { number, agrees }) => {
                Message::PreSealed { number, agrees }
            }
            Content::HandOver(hand_over) => Message::HandOver {
                epoch: Epoch(hand_over.epoch),
                members: decode_members("hand_over.members", &hand_over.members)?,
                vector: read_packed("hand_over.vector", &hand_over.vector, VersionVector::decode)?,
            },
            Content::Probe(v1::Probe { number }) => Message::Probe { number },
            Content::Probed(probed) => Message::Probed {
                number: probed.number,
                appended: read_packed("probed.appended", &probed.appended, VersionVector::decode)?,
            },
        })
    }
}

fn records(field: &'static str, bytes: &Bytes) -> Result<Vec<Logged>, Invalid> {
    read_packed(field, bytes, |reader| {
        let count = reader.count("records", 4)?;
        let mut record = || Logged::read(bytes.slice_ref(reader.blob("record")?));
        (0..count).map(|_| record()).collect()
    })
}

fn heads(reader: &mut Reader<'_>) -> Result<Heads, DecodeError> {
    let vector = VersionVector::decode(reader)?;
    let mut chains = BTreeMap::new();
    for _ in 0..reader.count("chains", 32)? {
        chains.insert(log(reader)?, Digest(reader.u128("chain digest")?));
    }
    Ok(Heads::new(vector, chains))
}

fn ranges(reader: &mut Reader<'_>) -> Result<Vec<Missing>, DecodeError> {
    let missing = |reader: &mut Reader<'_>| {
        Ok(Missing {
            log: log(reader)?,
            after: Seq(reader.u64("after")?),
            through: Seq(reader.u64("through")?),
        })
    };
    let count = reader.count("ranges", 32)?;
    (0..count).map(|_| missing(reader)).collect()
}

/// Reads what [`encode_members`] packed into a field.
///
/// # Errors
/// If it is anything else.
pub fn decode_members(
    field: &'static str,
    bytes: &Bytes,
) -> Result<BTreeSet<IncarnationId>, Invalid> {
    read_packed(field, bytes, |reader| {
        let count = reader.count("members", 16)?;
        let mut member = || reader.u128("member").map(IncarnationId);
        (0..count).map(|_| member()).collect()
    })
}

fn log(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    Ok(LogId {
        region: RegionId(reader.u64("region")?),
        epoch: Epoch(reader.u64("epoch")?),
    })
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
