//! From a directory to an engine: opening, replaying, folding, starting.

use std::path::Path;
use std::sync::Arc;

use tracing::info;

use super::applier::Applier;
use super::durable::Durable;
use super::error::Error;
use super::options::Options;
use super::replay::{ReplayProgress, replay};
use super::reseed::{clear, put_back, store_dir, wal_dir};
use super::service::Engine;
use crate::base::disk::Disk;
use crate::base::{Epoch, LineageId, RegionId};
use crate::storage::{self, State, Store};
use crate::wal::{self, Wal};

/// An engine that has been opened but does not write yet: what the WAL holds is replayed first.
#[derive(Debug)]
pub struct Recovered {
    pub(super) wal: Arc<Wal>,
    pub(super) durable: Durable,
    pub(super) applier: Applier,
    pub(super) options: Options,
    pub(super) retain_bytes: u64,
}

impl Recovered {
    /// Opens `dir/wal` and `dir/store`, creating them if they do not exist. Ends a [replacement](super::reseed) of the store
    /// that has begun.
    ///
    /// # Errors
    /// If either is damaged, of another lineage or later format, or the WAL lacks what the store has applied.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        lineage: LineageId,
        options: &Options,
        wal_options: wal::Options,
        store_options: &storage::Options,
    ) -> Result<Recovered, Error> {
        put_back(&disk, dir)?;
        let store = Arc::new(Store::open(&store_dir(dir), lineage, store_options)?);
        let lsn = store.state()?.lsn;
        let wal::Opened { wal, recovery } =
            Wal::open(Arc::clone(&disk), &wal_dir(dir), lineage, wal_options, lsn)?;
        clear(&disk, dir, &wal, &store)?;
        if recovery.cut_bytes > 0 {
            info!(bytes = recovery.cut_bytes, "cut the torn tail of the wal");
        }
        let applier = Applier::new(store, options.row_cache_bytes)?;
        Ok(Recovered {
            wal: Arc::new(wal),
            durable: Durable::default(),
            applier,
            options: options.clone(),
            retain_bytes: wal_options.retain_bytes,
        })
    }

    /// Applies what the WAL holds beyond the store's state, and looks through what it holds before. Takes as long as that
    /// takes. Afterwards the [state](Self::state) is that of all that is durable here.
    ///
    /// # Errors
    /// If the WAL or the store is damaged, or the records do not follow one another.
    pub fn replay(&mut self, progress: &ReplayProgress) -> Result<(), Error> {
        replay(
            &self.wal,
            self.state().lsn,
            &self.applier,
            &self.durable,
            progress,
        )?;
        self.durable.join(&self.state().applied);
        Ok(())
    }

    /// What the store is now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.applier.published.state.load_full()
    }

    /// Folds every log of `region` up to `through` into the base: they are closed and held whole. Durable on return.
    ///
    /// # Errors
    /// If the store fails.
    pub fn fold(&mut self, region: RegionId, through: Epoch) -> Result<(), Error> {
        self.applier.fold(region, through)?;
        self.durable.fold(region, through);
        Ok(())
    }

    /// Starts the applier.
    ///
    /// # Errors
    /// If no thread can be started, or what was replayed cannot be flushed.
    pub fn start(self) -> Result<Engine, Error> {
        Engine::new(self)
    }
}
