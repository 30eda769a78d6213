//! What clients did and saw, and the judgement of it.

use std::collections::BTreeMap;

use steadfast::base::Stamp;
use steadfast::model::{CommitLevel, Order};

/// `(event time or 0, stamp)`: greater wins.
pub type Rank = (i64, Stamp);

#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Write { value: u64, level: CommitLevel },
    ReadPrimary,
    ReadQuorum,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Open,
    Acknowledged {
        rank: Rank,
        node: usize,
        incarnation: u128,
    },
    Refused,
    Unknown,
    Read {
        rank: Option<Rank>,
        value: Option<u64>,
    },
    Failed,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub order: Order,
    pub key: u64,
    pub ask: Ask,
    pub begun: u64,
    pub ended: u64,
    pub outcome: Outcome,
}

impl Operation {
    fn is_strong(&self) -> bool {
        matches!(
            (&self.ask, &self.outcome),
            (
                Ask::Write {
                    level: CommitLevel::Quorum | CommitLevel::All,
                    ..
                },
                Outcome::Acknowledged { .. }
            ) | (Ask::ReadPrimary | Ask::ReadQuorum, Outcome::Read { .. })
        )
    }

    pub fn rank(&self) -> Option<Rank> {
        match self.outcome {
            Outcome::Acknowledged { rank, .. } => Some(rank),
            Outcome::Read { rank, .. } => rank,
            Outcome::Open | Outcome::Refused | Outcome::Unknown | Outcome::Failed => None,
        }
    }
}

/// Judges one key's operations: primary and quorum reads with quorum writes are a max-register; in arrival order that is
/// a register, because stamps of writes rise in real time.
pub fn judge(operations: &[Operation]) -> Result<(), String> {
    let mut keys: BTreeMap<(bool, u64), Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        let at = (operation.order == Order::Arrival, operation.key);
        keys.entry(at).or_default().push(operation);
    }
    keys.values().try_for_each(|of_key| judge_key(of_key))
}

fn judge_key(operations: &[&Operation]) -> Result<(), String> {
    let mut ends: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|o| o.is_strong())
        .collect();
    let mut begins = ends.clone();
    ends.sort_by_key(|operation| operation.ended);
    begins.sort_by_key(|operation| operation.begun);
    let mut done: Option<&Operation> = None;
    let mut ends = ends.into_iter().peekable();
    for operation in begins {
        while let Some(ended) = ends.next_if(|ended| ended.ended < operation.begun) {
            if done.is_none_or(|done| ended.rank() > done.rank()) {
                done = Some(ended);
            }
        }
        let Some(done) = done else { continue };
        let is_read = !matches!(operation.ask, Ask::Write { .. });
        if is_read && operation.rank() < done.rank() {
            return Err(format!(
                "a strong read is stale:\n  {operation:?}\n  after\n  {done:?}"
            ));
        }
        let stamp = |o: &Operation| o.rank().map(|rank| rank.1);
        if !is_read && stamp(operation) < stamp(done) {
            return Err(format!(
                "a write is stamped before what was done before it began:\n  {operation:?}\n  after\n  {done:?}"
            ));
        }
    }
    for read in operations {
        let Outcome::Read {
            rank: Some(rank),
            value: Some(value),
        } = read.outcome
        else {
            continue;
        };
        let is_source = |o: &&&Operation| matches!(o.ask, Ask::Write { value: written, .. } if written == value);
        let Some(source) = operations.iter().find(is_source) else {
            return Err(format!("I16: a value was read that nobody wrote: {read:?}"));
        };
        if source.begun > read.ended || source.outcome == Outcome::Refused {
            return Err(format!(
                "a value was read that was not written: {read:?} {source:?}"
            ));
        }
        if source.rank().is_some_and(|written| written != rank) {
            return Err(format!(
                "a value was read under another version: {read:?} {source:?}"
            ));
        }
    }
    Ok(())
}
