//! Who a data directory is: what a node must know before it may look at its log or store.
//!
//! **Invariants** (I4). The promise and the boot number never go back. A start leaves its token here before it is
//! registered, so that it can be presented again if the answer is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::random;
use serde::{Deserialize, Serialize};

use crate::base::disk::Disk;
use crate::base::sealed::{self, Kind};
use crate::base::{BootNumber, BootToken, Epoch, IncarnationId, LineageId, RegionId};

const KIND: Kind = Kind {
    name: "identity",
    version: 1,
};

/// What is durable of a member outside its log and store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The history this directory holds.
    pub lineage: LineageId,
    /// The region it was made in.
    pub region: RegionId,
    /// This life of the directory.
    pub incarnation: IncarnationId,
    /// How often it has been started and registered.
    pub boot: BootNumber,
    /// The token of the last registered start, and of starts tried since.
    pub tokens: BTreeSet<BootToken>,
    /// The greatest epoch promised: nothing of an older one is acknowledged any more.
    pub promise: Epoch,
}

/// The identity file.
#[derive(Debug)]
pub struct IdentityFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
}

impl IdentityFile {
    /// Reads the identity; `None` if there is none yet.
    ///
    /// # Errors
    /// If the file is damaged, newer or something else.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Option<IdentityFile>, sealed::Error> {
        let Some(body) = KIND.read(disk.as_ref(), path)? else {
            return Ok(None);
        };
        let identity = serde_json::from_str(&body).map_err(|error| sealed::Error::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Some(IdentityFile {
            disk,
            path: path.to_owned(),
            identity,
        }))
    }

    /// Makes up a new identity, with a lineage and region of its own, and writes it.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn create(disk: Arc<dyn Disk>, path: &Path) -> Result<IdentityFile, sealed::Error> {
        let identity = Identity {
            lineage: LineageId(random()),
            region: RegionId(random()),
            incarnation: IncarnationId(random()),
            boot: BootNumber::NONE,
            tokens: BTreeSet::new(),
            promise: Epoch::NONE,
        };
        let file = IdentityFile {
            disk,
            path: path.to_owned(),
            identity,
        };
        file.persist(&file.identity)?;
        Ok(file)
    }

    /// The identity.
    #[must_use]
    pub fn get(&self) -> &Identity {
        &self.identity
    }

    /// Makes up the token of a start and leaves it here.
    ///
    /// # Errors
    /// If it cannot be made durable; the start must not go on then.
    pub fn try_boot(&mut self) -> Result<BootToken, sealed::Error> {
        let token = BootToken(random());
        self.change(|identity| {
            identity.tokens.insert(token);
        })?;
        Ok(token)
    }

    /// Takes in that the start was registered.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn booted(&mut self, boot: BootNumber, token: BootToken) -> Result<(), sealed::Error> {
        self.change(|identity| {
            identity.boot = boot.max(identity.boot);
            identity.tokens = BTreeSet::from([token]);
        })
    }

    /// Promises an epoch. A promise is never taken back.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn promise(&mut self, epoch: Epoch) -> Result<(), sealed::Error> {
        self.change(|identity| identity.promise = epoch.max(identity.promise))
    }

    /// Takes the lineage and region of the set that this directory joins. It holds no data of its own then.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn adopt(&mut self, lineage: LineageId, region: RegionId) -> Result<(), sealed::Error> {
        self.change(|identity| (identity.lineage, identity.region) = (lineage, region))
    }

    fn change(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), sealed::Error> {
        let mut next = self.identity.clone();
        change(&mut next);
        self.persist(&next)?;
        self.identity = next;
        Ok(())
    }

    fn persist(&self, identity: &Identity) -> Result<(), sealed::Error> {
        let body =
            serde_json::to_string_pretty(identity).map_err(|error| sealed::Error::Damaged {
                path: self.path.clone(),
                problem: error.to_string(),
            })?;
        KIND.write(self.disk.as_ref(), &self.path, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::RealDisk;

    #[test]
    fn promise_and_boot_number_survive_and_never_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("IDENTITY");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        assert!(
            IdentityFile::open(Arc::clone(&disk), &path)
                .unwrap()
                .is_none()
        );
        let mut file = IdentityFile::create(Arc::clone(&disk), &path).unwrap();
        let lost = file.try_boot().unwrap();
        let token = file.try_boot().unwrap();
        assert_eq!(file.get().tokens, BTreeSet::from([lost, token]));
        file.booted(BootNumber(2), token).unwrap();
        file.promise(Epoch(9)).unwrap();
        file.promise(Epoch(4)).unwrap();
        let again = IdentityFile::open(disk, &path).unwrap().unwrap();
        assert_eq!(again.get(), file.get());
        assert_eq!(
            (again.get().promise, again.get().boot),
            (Epoch(9), BootNumber(2))
        );
        assert_eq!(again.get().tokens, BTreeSet::from([token]));
    }
}
