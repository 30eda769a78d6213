//! Pure: a record as the protocol sees it: where it stands, how it is chained, its bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::Digest;
use super::record::{Body, Opening, Record};
use crate::base::codec::DecodeError;
use crate::base::{LogId, Seq, Stamp};

/// A record that has been logged somewhere. Its bytes never change (I2, I26).
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// When and where it was written.
    pub stamp: Stamp,
    /// The chain digest of its log before it.
    pub chain_before: Digest,
    /// The chain digest of its log with it.
    pub chain_after: Digest,
    /// What it says if it is the first of its log.
    pub opening: Option<Arc<Opening>>,
    /// The record.
    pub bytes: Bytes,
}

impl Logged {
    /// Takes a record apart.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(bytes: Bytes) -> Result<Logged, DecodeError> {
        let record = Record::decode(&bytes)?;
        Ok(Logged::new(&record, bytes))
    }

    /// A record with its encoding.
    #[must_use]
    pub fn new(record: &Record, bytes: Bytes) -> Logged {
        let opening = match &record.body {
            Body::Opening(opening) => Some(Arc::new(opening.clone())),
            Body::Rows(_) | Body::Definition(_) | Body::Marker(_) | Body::Horizon(_) => None,
        };
        Logged {
            stamp: record.stamp,
            chain_before: record.chain_before,
            chain_after: Record::chain_after(&bytes),
            opening,
            bytes,
        }
    }

    /// The log it stands in.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.stamp.log()
    }

    /// Its place there.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.stamp.seq
    }
}
