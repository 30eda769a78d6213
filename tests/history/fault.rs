//! A broken rule, with the operations that break it.

use std::fmt;

use super::{Action, Operation, ReadOutcome, Version, WriteOutcome};

/// What a history must not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("a strong read returned less than was acknowledged or strongly read before it began")]
    StaleStrongRead,
    #[error("a value was read that nobody wrote to this key")]
    ValueFromNowhere,
    #[error("a value was read before its write was invoked")]
    ReadBeforeWritten,
    #[error("a value was read whose write was refused")]
    RefusedWriteRead,
    #[error("a value was read under a version that its write does not have")]
    OtherVersion,
    #[error("a read answered a value without a version, or a version without a value")]
    HalfAnswer,
    #[error("two writes have one value")]
    ValueTwice,
    #[error("two values have one version")]
    VersionTwice,
    #[error("a session read less than it had written or read")]
    SessionWentBack,
    #[error("a read lacks what was acknowledged longer ago than its staleness")]
    TooStale,
    #[error("a write is not stamped above what was acknowledged before it was invoked")]
    StampNotAbove,
    #[error("a stamp is not above those before it in its log, or those of an earlier epoch")]
    LogOutOfOrder,
    #[error("no order of these operations, and of writes without answer, explains what was read")]
    NotLinearizable,
    #[error("node {node} lost a write: it ended with {}", show(.found))]
    Lost { node: u64, found: Option<Version> },
    #[error("nodes {one} and {other} ended differently at key {key}")]
    NotEqual { one: u64, other: u64, key: u64 },
}

/// A broken rule; the operations are in the order in which the rule speaks of them, the accused last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}{}", lines(.operations))]
pub struct Fault {
    pub rule: Rule,
    pub operations: Vec<Operation>,
}

impl Fault {
    pub(super) fn new<'a>(
        rule: Rule,
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Fault {
        let operations = operations.into_iter().copied().collect();
        Fault { rule, operations }
    }
}

fn lines(operations: &[Operation]) -> String {
    operations.iter().map(|o| format!("\n  {o}")).collect()
}

fn show(version: &Option<Version>) -> String {
    version.map_or("nothing".into(), |version| version.to_string())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = self.event_time {
            write!(f, "at {time} ")?;
        }
        write!(f, "{:#x}/{}/{}", self.hlc, self.epoch, self.seq)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..", self.invoked)?;
        if let Some(responded) = self.responded {
            write!(f, "{responded}")?;
        }
        write!(f, "] key {} ", self.key)?;
        if let Some(session) = self.session {
            write!(f, "session {session} ")?;
        }
        match self.action {
            Action::Write {
                value,
                level,
                event_time,
                outcome,
            } => {
                write!(f, "write {value} ")?;
                if let Some(time) = event_time {
                    write!(f, "of {time} ")?;
                }
                write!(f, "({level:?}) {outcome}")
            }
            Action::Read { level, outcome } => write!(f, "read ({level:?}) {outcome}"),
        }
    }
}

impl fmt::Display for WriteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteOutcome::Acked { version, node } => write!(f, "acked by {node} as {version}"),
            WriteOutcome::Unknown => write!(f, "unknown"),
            WriteOutcome::Refused => write!(f, "refused"),
        }
    }
}

impl fmt::Display for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOutcome::Value {
                value,
                version,
                staleness,
            } => {
                match value {
                    Some(value) => write!(f, "found {value} of {}", show(version))?,
                    None => write!(f, "found nothing")?,
                }
                staleness.map_or(Ok(()), |staleness| write!(f, ", stale by {staleness}"))
            }
            ReadOutcome::Unrecovered => write!(f, "unrecovered"),
            ReadOutcome::Failed => write!(f, "failed"),
        }
    }
}
