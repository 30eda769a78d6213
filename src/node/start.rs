//! Starting: from a directory to a primary that serves. The order is the safety of it.
//!
//! 1. lock the directory, learn who it is
//! 2. recover the WAL, open the store, replay
//! 3. register the start: a copied or rolled-back directory ends here
//! 4. begin an epoch, promise it, open it; close the logs of the epochs before
//! 5. fold what is closed, start the applier, get a first window, log the opening record

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::info;

use super::horizons::Horizons;
use super::identity::{Identity, IdentityFile};
use super::writer::{Ceiling, Writer};
use crate::base::clock::now_monotonic;
use crate::base::disk::{DirLock, Disk, LockError};
use crate::base::{BootNumber, Clock, Epoch, Hlc, IncarnationId, LogId, Seq, sealed};
use crate::config::Config;
use crate::control::{
    self, Addresses, Attempt, BootClaim, Command, ControlState, Effect, LEVEL, LocalControl,
    LogState, grant,
};
use crate::engine::{self, Engine, LogWriter, Recovered, ReplayProgress};
use crate::model::record::Opening;
use crate::storage::State;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made or read.
    #[error("cannot use data directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The identity or control file is damaged or cannot be written.
    #[error(transparent)]
    File(#[from] sealed::Error),
    /// The control state refuses this directory, or cannot be kept.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// The log or the store is damaged or cannot be used.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Files that belong together are not all there.
    #[error("{path} holds {present} but no {missing}: part of the directory is lost")]
    Incomplete {
        /// The directory.
        path: PathBuf,
        /// What is there.
        present: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Two parts of the directory belong to different histories.
    #[error(
        "{path} holds the identity of lineage {identity} and the control state of lineage {control}"
    )]
    OtherLineage {
        /// The directory.
        path: PathBuf,
        /// The identity's lineage.
        identity: crate::base::LineageId,
        /// The control state's lineage.
        control: crate::base::LineageId,
    },
    /// The epoch's first record could not be logged.
    #[error("cannot log the opening record")]
    Opening(#[source] super::request::Error),
    /// No thread could be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The start was given up half-way.
    #[error("the start did not finish")]
    Aborted,
}

impl StartError {
    /// A name for the kind of failure, for scripts.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        use crate::{storage, wal};
        use control::{Error as Control, Rejection};
        use engine::Error as Engine;
        match self {
            StartError::Lock(LockError::Held { .. }) => "DIRECTORY_LOCKED",
            StartError::Directory { .. } | StartError::Lock(LockError::Io { .. }) => {
                "BAD_DIRECTORY"
            }
            StartError::Incomplete { .. } => "FILES_LOST",
            StartError::Control(Control::Rejected(
                Rejection::DeadDirectory { .. } | Rejection::LostRecords { .. },
            )) => "DEAD_DIRECTORY",
            StartError::OtherLineage { .. }
            | StartError::Engine(Engine::Store(storage::Error::OtherLineage { .. })) => {
                "OTHER_LINEAGE"
            }
            StartError::Engine(Engine::Store(storage::Error::NewerFormat { .. }))
            | StartError::File(sealed::Error::NewerVersion { .. })
            | StartError::Control(Control::File(sealed::Error::NewerVersion { .. })) => {
                "NEWER_FORMAT"
            }
            StartError::Engine(Engine::Wal(cause)) => match cause.as_ref() {
                wal::Error::OtherLineage { .. } => "OTHER_LINEAGE",
                wal::Error::NewerVersion { .. } => "NEWER_FORMAT",
                wal::Error::Corrupt { .. }
                | wal::Error::NotASegment { .. }
                | wal::Error::MissingSegment { .. } => "DAMAGED",
                wal::Error::Beyond { .. } | wal::Error::Released { .. } => "FILES_LOST",
                wal::Error::Io(_) | wal::Error::Poisoned(_) | wal::Error::TooLarge { .. } => {
                    "CANNOT_START"
                }
            },
            StartError::Engine(
                Engine::Store(storage::Error::Damaged { .. })
                | Engine::BadRecord { .. }
                | Engine::BadRow { .. }
                | Engine::Fork { .. }
                | Engine::Malformed { .. },
            )
            | StartError::File(sealed::Error::Damaged { .. } | sealed::Error::WrongKind { .. })
            | StartError::Control(
                Control::Damaged { .. }
                | Control::File(sealed::Error::Damaged { .. } | sealed::Error::WrongKind { .. }),
            ) => "DAMAGED",
            StartError::File(_)
            | StartError::Control(_)
            | StartError::Engine(_)
            | StartError::Opening(_)
            | StartError::Thread(_)
            | StartError::Aborted => "CANNOT_START",
        }
    }
}

/// What a started node is made of.
pub(super) struct Started {
    pub lock: DirLock,
    pub identity: Identity,
    pub control: Arc<Mutex<LocalControl>>,
    pub engine: Arc<Engine>,
    pub writer: Writer,
    pub ceiling: Ceiling,
    pub appended: Arc<AtomicU64>,
    pub epoch: Epoch,
    pub members: Vec<IncarnationId>,
}

/// Starts the lone member of a replica set. Blocks as long as the replay takes.
pub(super) fn start(
    config: &Config,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    progress: &ReplayProgress,
) -> Result<Started, StartError> {
    let dir = config.data_dir.as_path();
    let in_directory = |source| StartError::Directory {
        path: dir.to_owned(),
        source,
    };
    disk.create_dir(dir).map_err(in_directory)?;
    let lock = DirLock::acquire(dir)?;
    let names = disk.list(dir).map_err(in_directory)?;
    let mut identity = open_identity(disk, dir, &names)?;
    let mut control = open_control(disk, dir, &names, identity.get())?;

    let Identity {
        lineage,
        region,
        incarnation,
        ..
    } = *identity.get();
    let mut recovered = Recovered::open(
        Arc::clone(disk),
        dir,
        lineage,
        &config.engine,
        config.wal,
        &config.store,
    )?;
    let begun = now_monotonic();
    recovered.replay(progress)?;
    let records = progress.records.load(Ordering::Relaxed);
    if records > 0 {
        let bytes = progress.done_bytes.load(Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        info!(records, bytes, seconds, "replayed the log");
    }
    let boot = register(&mut identity, &mut control, &recovered.state())?;

    let attempt = open_epoch(&mut identity, &mut control)?;
    close_older_logs(&mut control, attempt.epoch, &recovered.state())?;
    recovered.fold(region, control.state().closed_through())?;
    let state = recovered.state();
    let engine = Arc::new(recovered.start()?);

    let ceiling = extend(&mut control, attempt.epoch, clock.as_ref(), &engine)?;
    let above = attempt.floor.max(state.newest);
    let appended = Arc::new(AtomicU64::new(state.lsn.0));
    let ceiling = Ceiling::new(ceiling);
    let control = Arc::new(Mutex::new(control));
    let mut writer = Writer {
        engine: Arc::clone(&engine),
        control: Arc::clone(&control),
        clock: Arc::clone(clock),
        incarnation,
        log: LogWriter::new(region, attempt.epoch, above),
        ceiling: ceiling.clone(),
        event_time_ahead: Duration::from_secs(config.write.event_time_ahead_seconds),
        appended: Arc::clone(&appended),
        recent: HashMap::new(),
        unmarked: 0,
        last_write: state.newest,
        horizons: Horizons::new(config.purge.horizon_lag(), above, state.applied.0.clone()),
    };
    let members: Vec<IncarnationId> = attempt.members.iter().copied().collect();
    let opening = Opening {
        floor: attempt.floor,
        members: members.clone(),
        recovered: state.applied.0.clone(),
    };
    writer.open_log(opening).map_err(StartError::Opening)?;
    info!(%lineage, %region, %incarnation, %boot, epoch = %attempt.epoch, "primary of a set of one");
    let identity = identity.get().clone();
    Ok(Started {
        lock,
        identity,
        control,
        engine,
        writer,
        ceiling,
        appended,
        epoch: attempt.epoch,
        members,
    })
}

fn open_identity(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    names: &[String],
) -> Result<IdentityFile, StartError> {
    if let Some(identity) = IdentityFile::open(Arc::clone(disk), &dir.join("IDENTITY"))? {
        return Ok(identity);
    }
    for present in ["CONTROL", "wal", "store"] {
        if names.iter().any(|name| name == present) {
            return Err(StartError::Incomplete {
                path: dir.to_owned(),
                present,
                missing: "IDENTITY",
            });
        }
    }
    Ok(IdentityFile::create(
        Arc::clone(disk),
        &dir.join("IDENTITY"),
    )?)
}

fn open_control(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    names: &[String],
    identity: &Identity,
) -> Result<LocalControl, StartError> {
    let path = dir.join("CONTROL");
    if let Some(control) = LocalControl::open(Arc::clone(disk), &path)? {
        let found = control.state().lineage;
        if found != identity.lineage {
            return Err(StartError::OtherLineage {
                path: dir.to_owned(),
                identity: identity.lineage,
                control: found,
            });
        }
        return Ok(control);
    }
    if let Some(present) = ["wal", "store"]
        .into_iter()
        .find(|part| names.iter().any(|name| name == part))
    {
        return Err(StartError::Incomplete {
            path: dir.to_owned(),
            present,
            missing: "CONTROL",
        });
    }
    let state = ControlState::new(identity.lineage, identity.region, identity.incarnation);
    Ok(LocalControl::create(Arc::clone(disk), &path, state)?)
}

fn register(
    identity: &mut IdentityFile,
    control: &mut LocalControl,
    state: &State,
) -> Result<BootNumber, StartError> {
    let known = identity.get().tokens.clone();
    let token = identity.try_boot()?;
    let claim = BootClaim {
        incarnation: identity.get().incarnation,
        known,
        token,
        held: state.applied.0.clone(),
        addresses: Addresses::default(),
        level: LEVEL,
    };
    match control.propose(Command::Boot(claim))? {
        Effect::Booted(boot) => {
            identity.booted(boot, token)?;
            Ok(boot)
        }
        Effect::Begun(_) | Effect::Done => Ok(identity.get().boot),
    }
}

/// CHANGE for a set of one: begin, seal by promising, open.
fn open_epoch(
    identity: &mut IdentityFile,
    control: &mut LocalControl,
) -> Result<Attempt, StartError> {
    let me = identity.get().incarnation;
    let begin = Command::Begin {
        candidate: me,
        boot: identity.get().boot,
        members: BTreeSet::from([me]),
        expected_open: control.state().open_epoch(),
        expected_attempt: control.state().attempt_epoch(),
    };
    control.propose(begin)?;
    let attempt = control
        .state()
        .attempt
        .clone()
        .expect("begin leaves an attempt");
    identity.promise(attempt.epoch)?;
    control.propose(Command::Open {
        epoch: attempt.epoch,
    })?;
    Ok(attempt)
}

fn close_older_logs(
    control: &mut LocalControl,
    open: Epoch,
    state: &State,
) -> Result<(), StartError> {
    let region = control.state().region;
    let is_active = |(epoch, log): (&Epoch, &LogState)| {
        (*log == LogState::Active && *epoch < open).then_some(*epoch)
    };
    let active: Vec<Epoch> = control.state().logs.iter().filter_map(is_active).collect();
    for epoch in active {
        let log = LogId { region, epoch };
        let last = state.applied.last(log).unwrap_or(Seq::NONE);
        let digest = state.chains.get(&log).map_or(0, |digest| digest.0);
        control.propose(Command::Close {
            by: open,
            epoch,
            last,
            digest,
        })?;
    }
    Ok(())
}

/// Asks for a higher ceiling and reports what is held; returns the ceiling granted.
pub(super) fn extend(
    control: &mut LocalControl,
    epoch: Epoch,
    clock: &dyn Clock,
    engine: &Engine,
) -> Result<Hlc, control::Error> {
    let me = control.state().members.keys().copied();
    let held = engine.places().durable.0;
    let acked = me.map(|member| (member, held.clone())).collect();
    let ceiling = grant(clock.wall_millis(), control.state().ceiling);
    // The answer of each request is awaited, so they need not be told apart.
    let number = 0;
    control.propose(Command::Extend {
        epoch,
        number,
        ceiling,
        acked,
    })?;
    Ok(control.state().ceiling)
}
