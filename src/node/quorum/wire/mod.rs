//! Pure: how a quorum read asks a member, and what it answers, as `row_service.proto` says.
//!
//! **Invariants.** What was made from a question or answer reads back as that. No bytes make reading panic, or allocate much
//! more than they are.

mod keys;
mod rows;
#[cfg(test)]
mod testing;

use bytes::Bytes;

pub use self::keys::{KeySpan, KeysAsked, keys_answer_to_proto};
pub use self::rows::{NamedRow, RowsAsked, rows_answer_to_proto};

pub(super) use self::keys::keys_answer_of_proto;
pub(super) use self::rows::{KEYS, rows_answer_of_proto};
use crate::base::Epoch;
use crate::proto::{Invalid, packed, read_packed};
use crate::read::Token;
use crate::replication::{Vouched, decode_members};

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// This, in the name of an epoch.
    Vouched(Vouched, T),
    /// It may not answer in anybody's name, or not yet.
    NotNow,
    /// Something of what its rows must hold is lost, or may be.
    Unrecovered,
}

impl<T> Answer<T> {
    /// An answer of the same kind.
    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Vouched(vouched, answer) => Answer::Vouched(vouched, to(answer)),
            Answer::NotNow => Answer::NotNow,
            Answer::Unrecovered => Answer::Unrecovered,
        }
    }
}

/// Reads what every answer says of itself, and the rest by `read` if there is any.
fn answer_of<T>(
    epoch: u64,
    members: &Bytes,
    unrecovered: bool,
    read: impl FnOnce() -> Result<T, Invalid>,
) -> Result<Answer<T>, Invalid> {
    let epoch = Epoch(epoch);
    if unrecovered {
        return Ok(Answer::Unrecovered);
    }
    if epoch == Epoch::NONE {
        return Ok(Answer::NotNow);
    }
    let members = decode_members("members", members)?;
    Ok(Answer::Vouched(Vouched { epoch, members }, read()?))
}

fn session_of(session: &Bytes) -> Result<Option<Token>, Invalid> {
    let token = (!session.is_empty()).then(|| read_packed("session", session, Token::decode));
    token.transpose()
}

fn session_to(session: Option<Token>) -> Bytes {
    packed(|out| {
        if let Some(token) = session {
            token.encode(out);
        }
    })
}
