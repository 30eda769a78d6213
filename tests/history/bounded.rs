//! Staleness, asked for or stated: of one key, a read returns at least what was acknowledged at quorum longer before it
//! was invoked than that.

use super::floor::Floor;
use super::{Action, Fault, Nanos, Operation, ReadLevel, ReadOutcome, Rule};

pub fn judge(of_key: &[&Operation]) -> Result<(), Fault> {
    let floor = Floor::new(of_key.iter().filter_map(|write| {
        let (time, version) = write.strongly_acked()?;
        Some((time, version, *write))
    }));
    for read in of_key {
        let (Some((_, found)), Some(staleness)) = (read.answered(), staleness(read)) else {
            continue;
        };
        if let Some((least, done)) = floor.before(read.invoked.saturating_sub(staleness))
            && found < Some(least)
        {
            return Err(Fault::new(Rule::TooStale, [done, *read]));
        }
    }
    Ok(())
}

/// The smaller of what was asked for and what was stated.
fn staleness(read: &Operation) -> Option<Nanos> {
    let Action::Read {
        level,
        outcome: ReadOutcome::Value { staleness, .. },
    } = read.action
    else {
        return None;
    };
    match level {
        ReadLevel::Bounded(bound) => Some(staleness.map_or(bound, |stated| stated.min(bound))),
        ReadLevel::Local | ReadLevel::Primary | ReadLevel::Quorum => staleness,
    }
}
