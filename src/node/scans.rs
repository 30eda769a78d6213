//! Scans: pages of a view's rows in key order.
//!
//! Nothing is held between pages. At level primary the primary reads each page as it does a lookup: it alone knows that no key
//! is missing. At level quorum a majority of the data members says which keys there are, then which rows they have
//! ([quorum](super::quorum)): no primary is needed.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::quorum::KeySpan;
use super::reads::{Deadline, ROWS_AT_ONCE, Sources, check_fresh, note_sources, records, resolve};
use super::request::{Error, ScanPage, ScanRequest, Spent};
use super::{Node, Serving};
use crate::base::ReadLevel;
use crate::base::clock::timeout;
use crate::base::codec::DecodeError;
use crate::engine::{self, Engine};
use crate::model::purge::Left;
use crate::model::resolve::{Resolver, Wanted};
use crate::model::row::RowRef;
use crate::model::{EntityKey, ViewId, ViewPurge};
use crate::read::Token;
use crate::storage::{RowKeys, ScanStart};

/// Some rows as they are stored.
struct Page {
    view: ViewId,
    purge: ViewPurge,
    keys: Vec<EntityKey>,
    rows: Vec<Bytes>,
    /// What they take, and may take.
    bytes: usize,
    room: Room,
    /// Where all that was looked at comes from, deletions included; only where that is asked for.
    sources: Option<Sources>,
    /// Behind which key it goes on.
    rest: Option<EntityKey>,
}

/// How large a page may get.
#[derive(Debug, Clone, Copy)]
struct Room {
    rows: usize,
    bytes: usize,
}

impl Page {
    fn new(view: ViewId, purge: ViewPurge, room: Room, has_sources: bool) -> Page {
        Page {
            view,
            purge,
            keys: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
            room,
            sources: has_sources.then(Sources::default),
            rest: None,
        }
    }

    /// Where all that was looked at comes from. Whoever asks has had the page note it: nothing noted would be taken for nothing
    /// to be confirmed.
    fn sources(&self) -> &Sources {
        let sources = self.sources.as_ref();
        sources.expect("a page of a session, or one to be confirmed, notes its sources")
    }

    /// Takes the next row of the view, of which perhaps nothing is shown; breaks at one that there is no room to show.
    fn take(&mut self, key: EntityKey, row: &[u8]) -> Result<ControlFlow<()>, Error> {
        let view = self.view;
        let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
        let shown = shown(&self.purge, row).map_err(damaged)?;
        let is_full = self.keys.len() >= self.room.rows || self.bytes >= self.room.bytes;
        if shown.is_some() && is_full {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(sources) = &mut self.sources {
            note_sources(view, row, sources)?;
        }
        if let Some(row) = shown {
            self.bytes += key.as_bytes().len() + row.len();
            self.keys.push(key);
            self.rows.push(Bytes::copy_from_slice(&row));
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Node {
    /// What a scan of this level is carried out as.
    pub fn scan_level(&self, level: ReadLevel) -> ReadLevel {
        self.serving()
            .map_or(level, |serving| serving.scan_level(level))
    }
}

impl Serving {
    /// What not all members know how to do together, the primary does.
    fn scan_level(&self, level: ReadLevel) -> ReadLevel {
        if self.member.standing().control.has_quorum_scans() {
            level
        } else {
            level.without_quorum()
        }
    }

    pub(super) async fn scan(&self, request: ScanRequest) -> Result<ScanPage, Error> {
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
            mut session,
            deadline,
        } = request;
        let deadline = Deadline::after(deadline);
        let span = KeySpan {
            view: view.id,
            prefix,
            after,
        };
        let room = Room {
            rows: max_rows,
            bytes: max_bytes,
        };
        if let Some(session) = &mut session {
            self.await_session(session, level, deadline).await?;
        }
        let seen = session.as_ref().map(|session| &session.token);
        let page = match self.scan_level(level) {
            ReadLevel::Local => {
                self.applied_page(span, room, session.is_some(), deadline)
                    .await?
            }
            ReadLevel::Bounded(bound) => {
                let staleness = self.member.standing().staleness(self.clock.monotonic());
                check_fresh(staleness, bound)?;
                self.applied_page(span, room, session.is_some(), deadline)
                    .await?
            }
            ReadLevel::Quorum => self.agreed_page(span, room, seen, deadline).await?,
            ReadLevel::Primary => self.confirmed_page(span, room, deadline).await?,
        };
        if let Some(session) = &mut session {
            let is_committed = matches!(level, ReadLevel::Primary | ReadLevel::Quorum);
            self.note(session, records(page.sources()), is_committed);
        }
        let wanted = Wanted {
            defaults: false,
            event_times,
        };
        let mut resolver = Resolver::new(view, features, page.keys.len(), wanted, now);
        for row in &page.rows {
            resolve(&mut resolver, Some(row))?;
        }
        Ok(ScanPage {
            keys: page.keys,
            columns: resolver.finish(),
            rest: page.rest,
            session,
        })
    }

    async fn applied_page(
        &self,
        span: KeySpan,
        room: Room,
        has_sources: bool,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let engine = Arc::clone(&self.engine);
        let read = move || {
            let mut page = Page::new(span.view, engine.purge().of(span.view), room, has_sources);
            let filled = fill(&mut page, &engine, &span, deadline)?;
            Ok(filled.map(|()| page))
        };
        self.blocking(read).await?
    }

    async fn confirmed_page(
        &self,
        span: KeySpan,
        room: Room,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let mut read = self.begin_primary_read().await?;
        let page = self.applied_page(span, room, true, deadline).await?;
        let confirmed = read.confirmed(records(page.sources()));
        let confirmed = timeout(deadline.rest(), confirmed).await;
        let confirmed = confirmed.map_err(|_| deadline.passed())?;
        confirmed.ok_or_else(|| self.not_primary())?;
        Ok(page)
    }

    /// Perhaps without rows though it goes on: it ends where a majority lists no further.
    async fn agreed_page(
        &self,
        span: KeySpan,
        room: Room,
        session: Option<&Token>,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let view = span.view;
        let ahead = self.keys_ahead(span, session, deadline).await?;
        let mut keys = RowKeys::default();
        for key in &ahead.keys {
            keys.push(view, key.as_bytes());
        }
        let mut spent = Spent::default();
        let rows = self
            .agreed_rows(keys, session, deadline, &mut spent)
            .await?;
        let purge = self.engine.purge().of(view);
        let mut page = Page::new(view, purge, room, session.is_some());
        let mut taken = 0;
        // Where rows are large, not all have been read.
        for (row, key) in rows.iter().zip(&ahead.keys) {
            if let Some(row) = row.row()
                && page.take(key.clone(), row)?.is_break()
            {
                break;
            }
            taken += 1;
        }
        page.rest = if taken == ahead.keys.len() {
            ahead.until
        } else {
            let last = ahead.keys.into_iter().take(taken).last();
            Some(last.expect("of some keys one row is always read, and a page has room for one"))
        };
        Ok(page)
    }
}

/// Reads rows until the page is full or they end.
fn fill(
    page: &mut Page,
    engine: &Engine,
    span: &KeySpan,
    deadline: Deadline,
) -> Result<Result<(), Error>, engine::Error> {
    let start = span.after.clone();
    let start = start.map_or(ScanStart::First, ScanStart::After);
    let mut visited = 0_usize;
    let ended = engine.scan(span.view, &span.prefix, &start, |key, row| {
        // Between two live rows there may be any number of tombstones.
        visited += 1;
        if visited.is_multiple_of(ROWS_AT_ONCE)
            && let Err(passed) = deadline.check()
        {
            return ControlFlow::Break(Err(passed));
        }
        match page.take(key, row) {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
            Err(damaged) => ControlFlow::Break(Err(damaged)),
        }
    })?;
    Ok(ended.transpose().map(|full| {
        page.rest = full.and_then(|()| page.keys.last().cloned());
    }))
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

    fn stamp(millis: u64) -> Stamp {
        Stamp {
            hlc: Hlc::from_millis(millis),
            region: RegionId(1),
            epoch: Epoch(1),
            seq: Seq(millis),
        }
    }

    /// A view whose rows may go that are not younger than 9 ms.
    fn view() -> (ViewId, ViewPurge) {
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
        (view, Purge::new(Hlc::from_millis(10), catalogue).of(view))
    }

    /// A row that was put, or deleted, by the record of this number.
    fn row(event_time: i64, seq: u64, is_put: bool) -> Vec<u8> {
        let write = Write {
            merge: MergeMode::Row,
            order: Order::EventTime,
            version: Version {
                event_time: Micros(event_time),
                stamp: stamp(seq),
            },
            cells: is_put.then_some(&[]),
        };
        write.row().unwrap().encode()
    }

    #[test]
    fn a_scan_passes_over_deletions_and_what_may_go() {
        let (_, purge) = view();
        let is_shown = |event_time, is_put| {
            let row = row(event_time, 2, is_put);
            shown(&purge, &row).unwrap().is_some()
        };
        assert!(is_shown(9_001, true));
        assert!(!is_shown(9_000, true), "it may go");
        assert!(!is_shown(9_001, false), "it is deleted");
    }

    #[test]
    fn a_page_comes_from_deletions_too_and_not_from_what_it_has_no_room_for() {
        let (view, purge) = view();
        let room = Room {
            rows: 1,
            bytes: 100,
        };
        let mut page = Page::new(view, purge, room, true);
        let mut take = |key: &'static [u8], seq, is_put| {
            let key = EntityKey::from_checked(Bytes::from_static(key));
            page.take(key, &row(9_001, seq, is_put)).unwrap()
        };
        assert!(take(b"a", 2, false).is_continue());
        assert!(take(b"b", 3, true).is_continue());
        assert!(take(b"c", 4, false).is_continue());
        assert!(take(b"d", 5, true).is_break());
        assert_eq!(page.keys.len(), 1);
        assert_eq!(records(&page.sources.unwrap()), [(stamp(1).log(), Seq(4))]);
    }
}
