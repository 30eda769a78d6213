//! Lookups and scans on this node's rows.
//!
//! A set of one is its own quorum: its primary read waits for what was appended before it, and every other level reads
//! the applied rows, which miss nothing that was acknowledged.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Serving;
use super::request::{Answered, Error, LookupRequest, ScanPage, ScanRequest, Selection};
use crate::base::Lsn;
use crate::base::clock::timeout;
use crate::engine::{self, KeyedRow};
use crate::model::resolve::{Column, Resolver, Wanted};
use crate::model::row::RowRef;
use crate::model::{EntityKey, ReadLevel, limits};
use crate::storage::{RowKeys, ScanStart};

/// Rows read before they are resolved and forgotten, so that a lookup holds few of them, however large they are.
const ROWS_AT_ONCE: usize = 256;

/// One column list for each selection.
pub type Columns = Vec<Vec<Column>>;

impl Serving {
    pub(super) async fn lookup(&self, request: LookupRequest) -> Result<Answered<Columns>, Error> {
        let limit = request.deadline;
        let level = request.level;
        let answer = timeout(limit, self.look_up(request)).await;
        let answer = answer.map_err(|_| Error::DeadlineExceeded { limit })??;
        let (node, epoch) = (self.identity.incarnation, self.epoch);
        Ok(Answered {
            answer,
            level,
            node,
            epoch,
            staleness: Duration::ZERO,
        })
    }

    async fn look_up(&self, request: LookupRequest) -> Result<Columns, Error> {
        let LookupRequest {
            selections,
            level,
            wanted,
            ..
        } = request;
        if level == ReadLevel::Primary {
            let appended = Lsn(self.appended.load(Ordering::Acquire));
            self.engine
                .applied()
                .reached(appended)
                .await
                .map_err(Error::Read)?;
        }
        let mut columns = Vec::with_capacity(selections.len());
        for selection in selections {
            columns.push(self.select(selection, wanted).await?);
        }
        Ok(columns)
    }

    async fn select(&self, selection: Selection, wanted: Wanted) -> Result<Vec<Column>, Error> {
        let Selection {
            view,
            features,
            keys,
        } = selection;
        let id = view.id;
        let mut resolver = Resolver::new(view, features, keys.len(), wanted, self.clock.wall());
        let mut entities = keys.iter();
        while entities.len() > 0 {
            let part = entities.len().min(ROWS_AT_ONCE);
            let keys = RowKeys::of_entities(id, entities.by_ref().take(part));
            let rows = self.rows(keys).await?;
            for row in &rows {
                resolve(&mut resolver, row.as_ref().and_then(KeyedRow::row))?;
            }
            let max = limits::ANSWER_BYTES;
            if resolver.payload_bytes() > max {
                return Err(Error::AnswerTooLarge { max });
            }
        }
        Ok(resolver.finish())
    }

    /// The rows of some keys. What memory holds is read at once; files are read where they block nobody.
    async fn rows(&self, keys: RowKeys) -> Result<Vec<Option<KeyedRow>>, Error> {
        let rows = self.engine.rows_in_memory(&keys).map_err(Error::Read)?;
        if rows.iter().all(Option::is_some) {
            return Ok(rows);
        }
        let engine = Arc::clone(&self.engine);
        self.blocking(move || engine.complete(&keys, rows)).await
    }

    pub(super) async fn scan(&self, request: ScanRequest) -> Result<ScanPage, Error> {
        let engine = Arc::clone(&self.engine);
        let now = self.clock.wall();
        let ScanRequest {
            view,
            features,
            prefix,
            after,
            max_rows,
            max_bytes,
            event_times,
        } = request;
        let id = view.id;
        let start = after.map_or(ScanStart::First, ScanStart::After);
        let (keys, rows, more) = self
            .blocking(move || page(&engine, id, &prefix, &start, max_rows, max_bytes))
            .await?;
        let wanted = Wanted {
            defaults: false,
            event_times,
        };
        let mut resolver = Resolver::new(view, features, keys.len(), wanted, now);
        for row in &rows {
            resolve(&mut resolver, Some(row))?;
        }
        Ok(ScanPage {
            keys,
            columns: resolver.finish(),
            more,
        })
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, engine::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Error::Stopping)?.map_err(Error::Read)
    }
}

fn resolve(resolver: &mut Resolver, row: Option<&[u8]>) -> Result<(), Error> {
    let view = resolver.view().id;
    let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
    resolver.push(row).map_err(damaged)
}

type Page = (Vec<EntityKey>, Vec<Bytes>, bool);

fn page(
    engine: &engine::Engine,
    view: crate::model::ViewId,
    prefix: &EntityKey,
    start: &ScanStart,
    max_rows: usize,
    max_bytes: usize,
) -> Result<Page, engine::Error> {
    let (mut keys, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
    let more = engine.scan(view, prefix, start, |key, row| {
        match RowRef::parse(row) {
            Ok(parsed) if !parsed.is_live() => return ControlFlow::Continue(()),
            Ok(_) => {}
            Err(source) => return ControlFlow::Break(Err(engine::Error::BadRow { view, source })),
        }
        if keys.len() >= max_rows || bytes >= max_bytes {
            return ControlFlow::Break(Ok(()));
        }
        bytes += key.as_bytes().len() + row.len();
        keys.push(key);
        rows.push(Bytes::copy_from_slice(row));
        ControlFlow::Continue(())
    })?;
    let more = more.transpose()?.is_some();
    Ok((keys, rows, more))
}
