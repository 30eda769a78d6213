//! Copying a node's store into the directory of another, of a lineage of its own.

use std::path::Path;

use super::error::Error;
use super::recovered::Recovered;
use super::reseed::store_dir;
use crate::base::LineageId;
use crate::storage::{self, Store};

impl Recovered {
    /// Puts what is applied here into `into`, which is on the same file system and holds no store yet, as the store of a lineage of
    /// its own, whose WAL has yet to begin. Files of rows are shared by both, and changed by neither. Here nothing is changed
    /// beyond what a start and a stop change.
    ///
    /// # Errors
    /// If WAL or store fail; what there is in `into` is of no use then.
    pub fn copy_into(
        self,
        into: &Path,
        from: LineageId,
        lineage: LineageId,
        options: &storage::Options,
    ) -> Result<(), Error> {
        let engine = self.start()?;
        let copied = engine.store.checkpoint(&store_dir(into));
        engine.stop()?;
        copied?;
        Ok(Store::begin_lineage(
            &store_dir(into),
            from,
            lineage,
            options,
        )?)
    }
}
