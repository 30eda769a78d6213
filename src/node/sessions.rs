//! Sessions: what a client has written and read is there when it reads again, whichever member it asks.
//!
//! **Invariant.** A call of a session is answered by rows that hold all that its token names, or told why not; what is lost is
//! told at once.

use super::Serving;
use super::reads::Deadline;
use super::request::Error;
use crate::base::clock::timeout;
use crate::base::{CommitLevel, Lsn, Stamp, VersionVector};
use crate::read::{SessionKey, Token, Verdict, judge};

/// A session, as a call finds and leaves it.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    pub(super) token: Token,
}

impl Session {
    /// It has written a record, which was acknowledged at this level.
    pub fn wrote(&mut self, stamp: &Stamp, level: CommitLevel) {
        let is_committed = level != CommitLevel::Async;
        self.token.see(stamp.log(), stamp.seq, is_committed);
    }

    /// The token with which the client goes on.
    #[must_use]
    pub fn seal(&self) -> String {
        self.token.seal(&self.key)
    }
}

impl Serving {
    pub(super) fn open_session(&self, text: &str) -> Result<Session, Error> {
        let control = self.agreement.state();
        let secret = control.secret.ok_or(Error::NoSessions)?;
        let key = SessionKey::derive(&secret.0);
        let token = match text {
            "" => Token::new(control.lineage),
            text => Token::open(&key, text)?,
        };
        Ok(Session { key, token })
    }

    /// Waits until the rows here hold all that a session has seen; half of the time if they can be read elsewhere. What need not
    /// be named to be known as held is left out of the token.
    pub(super) async fn hold(&self, token: &mut Token, deadline: Deadline) -> Result<(), Error> {
        let standing = self.member.standing();
        let limit = match standing.primary() {
            Some(_) => deadline.left() / 2,
            None => deadline.left(),
        };
        let held = timeout(limit, self.held(token)).await;
        let applied = held.unwrap_or(Err(Error::SessionBehind))?;
        token.settle(&applied);
        Ok(())
    }

    /// Says what is applied once that is all that a session has seen.
    async fn held(&self, token: &Token) -> Result<VersionVector, Error> {
        let mut standings = self.member.standings();
        loop {
            standings.mark_unchanged();
            let lsn = self.engine.applied().get();
            if let Some(applied) = self.look_for(token)? {
                return Ok(applied);
            }
            tokio::select! {
                applied = self.engine.applied().reached(Lsn(lsn.0 + 1)) => {
                    applied.map_err(Error::Read)?;
                }
                changed = standings.changed() => changed.map_err(|_| Error::Stopping)?,
            }
        }
    }

    /// What is applied, if that is all that a session has seen. An error if it never will be.
    pub(super) fn look_for(&self, token: &Token) -> Result<Option<VersionVector>, Error> {
        let (standing, state) = (self.member.standing(), self.engine.state());
        match judge(
            token,
            &standing.control,
            &state.applied.0,
            state.opening.as_ref(),
        ) {
            Verdict::Satisfied => Ok(Some(state.applied.0.clone())),
            Verdict::Wait => Ok(None),
            Verdict::Unrecovered => Err(Error::Unrecovered),
            Verdict::Forgotten => Err(Error::PerhapsUnrecovered),
            Verdict::OtherLineage => Err(Error::OtherHistory),
        }
    }
}
