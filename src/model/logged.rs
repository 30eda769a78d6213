//! Pure: a record as the protocol sees it: where it stands, how it is chained, its bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::Digest;
use super::record::{Body, Head, Opening, Record};
use crate::base::codec::DecodeError;
use crate::base::{LogId, Seq, Stamp};

/// A record that has been logged somewhere. Its bytes never change (I2, I26), and everything else follows from them.
#[derive(Debug, Clone)]
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
    /// All that it says, if more than its head has been read.
    record: Option<Arc<Record>>,
}

impl Logged {
    /// Takes a record apart that comes from elsewhere.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(bytes: Bytes) -> Result<Logged, DecodeError> {
        let record = Record::decode(&bytes)?;
        Ok(Logged::with(record, bytes))
    }

    /// Reads no more than the head of a record whose bytes have been in use here, unless it is an opening record.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read_head(bytes: Bytes) -> Result<Logged, DecodeError> {
        let head = Head::read(&bytes)?;
        if head.is_opening() {
            return Logged::read(bytes);
        }
        Ok(Logged {
            stamp: head.stamp,
            chain_before: head.chain_before,
            chain_after: Record::chain_after(&bytes),
            opening: None,
            bytes,
            record: None,
        })
    }

    /// A record that is made here.
    #[must_use]
    pub fn new(record: Record) -> Logged {
        let bytes = Bytes::from(record.encode());
        Logged::with(record, bytes)
    }

    fn with(record: Record, bytes: Bytes) -> Logged {
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
            record: Some(Arc::new(record)),
        }
    }

    /// All that it says.
    ///
    /// # Errors
    /// What is wrong with the bytes, if only the head has been read.
    pub fn record(&self) -> Result<Arc<Record>, DecodeError> {
        match &self.record {
            Some(record) => Ok(Arc::clone(record)),
            None => Record::decode(&self.bytes).map(Arc::new),
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

impl PartialEq for Logged {
    fn eq(&self, other: &Logged) -> bool {
        self.bytes == other.bytes
    }
}
