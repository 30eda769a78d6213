//! Lookups on this node's rows.
//!
//! A primary read goes through the member's core: rows are read once a round of pings has confirmed the primary and all
//! that was appended before is applied, and answered once they are committed. A quorum read takes the rows that a majority
//! [agrees on](super::quorum). Other levels read the applied rows; a bounded read only if they are fresh enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::member::StrongRead;
use super::request::{Answered, Error, LookupRequest, Spent};
use super::selected::Selected;
use super::sessions::Session;
use super::{Node, Serving};
use crate::base::clock::{now_monotonic, timeout};
use crate::base::{Held, LogId, ReadLevel, Seq};
use crate::engine::{self, KeyedRow};
use crate::model::ViewId;
use crate::model::resolve::{Column, Resolver};
use crate::model::row::RowRef;
use crate::read::Token;
use crate::storage::RowKeys;

/// Rows read at the most before they are resolved and forgotten; where they are large the engine reads fewer.
pub(super) const ROWS_AT_ONCE: usize = 256;

/// So long before its deadline a lookup that waits gives up, to say what it waits for.
const LAST_WORD: Duration = Duration::from_millis(3);

/// One column list for each selection.
pub type Columns = Vec<Vec<Column>>;

impl Node {
    /// The level of a read of these views that names none: the strongest that they ask for, and of those that ask for none
    /// what the node is configured to.
    pub fn default_level<'a>(&self, views: impl Iterator<Item = &'a str>) -> ReadLevel {
        let (catalogue, own) = (self.catalogue(), self.shared.config.read.level);
        let of_view = |name| catalogue.view(name).and_then(|view| view.spec.read_level);
        let levels = views.map(|name| of_view(name).unwrap_or(own));
        levels.reduce(ReadLevel::stronger).unwrap_or(own)
    }
}

impl Serving {
    pub(super) fn answers(&self, level: ReadLevel) -> bool {
        self.member.standing().holds_rows() && self.check_answers(level).is_ok()
    }

    pub(super) fn check_answers(&self, level: ReadLevel) -> Result<(), Error> {
        let standing = self.member.standing();
        match level {
            ReadLevel::Local => Ok(()),
            ReadLevel::Bounded(bound) => {
                check_fresh(standing.staleness(self.clock.monotonic()), bound)
            }
            ReadLevel::Quorum if standing.control.has_quorum_reads() => Ok(()),
            ReadLevel::Quorum | ReadLevel::Primary if standing.serves.is_some() => Ok(()),
            ReadLevel::Quorum | ReadLevel::Primary => Err(self.not_primary()),
        }
    }

    pub(super) async fn lookup(
        &self,
        mut request: LookupRequest,
    ) -> Result<Answered<Columns>, Error> {
        let level = request.level;
        let deadline = Deadline::after(request.deadline);
        let mut session = request.session.take();
        if let Some(session) = &mut session {
            self.await_session(session, level, deadline).await?;
        }
        // Before the rows are read: they are at least as fresh.
        let (standing, begun) = (self.member.standing(), self.clock.monotonic());
        let staleness = standing.staleness(begun);
        if let ReadLevel::Bounded(bound) = level {
            check_fresh(staleness, bound)?;
        }
        let answer = self.look_up(request, &mut session, deadline);
        let answer = timeout(deadline.rest(), answer).await;
        let (answer, memory, spent) = answer.map_err(|_| deadline.passed())??;
        Ok(Answered {
            answer,
            level,
            node: self.identity.incarnation,
            epoch: standing.control.open_epoch(),
            staleness: staleness.unwrap_or(Duration::MAX),
            session,
            memory,
            spent,
        })
    }

    async fn look_up(
        &self,
        request: LookupRequest,
        session: &mut Option<Session>,
        deadline: Deadline,
    ) -> Result<(Columns, Held, Spent), Error> {
        let LookupRequest {
            selections,
            level,
            wanted,
            mut memory,
            ..
        } = request;
        // What the primary confirms is what a majority would name.
        let how = if self.member.standing().control.has_quorum_reads() {
            level
        } else {
            level.without_quorum()
        };
        let mut spent = Spent::default();
        let mut sources = Sources::default();
        let begun = now_monotonic();
        let mut read = None;
        if how == ReadLevel::Primary {
            read = Some(self.begin_primary_read().await?);
            spent.waiting = begun.elapsed();
        }
        let (now, purge) = (self.clock.wall(), self.engine.purge());
        let mut selected = Selected::new(selections, wanted, now, &purge, &mut memory)?;
        let mut taken = Taken {
            level: how,
            deadline,
            memory: &mut memory,
            spent: &mut spent,
            session: session.as_ref().map(|session| &session.token),
            sources: (read.is_some() || session.is_some()).then_some(&mut sources),
        };
        self.take_rows(&mut selected, &mut taken).await?;
        if let Some(primary) = &mut read {
            let read = now_monotonic();
            let confirmed = primary.confirmed(records(&sources)).await;
            confirmed.ok_or_else(|| self.not_primary())?;
            spent.waiting += read.elapsed();
        }
        if let Some(session) = session {
            let is_committed = matches!(level, ReadLevel::Primary | ReadLevel::Quorum);
            self.note(session, sources, is_committed);
        }
        Ok((selected.finish(), memory, spent))
    }

    /// Reads the rows that are selected, page by page.
    async fn take_rows(&self, selected: &mut Selected, taken: &mut Taken<'_>) -> Result<(), Error> {
        loop {
            taken.deadline.check()?;
            let keys = selected.next_keys(ROWS_AT_ONCE);
            if keys.is_empty() {
                return Ok(());
            }
            let rows = match taken.level {
                ReadLevel::Quorum => {
                    let agreed = self.agreed_rows(keys, taken.session, taken.deadline, taken.spent);
                    agreed.await?.into_iter().map(Some).collect()
                }
                ReadLevel::Local | ReadLevel::Bounded(_) | ReadLevel::Primary => {
                    self.rows(keys, taken.spent).await?
                }
            };
            let bytes = rows.iter().flatten().map(KeyedRow::memory_bytes).sum();
            let _held = taken.memory.count(bytes);
            let (read, before) = (now_monotonic(), selected.payload_bytes());
            selected.resolve(&rows, taken.sources.as_deref_mut())?;
            taken.spent.resolving += read.elapsed();
            taken.memory.grow(selected.payload_bytes() - before)?;
        }
    }

    /// A primary read whose rows may be read now.
    pub(super) async fn begin_primary_read(&self) -> Result<StrongRead, Error> {
        let mut read = self.member.read_primary().await?;
        read.ready().await.ok_or_else(|| self.not_primary())?;
        Ok(read)
    }

    /// The node is not primary, or not any more.
    pub(super) fn not_primary(&self) -> Error {
        let primary = self.member.standing().primary();
        Error::NotPrimary { primary }
    }

    /// The rows of some keys, or of the first of them if they are large. What memory holds is read at once; files are read
    /// where they block nobody.
    pub(super) async fn rows(
        &self,
        keys: RowKeys,
        spent: &mut Spent,
    ) -> Result<Vec<Option<KeyedRow>>, Error> {
        let begun = now_monotonic();
        let rows = self.engine.rows_in_memory(&keys).map_err(Error::Read)?;
        let unknown = rows.iter().filter(|row| row.is_none()).count();
        let read = now_monotonic();
        spent.memory += read.duration_since(begun);
        if unknown == 0 {
            return Ok(rows);
        }
        let engine = Arc::clone(&self.engine);
        let rows = self.blocking(move || engine.complete(&keys, rows)).await;
        spent.files += read.elapsed();
        spent.file_rows += unknown;
        rows
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, engine::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Error::Stopping)?.map_err(Error::Read)
    }
}

pub(super) fn check_fresh(staleness: Option<Duration>, bound: Duration) -> Result<(), Error> {
    match staleness {
        Some(staleness) if staleness <= bound => Ok(()),
        Some(_) | None => Err(Error::TooStale { staleness, bound }),
    }
}

/// The last record of each log from which rows come.
pub(super) type Sources = BTreeMap<LogId, Seq>;

pub(super) fn records(sources: &Sources) -> Vec<(LogId, Seq)> {
    sources.iter().map(|(log, seq)| (*log, *seq)).collect()
}

/// What a lookup takes and finds out as it goes.
struct Taken<'a> {
    level: ReadLevel,
    deadline: Deadline,
    memory: &'a mut Held,
    spent: &'a mut Spent,
    /// What must be in the rows.
    session: Option<&'a Token>,
    /// Only where they are asked for.
    sources: Option<&'a mut Sources>,
}

pub(super) fn note_sources(view: ViewId, row: &[u8], sources: &mut Sources) -> Result<(), Error> {
    let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
    let stamps = RowRef::parse(row).and_then(|row| row.stamps());
    for stamp in stamps.map_err(damaged)? {
        let last = sources.entry(stamp.log()).or_insert(stamp.seq);
        *last = stamp.seq.max(*last);
    }
    Ok(())
}

pub(super) fn resolve(resolver: &mut Resolver, row: Option<&[u8]>) -> Result<(), Error> {
    let view = resolver.view().id;
    let damaged = |source| Error::Read(engine::Error::BadRow { view, source });
    resolver.push(row).map_err(damaged)
}

/// When an answer is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    begun: Instant,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Deadline {
        Deadline {
            begun: now_monotonic(),
            limit,
        }
    }

    /// What is left until then, but for the time that it takes to say that it is over.
    pub fn left(self) -> Duration {
        self.rest().saturating_sub(LAST_WORD)
    }

    pub fn rest(self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// To be called where work goes on without waiting for anything, and what is not wanted any more can be left off.
    pub fn check(self) -> Result<(), Error> {
        if self.begun.elapsed() < self.limit {
            return Ok(());
        }
        Err(self.passed())
    }

    pub fn passed(self) -> Error {
        Error::DeadlineExceeded { limit: self.limit }
    }
}
