//! Scans: pages of a view's rows in key order.
//!
//! Nothing is held between pages. At strong levels the primary reads each page as it does a lookup: it alone knows that no key is
//! missing.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::Serving;
use super::reads::{Deadline, ROWS_AT_ONCE, Sources, check_fresh, note_sources, records, resolve};
use super::request::{Error, ScanPage, ScanRequest};
use crate::base::ReadLevel;
use crate::base::clock::timeout;
use crate::base::codec::DecodeError;
use crate::engine;
use crate::model::purge::Left;
use crate::model::resolve::{Resolver, Wanted};
use crate::model::row::RowRef;
use crate::model::{EntityKey, ViewId, ViewPurge};
use crate::storage::ScanStart;

impl Serving {
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
            level,
            deadline,
        } = request;
        let deadline = Deadline::after(deadline);
        if let ReadLevel::Bounded(bound) = level {
            let staleness = self.member.standing().staleness(self.clock.monotonic());
            check_fresh(staleness, bound)?;
        }
        let mut read = match level {
            ReadLevel::Local | ReadLevel::Bounded(_) => None,
            ReadLevel::Quorum | ReadLevel::Primary => Some(self.begin_primary_read().await?),
        };
        let id = view.id;
        let start = after.map_or(ScanStart::First, ScanStart::After);
        let (keys, rows, more) = self
            .blocking(move || page(&engine, id, &prefix, &start, max_rows, max_bytes, deadline))
            .await??;
        let wanted = Wanted {
            defaults: false,
            event_times,
        };
        let mut resolver = Resolver::new(view, features, keys.len(), wanted, now);
        let mut sources = Sources::default();
        for row in &rows {
            if read.is_some() {
                note_sources(id, row, &mut sources)?;
            }
            resolve(&mut resolver, Some(row))?;
        }
        if let Some(read) = &mut read {
            let confirmed = timeout(deadline.rest(), read.confirmed(records(&sources))).await;
            let confirmed = confirmed.map_err(|_| deadline.passed())?;
            confirmed.ok_or_else(|| self.not_primary())?;
        }
        Ok(ScanPage {
            keys,
            columns: resolver.finish(),
            more,
        })
    }
}

type Page = (Vec<EntityKey>, Vec<Bytes>, bool);

fn page(
    engine: &engine::Engine,
    view: ViewId,
    prefix: &EntityKey,
    start: &ScanStart,
    max_rows: usize,
    max_bytes: usize,
    deadline: Deadline,
) -> Result<Result<Page, Error>, engine::Error> {
    let (mut keys, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
    let purge = engine.purge().of(view);
    let mut visited = 0_usize;
    let more = engine.scan(view, prefix, start, |key, row| {
        // Between two live rows there may be any number of tombstones.
        visited += 1;
        if visited.is_multiple_of(ROWS_AT_ONCE)
            && let Err(passed) = deadline.check()
        {
            return ControlFlow::Break(Err(passed));
        }
        let row = match shown(&purge, row) {
            Ok(Some(row)) => row,
            Ok(None) => return ControlFlow::Continue(()),
            Err(source) => {
                let damaged = engine::Error::BadRow { view, source };
                return ControlFlow::Break(Err(Error::Read(damaged)));
            }
        };
        if keys.len() >= max_rows || bytes >= max_bytes {
            return ControlFlow::Break(Ok(()));
        }
        bytes += key.as_bytes().len() + row.len();
        keys.push(key);
        rows.push(Bytes::copy_from_slice(&row));
        ControlFlow::Continue(())
    })?;
    let more = more.transpose().map(|more| more.is_some());
    Ok(more.map(|more| (keys, rows, more)))
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
