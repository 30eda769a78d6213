//! Quorum reads: rows that a majority of the data members name as theirs, whoever is primary.
//!
//! ```text
//!  asker:   its own rows ── keys, digests ──► member: all that was durable then applied ── rows read ── vouched (Q1)
//!           Plan, Gather ◄── none | the same | another, for each key; epoch, data members ──┘
//! ```
//! Only rows that differ from the asker's travel.
//!
//! A page of a scan takes two steps: members list the keys that lie ahead ([`Ahead`](crate::read::Ahead) says which keys are
//! to be read, and why there are no others), then the rows of these are read like those of a lookup.
//!
//! **Invariant.** Q2 and Q3 stand with [`Gather`](crate::read::Gather): only answers to questions asked after the read began
//! are given to it.

mod inquiry;
mod keys;
mod listing;
mod naming;
mod rows;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::wire::{
    Answer, KeySpan, KeysAsked, NamedRow, RowsAsked, keys_answer_to_proto, rows_answer_to_proto,
};

use super::request::Error;
use super::{Node, Serving};
use crate::base::{Held, IncarnationId};
use crate::model::EntityKey;
use crate::net::{RowLines, Unnamed};
use crate::proto::Invalid;
use crate::read::{Listed, Nearness};

/// The ways to the other members.
#[derive(Debug, Default)]
pub(super) struct Quorum {
    lines: RowLines,
    /// Guards what is known of how soon they answer.
    nearness: Mutex<Nearness>,
}

/// Why a member was asked in vain.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("it is no member any more")]
    NoMember,
    #[error(transparent)]
    Unnamed(#[from] Unnamed),
    #[error("its answer makes no sense")]
    Senseless(#[from] Invalid),
}

impl Quorum {
    fn nearness(&self) -> MutexGuard<'_, Nearness> {
        self.nearness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Names rows to another member that makes a quorum read.
    ///
    /// # Errors
    /// If stored rows cannot be read or are damaged.
    pub async fn name_rows(
        &self,
        asked: RowsAsked,
        memory: &mut Held,
    ) -> Result<Answer<Vec<NamedRow>>, Error> {
        self.serving()?.name_rows(asked, memory).await
    }

    /// Lists keys to another member that scans at a quorum.
    ///
    /// # Errors
    /// If stored rows cannot be read or are damaged.
    pub async fn list_keys(
        &self,
        asked: KeysAsked,
        memory: &mut Held,
    ) -> Result<Answer<Listed<EntityKey>>, Error> {
        self.serving()?.list_keys(asked, memory).await
    }
}

impl Serving {
    /// Where another member is asked.
    fn peer_address(&self, member: IncarnationId) -> Result<String, Unanswered> {
        let standing = self.member.standing();
        let known = standing.control.members.get(&member);
        let known = known.ok_or(Unanswered::NoMember)?;
        Ok(known.addresses.peer.clone())
    }
}
