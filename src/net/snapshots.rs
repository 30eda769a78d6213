//! Calls by which snapshots move between members: an offer from one side, then files fetched from the other.

use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::dial;
use super::wires::STALL;
use crate::base::clock::timeout;
use crate::proto::v1;
use v1::snapshot_service_client::SnapshotServiceClient;

/// Bytes of a file in one message.
pub const CHUNK_BYTES: usize = 512 << 10;
/// Chunks of a file that are ready before they are sent.
pub const CHUNKS_READY: usize = 4;
/// Files that are sent at once.
pub const FILES_AT_ONCE: usize = 8;
/// Memory that they take: of each, what is ready, one chunk that is being read and one that is being encoded.
pub const SNAPSHOT_BYTES: usize = FILES_AT_ONCE * (CHUNKS_READY + 2) * CHUNK_BYTES;

/// Why a call about a snapshot failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no way to the member.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why not.
        cause: String,
    },
    /// The member has no such snapshot, or no longer.
    #[error("{0}")]
    NotFound(String),
    /// The member refused, or the connection broke.
    #[error("{0}")]
    Failed(String),
    /// Nothing came for too long.
    #[error("the peer does not answer")]
    Silent,
    /// A chunk is not what was sent.
    #[error("a chunk has checksum {found:08x}, its sender says {said:08x}")]
    Damaged {
        /// The checksum of what came.
        found: u32,
        /// The checksum that came with it.
        said: u32,
    },
}

impl From<Status> for CallError {
    fn from(status: Status) -> CallError {
        let says = status.message().to_owned();
        if status.code() == Code::NotFound {
            CallError::NotFound(says)
        } else {
            CallError::Failed(says)
        }
    }
}

/// A member that offers snapshots, or is offered them.
#[derive(Debug, Clone)]
pub struct SnapshotPeer(SnapshotServiceClient<Channel>);

/// What comes of a file, in order.
#[derive(Debug)]
pub struct Chunks(Streaming<v1::FetchFileResponse>);

impl SnapshotPeer {
    /// Connects to the member at an address, host:port.
    ///
    /// # Errors
    /// If there is no way there.
    pub async fn connect(address: &str) -> Result<SnapshotPeer, CallError> {
        let unreachable = |cause: String| CallError::Unreachable {
            address: address.to_owned(),
            cause,
        };
        let endpoint = dial::endpoint(address);
        let endpoint = endpoint.ok_or_else(|| unreachable("it is not host:port".to_owned()))?;
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|cause| unreachable(dial::innermost(&cause).to_string()))?;
        let client = SnapshotServiceClient::new(channel);
        Ok(SnapshotPeer(client))
    }

    /// Offers it a snapshot.
    ///
    /// # Errors
    /// If it refuses, or does not answer.
    pub async fn offer(&mut self, offer: v1::OfferSnapshotRequest) -> Result<(), CallError> {
        let offered = timeout(STALL, self.0.offer_snapshot(offer)).await;
        offered.map_err(|_| CallError::Silent)??;
        Ok(())
    }

    /// Has it send a file.
    ///
    /// # Errors
    /// If it refuses, or does not answer.
    pub async fn fetch(&mut self, request: v1::FetchFileRequest) -> Result<Chunks, CallError> {
        let fetched = timeout(STALL, self.0.fetch_file(request)).await;
        let fetched = fetched.map_err(|_| CallError::Silent)??;
        Ok(Chunks(fetched.into_inner()))
    }
}

impl Chunks {
    /// The next bytes; `None` at the end of the file.
    ///
    /// # Errors
    /// If the connection broke, or what comes is damaged.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let next = timeout(STALL, self.0.message()).await;
        let Some(v1::FetchFileResponse { data, crc32: said }) =
            next.map_err(|_| CallError::Silent)??
        else {
            return Ok(None);
        };
        let found = crc32fast::hash(&data);
        if found != said {
            return Err(CallError::Damaged { found, said });
        }
        Ok(Some(data))
    }
}
