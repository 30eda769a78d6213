//! Pure: how members come and go. A token lets one directory in; an intent remembers a change of members until it is
//! done, so that whoever coordinates next goes on with it.
//!
//! **Invariants.** A token lets in one directory at most, and only before it expires; the secret itself is kept nowhere.
//! A member is named by one intent at most.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::command::Effect;
use super::member::Role;
use super::rejection::Rejection;
use super::state::ControlState;
use crate::base::IncarnationId;

/// The digest of a join token's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(#[serde(with = "hex::serde")] pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Leave for one directory to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinToken {
    /// What the directory is to be.
    pub role: Role,
    /// When the leave ends, in milliseconds of wall time.
    pub expires: u64,
    /// The directory that has used it.
    pub redeemed: Option<IncarnationId>,
}

/// A change of members that is under way. All that are named are registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Intent {
    /// A member is to take part in its role.
    Add {
        /// The member.
        incarnation: IncarnationId,
    },
    /// A member is to be taken out of its epoch, then evicted.
    Remove {
        /// The member.
        incarnation: IncarnationId,
    },
    /// One member is to take the place of another, which is then evicted.
    Replace {
        /// Who goes.
        old: IncarnationId,
        /// Who comes.
        new: IncarnationId,
    },
}

impl Intent {
    fn is_addition(&self) -> bool {
        matches!(self, Intent::Add { .. })
    }

    /// The members it changes.
    pub fn members(&self) -> impl Iterator<Item = IncarnationId> + use<> {
        let (one, other) = match *self {
            Intent::Add { incarnation } | Intent::Remove { incarnation } => (incarnation, None),
            Intent::Replace { old, new } => (old, Some(new)),
        };
        std::iter::once(one).chain(other)
    }
}

impl ControlState {
    pub(super) fn issue_token(
        &mut self,
        hash: TokenHash,
        role: Role,
        expires: u64,
        now: u64,
    ) -> Result<Effect, Rejection> {
        self.tokens.retain(|_, token| token.expires > now);
        let token = JoinToken {
            role,
            expires,
            redeemed: None,
        };
        self.tokens.entry(hash).or_insert(token);
        Ok(Effect::Done)
    }

    pub(super) fn redeem(
        &mut self,
        hash: TokenHash,
        incarnation: IncarnationId,
        now: u64,
    ) -> Result<Effect, Rejection> {
        let token = *self.tokens.get(&hash).ok_or(Rejection::UnknownToken)?;
        match token.redeemed {
            Some(by) if by == incarnation => return self.register(incarnation, token.role),
            Some(by) => return Err(Rejection::UsedToken { by }),
            None => {}
        }
        if now >= token.expires {
            return Err(Rejection::ExpiredToken {
                expires: token.expires,
                now,
            });
        }
        let is_new = !self.members.contains_key(&incarnation);
        self.register(incarnation, token.role)?;
        if is_new {
            self.intents.insert(Intent::Add { incarnation });
        }
        let redeemed = Some(incarnation);
        self.tokens.insert(hash, JoinToken { redeemed, ..token });
        Ok(Effect::Done)
    }

    pub(super) fn intend(&mut self, intent: Intent) -> Result<Effect, Rejection> {
        for incarnation in intent.members() {
            self.member(incarnation)?;
        }
        let names_one = |other: &Intent| {
            other
                .members()
                .any(|at| intent.members().any(|me| me == at))
        };
        // Who was to be added may as well take another's place, or leave.
        let gives_way =
            |other: &Intent| *other == intent || other.is_addition() && !intent.is_addition();
        let mut others = self.intents.iter().filter(|other| names_one(other));
        if let Some(other) = others.find(|other| !gives_way(other)) {
            return Err(Rejection::OtherIntent { intent: *other });
        }
        self.intents.retain(|other| !names_one(other));
        self.intents.insert(intent);
        Ok(Effect::Done)
    }

    pub(super) fn fulfil(&mut self, intent: Intent) -> Result<Effect, Rejection> {
        self.intents.remove(&intent);
        Ok(Effect::Done)
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Intent::Add { incarnation } => write!(f, "adding {incarnation}"),
            Intent::Remove { incarnation } => write!(f, "removing {incarnation}"),
            Intent::Replace { old, new } => write!(f, "replacing {old} by {new}"),
        }
    }
}

#[cfg(test)]
#[path = "joining_test.rs"]
mod tests;
