//! The write path: one thread that decides, stamps and appends, in one order.
//!
//! **Invariants.** What depends on stored rows or on the catalogue is decided only after everything appended before has
//! been applied (M3); if something else was appended meanwhile, such as the tail of an earlier reign, it is decided anew.
//! A named write is logged once: its repetition gets the first result (I19).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::agreement::Agreement;
use super::horizons::Horizons;
use super::member::{Awaited, Entry, Member, NotAppended, Place};
use super::request::{CatalogueChange, Error};
use crate::base::{AppliedVv, Clock, CommitLevel, Epoch, Held, Hlc, Lsn, Stamp, explained};
use crate::control::{Command, LogState};
use crate::engine::{self, Engine, Fate, Outcome};
use crate::model::batch::Moment;
use crate::model::definition::Definition;
use crate::model::record::{Horizon, Marker, RequestId};
use crate::model::row::Row;
use crate::model::view_file::parse_feature;
use crate::model::{Batch, Body, Catalogue, Change, EntityKey, View, ViewId, ViewRows};
use crate::replica::Turn;
use crate::storage::RequestEntry;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Log a batch.
    Write {
        batch: Batch,
        level: CommitLevel,
        request_id: Option<(String, String)>,
        memory: Held,
        reply: oneshot::Sender<Result<Accepted, Error>>,
    },
    /// Change the catalogue; answered once the change is in force.
    Define {
        change: CatalogueChange,
        level: CommitLevel,
        reply: oneshot::Sender<Result<Defined, Error>>,
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
        reached: Awaited,
    },
    /// It was written before; whether it has reached its level follows.
    Repeated {
        entry: RequestEntry,
        reached: Awaited,
    },
}

/// A change of the catalogue that is in force here; whether it has reached its level follows.
#[derive(Debug)]
pub(super) struct Defined {
    /// The view, unless it was dropped.
    pub view: Option<Arc<View>>,
    pub stamp: Stamp,
    pub reached: Awaited,
}

/// The thread's state.
pub(super) struct Writer {
    engine: Arc<Engine>,
    member: Arc<Member>,
    agreement: Arc<Agreement>,
    clock: Arc<dyn Clock>,
    event_time_ahead: Duration,
    /// Named writes that may not be applied yet.
    recent: HashMap<(String, String), Lsn>,
    /// Rows and definitions logged since the last marker.
    unmarked: u64,
    /// When the last marker was logged here, by the monotonic clock.
    last_mark: Duration,
    /// The stamp of the last rows or definition.
    last_write: Hlc,
    horizon_lag: Duration,
    /// Of the epoch in which they were noted.
    horizons: (Epoch, Horizons),
}

/// How often a marker is logged though nothing else is, if logs are archived.
const IDLE_MARK_EVERY: Duration = Duration::from_secs(60);
/// Named writes remembered here before those applied are forgotten.
const RECENT_MAX: usize = 10_000;

impl Writer {
    pub fn new(
        engine: Arc<Engine>,
        member: Arc<Member>,
        agreement: Arc<Agreement>,
        clock: Arc<dyn Clock>,
        event_time_ahead: Duration,
        horizon_lag: Duration,
    ) -> Writer {
        let last_write = engine.state().newest;
        Writer {
            engine,
            member,
            agreement,
            clock,
            event_time_ahead,
            recent: HashMap::new(),
            unmarked: 0,
            last_mark: Duration::ZERO,
            last_write,
            horizon_lag,
            horizons: (Epoch::NONE, Horizons::new(horizon_lag)),
        }
    }

    /// Works until the last sender is gone.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write {
                    batch,
                    level,
                    request_id,
                    memory,
                    reply,
                } => {
                    let accepted = self.write(batch, level, request_id, memory);
                    // Whoever asked may have given up at its deadline.
                    let _gone = reply.send(accepted);
                }
                Job::Define {
                    change,
                    level,
                    reply,
                } => {
                    let _gone = reply.send(self.define(change, level));
                }
                Job::Mark => self.upkeep("marker", Self::mark),
                Job::RaiseHorizon => self.upkeep("horizon", Self::raise_horizon),
            }
        }
    }

    fn upkeep(&mut self, what: &str, work: fn(&mut Self) -> Result<(), Error>) {
        match work(self) {
            // Somebody else is primary: this is their task.
            Ok(()) | Err(Error::NotPrimary { .. }) => {}
            Err(cause) => warn!(%cause, "could not log a {what}"),
        }
    }

    fn write(
        &mut self,
        batch: Batch,
        level: CommitLevel,
        request_id: Option<(String, String)>,
        memory: Held,
    ) -> Result<Accepted, Error> {
        let refused = |refused| self.member.refusal(refused);
        self.member.admits(level).map_err(refused)?;
        let request = request_id.map(|(caller, id)| RequestId {
            caller,
            id,
            body_hash: batch.digest(),
        });
        if let Some(request) = &request
            && let Some(entry) = self.repeated(request)?
        {
            let reached = self.member.await_level(entry.stamp, level)?;
            return Ok(Accepted::Repeated { entry, reached });
        }
        self.check_views(&batch)?;
        // Before the core is asked, so that it is not held up.
        self.engine.make_room().map_err(not_writable)?;
        let (tell, fate) = oneshot::channel();
        let mut told = Fate::new(tell).holding(memory);
        let (place, awaited) = loop {
            let behind = batch.reads_stored_rows().then(|| self.catch_up());
            let behind = behind.transpose()?;
            let (turn, body) = self.decide(batch.clone())?;
            let entry = Entry {
                turn,
                request: request.clone(),
                body,
                fate: Some(told),
                behind,
            };
            match self.member.append(entry, Some(level)) {
                Ok(appended) => break appended,
                Err(NotAppended::Refused(cause)) => return Err(cause),
                Err(NotAppended::Moved(entry)) => {
                    told = entry
                        .fate
                        .expect("an entry that is not appended is as it was");
                }
            }
        };
        self.note_write(place.stamp.hlc);
        if let Some(RequestId { caller, id, .. }) = request {
            self.remember((caller, id), place.end);
        }
        Ok(Accepted::Logged {
            stamp: place.stamp,
            fate,
            reached: awaited.expect("a level was asked for"),
        })
    }

    fn check_views(&self, batch: &Batch) -> Result<(), Error> {
        let catalogue = self.engine.catalogue();
        let is_gone = |group: &&ViewRows| catalogue.by_id(group.view.id).is_none();
        // What is left of a dropped view can be deleted before a sweep takes it.
        let puts = |group: &&ViewRows| group.rows.iter().any(|row| row.change != Change::Delete);
        match batch.groups.iter().filter(is_gone).find(puts) {
            Some(gone) => Err(Error::ViewDropped {
                view: gone.view.spec.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn decide(&self, batch: Batch) -> Result<(Turn, Body), Error> {
        let turn = self.member.turn()?;
        let moment = Moment {
            at: turn.hlc.micros(),
            bound_ahead: self.event_time_ahead,
        };
        let stored = |view, key: &EntityKey| stored_event_time(&self.engine, view, key);
        let rows = batch.decide(moment, stored).map_err(Error::Read)??;
        Ok((turn, Body::Rows(rows)))
    }

    fn note_write(&mut self, hlc: Hlc) {
        self.unmarked += 1;
        self.last_write = hlc;
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

    fn remember(&mut self, named: (String, String), end: Lsn) {
        if self.recent.len() >= RECENT_MAX {
            let applied = self.engine.applied().get();
            self.recent.retain(|_, end| *end > applied);
        }
        self.recent.insert(named, end);
    }

    fn define(&mut self, change: CatalogueChange, level: CommitLevel) -> Result<Defined, Error> {
        let refused = |refused| self.member.refusal(refused);
        self.member.admits(level).map_err(refused)?;
        let (name, place, reached) = loop {
            let behind = self.catch_up()?;
            let catalogue = self.engine.catalogue();
            let (name, definition) = plan(&catalogue, change.clone())?;
            let turn = self.member.turn()?;
            let entry = unnamed(turn, Body::Definition(definition), behind);
            match self.member.append(entry, Some(level)) {
                Ok((place, reached)) => break (name, place, reached),
                Err(NotAppended::Refused(cause)) => return Err(cause),
                Err(NotAppended::Moved(_)) => {}
            }
        };
        let stamp = place.stamp;
        self.note_write(stamp.hlc);
        // The next job must find the change in force.
        self.catch_up().map_err(|cause| Error::Unknown {
            reason: explained(&cause),
            stamp: Some(stamp),
        })?;
        Ok(Defined {
            view: self.engine.catalogue().view(&name).cloned(),
            stamp,
            reached: reached.expect("a level was asked for"),
        })
    }

    fn mark(&mut self) -> Result<(), Error> {
        if self.unmarked == 0 && !self.is_idle_mark_due() {
            return Ok(());
        }
        let turn = self.member.turn()?;
        let behind = self.catch_up()?;
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
        match self.log(turn, Body::Marker(marker), behind) {
            Ok(_) => {
                self.unmarked = 0;
                self.last_mark = self.clock.monotonic();
            }
            // It would not be true any more: the next time it is.
            Err(NotAppended::Moved(_)) => {}
            Err(NotAppended::Refused(cause)) => return Err(cause),
        }
        Ok(())
    }

    /// Has nothing been logged for so long that the archive should be told that nothing was? Only behind a record is a moment final.
    fn is_idle_mark_due(&self) -> bool {
        let is_archived = self.agreement.state().archived.is_some();
        is_archived && self.clock.monotonic() >= self.last_mark + IDLE_MARK_EVERY
    }

    fn raise_horizon(&mut self) -> Result<(), Error> {
        let control = self.agreement.state();
        let agreed = control.horizon;
        if self.last_write <= agreed && !self.engine.catalogue().views().any(|view| view.forgets())
        {
            return Ok(());
        }
        // Everything stamped so far is applied, and everything to come is stamped above.
        let closed = self.member.turn()?;
        if self.horizons.0 != closed.epoch {
            self.horizons = (closed.epoch, Horizons::new(self.horizon_lag));
        }
        let behind = self.catch_up()?;
        let is_open =
            |(epoch, log): (&Epoch, &LogState)| *log == LogState::Active && *epoch != closed.epoch;
        if control.logs.iter().any(is_open) {
            // An earlier reign's tail may still come, with stamps below.
            return Ok(());
        }
        let AppliedVv(applied) = self.engine.state().applied.clone();
        self.horizons.1.note(closed.hlc, applied.clone());
        let now = self.clock.wall_millis();
        let Some(Horizon { horizon, covered }) = self.horizons.1.due(now, agreed) else {
            return Ok(());
        };
        let mut everywhere: BTreeMap<_, _> = self.member.applied_elsewhere();
        everywhere.insert(self.member.incarnation(), applied);
        let log = control.log(closed.epoch);
        let command = Command::SetHorizon {
            horizon,
            covered: covered.clone(),
            closed_marks: vec![(log, closed.hlc)],
            applied: everywhere.into_iter().collect(),
        };
        let agreed = self.agreement.propose(command);
        agreed.map_err(|cause| Error::NotWritable {
            cause: explained(&cause),
        })?;
        self.log_horizon(Horizon { horizon, covered }, behind)
    }

    fn log_horizon(&self, horizon: Horizon, mut behind: Lsn) -> Result<(), Error> {
        loop {
            let turn = self.member.turn()?;
            match self.log(turn, Body::Horizon(horizon.clone()), behind) {
                Ok(_) => {
                    debug!(horizon = %horizon.horizon, "raised the purge horizon");
                    return Ok(());
                }
                Err(NotAppended::Refused(cause)) => return Err(cause),
                Err(NotAppended::Moved(_)) => behind = self.member.end(),
            }
        }
    }

    fn log(&self, turn: Turn, body: Body, behind: Lsn) -> Result<Place, NotAppended> {
        let entry = unnamed(turn, body, behind);
        let (place, _) = self.member.append(entry, None)?;
        Ok(place)
    }

    /// Waits until all that was appended is applied; says where it ended.
    fn catch_up(&self) -> Result<Lsn, Error> {
        let end = self.member.end();
        let applied = self.engine.applied().reached_blocking(end);
        applied.map_err(not_writable)?;
        Ok(end)
    }
}

fn not_writable(cause: engine::Error) -> Error {
    Error::NotWritable {
        cause: explained(&cause),
    }
}

/// What the node itself logs, if nothing else was appended meanwhile.
fn unnamed(turn: Turn, body: Body, behind: Lsn) -> Entry {
    Entry {
        turn,
        request: None,
        body,
        fate: None,
        behind: Some(behind),
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
