//! Asking for the rows of some keys.

use std::collections::BTreeSet;

use super::super::Serving;
use super::super::reads::Deadline;
use super::super::request::{Error, Spent};
use super::Unanswered;
use super::inquiry::Inquiry;
use super::naming::{digest, views_of};
use super::wire::{Answer, NamedRow, RowsAsked, rows_answer_of_proto};
use crate::base::IncarnationId;
use crate::base::clock::now_monotonic;
use crate::engine::KeyedRow;
use crate::model::ViewId;
use crate::read::{Gather, Token};
use crate::replication::Vouched;
use crate::storage::RowKeys;

/// Which rows do a majority name?
struct Rows<'a> {
    gather: Gather<KeyedRow>,
    /// The rows held here.
    held: Vec<KeyedRow>,
    /// What the rows must hold.
    session: Option<&'a Token>,
}

/// The keys that are not decided.
struct Question {
    /// Which keys of the read these are.
    numbers: Vec<usize>,
    keys: RowKeys,
    held: Vec<KeyedRow>,
    session: Option<Token>,
}

impl Inquiry for Rows<'_> {
    type Question = Question;
    /// In the order asked for, perhaps not all.
    type Told = Vec<KeyedRow>;

    fn views(&self) -> BTreeSet<ViewId> {
        views_of(self.held.iter().map(KeyedRow::key))
    }

    fn question(&self) -> Option<Question> {
        let mut question = Question {
            numbers: Vec::new(),
            keys: RowKeys::default(),
            held: Vec::new(),
            session: self.session.cloned(),
        };
        for number in self.gather.undecided() {
            let Some(row) = self.held.get(number) else {
                break;
            };
            question.numbers.push(number);
            question.keys.push_key(row.key());
            question.held.push(row.clone());
        }
        (!question.numbers.is_empty()).then_some(question)
    }

    fn on_answer(
        &mut self,
        from: IncarnationId,
        vouched: Vouched,
        question: &Question,
        rows: Vec<KeyedRow>,
    ) {
        let rows = rows
            .into_iter()
            .map(|row| row.row().is_some().then_some(row));
        let rows = question.numbers.iter().copied().zip(rows);
        self.gather.on_answer(from, vouched, rows);
    }

    async fn own_answer(
        serving: &Serving,
        question: &Question,
    ) -> Result<Answer<Vec<KeyedRow>>, Error> {
        let (keys, session) = (question.keys.clone(), question.session.as_ref());
        serving
            .vouched_rows(keys, session, &mut Spent::default())
            .await
    }

    async fn answer_of(
        serving: &Serving,
        member: IncarnationId,
        question: &Question,
    ) -> Result<Answer<Vec<KeyedRow>>, Unanswered> {
        let asked = RowsAsked {
            hello: serving.wires.hello(member),
            keys: question.keys.clone(),
            held: question.held.iter().map(digest).collect(),
            session: question.session.clone(),
        };
        let address = serving.peer_address(member)?;
        let lines = &serving.quorum.lines;
        let answer = lines.name_rows(member, &address, asked.into()).await?;
        let rows = rows_answer_of_proto(&answer)?;
        Ok(rows.map(|rows| {
            let rows = question.held.iter().zip(rows);
            let rows = rows.map(|(held, named)| match named {
                NamedRow::Absent => KeyedRow::new(held.key(), None),
                NamedRow::Same => held.clone(),
                NamedRow::Other(row) => KeyedRow::new(held.key(), Some(&row)),
            });
            rows.collect()
        }))
    }
}

impl Serving {
    /// The rows of some keys that a majority names, or of the first of them if they are large. They hold what the session has
    /// seen.
    pub(in crate::node) async fn agreed_rows(
        &self,
        keys: RowKeys,
        session: Option<&Token>,
        deadline: Deadline,
        spent: &mut Spent,
    ) -> Result<Vec<KeyedRow>, Error> {
        let held = self.rows_left(keys, spent).await?;
        let begun = now_monotonic();
        let mut rows = Rows {
            gather: Gather::new(held.len()),
            held,
            session,
        };
        self.inquire(&mut rows, deadline).await?;
        spent.waiting += begun.elapsed();
        let Rows { gather, held, .. } = rows;
        let decided = held.iter().enumerate().map(|(number, held)| {
            let decided = gather.decided(number).flatten();
            decided.map_or_else(|| KeyedRow::new(held.key(), None), KeyedRow::clone)
        });
        Ok(decided.collect())
    }
}
