//! Making a set of what is in a bucket.
//!
//! ```text
//!   DIR.partial   RESTORE       what is being restored: only the same goes on here
//!                 store         fetched, checked; then of a new lineage, with the archived records applied
//!                 wal           those records
//!                 IDENTITY      the new lineage and region
//!                 CONTROL       last, for without it nothing starts here
//!   DIR           the same, renamed
//! ```
//! **Invariants** (I25). DIR is not there, or the whole new set is. A restore that was broken off goes on with what has arrived;
//! what was made of that is made anew.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::identity::{Identity, IdentityFile};
use super::start::StartError;
use crate::backup::layout::PointId;
use crate::backup::repository::Repository;
use crate::backup::restore::{self, Progress};
use crate::backup::way::Way;
use crate::base::disk::{DirLock, Disk};
use crate::base::sealed::{self, Kind};
use crate::base::{Epoch, Hlc, LineageId, RegionId};
use crate::config::Config;
use crate::control::{self, LEVEL, LocalControl, Restored, SetSecret};
use crate::engine::{self, Engine, Recovered, ReplayProgress, store_dir, wal_dir};
use crate::storage::Store;

const KIND: Kind = Kind {
    name: "restore",
    version: 1,
};

/// Why nothing is restored. What has arrived stays, unless it is of another restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is in use.
    #[error("{path} is not empty: restore into a directory that is not there yet")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Something else was begun there.
    #[error(
        "{path} holds the beginning of another restore, of {found}: finish that one, or remove the directory"
    )]
    OtherRestore {
        /// The directory.
        path: PathBuf,
        /// What was begun there.
        found: String,
    },
    /// It does not fit.
    #[error("{needed} bytes more are needed in {path}, and {available} are to be had")]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// What is needed.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// The set used what this program does not know.
    #[error(
        "the backup is of feature level {level}, this program knows levels up to {LEVEL}: take a later version"
    )]
    NewerLevel {
        /// Its level.
        level: u32,
    },
    /// What comes from the bucket, or what becomes of it.
    #[error(transparent)]
    Backup(#[from] restore::Error),
    /// The directory cannot be made or used.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What is being restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    lineage: LineageId,
    point: PointId,
    until: Hlc,
}

/// Makes the directory that `config` names that of a new set of one, which holds what a way leads to. Says who it is.
///
/// # Errors
/// Why there is none.
pub async fn restore(
    disk: &Arc<dyn Disk>,
    config: &Config,
    repository: &Repository,
    way: &Way,
    progress: &Progress,
) -> Result<Identity, Error> {
    let level = way.manifest.control.level;
    if level > LEVEL {
        return Err(Error::NewerLevel { level });
    }
    let into = config.data_dir.as_path();
    let partial = Partial::open(disk, into, way)?;
    partial.check_space(config, way)?;
    let store = store_dir(&partial.dir);
    let received = restore::fetch(repository, &way.manifest, &store, progress).await?;
    restore::check_rows(&way.manifest, &received).await?;
    drop(received);
    let identity = partial.identity()?;
    let engine = partial.engine(config, way, &identity).await?;
    let applied = restore::apply(repository, &way.manifest, &way.plan, &engine, progress).await;
    let made = match applied {
        Ok(()) => fold(&engine, way),
        Err(cause) => Err(cause.into()),
    };
    let control = made.map(|()| control(&engine, way, &identity));
    engine.stop().map_err(StartError::Engine)?;
    drop(engine);
    LocalControl::create(Arc::clone(disk), &partial.dir.join("CONTROL"), control?)
        .map_err(StartError::Control)?;
    partial.finish(into)?;
    Ok(identity)
}

/// A directory in which a set is being made. Locked as long as this is there.
struct Partial<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: PathBuf,
    _lock: DirLock,
}

impl<'a> Partial<'a> {
    /// Begins, or goes on with what there is of the same restore; all but the files that were fetched is removed.
    fn open(disk: &'a Arc<dyn Disk>, into: &Path, way: &Way) -> Result<Partial<'a>, Error> {
        let is_empty = match disk.list(into) {
            Ok(names) => names.is_empty(),
            Err(cause) if cause.kind() == ErrorKind::NotFound => true,
            Err(cause) => return Err(in_directory(into)(cause).into()),
        };
        if !is_empty {
            let path = into.to_owned();
            return Err(Error::NotEmpty { path });
        }
        let mut name = into.file_name().map_or_else(OsString::new, OsString::from);
        name.push(".partial");
        let dir = into.with_file_name(name);
        disk.create_dir(&dir).map_err(in_directory(&dir))?;
        let lock = DirLock::acquire(&dir).map_err(StartError::Lock)?;
        let begun = Begun {
            lineage: way.manifest.control.lineage,
            point: way.manifest.point,
            until: way.plan.until,
        };
        begun.keep(disk, &dir)?;
        for name in ["IDENTITY", "CONTROL"] {
            remove(std::fs::remove_file(dir.join(name))).map_err(in_directory(&dir))?;
        }
        let wal = wal_dir(&dir);
        remove(std::fs::remove_dir_all(&wal)).map_err(in_directory(&wal))?;
        Ok(Partial {
            disk,
            dir,
            _lock: lock,
        })
    }

    /// Refuses to begin with what cannot end well. What the records make of the rows is not known before.
    fn check_space(&self, config: &Config, way: &Way) -> Result<(), Error> {
        let store = store_dir(&self.dir);
        let files = way.manifest.snapshot.files.iter();
        let missing = files.map(|file| {
            let there = std::fs::metadata(store.join(file.name.as_str()));
            file.bytes
                .saturating_sub(there.map_or(0, |there| there.len()))
        });
        let needed = missing.sum::<u64>().saturating_add(way.archived_bytes);
        let available = self.disk.available_bytes(&self.dir);
        let available = available.map_err(in_directory(&self.dir))?;
        let available = available.saturating_sub(config.disk.low_watermark_bytes);
        if needed > available {
            let path = self.dir.clone();
            return Err(Error::NoSpace {
                path,
                needed,
                available,
            });
        }
        Ok(())
    }

    fn identity(&self) -> Result<Identity, Error> {
        let file = IdentityFile::create(Arc::clone(self.disk), &self.dir.join("IDENTITY"));
        Ok(file.map_err(StartError::File)?.get().clone())
    }

    /// An engine on the store that was fetched, of the new lineage.
    async fn engine(
        &self,
        config: &Config,
        way: &Way,
        identity: &Identity,
    ) -> Result<Arc<Engine>, Error> {
        let (disk, dir, config) = (Arc::clone(self.disk), self.dir.clone(), config.clone());
        let (old, new) = (way.manifest.control.lineage, identity.lineage);
        let open = move || -> Result<Engine, engine::Error> {
            Store::begin_lineage(&store_dir(&dir), old, new, &config.store)?;
            let (wal, store) = (config.wal, &config.store);
            let mut recovered = Recovered::open(disk, &dir, new, &config.engine, wal, store)?;
            recovered.replay(&ReplayProgress::default())?;
            recovered.start()
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|_| restore::Error::GivenUp)?;
        Ok(Arc::new(opened.map_err(StartError::Engine)?))
    }

    /// Gives the directory its name.
    fn finish(self, into: &Path) -> Result<(), Error> {
        let done = || -> std::io::Result<()> {
            std::fs::remove_file(self.dir.join("RESTORE"))?;
            self.disk.sync_dir(&self.dir)?;
            self.disk.rename(&self.dir, into)?;
            self.disk.sync_dir(parent(into))
        };
        Ok(done().map_err(in_directory(into))?)
    }
}

impl Begun {
    fn keep(self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), Error> {
        let path = dir.join("RESTORE");
        let Some(body) = KIND.read(disk.as_ref(), &path).map_err(StartError::File)? else {
            let body = serde_json::to_string(&self);
            let body = body.expect("what is being restored is plain JSON");
            return Ok(KIND
                .write(disk.as_ref(), &path, &body)
                .map_err(StartError::File)?);
        };
        let found: Begun = serde_json::from_str(&body).map_err(|cause| {
            StartError::File(sealed::Error::Damaged {
                path,
                problem: cause.to_string(),
            })
        })?;
        if found == self {
            return Ok(());
        }
        let Begun {
            lineage,
            point,
            until,
        } = found;
        Err(Error::OtherRestore {
            path: dir.to_owned(),
            found: format!("{point} of lineage {lineage}, up to {until}"),
        })
    }
}

/// Declares the logs of the old set to end where they end here.
fn fold(engine: &Engine, way: &Way) -> Result<(), Error> {
    let state = engine.state();
    let mut last: BTreeMap<RegionId, Epoch> = BTreeMap::new();
    for (log, _) in state.applied.0.logs() {
        let epoch = last.entry(log.region).or_insert(way.begun);
        *epoch = log.epoch.max(*epoch);
    }
    for (region, through) in last {
        engine.fold(region, through).map_err(StartError::Engine)?;
    }
    Ok(())
}

fn control(engine: &Engine, way: &Way, identity: &Identity) -> control::ControlState {
    let state = engine.state();
    let pending = state.pending_horizons.iter();
    let horizon = pending.map(|pending| pending.horizon).max();
    let mut control = way.manifest.control.restored(&Restored {
        lineage: identity.lineage,
        region: identity.region,
        first: identity.incarnation,
        begun: way.begun,
        newest: state.newest,
        horizon: state.purge_horizon().max(horizon.unwrap_or(Hlc::ZERO)),
    });
    control.secret = control.lacks_secret().then(|| SetSecret(rand::random()));
    control
}

fn parent(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What is not there need not be removed.
fn remove(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn in_directory(path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Directory { path, source }
}
