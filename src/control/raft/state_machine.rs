//! The agreed state, to which openraft applies what is committed. The state itself is the snapshot: it is small, and
//! kept on disk as it changes.
//!
//! **Invariants.** The state's index is that of the last entry applied, whatever the entry was and whether or not it was
//! rejected: so no epoch is numbered twice. Nobody sees a state that is not committed.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder, StorageIOError};
use tokio::sync::watch;

use super::super::command::Effect;
use super::super::state::ControlState;
use super::log_store::blocking;
use super::store::{Agreed, Store};
use super::types::{
    Entry, LogId, Outcome, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};

/// The agreed state and who follows it.
#[derive(Debug)]
pub(super) struct StateMachine {
    store: Store,
    agreed: Agreed,
    states: watch::Sender<Arc<ControlState>>,
}

impl StateMachine {
    pub fn new(store: Store, agreed: Agreed) -> StateMachine {
        let (states, _) = watch::channel(Arc::new(agreed.control.clone()));
        StateMachine {
            store,
            agreed,
            states,
        }
    }

    /// The states as they are agreed on, from now on.
    pub fn states(&self) -> watch::Receiver<Arc<ControlState>> {
        self.states.subscribe()
    }

    async fn keep(&self, is_synced: bool) -> Result<(), AnyError> {
        let agreed = self.agreed.clone();
        blocking(&self.store, move |store| {
            store.save_agreed(&agreed, is_synced)
        })
        .await?;
        self.states
            .send_replace(Arc::new(self.agreed.control.clone()));
        Ok(())
    }
}

impl Agreed {
    /// Applies the next entry.
    pub fn apply(&mut self, entry: Entry) -> Outcome {
        self.applied = Some(entry.log_id);
        // A command takes the index after the one before it.
        self.control.index = entry.log_id.index.saturating_sub(1);
        let outcome = match entry.payload {
            EntryPayload::Normal(command) => self.control.apply(command),
            EntryPayload::Blank => Ok(Effect::Done),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Ok(Effect::Done)
            }
        };
        self.control.index = entry.log_id.index;
        outcome
    }

    fn snapshot(&self) -> Snapshot {
        let id = self.applied.map(|applied| applied.to_string());
        Snapshot {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
                snapshot_id: id.unwrap_or_default(),
            },
            snapshot: Box::new(self.control.clone()),
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Agreed {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        Ok(self.snapshot())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Agreed;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.agreed.applied, self.agreed.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter();
        let outcomes = entries.map(|entry| self.agreed.apply(entry)).collect();
        let kept = self.keep(false).await;
        kept.map_err(StorageIOError::write_state_machine)?;
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Agreed {
        self.agreed.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<ControlState>, StorageError> {
        Ok(Box::new(self.agreed.control.clone()))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<ControlState>,
    ) -> Result<(), StorageError> {
        self.agreed = Agreed {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            control: *snapshot,
        };
        let kept = self.keep(true).await;
        kept.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), error).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let is_of_something = self.agreed.applied.is_some();
        Ok(is_of_something.then(|| self.agreed.snapshot()))
    }
}
