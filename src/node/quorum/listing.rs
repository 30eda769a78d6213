//! The keys of a member's rows, as it lists them to a scan at a quorum: its own or another member's.
//!
//! **Invariants.** As rows are named ([`naming`](super::naming)): once all is applied that was durable when the question came,
//! without what may go (P4), vouched for afterwards. A list takes no longer than some rows take, whatever lies between them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::Serving;
use super::super::request::Error;
use super::wire::{Answer, KEYS, KeySpan, KeysAsked};
use crate::base::Held;
use crate::engine::{self, Engine};
use crate::model::EntityKey;
use crate::model::purge::Left;
use crate::read::{Listed, Token};
use crate::storage::ScanStart;

/// A list ends at the row with which those that were looked at reach so many bytes.
const LOOKED_AT_BYTES: usize = 1 << 20;
/// And at this one: between two rows that are left there may be any number that may go.
const LOOKED_AT: usize = 16 * KEYS;

impl Serving {
    /// Answers another member's question.
    pub(in crate::node) async fn list_keys(
        &self,
        asked: KeysAsked,
        memory: &mut Held,
    ) -> Result<Answer<Listed<EntityKey>>, Error> {
        let answer = self
            .vouched_keys(asked.span, asked.session.as_ref())
            .await?;
        if let Answer::Vouched(_, listed) = &answer {
            let bytes = listed.keys.iter().map(|key| key.as_bytes().len());
            memory.grow(bytes.sum())?;
        }
        Ok(answer)
    }

    pub(super) async fn vouched_keys(
        &self,
        span: KeySpan,
        session: Option<&Token>,
    ) -> Result<Answer<Listed<EntityKey>>, Error> {
        let engine = Arc::clone(&self.engine);
        let views = BTreeSet::from([span.view]);
        let listed = self.blocking(move || listed(&engine, &span));
        self.vouched(views, session, listed).await
    }
}

/// The first keys of a span of which there are rows here, deletions included.
fn listed(engine: &Engine, span: &KeySpan) -> Result<Listed<EntityKey>, engine::Error> {
    let KeySpan {
        view,
        prefix,
        after,
    } = span;
    let purge = engine.purge().of(*view);
    let start = after.clone().map_or(ScanStart::First, ScanStart::After);
    let (mut keys, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    let until = engine.scan(*view, prefix, &start, |key, row| {
        looked_at += 1;
        bytes += row.len();
        match purge.left_of(row) {
            Ok(Left::Nothing) => {}
            Ok(Left::All | Left::Part(..)) => keys.push(key.clone()),
            Err(source) => {
                let view = *view;
                return ControlFlow::Break(Err(engine::Error::BadRow { view, source }));
            }
        }
        if keys.len() == KEYS || looked_at == LOOKED_AT || bytes >= LOOKED_AT_BYTES {
            return ControlFlow::Break(Ok(key));
        }
        ControlFlow::Continue(())
    })?;
    let until = until.transpose()?;
    Ok(Listed { keys, until })
}
