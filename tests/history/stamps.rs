//! Stamps rise: along each log, from epoch to epoch, and from a write acknowledged at quorum or all to one invoked later.
//!
//! The last holds between writes acknowledged at quorum or all: a deposed primary may still acknowledge at async for a
//! moment, below what its successor acknowledges.

use super::floor::Floor;
use super::{Fault, History, Rule};

pub fn judge(history: &History) -> Result<(), Fault> {
    in_logs(history)?;
    in_time(history)
}

fn in_logs(history: &History) -> Result<(), Fault> {
    let operations = history.operations.iter();
    let mut acked: Vec<_> = operations.filter_map(|o| Some((o.acked()?.1, o))).collect();
    acked.sort_by_key(|(version, _)| (version.epoch, version.seq));
    for pair in acked.windows(2) {
        let [(low, one), (high, other)] = [pair[0], pair[1]];
        if (low.hlc, low.epoch) > (high.hlc, high.epoch)
            || (low.epoch != high.epoch && low.hlc == high.hlc)
        {
            return Err(Fault::new(Rule::LogOutOfOrder, [one, other]));
        }
    }
    Ok(())
}

fn in_time(history: &History) -> Result<(), Fault> {
    let operations = history.operations.iter();
    let floor = Floor::new(operations.filter_map(|write| {
        let (time, version) = write.strongly_acked()?;
        Some((time, version.hlc, write))
    }));
    for write in &history.operations {
        let Some((_, version)) = write.strongly_acked() else {
            continue;
        };
        if let Some((hlc, done)) = floor.before(write.invoked)
            && version.hlc <= hlc
        {
            return Err(Fault::new(Rule::StampNotAbove, [done, write]));
        }
    }
    Ok(())
}
