//! Which segments of the WAL may go.
//!
//! **Invariant** (I5). Nothing goes that the store would need after a crash, or that may be on no other disk.

use super::durable::Durable;
use crate::base::{LogId, Lsn, Seq};
use crate::wal::Wal;

/// Who depends on this WAL for a record. Of one log, who depends on a record depends on those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nobody.
    Nobody,
    /// A member that lacks it, and would have to get a snapshot in its place. It is kept within bounds.
    Laggard,
    /// Everybody: it may be on no other disk. It is kept whatever that takes.
    OnlyCopy,
}

/// What may be released, and what may not although it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// The segments below this place may go.
    pub below: Lsn,
    /// Bytes beyond what is to be retained, kept because they may be the only copy of some record.
    pub unspread_bytes: u64,
}

/// Looks at the segments below the `flushed` place, the oldest first.
pub(super) fn releasable(
    wal: &Wal,
    durable: &Durable,
    flushed: Lsn,
    retain_bytes: u64,
    need: impl Fn(LogId, Seq) -> Need,
) -> Release {
    let end = wal.durable().get();
    let mut release = Release {
        below: wal.first(),
        unspread_bytes: 0,
    };
    let behind = wal.segments().into_iter().skip(1);
    for place in behind.take_while(|place| *place <= flushed) {
        let ends = durable.ends_below(wal, place).into_iter();
        let excess = end.bytes_since(release.below).saturating_sub(retain_bytes);
        match ends.map(|(log, seq)| need(log, seq)).max() {
            Some(Need::OnlyCopy) => {
                release.unspread_bytes = excess;
                break;
            }
            Some(Need::Laggard) if excess == 0 => break,
            Some(Need::Laggard | Need::Nobody) | None => release.below = place,
        }
    }
    release
}
