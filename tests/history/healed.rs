//! After healing: all nodes are equal, and hold every write that was acknowledged, or a newer one. A write acknowledged at
//! async may be missing if the node that acknowledged it lost its disk or was evicted after it was invoked.

use std::collections::BTreeMap;

use super::{Action, Fact, Fault, History, Operation, Rule, Version, WriteLevel, WriteOutcome};

/// What each node holds at the end: for each key its version.
pub type Healed = BTreeMap<u64, BTreeMap<u64, Version>>;

/// Holds the final state to what clients were told.
pub fn judge_healed(history: &History, healed: &Healed) -> Result<(), Fault> {
    for operation in &history.operations {
        if let Some(promised) = promised(operation, &history.facts) {
            is_held(operation, promised, healed)?;
        }
    }
    are_equal(healed)
}

/// The version that must be there because of this operation.
fn promised(operation: &Operation, facts: &[Fact]) -> Option<Version> {
    match operation.action {
        Action::Write {
            level: WriteLevel::Async,
            outcome: WriteOutcome::Acked { version, node },
            ..
        } => (!facts.iter().any(|fact| excuses(fact, node, operation))).then_some(version),
        Action::Write { .. } | Action::Read { .. } => {
            operation.strong().map(|(_, version)| version)
        }
    }
}

fn excuses(fact: &Fact, acked_by: u64, write: &Operation) -> bool {
    match *fact {
        Fact::DiskLost { node, time } | Fact::Evicted { node, time } => {
            node == acked_by && time >= write.invoked
        }
        Fact::AlsoWritten { .. } => false,
    }
}

fn is_held(operation: &Operation, promised: Version, healed: &Healed) -> Result<(), Fault> {
    for (node, versions) in healed {
        let found = versions.get(&operation.key).copied();
        if found < Some(promised) {
            let rule = Rule::Lost { node: *node, found };
            return Err(Fault::new(rule, [operation]));
        }
    }
    Ok(())
}

fn are_equal(healed: &Healed) -> Result<(), Fault> {
    let mut nodes = healed.iter();
    let Some((one, expected)) = nodes.next() else {
        return Ok(());
    };
    for (other, versions) in nodes {
        let mut keys = expected.keys().chain(versions.keys());
        if let Some(key) = keys.find(|key| expected.get(key) != versions.get(key)) {
            let rule = Rule::NotEqual {
                one: *one,
                other: *other,
                key: *key,
            };
            return Err(Fault::new(rule, []));
        }
    }
    Ok(())
}
