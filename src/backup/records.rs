//! Pure: the object that holds records of one log: what is archived.
//!
//! ```text
//! object := "SFRECORD" | version u8 = 1 | lineage u128 | plain bytes u64 | zstd of plain | BLAKE3 of all before it
//! plain  := (length u32, record)*
//! ```
//! **Invariants** (I2, I26). Records keep their bytes. What is read is what the object's name promised: these records of this
//! log, each following the one before it, up to this stamp and this chain digest; nothing is passed on otherwise.

use bytes::{BufMut, Bytes};

use super::layout::Segment;
use crate::base::codec::{DecodeError, Reader, put_blob};
use crate::base::{Hlc, LineageId};
use crate::model::Logged;
use crate::wal::MAX_PAYLOAD_BYTES;

const MAGIC: &[u8; 8] = b"SFRECORD";
const VERSION: u8 = 1;
/// Once an object holds so many bytes of records, the next record goes into another one.
pub const PLAIN_BYTES: usize = 8 << 20;
/// No object holds more bytes of records: one more record than that, and the lengths of all.
const PLAIN_BYTES_MAX: usize = 2 * PLAIN_BYTES + MAX_PAYLOAD_BYTES;
/// No object of records is longer: what does not shrink grows a little.
pub const OBJECT_BYTES_MAX: u64 = 2 * PLAIN_BYTES_MAX as u64;
/// Bytes of memory that making an object takes: the records, their bytes in a row, and those compressed.
pub const MEMORY_BYTES: usize = 3 * (PLAIN_BYTES + MAX_PAYLOAD_BYTES);
/// Fast; higher ones gain little on records of numbers.
const COMPRESSION: i32 = 1;

/// Why an object of records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what was written.
    #[error("{name} is damaged")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong first.
        #[source]
        source: DecodeError,
    },
    /// It is something else.
    #[error("{name} is no object of records: it should begin with \"SFRECORD\"")]
    WrongKind {
        /// The object.
        name: String,
    },
    /// It was written by a later version of this program.
    #[error("{name} has version {found}, this program knows versions up to {VERSION}")]
    NewerVersion {
        /// The object.
        name: String,
        /// Its version.
        found: u8,
    },
    /// It does not hold what its name says.
    #[error("{name} does not hold what its name says: {problem}")]
    Differs {
        /// The object.
        name: String,
        /// What it holds.
        problem: String,
    },
}

/// The object of some records of one log that follow each other, with its name within its lineage.
///
/// # Panics
/// If there is no record.
#[must_use]
pub fn encode(lineage: LineageId, records: &[Logged]) -> (Segment, Bytes) {
    let (first, last) = records
        .first()
        .zip(records.last())
        .expect("no object is made of nothing");
    let segment = Segment {
        log: first.log(),
        from: first.seq(),
        to: last.seq(),
        newest: last.stamp.hlc,
        chain: last.chain_after.into(),
    };
    let mut plain = Vec::new();
    for record in records {
        put_blob(&mut plain, &record.bytes);
    }
    let mut out = Vec::with_capacity(plain.len() / 2);
    out.extend_from_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u128_le(lineage.0);
    out.put_u64_le(u64::try_from(plain.len()).unwrap_or(u64::MAX));
    let packed = zstd::bulk::compress(&plain, COMPRESSION);
    out.extend_from_slice(&packed.expect("zstd compresses whatever is in memory"));
    let digest = blake3::hash(&out);
    out.extend_from_slice(digest.as_bytes());
    (segment, Bytes::from(out))
}

/// The records of the object of this name.
///
/// # Errors
/// If it is not what was written under this name.
pub fn decode(lineage: LineageId, segment: &Segment, object: &[u8]) -> Result<Vec<Logged>, Error> {
    let name = || segment.to_string();
    let differs = |problem: String| Error::Differs {
        name: name(),
        problem,
    };
    let damaged = |source| Error::Damaged {
        name: name(),
        source,
    };
    let body = object
        .strip_prefix(MAGIC)
        .ok_or_else(|| Error::WrongKind { name: name() })?;
    match body.first() {
        Some(&VERSION) | None => {}
        Some(&found) if found > VERSION => {
            let name = name();
            return Err(Error::NewerVersion { name, found });
        }
        Some(&found) => {
            return Err(damaged(DecodeError::Invalid {
                field: "version",
                value: u64::from(found),
            }));
        }
    }
    let (found, plain) = unpack(object).map_err(damaged)?;
    if found != lineage {
        return Err(differs(format!("it is of lineage {found}")));
    }
    let mut reader = Reader::new(&plain);
    let mut records = Vec::new();
    while !reader.is_empty() {
        let bytes = reader.blob("record").map_err(damaged)?;
        let record = Logged::read(Bytes::copy_from_slice(bytes)).map_err(damaged)?;
        check_next(segment, records.last(), &record).map_err(differs)?;
        records.push(record);
    }
    let Some(last) = records.last() else {
        return Err(differs("it holds no record".to_owned()));
    };
    let ends = (last.seq(), last.stamp.hlc, last.chain_after.into());
    if ends != (segment.to, segment.newest, segment.chain) {
        let (stamp, chain) = (last.stamp, last.chain_after);
        return Err(differs(format!("it ends with {stamp}, at chain {chain}")));
    }
    Ok(records)
}

/// The lineage and the records of an object that is what was written.
fn unpack(object: &[u8]) -> Result<(LineageId, Vec<u8>), DecodeError> {
    let digest_at = object.len().saturating_sub(blake3::OUT_LEN);
    let (covered, digest) = object.split_at(digest_at);
    let mut reader = Reader::new(covered);
    reader.bytes("beginning", MAGIC.len() + 1)?;
    if blake3::hash(covered) != *digest {
        return Err(DecodeError::Invalid {
            field: "digest of the object",
            value: 0,
        });
    }
    let lineage = LineageId(reader.u128("lineage")?);
    let length = reader.u64("bytes of records")?;
    let fits = usize::try_from(length)
        .ok()
        .filter(|length| *length <= PLAIN_BYTES_MAX);
    let length = fits.ok_or(DecodeError::Invalid {
        field: "bytes of records",
        value: length,
    })?;
    let plain = zstd::bulk::decompress(reader.rest(), length);
    let plain = plain.ok().filter(|plain| plain.len() == length);
    plain
        .map(|plain| (lineage, plain))
        .ok_or(DecodeError::Invalid {
            field: "compressed records",
            value: 0,
        })
}

/// Does a record come next? If not, says why.
fn check_next(segment: &Segment, before: Option<&Logged>, record: &Logged) -> Result<(), String> {
    let next = before.map_or(segment.from, |before| before.seq().next());
    let stamp = record.stamp;
    if (record.log(), record.seq()) != (segment.log, next) {
        return Err(format!("it holds {stamp} in the place of record {next}"));
    }
    let (newest, chain) = before.map_or((Hlc::ZERO, None), |before| {
        (before.stamp.hlc, Some(before.chain_after))
    });
    if stamp.hlc <= newest || chain.is_some_and(|chain| chain != record.chain_before) {
        return Err(format!("{stamp} does not follow the record before it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, LogId, RegionId, Seq, Stamp, VersionVector};
    use crate::model::record::Marker;
    use crate::model::{Body, Digest, Record};
    use proptest::prelude::*;

    const LINEAGE: LineageId = LineageId(7);

    fn log() -> impl Strategy<Value = Vec<Logged>> {
        let start = (any::<u32>(), 1..1_000_000u64, any::<u128>());
        (
            start,
            proptest::collection::vec((1..1000u64, any::<u128>()), 1..20),
        )
            .prop_map(|((epoch, first, chain), records)| {
                let (mut hlc, mut chain) = (0, Digest(chain));
                let records = (first..).zip(records);
                let logged = records.map(|(seq, (step, digest))| {
                    hlc += step;
                    let record = Logged::new(Record {
                        stamp: Stamp {
                            hlc: Hlc(hlc),
                            region: RegionId(3),
                            epoch: Epoch(u64::from(epoch)),
                            seq: Seq(seq),
                        },
                        chain_before: chain,
                        request: None,
                        body: Body::Marker(Marker {
                            applied: VersionVector::new(),
                            swept: Hlc(0),
                            digest: Digest(digest),
                        }),
                    });
                    chain = record.chain_after;
                    record
                });
                logged.collect()
            })
    }

    /// An object with its digest made anew, as one who changes it would.
    fn sealed_anew(mut object: Vec<u8>) -> Vec<u8> {
        object.truncate(object.len() - blake3::OUT_LEN);
        let digest = blake3::hash(&object);
        object.extend_from_slice(digest.as_bytes());
        object
    }

    proptest! {
        #[test]
        fn records_come_back_under_their_own_name_only(records in log(), by in 1..100u64) {
            let (segment, object) = encode(LINEAGE, &records);
            prop_assert_eq!(&decode(LINEAGE, &segment, &object).unwrap(), &records);
            let others = [
                Segment { from: Seq(segment.from.0 + by), ..segment },
                Segment { to: Seq(segment.to.0 + by), ..segment },
                Segment { newest: Hlc(segment.newest.0 + by), ..segment },
                Segment { chain: Digest(segment.chain.0 ^ u128::from(by)).into(), ..segment },
                Segment { log: LogId { region: RegionId(3 + by), ..segment.log }, ..segment },
            ];
            for other in others {
                let read = decode(LINEAGE, &other, &object);
                prop_assert!(matches!(read, Err(Error::Differs { .. })), "{other}: {read:?}");
            }
            let elsewhere = decode(LineageId(8), &segment, &object);
            prop_assert!(matches!(elsewhere, Err(Error::Differs { .. })), "{elsewhere:?}");
        }

        #[test]
        fn every_changed_or_lost_byte_is_noticed(records in log(), at: prop::sample::Index, by in 1..=255u8) {
            let (segment, object) = encode(LINEAGE, &records);
            let at = at.index(object.len());
            let mut changed = object.to_vec();
            changed[at] ^= by;
            prop_assert!(decode(LINEAGE, &segment, &changed).is_err());
            prop_assert!(decode(LINEAGE, &segment, &object[..at]).is_err());
        }

        #[test]
        fn no_bytes_make_decoding_panic(mut bytes: Vec<u8>, records in log()) {
            let (segment, object) = encode(LINEAGE, &records);
            let _read = decode(LINEAGE, &segment, &bytes);
            bytes.splice(0..0, object[..33].iter().copied());
            bytes.extend([0; blake3::OUT_LEN]);
            prop_assert!(decode(LINEAGE, &segment, &sealed_anew(bytes)).is_err());
        }
    }

    #[test]
    fn a_length_that_nobody_writes_is_refused_before_it_is_believed() {
        let mut object = MAGIC.to_vec();
        object.push(VERSION);
        object.put_u128_le(LINEAGE.0);
        object.put_u64_le(u64::MAX);
        object.extend_from_slice(&[0; blake3::OUT_LEN]);
        let error = unpack(&sealed_anew(object)).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Invalid {
                    field: "bytes of records",
                    ..
                }
            ),
            "{error}"
        );
    }
}
