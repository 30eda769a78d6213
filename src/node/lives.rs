//! The lives of a node: from an opening to a failure, or until another member's store has to take the place of its own.
//!
//! ```text
//!  open ──► serves ──► a Seed is received, and accepted ──► stops ──► engine::reseed ──► serves again
//!              └────── fails: the process ends
//! ```
//! A member that is re-seeded goes on like one that was stopped and started: its listeners stay, everything else begins anew.
//!
//! **Invariants.** Whether the store is accepted is asked and the replica ended in one step, so that it promises and
//! acknowledges nothing in between. The store is replaced only after the last use of it. Broken off at any point, by the end of
//! the process too, the directory holds one store or the other.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Node, Seed, Serving, StartError};
use crate::base::clock::timeout;
use crate::base::explained;
use crate::engine;

/// How long what uses the store may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long requests under way may use it.
const USE_LIMIT: Duration = Duration::from_secs(60);

impl Node {
    /// Lives on until the node has failed so badly that its process should end; then says why. Waits for ever if it does
    /// not serve. To be called once the node is open, by one at a time.
    pub async fn live(&self) -> String {
        let mut seeded = self.shared.seeded.lock().await;
        loop {
            let Ok(serving) = self.serving() else {
                return std::future::pending().await;
            };
            let seed = tokio::select! {
                cause = serving.tasks.failure() => return cause,
                Some(seed) = seeded.recv() => seed,
            };
            if let Err(cause) = self.take(serving, seed).await {
                return explained(&cause);
            }
        }
    }

    /// Goes on with a store that was received, if it is needed.
    async fn take(&self, serving: Arc<Serving>, seed: Seed) -> Result<(), StartError> {
        let (from, epoch) = (seed.from, seed.epoch);
        if !serving
            .member
            .give_way(epoch, &seed.received.state().applied.0)
        {
            info!(%from, %epoch, "a snapshot was received that is not needed");
            return Ok(());
        }
        info!(%from, %epoch, "going on with the store of another member");
        let addresses = serving.place.addresses.clone();
        let lineage = serving.identity.lineage;
        self.shared.serving.store(None);
        self.shared.seeding.store(None);
        self.shared.wires.store(None);
        self.shared.raft.store(None);
        serving.stop(STOP_LIMIT).await?;
        let gone = serving.engine.gone();
        drop(serving);
        if timeout(USE_LIMIT, gone).await.is_err() {
            // Replacing it fails then, and so does opening it again.
            warn!("the store is still used");
        }
        let shared = Arc::clone(&self.shared);
        let replaced = tokio::task::spawn_blocking(move || {
            let config = &shared.config;
            let (dir, wal, store) = (&config.data_dir, config.wal, &config.store);
            engine::reseed(&shared.disk, dir, lineage, wal, store, &seed.received)
        });
        if let Err(cause) = replaced.await.map_err(|_| StartError::Aborted)? {
            let cause = explained(&cause);
            warn!(cause, "the store is not replaced");
        }
        self.begin(addresses, None).await
    }
}
