//! Pure: what clients asked and were told, as it is kept for people and as the judges of histories take it.
//!
//! Answers to reads name no versions, but values are unique, so a value is known by its write. The version of a write that
//! was not answered is learnt by repeating it under its request id.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Serialize;
use steadfast::base::{CommitLevel, ReadLevel, Stamp};

use crate::history::{self, Action, ReadOutcome, Version, WriteOutcome};

/// One call, with its answer if there was one. Times are nanoseconds since the run began.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    pub client: String,
    /// What the client has seen is held against what it was answered.
    pub session: Option<u64>,
    pub key: u64,
    pub invoked: u64,
    pub ended: u64,
    #[serde(flatten)]
    pub call: Call,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Write(Write, Told),
    Read(#[serde(serialize_with = "shown")] ReadLevel, Found),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Write {
    pub value: u64,
    pub level: CommitLevel,
    /// In event-time views.
    pub event_time: Option<i64>,
    /// It was sent to one node alone, and once, so it has one record at the most. What is repeated elsewhere may have two,
    /// which a read does not tell apart.
    pub is_sent_once: bool,
}

/// What was said of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Acked(#[serde(serialize_with = "shown")] Stamp),
    Unknown(String),
    Refused(String),
    /// An acknowledgement that does not say what it must, or that the write is not in order.
    Wrong(String),
}

/// What was said to a read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Nothing(Answered),
    Value {
        value: u64,
        /// In event-time views.
        event_time: Option<i64>,
        answered: Answered,
    },
    /// Something that the session has seen is lost, or may be.
    Unrecovered,
    Failed(String),
}

/// Who answered a read, and how old that may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub node: String,
    pub staleness_ms: u64,
}

fn shown<T: std::fmt::Display, S: serde::Serializer>(
    what: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(what)
}

/// Where writes of a round stand in the order, by their values.
pub type Stamps = BTreeMap<u64, Stamp>;

impl Recorded {
    fn write(&self) -> Option<(&Write, &Told)> {
        match &self.call {
            Call::Write(write, told) => Some((write, told)),
            Call::Read(..) => None,
        }
    }

    /// The value that a read found.
    pub fn found(&self) -> Option<u64> {
        match &self.call {
            Call::Read(_, Found::Value { value, .. }) => Some(*value),
            Call::Read(_, Found::Nothing(_) | Found::Unrecovered | Found::Failed(_))
            | Call::Write(..) => None,
        }
    }
}

/// A strong read that found one of these values.
pub fn strongly_found<'a>(
    recorded: &'a [Recorded],
    values: &BTreeSet<u64>,
) -> Option<&'a Recorded> {
    recorded.iter().find(|one| {
        let is_strong = matches!(
            one.call,
            Call::Read(ReadLevel::Quorum | ReadLevel::Primary, _)
        );
        is_strong && one.found().is_some_and(|found| values.contains(&found))
    })
}

/// The stamps that clients were told.
pub fn told(recorded: &[Recorded]) -> Stamps {
    let writes = recorded.iter().filter_map(Recorded::write);
    let stamps = writes.filter_map(|(write, told)| match told {
        Told::Acked(stamp) => Some((write.value, *stamp)),
        Told::Unknown(_) | Told::Refused(_) | Told::Wrong(_) => None,
    });
    stamps.collect()
}

/// The first write that was answered as it must not be.
pub fn wrong(recorded: &[Recorded]) -> Option<&Recorded> {
    let is_wrong = |call: &&Recorded| matches!(&call.call, Call::Write(_, Told::Wrong(_)));
    recorded.iter().find(is_wrong)
}

/// The writes of these values whose stamps nobody was told, with their keys.
pub fn unresolved(
    recorded: &[Recorded],
    found: &BTreeSet<u64>,
    stamps: &Stamps,
) -> Vec<(u64, Write)> {
    let writes = recorded.iter().filter_map(|recorded| {
        let (write, _) = recorded.write()?;
        let wanted = found.contains(&write.value) && !stamps.contains_key(&write.value);
        wanted.then_some((recorded.key, *write))
    });
    writes.collect()
}

/// By key, the values of writes whose fate nobody was told. They may be written yet, for as long as a node is given for it.
pub fn open(recorded: &[Recorded], stamps: &Stamps) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut open: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for recorded in recorded {
        let Some((write, told)) = recorded.write() else {
            continue;
        };
        let is_open = !matches!(told, Told::Refused(_));
        if is_open && !stamps.contains_key(&write.value) {
            open.entry(recorded.key).or_default().insert(write.value);
        }
    }
    open
}

/// The version of a write with this stamp.
pub fn version(event_time: Option<i64>, stamp: Stamp) -> Version {
    Version {
        event_time,
        hlc: stamp.hlc.0,
        epoch: stamp.epoch.0,
        seq: stamp.seq.0,
    }
}

/// As the judges take it. `primaries` says which member was primary of an epoch. Reads of values in `lost` are left out:
/// their writes were never acknowledged, and went with a disk.
pub fn judged(
    recorded: &[Recorded],
    stamps: &Stamps,
    primaries: &BTreeMap<u64, u64>,
    lost: &BTreeSet<u64>,
) -> anyhow::Result<Vec<history::Operation>> {
    let writes = recorded.iter().filter_map(Recorded::write);
    let once = writes.filter_map(|(write, _)| write.is_sent_once.then_some(write.value));
    let mut sessions = Sessions {
        once: once.collect(),
        of_nodes: BTreeMap::new(),
    };
    let is_lost = |found: u64| lost.contains(&found);
    let kept = recorded
        .iter()
        .filter(|one| !one.found().is_some_and(is_lost));
    kept.map(|one| operation(one, stamps, primaries, &mut sessions))
        .collect()
}

fn operation(
    recorded: &Recorded,
    stamps: &Stamps,
    primaries: &BTreeMap<u64, u64>,
    sessions: &mut Sessions,
) -> anyhow::Result<history::Operation> {
    let (action, is_answered) = match &recorded.call {
        Call::Write(write, told) => (
            Action::Write {
                value: write.value,
                level: match write.level {
                    CommitLevel::Async => history::WriteLevel::Async,
                    CommitLevel::Quorum => history::WriteLevel::Quorum,
                    CommitLevel::All => history::WriteLevel::All,
                },
                event_time: write.event_time,
                outcome: match told {
                    Told::Acked(stamp) => WriteOutcome::Acked {
                        version: version(write.event_time, *stamp),
                        node: *primaries
                            .get(&stamp.epoch.0)
                            .with_context(|| format!("nobody was primary of {stamp}"))?,
                    },
                    Told::Unknown(_) | Told::Wrong(_) => WriteOutcome::Unknown,
                    Told::Refused(_) => WriteOutcome::Refused,
                },
            },
            !matches!(told, Told::Unknown(_) | Told::Wrong(_)),
        ),
        Call::Read(level, found) => (
            Action::Read {
                level: match level {
                    ReadLevel::Local => history::ReadLevel::Local,
                    ReadLevel::Bounded(bound) => {
                        history::ReadLevel::Bounded(nanos(bound.as_millis()))
                    }
                    ReadLevel::Quorum => history::ReadLevel::Quorum,
                    ReadLevel::Primary => history::ReadLevel::Primary,
                },
                outcome: outcome(found, stamps),
            },
            !matches!(found, Found::Failed(_)),
        ),
    };
    Ok(history::Operation {
        key: recorded.key,
        session: sessions.of(recorded),
        invoked: recorded.invoked,
        responded: is_answered.then_some(recorded.ended),
        action,
    })
}

fn outcome(found: &Found, stamps: &Stamps) -> ReadOutcome {
    let (value, event_time, answered) = match found {
        Found::Nothing(answered) => (None, None, answered),
        Found::Value {
            value,
            event_time,
            answered,
        } => (Some(*value), *event_time, answered),
        Found::Unrecovered => return ReadOutcome::Unrecovered,
        Found::Failed(_) => return ReadOutcome::Failed,
    };
    let stamp = value.and_then(|value| stamps.get(&value));
    let is_stated = answered.staleness_ms != u64::MAX;
    ReadOutcome::Value {
        value,
        version: stamp.map(|stamp| version(event_time, *stamp)),
        staleness: is_stated.then(|| nanos(u128::from(answered.staleness_ms))),
    }
}

/// Besides those of clients, the local reads of one directory are a session: what was read there once is there ever after, or
/// something newer.
struct Sessions {
    /// Values of which there is one record at the most.
    once: BTreeSet<u64>,
    of_nodes: BTreeMap<String, u64>,
}

impl Sessions {
    /// The sessions of clients have odd numbers, those of directories even ones.
    fn of(&mut self, recorded: &Recorded) -> Option<u64> {
        if let Some(session) = recorded.session {
            let value = match &recorded.call {
                Call::Write(write, _) => Some(write.value),
                Call::Read(..) => recorded.found(),
            };
            let is_known = value.is_none_or(|value| self.once.contains(&value));
            return is_known.then_some(2 * session + 1);
        }
        let Call::Read(ReadLevel::Local, Found::Nothing(answered) | Found::Value { answered, .. }) =
            &recorded.call
        else {
            return None;
        };
        let is_known = recorded
            .found()
            .is_none_or(|value| self.once.contains(&value));
        let next = 2 * self.of_nodes.len() as u64;
        let session = self.of_nodes.entry(answered.node.clone()).or_insert(next);
        is_known.then_some(*session)
    }
}

fn nanos(millis: u128) -> history::Nanos {
    u64::try_from(millis * 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, Rule};

    const NODE: &str = "0a";

    fn stamp(seq: u64) -> Stamp {
        format!("{}.0@0000000000000001/3/{seq}", 1_000 + seq)
            .parse()
            .unwrap()
    }

    fn write(value: u64, at: u64, told: Told) -> Recorded {
        let write = Write {
            value,
            level: CommitLevel::Quorum,
            event_time: None,
            is_sent_once: true,
        };
        recorded(at, Call::Write(write, told))
    }

    fn read(level: ReadLevel, value: Option<u64>, at: u64) -> Recorded {
        let answered = Answered {
            node: NODE.to_owned(),
            staleness_ms: u64::MAX,
        };
        let found = match value {
            Some(value) => Found::Value {
                value,
                event_time: None,
                answered,
            },
            None => Found::Nothing(answered),
        };
        recorded(at, Call::Read(level, found))
    }

    fn recorded(at: u64, call: Call) -> Recorded {
        Recorded {
            client: "test".to_owned(),
            session: None,
            key: 0,
            invoked: at * 10,
            ended: at * 10 + 5,
            call,
        }
    }

    fn judge(recorded: &[Recorded], stamps: &Stamps) -> Result<(), Rule> {
        let operations = judged(recorded, stamps, &[(3, 1)].into(), &BTreeSet::new()).unwrap();
        let history = History {
            operations,
            facts: Vec::new(),
        };
        history::judge(&history).map_err(|fault| fault.rule)
    }

    fn two_writes() -> Vec<Recorded> {
        vec![
            write(1, 1, Told::Acked(stamp(1))),
            write(2, 2, Told::Acked(stamp(2))),
        ]
    }

    #[test]
    fn a_read_of_what_was_overwritten_is_stale_at_primary_and_allowed_locally() {
        for (level, verdict) in [
            (ReadLevel::Primary, Err(Rule::StaleStrongRead)),
            (ReadLevel::Quorum, Err(Rule::StaleStrongRead)),
            (ReadLevel::Local, Ok(())),
        ] {
            let mut all = two_writes();
            all.push(read(level, Some(1), 3));
            let stamps = told(&all);
            assert_eq!(judge(&all, &stamps), verdict, "{level}");
        }
    }

    #[test]
    fn what_one_directory_answered_does_not_go_back() {
        let mut all = two_writes();
        all.push(read(ReadLevel::Local, Some(2), 3));
        all.push(read(ReadLevel::Local, Some(1), 4));
        let stamps = told(&all);
        assert_eq!(judge(&all, &stamps), Err(Rule::SessionWentBack));
        let Call::Read(_, Found::Value { answered, .. }) = &mut all[3].call else {
            unreachable!("it is a read");
        };
        answered.node = "0b".to_owned();
        assert_eq!(judge(&all, &stamps), Ok(()));
    }

    #[test]
    fn what_a_session_of_a_client_has_seen_does_not_go_back_until_it_is_told_so() {
        let mut all = two_writes();
        all.push(read(ReadLevel::Local, Some(1), 3));
        // Of directories of their own.
        for (at, one) in all.iter_mut().enumerate() {
            one.session = Some(7);
            if let Call::Read(_, Found::Value { answered, .. }) = &mut one.call {
                answered.node = at.to_string();
            }
        }
        let stamps = told(&all);
        assert_eq!(judge(&all, &stamps), Err(Rule::SessionWentBack));
        all.insert(
            2,
            recorded(2, Call::Read(ReadLevel::Local, Found::Unrecovered)),
        );
        all[2].session = Some(7);
        assert_eq!(judge(&all, &stamps), Ok(()));
        all.remove(2);
        all[2].session = Some(8);
        assert_eq!(judge(&all, &stamps), Ok(()));
    }

    #[test]
    fn a_value_without_an_answer_is_known_once_its_write_is_repeated() {
        let mut all = two_writes();
        all.push(write(3, 3, Told::Unknown("cut off".to_owned())));
        all.push(read(ReadLevel::Primary, Some(3), 4));
        let mut stamps = told(&all);
        let found = all.iter().filter_map(Recorded::found).collect();
        let unresolved = unresolved(&all, &found, &stamps);
        assert_eq!(unresolved.len(), 1);
        assert_eq!(unresolved[0].1.value, 3);
        assert_eq!(judge(&all, &stamps), Err(Rule::HalfAnswer));
        stamps.insert(3, stamp(3));
        assert_eq!(judge(&all, &stamps), Ok(()));
    }

    #[test]
    fn a_history_is_a_line_for_each_call() {
        let line = serde_json::to_string(&two_writes()[0]).unwrap();
        assert_eq!(
            line,
            "{\"client\":\"test\",\"session\":null,\"key\":0,\"invoked\":10,\"ended\":15,\"write\":[{\"value\":1,\"level\":\"quorum\",\
             \"event_time\":null,\"is_sent_once\":true},{\"acked\":\"1001.0@0000000000000001/3/1\"}]}"
        );
    }
}
