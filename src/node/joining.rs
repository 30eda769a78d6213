//! Joining a set: a directory without data of its own becomes a member, by a token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::agreement::RaftPlace;
use super::identity::IdentityFile;
use super::member::Member;
use super::start::StartError;
use crate::base::clock::sleep;
use crate::base::disk::Disk;
use crate::base::{IncarnationId, NodeNumber, TaskGroup};
use crate::control::raft;
use crate::control::{Addresses, ControlState, LEVEL};
use crate::net;
use crate::proto::v1;

/// How often a member is asked again that does not answer, or not yet as it should.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How a directory joins.
#[derive(Debug, Clone)]
pub struct Joining {
    /// A member's peer address, as `host:port`.
    pub address: String,
    /// The token's secret.
    pub secret: String,
}

impl Joining {
    fn request(&self, incarnation: IncarnationId, addresses: &Addresses) -> v1::JoinRequest {
        v1::JoinRequest {
            secret: self.secret.clone(),
            incarnation: incarnation.to_string(),
            peer_address: addresses.peer.clone(),
            client_address: addresses.client.clone(),
            level: LEVEL,
        }
    }

    /// Joins, if that has not been done before: asks, and keeps what is agreed in the directory.
    ///
    /// # Errors
    /// If the directory has data of its own, the set refuses, or the answer cannot be kept.
    pub(super) async fn join(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        addresses: &Addresses,
    ) -> Result<(), StartError> {
        if RaftPlace::is_there(dir) {
            return Ok(());
        }
        let in_directory = |source| StartError::Directory {
            path: dir.to_owned(),
            source,
        };
        disk.create_dir(dir).map_err(in_directory)?;
        let names = disk.list(dir).map_err(in_directory)?;
        if let Some(present) = ["CONTROL", "wal", "store"]
            .into_iter()
            .find(|part| names.iter().any(|name| name == part))
        {
            return Err(StartError::HasData {
                path: dir.to_owned(),
                present,
            });
        }
        let path = dir.join("IDENTITY");
        let mut identity = match IdentityFile::open(Arc::clone(disk), &path)? {
            Some(identity) => identity,
            None => IdentityFile::create(Arc::clone(disk), &path)?,
        };
        let request = self.request(identity.get().incarnation, addresses);
        let answer = net::join(&self.address, request).await;
        let answer = answer.map_err(|cause| StartError::NotJoined(cause.to_string()))?;
        let control: ControlState = serde_json::from_slice(&answer.control)
            .map_err(|error| StartError::NotJoined(error.to_string()))?;
        let (lineage, region) = (control.lineage, control.region);
        let number = NodeNumber(answer.number);
        info!(%number, %lineage, "joined a set");
        // Whatever ends it between the two is made good at the next start.
        raft::join(&dir.join(RaftPlace::NAME), number, control)
            .map_err(|error| StartError::Agreement(error.into()))?;
        identity.adopt(lineage, region)?;
        Ok(())
    }

    /// Asks again, until the set has this directory take part.
    pub(super) fn insist(self, member: &Arc<Member>, addresses: Addresses, tasks: &TaskGroup) {
        let incarnation = member.incarnation();
        let mut standings = member.standings();
        let stopped = tasks.cancelled();
        tasks.spawn_finite("joining", async move {
            loop {
                tokio::select! {
                    () = stopped.cancelled() => return,
                    _started = standings.wait_for(|standing| standing.has_started()) => return,
                    () = sleep(ASK_AGAIN) => {}
                }
                let request = self.request(incarnation, &addresses);
                if let Err(cause) = net::join(&self.address, request).await {
                    warn!(%cause, "the set does not have this directory take part yet");
                }
            }
        });
    }
}
