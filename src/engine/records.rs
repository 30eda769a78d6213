//! Reading records out of the WAL for other members.

use super::durable::Durable;
use super::error::Error;
use crate::base::Missing;
use crate::model::Logged;
use crate::model::record::Head;
use crate::wal::{self, Wal};

/// Reads what is missing and durable here, in the order of the WAL, until it is about `max_bytes`, but one record at
/// least. `None` if the WAL no longer reaches back to some of it.
pub(super) fn read(
    wal: &Wal,
    durable: &Durable,
    missing: &[Missing],
    max_bytes: usize,
) -> Result<Option<Vec<Logged>>, Error> {
    let held = durable.vector(wal);
    let here = |missing: &Missing| Missing {
        // Of a folded log everything is held.
        through: held
            .last(missing.log)
            .map_or(missing.through, |last| last.min(missing.through)),
        ..*missing
    };
    let missing = missing.iter().map(here);
    let missing = missing
        .filter(|missing| missing.after < missing.through)
        .collect();
    match gather(wal, durable, missing, max_bytes) {
        // It was released between looking and reading.
        Err(Error::Wal(cause)) if matches!(*cause, wal::Error::Released { .. }) => Ok(None),
        outcome => outcome,
    }
}

fn gather(
    wal: &Wal,
    durable: &Durable,
    mut missing: Vec<Missing>,
    max_bytes: usize,
) -> Result<Option<Vec<Logged>>, Error> {
    let mut found = Vec::new();
    if missing.is_empty() {
        return Ok(Some(found));
    }
    let Some(place) = durable.place_of(&missing) else {
        return Ok(None);
    };
    let (mut reader, mut bytes) = (wal.read_from(place)?, 0);
    while !missing.is_empty() && (found.is_empty() || bytes < max_bytes) {
        let Some(entry) = reader.next().transpose()? else {
            break;
        };
        let damaged = |source| Error::BadRecord {
            lsn: entry.begin,
            source,
        };
        let stamp = Head::read(&entry.payload).map_err(damaged)?.stamp;
        let is_next =
            |missing: &Missing| missing.log == stamp.log() && missing.after.next() == stamp.seq;
        if let Some(wanted) = missing.iter_mut().find(|missing| is_next(missing)) {
            wanted.after = stamp.seq;
            bytes += entry.payload.len();
            found.push(Logged::read_head(entry.payload).map_err(damaged)?);
            missing.retain(|missing| missing.after < missing.through);
        } else if let Some(place) = durable.place_of(&missing) {
            reader.skip_to(place);
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
#[path = "records_test.rs"]
mod tests;
