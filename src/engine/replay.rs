//! Replay: what the WAL holds beyond the store's state is applied before the node serves; of what it holds before, only
//! the places are noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::applier::{Applier, Item};
use super::durable::Durable;
use super::error::Error;
use crate::base::Lsn;
use crate::base::codec::DecodeError;
use crate::model::Record;
use crate::model::record::Head;
use crate::wal::Wal;

/// Records and bytes applied at once: enough to make the multi-get and the batch worth it.
const GROUP_RECORDS: usize = 256;
const GROUP_BYTES: usize = 4 << 20;

/// How far the replay has come; read while it runs.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    /// Bytes of WAL to replay.
    pub total_bytes: AtomicU64,
    /// Bytes replayed so far.
    pub done_bytes: AtomicU64,
    /// Records replayed so far.
    pub records: AtomicU64,
}

/// Applies everything in the WAL from `from` on, and notes where all that it holds stands.
pub(super) fn replay(
    wal: &Wal,
    from: Lsn,
    applier: &Applier,
    durable: &Durable,
    progress: &ReplayProgress,
) -> Result<(), Error> {
    progress
        .total_bytes
        .store(wal.durable().get().bytes_since(from), Ordering::Relaxed);
    let mut reader = wal.read_from(wal.first())?;
    let (mut group, mut bytes) = (Vec::new(), 0);
    let flush = |group: &mut Vec<Item>| -> Result<(), Error> {
        applier.commit(applier.prepare(group)?)?;
        let end = group.last().map_or(from, |item| item.end);
        progress
            .done_bytes
            .store(end.bytes_since(from), Ordering::Relaxed);
        progress.records.fetch_add(
            u64::try_from(group.len()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        group.clear();
        Ok(())
    };
    while let Some(entry) = reader.next().transpose()? {
        let bad_record = |source| Error::BadRecord {
            lsn: entry.begin,
            source,
        };
        let stamp = Head::read(&entry.payload).map_err(bad_record)?.stamp;
        durable.found(wal, stamp.log(), stamp.seq, entry.begin);
        if entry.begin < from {
            continue;
        }
        bytes += entry.payload.len();
        group.push(item(entry.end, &entry.payload).map_err(bad_record)?);
        if group.len() >= GROUP_RECORDS || bytes >= GROUP_BYTES {
            flush(&mut group)?;
            bytes = 0;
        }
    }
    flush(&mut group)
}

fn item(end: Lsn, payload: &Bytes) -> Result<Item, DecodeError> {
    Ok(Item {
        record: Arc::new(Record::decode(payload)?),
        chain: Record::chain_after(payload),
        end,
        fate: None,
    })
}
