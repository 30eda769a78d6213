//! The write path: one thread that decides, stamps and appends, in one order.
//!
//! **Invariants.** What depends on stored rows or on the catalogue is decided only after everything appended before has
//! been applied (M3). Stamps lie below the granted ceiling (I7). A named write is logged once: its repetition gets the
//! first result (I19).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::horizons::Horizons;
use super::request::{CatalogueChange, Error};
use crate::base::{AppliedVv, Clock, Held, Hlc, IncarnationId, Lsn, Stamp, Watermark, explained};
use crate::control::{Command, LocalControl, Tick, tick};
use crate::engine::{self, Engine, LogWriter, Outcome};
use crate::model::batch::Moment;
use crate::model::definition::Definition;
use crate::model::record::{Horizon, Marker, Opening, RequestId};
use crate::model::row::Row;
use crate::model::view_file::parse_feature;
use crate::model::{Batch, Body, Catalogue, Change, EntityKey, View, ViewId, ViewRows};
use crate::storage::RequestEntry;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Log a batch.
    Write {
        batch: Batch,
        request_id: Option<(String, String)>,
        memory: Held,
        reply: oneshot::Sender<Result<Accepted, Error>>,
    },
    /// Change the catalogue; answered once the change is in force.
    Define {
        change: CatalogueChange,
        reply: oneshot::Sender<Result<Option<Arc<View>>, Error>>,
    },
    /// Log what the store is here.
    Mark,
    /// Agree on a purge horizon and log it.
    RaiseHorizon,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Accepted {
    /// It is logged; its fate follows.
    Logged {
        stamp: Stamp,
        fate: oneshot::Receiver<Result<Outcome, engine::Error>>,
    },
    /// It was written before.
    Repeated(RequestEntry),
}

/// Ends with the cause when no higher ceiling can be had.
pub(super) type Ceiling = Watermark<Hlc, String>;

/// The thread's state.
pub(super) struct Writer {
    pub engine: Arc<Engine>,
    pub control: Arc<Mutex<LocalControl>>,
    pub clock: Arc<dyn Clock>,
    pub incarnation: IncarnationId,
    pub log: LogWriter,
    pub ceiling: Ceiling,
    pub event_time_ahead: Duration,
    /// Where the last record appended ends; shared with primary reads.
    pub appended: Arc<AtomicU64>,
    /// Named writes that may not be applied yet.
    pub recent: HashMap<(String, String), Lsn>,
    /// Rows and definitions logged since the last marker.
    pub unmarked: u64,
    /// The stamp of the last rows or definition.
    pub last_write: Hlc,
    pub horizons: Horizons,
}

/// Named writes remembered here before those applied are forgotten.
const RECENT_MAX: usize = 10_000;

impl Writer {
    /// Works until the last sender is gone.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let _end = EndOfWriter(self.ceiling.clone());
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write {
                    batch,
                    request_id,
                    memory,
                    reply,
                } => {
                    let accepted = self.write(batch, request_id, memory);
                    // Whoever asked may have given up at its deadline.
                    let _gone = reply.send(accepted);
                }
                Job::Define { change, reply } => {
                    let _gone = reply.send(self.define(change));
                }
                Job::Mark => self.upkeep("marker", Self::mark),
                Job::RaiseHorizon => self.upkeep("horizon", Self::raise_horizon),
            }
        }
    }

    fn upkeep(&mut self, what: &str, work: fn(&mut Self) -> Result<(), Error>) {
        if let Err(cause) = work(self) {
            warn!(%cause, "could not log a {what}");
        }
    }

    fn write(
        &mut self,
        batch: Batch,
        request_id: Option<(String, String)>,
        memory: Held,
    ) -> Result<Accepted, Error> {
        let request = request_id.map(|(caller, id)| RequestId {
            caller,
            id,
            body_hash: batch.digest(),
        });
        if let Some(request) = &request
            && let Some(entry) = self.repeated(request)?
        {
            return Ok(Accepted::Repeated(entry));
        }
        let catalogue = self.engine.catalogue();
        let is_gone = |group: &&ViewRows| catalogue.by_id(group.view.id).is_none();
        // What is left of a dropped view can be deleted before a sweep takes it.
        let puts = |group: &&ViewRows| group.rows.iter().any(|row| row.change != Change::Delete);
        if let Some(gone) = batch.groups.iter().filter(is_gone).find(puts) {
            return Err(Error::ViewDropped {
                view: gone.view.spec.name.clone(),
            });
        }
        if batch.reads_stored_rows() {
            self.catch_up()?;
        }
        let hlc = self.tick()?;
        let moment = Moment {
            at: hlc.micros(),
            bound_ahead: self.event_time_ahead,
        };
        let engine = Arc::clone(&self.engine);
        let stored = |view, key: &EntityKey| stored_event_time(&engine, view, key);
        let rows = batch.decide(moment, stored).map_err(Error::Read)??;
        self.unmarked += 1;
        self.last_write = hlc;
        let named = request
            .as_ref()
            .map(|request| (request.caller.clone(), request.id.clone()));
        let (fate, told) = oneshot::channel();
        let fate = engine::Fate::new(fate).holding(memory);
        let stamp = self.append(hlc, request, Body::Rows(rows), Some(fate))?;
        if let Some(named) = named {
            self.remember(named);
        }
        Ok(Accepted::Logged { stamp, fate: told })
    }

    /// The result of the write that had this id before.
    fn repeated(&mut self, request: &RequestId) -> Result<Option<RequestEntry>, Error> {
        let named = (request.caller.clone(), request.id.clone());
        if let Some(end) = self.recent.get(&named).copied() {
            // The first one is in the log, so its repetition must not say that nothing was written.
            let applied = self.engine.applied().reached_blocking(end);
            applied.map_err(|cause| Error::Unknown {
                reason: explained(&cause),
                stamp: None,
            })?;
        }
        let entry = self
            .engine
            .request(&request.caller, &request.id)
            .map_err(Error::Read)?;
        match entry {
            Some(entry) if entry.body_hash != request.body_hash => Err(Error::RequestIdReused {
                id: request.id.clone(),
            }),
            entry => Ok(entry),
        }
    }

    fn remember(&mut self, named: (String, String)) {
        if self.recent.len() >= RECENT_MAX {
            let applied = self.engine.applied().get();
            self.recent.retain(|_, end| *end > applied);
        }
        self.recent.insert(named, self.appended());
    }

    /// Logs the first record of the epoch and waits until it is applied.
    pub fn open_log(&mut self, opening: Opening) -> Result<(), Error> {
        let hlc = self.tick()?;
        self.append(hlc, None, Body::Opening(opening), None)?;
        self.catch_up()
    }

    fn define(&mut self, change: CatalogueChange) -> Result<Option<Arc<View>>, Error> {
        self.catch_up()?;
        let catalogue = self.engine.catalogue();
        let (name, definition) = plan(&catalogue, change)?;
        let hlc = self.tick()?;
        self.unmarked += 1;
        self.last_write = hlc;
        let stamp = self.append(hlc, None, Body::Definition(definition), None)?;
        // The next job must find the change in force.
        let applied = self.catch_up();
        applied.map_err(|cause| Error::Unknown {
            reason: explained(&cause),
            stamp: Some(stamp),
        })?;
        Ok(self.engine.catalogue().view(&name).cloned())
    }

    fn mark(&mut self) -> Result<(), Error> {
        if self.unmarked == 0 {
            return Ok(());
        }
        self.catch_up()?;
        let state = self.engine.state();
        if state.sweep.is_some() {
            // Half swept, the rows are like nobody else's.
            return Ok(());
        }
        let AppliedVv(applied) = state.applied.clone();
        let marker = Marker {
            applied,
            swept: state.swept,
            digest: state.digest,
        };
        let hlc = self.tick()?;
        self.append(hlc, None, Body::Marker(marker), None)?;
        self.unmarked = 0;
        Ok(())
    }

    fn raise_horizon(&mut self) -> Result<(), Error> {
        let agreed = self.control().state().horizon;
        if self.last_write <= agreed && !self.engine.catalogue().views().any(|view| view.forgets())
        {
            return Ok(());
        }
        self.catch_up()?;
        let AppliedVv(applied) = self.engine.state().applied.clone();
        // Everything stamped so far is applied, and everything to come is stamped above.
        let closed = self.tick()?;
        self.log.close_up_to(closed);
        self.horizons.note(closed, applied.clone());
        let Some(Horizon { horizon, covered }) =
            self.horizons.due(self.clock.wall_millis(), agreed)
        else {
            return Ok(());
        };
        let command = Command::SetHorizon {
            horizon,
            covered: covered.clone(),
            closed_marks: vec![(self.log.log(), closed)],
            applied: vec![(self.incarnation, applied)],
        };
        let agreed = self.control().propose(command);
        agreed.map_err(|cause| Error::NotWritable {
            cause: explained(&cause),
        })?;
        let hlc = self.tick()?;
        self.append(hlc, None, Body::Horizon(Horizon { horizon, covered }), None)?;
        debug!(%horizon, "raised the purge horizon");
        Ok(())
    }

    fn control(&self) -> MutexGuard<'_, LocalControl> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the next stamp. Waits for a grant only at the ceiling.
    fn tick(&self) -> Result<Hlc, Error> {
        loop {
            let ceiling = self.ceiling.get();
            match tick(self.log.newest(), self.clock.wall_millis(), ceiling) {
                Tick::At(hlc) => return Ok(hlc),
                Tick::AtCeiling => {
                    let granted = self.ceiling.reached_blocking(ceiling.next());
                    granted.map_err(|cause| Error::NotWritable { cause })?;
                }
            }
        }
    }

    fn append(
        &mut self,
        hlc: Hlc,
        request: Option<RequestId>,
        body: Body,
        fate: Option<engine::Fate>,
    ) -> Result<Stamp, Error> {
        let appended = self
            .engine
            .append_next(&mut self.log, hlc, request, body, fate);
        let (stamp, end) = appended.map_err(|cause| Error::NotWritable {
            cause: explained(&cause),
        })?;
        self.appended.store(end.0, Ordering::Release);
        Ok(stamp)
    }

    fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }

    fn catch_up(&self) -> Result<(), Error> {
        let applied = self.engine.applied().reached_blocking(self.appended());
        applied.map(drop).map_err(|cause| Error::NotWritable {
            cause: explained(&cause),
        })
    }
}

/// Whatever ends the writer, a panic included, is seen: nothing more can be stamped.
struct EndOfWriter(Ceiling);

impl Drop for EndOfWriter {
    fn drop(&mut self) {
        self.0.close("the writer has ended".to_owned());
    }
}

fn stored_event_time(
    engine: &Engine,
    view: ViewId,
    key: &EntityKey,
) -> Result<Option<crate::base::Micros>, engine::Error> {
    let stored = engine.row(view, key)?;
    let Some(row) = stored.row() else {
        return Ok(None);
    };
    let row = Row::decode(row).map_err(|source| engine::Error::BadRow { view, source })?;
    Ok(row.max_event_time())
}

fn plan(catalogue: &Catalogue, change: CatalogueChange) -> Result<(String, Definition), Error> {
    Ok(match change {
        CatalogueChange::Create(spec) => (spec.name.clone(), catalogue.create(*spec)?),
        CatalogueChange::AddFeature { view, feature_toml } => {
            let ttl = catalogue.view(&view).and_then(|view| view.spec.ttl);
            let feature = parse_feature(&feature_toml, ttl)?;
            let definition = catalogue.add_feature(&view, feature)?;
            (view, definition)
        }
        CatalogueChange::Alter { view, spec } => {
            let definition = catalogue.alter(&view, spec)?;
            (view, definition)
        }
        CatalogueChange::Drop { view } => {
            let definition = catalogue.drop_view(&view)?;
            (view, definition)
        }
    })
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
