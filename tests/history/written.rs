//! Values and versions: what is read was written to this key, by a write that was invoked before the read ended and was
//! not refused, under the version of its acknowledgement, or that of another record that it is known to have. One version
//! belongs to one value.

use std::collections::HashMap;

use super::{Action, Fact, Fault, History, Operation, ReadOutcome, Rule, Version, WriteOutcome};

pub fn judge(history: &History) -> Result<(), Fault> {
    let writes = writes(history)?;
    let mut versions = HashMap::new();
    for operation in &history.operations {
        let Some((value, version)) = seen(operation)? else {
            continue;
        };
        let (first_value, first) = *versions
            .entry((version.hlc, version.epoch, version.seq))
            .or_insert((value, operation));
        if first_value != value {
            return Err(Fault::new(Rule::VersionTwice, [first, operation]));
        }
        let also = Fact::AlsoWritten { value, version };
        match writes.get(&value) {
            Some(write) if write.key == operation.key => {
                fits(write, operation, version, history.facts.contains(&also))
                    .map_err(|rule| Fault::new(rule, [*write, operation]))?;
            }
            Some(write) => return Err(Fault::new(Rule::ValueFromNowhere, [*write, operation])),
            None => return Err(Fault::new(Rule::ValueFromNowhere, [operation])),
        }
    }
    Ok(())
}

fn writes(history: &History) -> Result<HashMap<u64, &Operation>, Fault> {
    let mut writes = HashMap::new();
    for operation in &history.operations {
        if let Action::Write { value, .. } = operation.action
            && let Some(other) = writes.insert(value, operation)
        {
            return Err(Fault::new(Rule::ValueTwice, [other, operation]));
        }
    }
    Ok(writes)
}

/// The value that an operation shows, and its version.
fn seen(operation: &Operation) -> Result<Option<(u64, Version)>, Fault> {
    match operation.action {
        Action::Write {
            value,
            outcome: WriteOutcome::Acked { version, .. },
            ..
        } => Ok(Some((value, version))),
        Action::Read {
            outcome: ReadOutcome::Value { value, version, .. },
            ..
        } => match (value, version) {
            (Some(value), Some(version)) => Ok(Some((value, version))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(Fault::new(Rule::HalfAnswer, [operation])),
        },
        Action::Write { .. } | Action::Read { .. } => Ok(None),
    }
}

fn fits(
    write: &Operation,
    seen: &Operation,
    version: Version,
    is_also_written: bool,
) -> Result<(), Rule> {
    let Action::Write {
        event_time,
        outcome,
        ..
    } = write.action
    else {
        return Ok(());
    };
    if seen.responded.is_some_and(|end| end < write.invoked) {
        return Err(Rule::ReadBeforeWritten);
    }
    let is_other = match outcome {
        WriteOutcome::Refused => return Err(Rule::RefusedWriteRead),
        WriteOutcome::Acked { version: acked, .. } => acked != version && !is_also_written,
        WriteOutcome::Unknown => false,
    };
    if is_other || version.event_time != event_time {
        return Err(Rule::OtherVersion);
    }
    Ok(())
}
