//! Making a set anew from one directory, after the majority of its members was lost for good.
//!
//! The directory stays as it is, but for what a start and a stop change; what comes of it is a new one beside it. So nothing
//! is lost by trying, and whoever decides otherwise still has the old one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agreement::{FoundError, RaftPlace};
use super::identity::{Identity, IdentityFile};
use super::init::require_new;
use super::start::{StartError, open_control};
use crate::base::disk::{DirLock, Disk};
use crate::base::{Epoch, LogId};
use crate::config::Config;
use crate::control::{ControlState, LocalControl, Role, SetSecret, Survivor, raft};
use crate::engine::{Recovered, ReplayProgress};
use crate::storage::State;

/// Why no set is made of a directory. Nothing of it is lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory does not start, or the new one cannot be made.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It is not known to belong to the set that it says it belongs to.
    #[error("{path} is the directory of no member of its set")]
    NoMember {
        /// The directory.
        path: PathBuf,
    },
    /// It holds no rows.
    #[error("{path} is the directory of an arbiter, which holds no rows")]
    NoRows {
        /// The directory.
        path: PathBuf,
    },
    /// Whoever asks has seen another state than there is.
    #[error("the epoch that was open as far as {path} tells is {open}, not {named}")]
    OtherEpoch {
        /// The directory.
        path: PathBuf,
        /// What is there.
        open: Epoch,
        /// What was named.
        named: Epoch,
    },
}

/// A directory of which a set can be made.
#[derive(Debug)]
pub struct Remains {
    disk: Arc<dyn Disk>,
    config: Config,
    _lock: DirLock,
    identity: Identity,
    control: ControlState,
    recovered: Recovered,
}

impl Remains {
    /// Looks what there is in the directory that `config` names, which no node uses. Blocks as long as a start.
    ///
    /// # Errors
    /// If it is damaged, or no member's that holds rows.
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Remains, Error> {
        let dir = config.data_dir.clone();
        let missing = |missing| StartError::Incomplete {
            path: dir.clone(),
            present: "no more",
            missing,
        };
        let in_directory = |source| StartError::Directory {
            path: dir.clone(),
            source,
        };
        let names = disk.list(&dir).map_err(in_directory)?;
        let lock = DirLock::acquire(&dir).map_err(StartError::Lock)?;
        let identity = IdentityFile::open(Arc::clone(&disk), &dir.join("IDENTITY"))
            .map_err(StartError::File)?
            .ok_or_else(|| missing("IDENTITY"))?;
        let identity = identity.get().clone();
        let control = if RaftPlace::is_there(&dir) {
            raft::last_agreed(&dir.join(RaftPlace::NAME))
                .map_err(|cause| StartError::Agreement(FoundError::from(cause)))?
        } else {
            let control = open_control(&disk, &dir, &names, &identity)?;
            control.state().clone()
        };
        match control.members.get(&identity.incarnation) {
            None => return Err(Error::NoMember { path: dir }),
            Some(member) if member.role == Role::Arbiter => {
                return Err(Error::NoRows { path: dir });
            }
            Some(_) => {}
        }
        let recovered = Recovered::open(
            Arc::clone(&disk),
            &dir,
            identity.lineage,
            &config.engine,
            config.wal,
            &config.store,
        );
        let mut recovered = recovered.map_err(StartError::Engine)?;
        let replayed = recovered.replay(&ReplayProgress::default());
        replayed.map_err(StartError::Engine)?;
        Ok(Remains {
            disk,
            config,
            _lock: lock,
            identity,
            control,
            recovered,
        })
    }

    /// The epoch that was open, as far as is known here.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.control.open_epoch()
    }

    /// What is held here, and what cannot be proven to be.
    #[must_use]
    pub fn account(&self) -> (String, Vec<String>) {
        let state = self.recovered.state();
        let chains = chains(&state);
        let unproven = self
            .control
            .unproven(&survivor(&self.identity, &state, &chains));
        (state.applied.0.to_string(), unproven)
    }

    /// Makes `into`, on the same file system, the directory of a new set of one that holds all this, if `epoch` was the open
    /// one. Says who it is.
    ///
    /// # Errors
    /// If it was another, or the new directory cannot be made; what there is of it is of no use then.
    pub fn refound(self, epoch: Epoch, into: &Path) -> Result<Identity, Error> {
        let open = self.epoch();
        if open != epoch {
            return Err(Error::OtherEpoch {
                path: self.config.data_dir,
                open,
                named: epoch,
            });
        }
        let _new = require_new(&self.disk, into)?;
        let (state, old) = (self.recovered.state(), self.identity);
        let chains = chains(&state);
        let mut identity = IdentityFile::create(Arc::clone(&self.disk), &into.join("IDENTITY"))
            .map_err(StartError::File)?;
        let lineage = identity.get().lineage;
        identity
            .adopt(lineage, old.region)
            .map_err(StartError::File)?;
        let survivor = survivor(&old, &state, &chains);
        let first = identity.get().incarnation;
        let mut control = self.control.refounded(&survivor, lineage, first);
        control.secret = control.lacks_secret().then(|| SetSecret(rand::random()));
        self.recovered
            .copy_into(into, old.lineage, lineage, &self.config.store)
            .map_err(StartError::Engine)?;
        // Last, for without it the directory does not start.
        LocalControl::create(self.disk, &into.join("CONTROL"), control)
            .map_err(StartError::Control)?;
        Ok(identity.get().clone())
    }
}

fn chains(state: &State) -> BTreeMap<LogId, u128> {
    let digests = state.chains.iter();
    digests.map(|(log, digest)| (*log, digest.0)).collect()
}

fn survivor<'a>(
    identity: &Identity,
    state: &'a State,
    chains: &'a BTreeMap<LogId, u128>,
) -> Survivor<'a> {
    Survivor {
        incarnation: identity.incarnation,
        promise: identity.promise,
        held: &state.applied.0,
        chains,
        newest: state.newest,
    }
}
