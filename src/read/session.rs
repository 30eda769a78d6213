//! Pure: what a session has seen, and whether a node holds it.
//!
//! A token names a set of records: those the session wrote, and those whose rows it read. A node whose rows hold them all
//! gives the session read-your-writes and monotonic reads. The set is a version vector: a record's log and place say all
//! that is needed to find it, so neither its stamp nor the epoch that answered is kept.
//!
//! ```text
//! text   = base64url, unpadded, of: format u8 = 1, body, tag [32]
//! body   = lineage u128, doubtful u64, version vector
//! tag    = keyed BLAKE3 of: format, body
//! ```
//! **Invariants.** Only who holds the key makes a token that opens. Joining is commutative, associative and idempotent,
//! and takes nothing away. A token is no longer than the version vectors of the node that sealed it need it to be:
//! [`Token::settle`] folds what that node has folded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::BufMut;

use crate::base::codec::{DecodeError, Reader};
use crate::base::{Epoch, LineageId, LogId, Seq, VersionVector};
use crate::control::{ControlState, LogState};
use crate::replication::HeldOpening;

const FORMAT: u8 = 1;

/// Longer texts are not looked into.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Why a text is not a token of this set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any token.
    #[error("session token of {len} bytes is longer than {TEXT_BYTES_MAX}")]
    TooLong {
        /// The bytes of the text.
        len: usize,
    },
    /// Not what sealing prints.
    #[error("session token is not base64url text")]
    NotText,
    /// Sealed by a version that writes another format.
    #[error("session token has format {found}, expected {FORMAT}")]
    Format {
        /// The format found.
        found: u8,
    },
    /// Altered, or sealed with another key.
    #[error("session token was not sealed with the key of this set")]
    Forged,
    /// Sealed, but not readable.
    #[error("cannot decode session token")]
    Decode(#[from] DecodeError),
    /// Two histories have no common positions.
    #[error("session token of lineage {theirs} cannot be joined to one of lineage {ours}")]
    OtherLineage {
        /// Of the token joined to.
        ours: LineageId,
        /// Of the other one.
        theirs: LineageId,
    },
}

/// What the members of a set seal tokens with.
#[derive(Clone)]
pub struct SessionKey([u8; blake3::KEY_LEN]);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

impl SessionKey {
    /// Derived from the secret that the members share, which may serve other purposes as well.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> SessionKey {
        SessionKey(blake3::derive_key("steadfast session token", secret))
    }
}

/// What a session has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    lineage: LineageId,
    /// The greatest epoch of a log from which a record was seen that was not known to be committed.
    doubtful: Epoch,
    seen: VersionVector,
}

impl Token {
    /// Of a session that has seen nothing of this history.
    #[must_use]
    pub fn new(lineage: LineageId) -> Token {
        Token {
            lineage,
            doubtful: Epoch::NONE,
            seen: VersionVector::new(),
        }
    }

    /// The session has written this record, or read a row of it. What is known to be committed then is never lost, and is not
    /// doubted when the end of its log is forgotten.
    pub fn see(&mut self, log: LogId, seq: Seq, is_committed: bool) {
        self.seen.advance(log, seq);
        if !is_committed {
            self.doubtful = self.doubtful.max(log.epoch);
        }
    }

    /// The session has also seen what another token says.
    ///
    /// # Errors
    /// If that is of another lineage.
    pub fn join(&mut self, other: &Token) -> Result<(), Error> {
        if self.lineage != other.lineage {
            return Err(Error::OtherLineage {
                ours: self.lineage,
                theirs: other.lineage,
            });
        }
        self.doubtful = self.doubtful.max(other.doubtful);
        self.seen.join(&other.seen);
        Ok(())
    }

    /// Names logs that the sealing node has folded only by its base, where the token [is satisfied](Verdict::Satisfied).
    /// The session has then seen the whole of these logs: nothing is lost, and only a node that lacks the end of a closed
    /// log waits for more than before.
    pub fn settle(&mut self, applied: &VersionVector) {
        let is_folded = |(log, _): &(LogId, Seq)| log.epoch <= applied.base(log.region);
        let folded: Vec<_> = self.seen.logs().filter(is_folded).collect();
        for (log, _) in folded {
            self.seen.fold(log.region, log.epoch);
        }
    }

    /// Appends what it says, for a member to read.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128_le(self.lineage.0);
        out.put_u64_le(self.doubtful.0);
        self.seen.encode(out);
    }

    /// Reads what [`encode`](Self::encode) appended.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Token, DecodeError> {
        Ok(Token {
            lineage: LineageId(reader.u128("session token lineage")?),
            doubtful: Epoch(reader.u64("session token doubtful epoch")?),
            seen: VersionVector::decode(reader)?,
        })
    }

    /// The lineage that a text claims to be of, sealed or not.
    #[must_use]
    pub fn claimed_lineage(text: &str) -> Option<LineageId> {
        let bytes = BASE64.decode(text).ok()?;
        let mut reader = Reader::new(&bytes);
        reader.u8("session token format").ok()?;
        reader.u128("session token lineage").ok().map(LineageId)
    }

    /// The text that a client carries.
    #[must_use]
    pub fn seal(&self, key: &SessionKey) -> String {
        let mut bytes = vec![FORMAT];
        self.encode(&mut bytes);
        let tag = blake3::keyed_hash(&key.0, &bytes);
        bytes.extend_from_slice(tag.as_bytes());
        BASE64.encode(bytes)
    }

    /// Reads what [`seal`](Self::seal) wrote with the same key.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn open(key: &SessionKey, text: &str) -> Result<Token, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLong { len: text.len() });
        }
        let bytes = BASE64.decode(text).map_err(|_| Error::NotText)?;
        let mut reader = Reader::new(&bytes);
        let found = reader.u8("session token format")?;
        if found != FORMAT {
            return Err(Error::Format { found });
        }
        let (sealed, tag) = bytes
            .split_last_chunk::<{ blake3::OUT_LEN }>()
            .ok_or(Error::Forged)?;
        // Hashes are compared in constant time.
        if blake3::keyed_hash(&key.0, sealed) != blake3::Hash::from_bytes(*tag) {
            return Err(Error::Forged);
        }
        let mut reader = Reader::new(sealed);
        reader.u8("session token format")?;
        let token = Token::decode(&mut reader)?;
        reader.finish("session token")?;
        Ok(token)
    }
}

/// Whether a node's rows hold what a session has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it.
    Satisfied,
    /// Not yet.
    Wait,
    /// Not all of it, and waiting is in vain: a record was not recovered when a later epoch opened, or its log is closed
    /// before it. Should a member return with it, it is merged, and the verdict changes.
    Unrecovered,
    /// All that was recovered is held, but the end of a log is [forgotten](ControlState::forgotten): whether a record of it
    /// that was not known to be committed is among that, nobody can tell any more.
    Forgotten,
    /// It is of another history, such as the one before a restore.
    OtherLineage,
}

/// Judges a session's token at a node, by what is applied there and the opening record it holds.
///
/// What was known to be committed when it was seen is never told as lost, and the loss of anything else never as satisfied.
/// A session that is [settled](Token::settle) before its logs' ends are forgotten is told nothing of that.
#[must_use]
pub fn judge(
    token: &Token,
    control: &ControlState,
    applied: &VersionVector,
    opening: Option<&HeldOpening>,
) -> Verdict {
    let is_lost = |(log, seq)| {
        is_closed_before(control, log, seq) || is_left_behind(opening, applied, log, seq)
    };
    let doubtful = || {
        let logs = token.seen.logs();
        logs.filter(|(log, _)| log.epoch <= token.doubtful)
    };
    if token.lineage != control.lineage {
        Verdict::OtherLineage
    } else if doubtful().any(is_lost) {
        Verdict::Unrecovered
    } else if doubtful().any(|(log, _)| is_forgotten(control, log)) {
        // Before anything is waited for, which would hide it.
        Verdict::Forgotten
    } else if !control.covers(applied, &token.seen) {
        Verdict::Wait
    } else {
        Verdict::Satisfied
    }
}

fn is_forgotten(control: &ControlState, log: LogId) -> bool {
    log.region == control.region && log.epoch <= control.forgotten
}

/// Is a record within a log that is closed? A log is closed once a majority holds it whole, so it is never lost.
#[must_use]
pub fn is_recovered(control: &ControlState, log: LogId, seq: Seq) -> bool {
    end_of(control, log).is_some_and(|end| seq <= end)
}

fn is_closed_before(control: &ControlState, log: LogId, seq: Seq) -> bool {
    end_of(control, log).is_some_and(|end| seq > end)
}

/// The last record of a log that is closed, as long as that is remembered.
fn end_of(control: &ControlState, log: LogId) -> Option<Seq> {
    match control.logs.get(&log.epoch) {
        Some(LogState::Closed { last, .. }) if log.region == control.region => Some(*last),
        _ => None,
    }
}

/// Did a later epoch open without this record, and has it not returned?
fn is_left_behind(
    opening: Option<&HeldOpening>,
    applied: &VersionVector,
    log: LogId,
    seq: Seq,
) -> bool {
    opening.is_some_and(|opening| {
        let is_later = opening.log.region == log.region && opening.log.epoch > log.epoch;
        is_later && !opening.recovered.contains(log, seq) && !applied.contains(log, seq)
    })
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
