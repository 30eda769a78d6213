//! Sessions: of one key, a session reads at least what it wrote and what it read before. An answer UNRECOVERED begins it
//! anew.

use std::collections::BTreeMap;

use super::floor::Floor;
use super::{Action, Fault, History, Nanos, Operation, ReadOutcome, Rule};

pub fn judge(history: &History) -> Result<(), Fault> {
    let mut sessions: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some(session) = operation.session {
            sessions.entry(session).or_default().push(operation);
        }
    }
    sessions.values().try_for_each(|session| judge_one(session))
}

fn judge_one(session: &[&Operation]) -> Result<(), Fault> {
    let mut restarts: Vec<Nanos> = session.iter().filter_map(|o| restart(o)).collect();
    restarts.sort_unstable();
    let mut stretches: BTreeMap<(usize, u64), Vec<&Operation>> = BTreeMap::new();
    for operation in session {
        let stretch = restarts.partition_point(|restart| *restart <= operation.invoked);
        stretches
            .entry((stretch, operation.key))
            .or_default()
            .push(operation);
    }
    stretches.values().try_for_each(|of_key| judge_key(of_key))
}

fn restart(operation: &Operation) -> Option<Nanos> {
    let is_unrecovered = matches!(
        operation.action,
        Action::Read {
            outcome: ReadOutcome::Unrecovered,
            ..
        }
    );
    operation.responded.filter(|_| is_unrecovered)
}

fn judge_key(of_key: &[&Operation]) -> Result<(), Fault> {
    let floor = Floor::new(of_key.iter().filter_map(|operation| {
        let read = || {
            let (time, version) = operation.answered()?;
            Some((time, version?))
        };
        let (time, version) = operation.acked().or_else(read)?;
        Some((time, version, *operation))
    }));
    for read in of_key {
        let Some((_, found)) = read.answered() else {
            continue;
        };
        if let Some((least, seen)) = floor.before(read.invoked)
            && found < Some(least)
        {
            return Err(Fault::new(Rule::SessionWentBack, [seen, *read]));
        }
    }
    Ok(())
}
