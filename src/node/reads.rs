//! Lookups and scans on this node's rows.
//!
//! A set of one is its own quorum: its primary read waits for what was appended before it, and every other level reads
//! the applied rows, which miss nothing that was acknowledged.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Serving;
use super::request::{Answered, Error, LookupRequest, ScanPage, ScanRequest, Selection};
use crate::base::Lsn;
use crate::base::clock::timeout;
use crate::base::codec::DecodeError;
use crate::engine::{self, KeyedRow};
use crate::model::purge::Left;
use crate::model::resolve::{Column, Resolver, Wanted};
use crate::model::row::RowRef;
use crate::model::{EntityKey, ReadLevel, ViewPurge, limits};
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
        let mut resolver = Resolver::new(view, features, keys.len(), wanted, self.clock.wall())
            .leaving_out(self.engine.purge().of(id));
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
    let purge = engine.purge().of(view);
    let more = engine.scan(view, prefix, start, |key, row| {
        let row = match shown(&purge, row) {
            Ok(Some(row)) => row,
            Ok(None) => return ControlFlow::Continue(()),
            Err(source) => return ControlFlow::Break(Err(engine::Error::BadRow { view, source })),
        };
        if keys.len() >= max_rows || bytes >= max_bytes {
            return ControlFlow::Break(Ok(()));
        }
        bytes += key.as_bytes().len() + row.len();
        keys.push(key);
        rows.push(Bytes::copy_from_slice(&row));
        ControlFlow::Continue(())
    })?;
    let more = more.transpose()?.is_some();
    Ok((keys, rows, more))
}

/// What a scan shows of a stored row: what is left of it, if that holds anything.
fn shown<'a>(purge: &ViewPurge, row: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
    let row = match purge.left_of(row)? {
        Left::All => Cow::Borrowed(row),
        Left::Part(left, _) => Cow::Owned(left),
        Left::Nothing => return Ok(None),
    };
    let is_live = RowRef::parse(&row)?.is_live();
    Ok(is_live.then_some(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, Hlc, Micros, RegionId, Seq, Stamp};
    use crate::model::row::Write;
    use crate::model::view_file::parse_view;
    use crate::model::{Catalogue, MergeMode, Order, Purge, Version};

    #[test]
    fn a_scan_passes_over_deletions_and_what_may_go() {
        let stamp = |millis| Stamp {
            hlc: Hlc::from_millis(millis),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(millis),
        };
        let text = r#"
            name = "v"
            entity = [{ name = "id", type = "int64" }]
            ttl = "1ms"
            feature = [{ name = "f", type = "int64" }]
        "#;
        let mut catalogue = Catalogue::new();
        let create = catalogue.create(parse_view(text).unwrap()).unwrap();
        catalogue.apply(stamp(1), &create);
        let view = catalogue.view("v").unwrap().id;
        let purge = Purge::new(Hlc::from_millis(10), catalogue).of(view);
        let is_shown = |event_time, cells| {
            let write = Write {
                merge: MergeMode::Row,
                order: Order::EventTime,
                version: Version {
                    event_time: Micros(event_time),
                    stamp: stamp(2),
                },
                cells,
            };
            let row = write.row().unwrap().encode();
            shown(&purge, &row).unwrap().is_some()
        };
        assert!(is_shown(9_001, Some(&[])));
        assert!(!is_shown(9_000, Some(&[])), "it may go");
        assert!(!is_shown(9_001, None), "it is deleted");
    }
}
