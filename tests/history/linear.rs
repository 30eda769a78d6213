//! A second judge of strong reads, which trusts no version: a search for an order of one key's operations in which each
//! read finds what a register holds (in event-time views: what a max-register holds).
//!
//! The search is costly, so the history is cut where no strong operation was under way, and judged in overlapping windows.
//! Only the first window knows what the register holds at its beginning; every other takes what its reads reveal. A write
//! without an answer, or acknowledged at async, may take effect at any time after its invocation, or never.

use std::collections::HashMap;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action as Event, History as Events};
use todc_utils::specifications::Specification;

use super::{Action, Fault, Nanos, Operation, ReadOutcome, Rule, WriteOutcome};

/// A piece ends at the first cut after so many operations.
const PIECE: usize = 12;
/// A window with more operations than this is left to the judge that trusts versions.
const LONGEST: usize = 64;

/// A value and its event time, or 0 in arrival order, where what comes later wins.
type Ranked = (i64, u64);

/// Judges one key's operations and says how many strong ones were in a window that was searched.
pub fn judge(of_key: &[&Operation]) -> Result<usize, Fault> {
    let writes: HashMap<u64, &Operation> = of_key
        .iter()
        .filter_map(|o| Some((ranked(o)?.1, *o)))
        .collect();
    let pieces = pieces(of_key);
    let mut judged = 0;
    for at in 0..pieces.len() {
        let window: Vec<&Operation> = pieces[at..].iter().take(2).flatten().copied().collect();
        if window.len() > LONGEST {
            continue;
        }
        if !WGLChecker::<Register>::is_linearizable(events(&window, &writes, at == 0)) {
            return Err(Fault::new(Rule::NotLinearizable, window));
        }
        judged += pieces[at].len();
    }
    Ok(judged)
}

/// The strong operations in order of invocation, cut where none was under way.
fn pieces<'a>(of_key: &[&'a Operation]) -> Vec<Vec<&'a Operation>> {
    let is_definite =
        |o: &&Operation| o.strongly_acked().is_some() || o.strongly_answered().is_some();
    let mut strong: Vec<&Operation> = of_key.iter().copied().filter(is_definite).collect();
    strong.sort_by_key(|operation| operation.invoked);
    let mut pieces: Vec<Vec<&Operation>> = Vec::new();
    let mut busy_until = None;
    for operation in strong {
        match pieces.last_mut() {
            Some(piece) if piece.len() < PIECE || Some(operation.invoked) <= busy_until => {
                piece.push(operation);
            }
            Some(_) | None => pieces.push(vec![operation]),
        }
        busy_until = busy_until.max(operation.responded);
    }
    pieces
}

/// The window as calls and responses, with the indefinite writes whose values it reads.
fn events(
    window: &[&Operation],
    writes: &HashMap<u64, &Operation>,
    is_first: bool,
) -> Events<Step> {
    let mut steps: Vec<(Nanos, Nanos, Step)> = Vec::new();
    let mut indefinite: HashMap<u64, &Operation> = HashMap::new();
    for operation in window {
        let end = operation.responded.unwrap_or(Nanos::MAX);
        let step = match ranked(operation) {
            Some(write) => Step::Write(write),
            None => Step::Read(found(operation).map(|value| rank(value, writes))),
        };
        if let Some(value) = found(operation)
            && let Some(write) = writes.get(&value)
            && write.strongly_acked().is_none()
        {
            indefinite.insert(value, write);
        }
        steps.push((operation.invoked, end, step));
    }
    let late = indefinite
        .values()
        .filter_map(|o| Some((o.invoked, Nanos::MAX, Step::Write(ranked(o)?))));
    steps.extend(late);
    in_order(steps, is_first)
}

/// Calls before responses where they are at the same moment: neither precedes the other.
fn in_order(steps: Vec<(Nanos, Nanos, Step)>, is_first: bool) -> Events<Step> {
    let mut moments = Vec::new();
    for (process, (begin, end, step)) in steps.into_iter().enumerate() {
        moments.push((begin, false, process + 1, Event::Call(step)));
        moments.push((end, true, process + 1, Event::Response(step)));
    }
    moments.sort_by_key(|(time, is_response, ..)| (*time, *is_response));
    let start = if is_first { Step::Empty } else { Step::Unsure };
    let events = [(0, Event::Call(start)), (0, Event::Response(start))].into_iter();
    Events::from_actions(
        events
            .chain(
                moments
                    .into_iter()
                    .map(|(.., process, event)| (process, event)),
            )
            .collect(),
    )
}

fn ranked(operation: &Operation) -> Option<Ranked> {
    match operation.action {
        Action::Write {
            outcome: WriteOutcome::Refused,
            ..
        }
        | Action::Read { .. } => None,
        Action::Write {
            value, event_time, ..
        } => Some((event_time.unwrap_or(0), value)),
    }
}

fn found(operation: &Operation) -> Option<u64> {
    match operation.action {
        Action::Read {
            outcome: ReadOutcome::Value { value, .. },
            ..
        } => value,
        Action::Write { .. } | Action::Read { .. } => None,
    }
}

/// A value that nobody wrote ranks below all, so nothing explains it.
fn rank(value: u64, writes: &HashMap<u64, &Operation>) -> Ranked {
    let write = writes.get(&value).and_then(|write| ranked(write));
    write.unwrap_or((i64::MIN, value))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Empty,
    Unsure,
    Write(Ranked),
    Read(Option<Ranked>),
}

/// What the register holds; unless `is_sure`, something of a greater event time may hide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    top: Option<Ranked>,
    is_sure: bool,
}

struct Register;

impl Specification for Register {
    type State = Held;
    type Operation = Step;

    fn init() -> Held {
        Held {
            top: None,
            is_sure: true,
        }
    }

    fn apply(step: &Step, held: &Held) -> (bool, Held) {
        let event_time = |ranked: Option<Ranked>| ranked.map(|(time, _)| time);
        match *step {
            Step::Empty => (true, *held),
            Step::Unsure => (
                true,
                Held {
                    top: None,
                    is_sure: false,
                },
            ),
            Step::Write(write) if event_time(Some(write)) >= event_time(held.top) => (
                true,
                Held {
                    top: Some(write),
                    ..*held
                },
            ),
            Step::Write(_) => (true, *held),
            Step::Read(found) => {
                let is_revealed = !held.is_sure && event_time(found) > event_time(held.top);
                let is_valid = found == held.top || is_revealed;
                (
                    is_valid,
                    Held {
                        top: found,
                        is_sure: true,
                    },
                )
            }
        }
    }
}
