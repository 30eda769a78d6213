//! A member's rows, as it names them to a quorum read: its own or another member's.
//!
//! **Invariants.** Q1: rows are read once all is applied that was durable when the question came, and vouched for after that. Rows are
//! named as they are read, without what may go (P4); of a view that is dropped here, none.

use std::collections::BTreeSet;

use super::super::Serving;
use super::super::request::{Error, Spent};
use super::wire::{Answer, NamedRow, RowsAsked};
use crate::base::Held;
use crate::engine::{self, KeyedRow};
use crate::model::purge::Left;
use crate::model::{Digest, ViewId};
use crate::read::{Token, Verdict};
use crate::storage::{RowKeys, view_of};

/// Bytes of rows in one answer, more or less.
const NAMED_BYTES: usize = 4 << 20;

impl Serving {
    /// Answers another member's question; where its rows are large, for the first keys only.
    pub(in crate::node) async fn name_rows(
        &self,
        asked: RowsAsked,
        memory: &mut Held,
    ) -> Result<Answer<Vec<NamedRow>>, Error> {
        let RowsAsked {
            keys,
            held,
            session,
            ..
        } = asked;
        let mut spent = Spent::default();
        let rows = self.vouched_rows(keys, session.as_ref(), &mut spent);
        let mut bytes = 0;
        let answer = rows.await?.map(|rows| {
            let mut named = Vec::with_capacity(rows.len());
            for (row, held) in rows.iter().zip(held) {
                named.push(match row.row() {
                    None => NamedRow::Absent,
                    Some(_) if digest(row) == held => NamedRow::Same,
                    Some(row) => {
                        bytes += row.len();
                        NamedRow::Other(row.to_vec().into())
                    }
                });
                if bytes >= NAMED_BYTES {
                    break;
                }
            }
            named
        });
        memory.grow(bytes)?;
        Ok(answer)
    }

    pub(super) async fn vouched_rows(
        &self,
        keys: RowKeys,
        session: Option<&Token>,
        spent: &mut Spent,
    ) -> Result<Answer<Vec<KeyedRow>>, Error> {
        let views = views_of(keys.iter());
        self.vouched(views, session, self.rows_left(keys, spent))
            .await
    }

    /// What this member may say of its rows in some views: `read` reads them once they hold what they must.
    pub(super) async fn vouched<T>(
        &self,
        views: BTreeSet<ViewId>,
        session: Option<&Token>,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<Answer<T>, Error> {
        let mut ready = self.member.read_for_quorum().await?;
        if ready.ready().await.is_none() {
            return Ok(Answer::NotNow);
        }
        match session.map_or(Verdict::Satisfied, |token| self.verdict(token)) {
            Verdict::Satisfied => {}
            Verdict::Wait => return Ok(Answer::NotNow),
            Verdict::Unrecovered | Verdict::Forgotten | Verdict::OtherLineage => {
                return Ok(Answer::Unrecovered);
            }
        }
        let rows = read.await?;
        // A view that is dropped here has no rows to name, though they are there still.
        if self.check_views(views).is_err() {
            return Ok(Answer::NotNow);
        }
        let vouched = self.member.vouch().await;
        Ok(vouched.map_or(Answer::NotNow, |vouched| Answer::Vouched(vouched, rows)))
    }

    /// Are these views in force here?
    pub(super) fn check_views(&self, views: BTreeSet<ViewId>) -> Result<(), Error> {
        let catalogue = self.engine.catalogue();
        let mut views = views.into_iter();
        match views.find(|view| catalogue.by_id(*view).is_none()) {
            None => Ok(()),
            Some(view) => Err(Error::ViewDropped {
                view: view.to_string(),
            }),
        }
    }

    /// What is left of the rows of some keys, or of the first of them if they are large, once what may go is gone.
    pub(super) async fn rows_left(
        &self,
        keys: RowKeys,
        spent: &mut Spent,
    ) -> Result<Vec<KeyedRow>, Error> {
        let purge = self.engine.purge();
        let rows = self.rows(keys, spent).await?;
        let left = rows.into_iter().flatten().map(|keyed| {
            let Some(row) = keyed.row() else {
                return Ok(keyed);
            };
            let view = view_of(keyed.key());
            let left = purge.of(view).left_of(row);
            let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
            Ok(match left.map_err(damaged)? {
                Left::All => keyed,
                Left::Part(left, _) => KeyedRow::new(keyed.key(), Some(&left)),
                Left::Nothing => KeyedRow::new(keyed.key(), None),
            })
        });
        left.collect()
    }
}

/// Names a row; [`Digest::EMPTY`] if there is none.
pub(super) fn digest(row: &KeyedRow) -> Digest {
    row.row()
        .map_or(Digest::EMPTY, |bytes| Digest::of_row(row.key(), bytes))
}

/// The views of rows, by the rows' keys.
pub(super) fn views_of<'a>(row_keys: impl Iterator<Item = &'a [u8]>) -> BTreeSet<ViewId> {
    row_keys.map(view_of).collect()
}
