//! Raft's log and vote, as openraft asks for them.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, RaftLogReader, StorageIOError};

use super::store::{Error, Store};
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};

/// Raft's log and vote.
#[derive(Debug, Clone)]
pub(super) struct LogStore(pub(super) Store);

/// Does what blocks where blocking harms nobody.
pub(super) async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, AnyError> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    let done = done.map_err(|error| AnyError::new(&error))?;
    done.map_err(|error| AnyError::new(&error))
}

fn write_logs(error: AnyError) -> StorageError {
    StorageIOError::write_logs(error).into()
}

fn read_logs(error: &Error) -> StorageError {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let extent = self.0.extent().map_err(|error| read_logs(&error))?;
        let held_from = extent.purged.map_or(0, |purged| purged.index + 1);
        let held_to = extent.last.map_or(0, |last| last.index + 1);
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(to) => to.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let entries = self.0.entries(from.max(held_from), to.min(held_to));
        entries.map_err(|error| read_logs(&error))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let extent = self.0.extent().map_err(|error| read_logs(&error))?;
        Ok(LogState {
            last_purged_log_id: extent.purged,
            last_log_id: extent.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let saved = blocking(&self.0, move |store| store.save_vote(&vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.0.vote();
        vote.map_err(|error| StorageIOError::read_vote(AnyError::new(&error)).into())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let appended = blocking(&self.0, move |store| store.append(&entries)).await;
        appended.map_err(write_logs)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let truncated = blocking(&self.0, move |store| store.truncate(from.index)).await;
        truncated.map_err(write_logs)
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        let purged = blocking(&self.0, move |store| store.purge(through)).await;
        purged.map_err(write_logs)
    }
}
