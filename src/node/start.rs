//! Starting: from a directory to a member of its set. The order is the safety of it.
//!
//! 1. lock the directory, learn who it is, leave the token of this start there
//! 2. recover the WAL, open the store, replay, start the applier
//! 3. start the member: it takes part once the start is registered, which a copied or rolled-back directory never is; alone,
//!    it then becomes primary

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::agreement::{Agreement, FoundError, RaftPlace};
use super::identity::{Identity, IdentityFile};
use super::member::{Halt, Member, Parts};
use crate::base::clock::now_monotonic;
use crate::base::disk::{DirLock, Disk, LockError};
use crate::base::{Clock, TaskGroup, sealed};
use crate::config::Config;
use crate::control::raft::Starts;
use crate::control::{
    self, Addresses, BootClaim, ControlState, LEVEL, LocalControl, Rejection, SetSecret,
};
use crate::engine::{self, Engine, Recovered, ReplayProgress};
use crate::replica::Found;

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
    /// The member takes no part.
    #[error(transparent)]
    Halted(#[from] Halt),
    /// The agreement with other members cannot begin.
    #[error(transparent)]
    Agreement(#[from] FoundError),
    /// A new set begins in a directory that no node has used.
    #[error("{path} cannot become a new set: it holds {present}, so a node has used it before")]
    NotNew {
        /// The directory.
        path: PathBuf,
        /// What is there.
        present: &'static str,
    },
    /// A directory that joins must have no data of its own.
    #[error("{path} cannot join a set: it holds {present}, data of its own")]
    HasData {
        /// The directory.
        path: PathBuf,
        /// What is there.
        present: &'static str,
    },
    /// The set does not let this directory join, or does not answer.
    #[error("cannot join: {0}")]
    NotJoined(String),
    /// No snapshots can be given or taken.
    #[error(transparent)]
    Seeding(Box<super::SeedingError>),
    /// No thread could be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// Something that the node cannot do without has ended.
    #[error("the start failed: {0}")]
    Failed(String),
    /// The start was given up half-way.
    #[error("the start did not finish")]
    Aborted,
}

impl From<super::SeedingError> for StartError {
    fn from(error: super::SeedingError) -> StartError {
        StartError::Seeding(Box::new(error))
    }
}

impl StartError {
    /// A name for the kind of failure, for scripts.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        use crate::{storage, wal};
        use control::Error as Control;
        use engine::Error as Engine;
        match self {
            StartError::Lock(LockError::Held { .. }) => "DIRECTORY_LOCKED",
            StartError::HasData { .. } | StartError::NotNew { .. } => "HAS_DATA",
            StartError::NotJoined(_) => "NOT_JOINED",
            StartError::Directory { .. } | StartError::Lock(LockError::Io { .. }) => {
                "BAD_DIRECTORY"
            }
            StartError::Incomplete { .. } => "FILES_LOST",
            StartError::Halted(Halt::Refused(
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
            StartError::Engine(Engine::Store(cause)) if cause.is_damage() => "DAMAGED",
            StartError::Engine(
                Engine::BadRecord { .. }
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
            | StartError::Halted(_)
            | StartError::Agreement(_)
            | StartError::Seeding(_)
            | StartError::Thread(_)
            | StartError::Failed(_)
            | StartError::Aborted => "CANNOT_START",
        }
    }
}

/// What a started node is made of.
pub(super) struct Started {
    pub lock: DirLock,
    pub identity: Identity,
    pub agreement: Arc<Agreement>,
    pub engine: Arc<Engine>,
    pub member: Arc<Member>,
    pub place: RaftPlace,
}

impl Started {
    /// Gives the directory free. Blocks.
    pub fn stop(self) {
        self.member.stop();
        if let Err(cause) = self.engine.stop() {
            warn!(%cause, "not everything ended as it should");
        }
    }
}

/// Starts the member that a directory is. Blocks as long as the replay takes.
pub(super) fn start(
    config: &Config,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    progress: &ReplayProgress,
    addresses: Addresses,
    tasks: &TaskGroup,
) -> Result<Started, StartError> {
    let dir = config.data_dir.as_path();
    let in_directory = |source| StartError::Directory {
        path: dir.to_owned(),
        source,
    };
    disk.create_dir(dir).map_err(in_directory)?;
    let lock = DirLock::acquire(dir)?;
    let names = disk.list(dir).map_err(in_directory)?;
    let mut file = open_identity(disk, dir, &names)?;
    let known = file.get().tokens.clone();
    // Before Raft starts: others may know of this start while this member still asks them what they know of it.
    let token = file.try_boot()?;
    let place = RaftPlace {
        path: dir.join(RaftPlace::NAME),
        incarnation: file.get().incarnation,
        addresses: addresses.clone(),
        starts: starts_of(file.get()),
    };
    let agreement = if RaftPlace::is_there(dir) {
        let agreement = Agreement::of_many(place.open(clock)?, Arc::clone(clock), tasks.clone());
        adopt(&mut file, &agreement.state(), dir, &names)?;
        agreement
    } else {
        let control = open_control(disk, dir, &names, file.get())?;
        Agreement::of_one(control, Arc::clone(clock), tasks.clone())
    };
    let mut recovered = Recovered::open(
        Arc::clone(disk),
        dir,
        file.get().lineage,
        &config.engine,
        config.wal,
        &config.store,
    )?;
    replay(&mut recovered, progress)?;
    let identity = file.get().clone();
    let claim = BootClaim {
        incarnation: identity.incarnation,
        known,
        token,
        held: recovered.state().applied.0.clone(),
        addresses,
        level: LEVEL,
    };
    let state = recovered.state();
    let found = Found {
        incarnation: identity.incarnation,
        claim,
        promise: identity.promise,
        held: state.heads(),
        opening: state.opening.clone(),
        applied: state.applied.0.clone(),
        newest: state.newest,
    };
    let engine = Arc::new(recovered.start()?);
    let agreement = Arc::new(agreement);
    let member = Member::start(Parts {
        found,
        identity: file,
        engine: Arc::clone(&engine),
        agreement: Arc::clone(&agreement),
        clock: Arc::clone(clock),
        seed: rand::random(),
    })
    .map_err(StartError::Thread)?;
    let Identity {
        lineage,
        region,
        incarnation,
        ..
    } = identity;
    info!(%lineage, %region, %incarnation, "opened the data directory");
    Ok(Started {
        lock,
        identity,
        agreement,
        engine,
        member,
        place,
    })
}

/// A directory that has joined takes the set's lineage, if its start was cut off before it did.
fn adopt(
    identity: &mut IdentityFile,
    control: &ControlState,
    dir: &Path,
    names: &[String],
) -> Result<(), StartError> {
    if identity.get().lineage == control.lineage {
        return Ok(());
    }
    if ["wal", "store"]
        .iter()
        .any(|part| names.iter().any(|name| name == part))
    {
        return Err(StartError::OtherLineage {
            path: dir.to_owned(),
            identity: identity.get().lineage,
            control: control.lineage,
        });
    }
    Ok(identity.adopt(control.lineage, control.region)?)
}

fn starts_of(identity: &Identity) -> Starts {
    Starts {
        boot: identity.boot,
        known: identity.tokens.clone(),
    }
}

fn replay(recovered: &mut Recovered, progress: &ReplayProgress) -> Result<(), StartError> {
    let begun = now_monotonic();
    recovered.replay(progress)?;
    let records = progress.records.load(Ordering::Relaxed);
    if records > 0 {
        let bytes = progress.done_bytes.load(Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        info!(records, bytes, seconds, "replayed the log");
    }
    Ok(())
}

pub(super) fn open_identity(
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

pub(super) fn open_control(
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
    let mut state = ControlState::new(identity.lineage, identity.region, identity.incarnation);
    // Before anybody could wait for a disk to agree on it.
    state.secret = Some(SetSecret(rand::random()));
    Ok(LocalControl::create(Arc::clone(disk), &path, state)?)
}
