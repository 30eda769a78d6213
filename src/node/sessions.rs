//! Sessions: what a client has written and read is there when it reads again, whichever member it asks.
//!
//! **Invariant.** A call of a session is answered by rows that hold all that its token names, or told why not; what is lost is
//! told at once.

use std::time::Duration;

use tracing::warn;

use super::reads::Deadline;
use super::request::Error;
use super::{Node, Serving};
use crate::base::clock::timeout;
use crate::base::{CommitLevel, LogId, Lsn, ReadLevel, Seq, Stamp, VersionVector};
use crate::read::{SessionKey, Token, Verdict, is_recovered, judge};

/// A session, as a call finds and leaves it.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    pub(super) token: Token,
}

impl Session {
    /// The token with which the client goes on.
    #[must_use]
    pub fn seal(&self) -> String {
        self.token.seal(&self.key)
    }
}

impl Node {
    /// Reads the token of a session; the empty text is that of one that begins.
    ///
    /// # Errors
    /// If it is no token of this set.
    pub fn open_session(&self, text: &str) -> Result<Session, Error> {
        self.serving()?.open_session(text)
    }

    /// Waits until a read of this level can be answered by rows that hold all that a session has seen.
    ///
    /// # Errors
    /// If they do not within the limit, or what it has seen is lost, or may be.
    pub async fn await_session(
        &self,
        session: &mut Session,
        level: ReadLevel,
        limit: Duration,
    ) -> Result<(), Error> {
        let deadline = Deadline::after(limit);
        self.serving()?
            .await_session(session, level, deadline)
            .await
    }

    /// A session has written a record, which was acknowledged at this level.
    pub fn wrote(&self, session: &mut Session, stamp: &Stamp, level: CommitLevel) {
        // It is, as long as the node serves its calls.
        if let Ok(serving) = self.serving() {
            let is_committed = level != CommitLevel::Async;
            serving.note(session, [(stamp.log(), stamp.seq)], is_committed);
        }
    }
}

impl Serving {
    fn open_session(&self, text: &str) -> Result<Session, Error> {
        let control = self.agreement.state();
        let secret = control.secret.ok_or(Error::NoSessions)?;
        let key = SessionKey::derive(&secret.0);
        let token = match text {
            "" => Token::new(control.lineage),
            text => {
                Token::open(&key, text).map_err(|cause| match Token::claimed_lineage(text) {
                    // Another history has another secret, too.
                    Some(lineage) if lineage != control.lineage => Error::OtherHistory,
                    _ => Error::BadSession(cause),
                })?
            }
        };
        Ok(Session { key, token })
    }

    /// The session has written or read these records. What this node has folded is known to be held whole: it is not named.
    pub(super) fn note(
        &self,
        session: &mut Session,
        records: impl IntoIterator<Item = (LogId, Seq)>,
        is_committed: bool,
    ) {
        let applied = &self.engine.state().applied.0;
        let control = self.agreement.state();
        let mut seen = Token::new(control.lineage);
        for (log, seq) in records {
            let is_folded = log.epoch <= applied.base(log.region);
            let is_safe = is_committed || is_folded || is_recovered(&control, log, seq);
            seen.see(log, seq, is_safe);
        }
        seen.settle(applied);
        if let Err(cause) = session.token.join(&seen) {
            // The node has gone over to another history in between; the token stays one of the old.
            warn!(%cause, "a session has seen two histories");
        }
    }

    /// Waits until a read of this level can be answered by rows that hold all that a session has seen.
    pub(super) async fn await_session(
        &self,
        session: &mut Session,
        level: ReadLevel,
        deadline: Deadline,
    ) -> Result<(), Error> {
        match level {
            // The members that name rows hold all of it.
            ReadLevel::Quorum => self.look_for(&session.token).map(drop),
            ReadLevel::Local | ReadLevel::Bounded(_) | ReadLevel::Primary => {
                self.hold(&mut session.token, deadline).await
            }
        }
    }

    /// Waits until the rows here hold all that a session has seen; half of the time if they can be read elsewhere. What need not
    /// be named to be known as held is left out of the token.
    async fn hold(&self, token: &mut Token, deadline: Deadline) -> Result<(), Error> {
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

    pub(super) fn verdict(&self, token: &Token) -> Verdict {
        let (standing, state) = (self.member.standing(), self.engine.state());
        let opening = state.opening.as_ref();
        judge(token, &standing.control, &state.applied.0, opening)
    }

    /// What is applied, if that is all that a session has seen. An error if it never will be.
    pub(super) fn look_for(&self, token: &Token) -> Result<Option<VersionVector>, Error> {
        let state = self.engine.state();
        match self.verdict(token) {
            Verdict::Satisfied => Ok(Some(state.applied.0.clone())),
            Verdict::Wait => Ok(None),
            Verdict::Unrecovered => Err(Error::Unrecovered),
            Verdict::Forgotten => Err(Error::PerhapsUnrecovered),
            Verdict::OtherLineage => Err(Error::OtherHistory),
        }
    }
}
