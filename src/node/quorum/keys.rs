//! Asking for the keys of a page of a scan.

use std::collections::BTreeSet;

use super::super::Serving;
use super::super::reads::Deadline;
use super::super::request::Error;
use super::Unanswered;
use super::inquiry::Inquiry;
use super::wire::{Answer, KEYS, KeySpan, KeysAsked, keys_answer_of_proto};
use crate::base::IncarnationId;
use crate::model::{EntityKey, ViewId};
use crate::read::{Ahead, Listed, Token};
use crate::replication::Vouched;

/// Which keys may have a row that a majority names?
struct Keys {
    ahead: Ahead<EntityKey>,
    question: Question,
}

#[derive(Clone)]
struct Question {
    span: KeySpan,
    /// What the rows must hold.
    session: Option<Token>,
}

impl Inquiry for Keys {
    type Question = Question;
    type Told = Listed<EntityKey>;

    fn views(&self) -> BTreeSet<ViewId> {
        BTreeSet::from([self.question.span.view])
    }

    fn question(&self) -> Option<Question> {
        self.ahead.lacks_lists().then(|| self.question.clone())
    }

    fn on_answer(
        &mut self,
        from: IncarnationId,
        vouched: Vouched,
        _: &Question,
        listed: Listed<EntityKey>,
    ) {
        self.ahead.on_list(from, vouched, listed);
    }

    async fn own_answer(
        serving: &Serving,
        question: &Question,
    ) -> Result<Answer<Listed<EntityKey>>, Error> {
        let (span, session) = (question.span.clone(), question.session.as_ref());
        serving.vouched_keys(span, session).await
    }

    async fn answer_of(
        serving: &Serving,
        member: IncarnationId,
        question: &Question,
    ) -> Result<Answer<Listed<EntityKey>>, Unanswered> {
        let asked = KeysAsked {
            hello: serving.wires.hello(member),
            span: question.span.clone(),
            session: question.session.clone(),
        };
        let address = serving.peer_address(member)?;
        let lines = &serving.quorum.lines;
        let answer = lines.list_keys(member, &address, asked.into()).await?;
        Ok(keys_answer_of_proto(answer, &question.span)?)
    }
}

impl Serving {
    /// The first keys of a span, so few that their rows can be asked for at once: of all others up to where they end a majority
    /// names no row. What the session has seen is regarded.
    pub(in crate::node) async fn keys_ahead(
        &self,
        span: KeySpan,
        session: Option<&Token>,
        deadline: Deadline,
    ) -> Result<Listed<EntityKey>, Error> {
        let session = session.cloned();
        let mut keys = Keys {
            ahead: Ahead::default(),
            question: Question { span, session },
        };
        self.inquire(&mut keys, deadline).await?;
        let listed = keys.ahead.listed();
        let listed = listed.expect("an inquiry ends once enough members have listed their keys");
        Ok(listed.at_most(KEYS))
    }
}
