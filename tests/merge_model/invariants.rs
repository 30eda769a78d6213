//! What must hold after each step, of the nodes it touched.

use std::fmt;

use super::cores::Cores;
use super::horizons::acts_on;
use super::reference::{self, Answer};
use super::rules::Rule;
use super::setup::Op;
use super::state::{Node, Record, Row, State};
use super::steps::Step;

/// At which times readers ask.
const READ_TIMES: [u8; 4] = [4, 9, 15, 60];

/// An invariant that does not hold, and how.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

type Verdict = Result<(), Violation>;

fn violated(invariant: &'static str, what: String) -> Verdict {
    Err(Violation { invariant, what })
}

/// Checks `state`, which `step` has just made of `before`.
pub fn check(cores: &mut Cores, before: &State, step: Step, state: &State) -> Verdict {
    nothing_uncounted(state)?;
    let Some(node) = touched(before, step) else {
        return Ok(());
    };
    if let Step::Write(region, record, op) = step {
        stamp_is_above(before, before.writer(region), &record)?;
        writer_wins(cores, &state.nodes[node], &record, op)?;
    }
    equal_vectors_equal_horizons(cores, state, node)?;
    rows_and_reads(cores, state, node)
}

fn touched(before: &State, step: Step) -> Option<usize> {
    match step {
        Step::Write(region, ..) | Step::LogHorizon(region) => Some(before.writer(region)),
        Step::Apply(node, _) | Step::Learn(node) | Step::Sweep(node) => Some(node),
        Step::Exchange(_, node) | Step::Rebuild(node) => Some(node),
        Step::Return => Some(2),
        Step::Agree(_) | Step::Promote | Step::Evict => None,
    }
}

/// I9: a node stamps only above what it has made visible.
fn stamp_is_above(before: &State, writer: usize, record: &Record) -> Verdict {
    let applied = before.nodes[writer].applied;
    match before
        .covered(applied)
        .find(|seen| seen.stamp >= record.stamp)
    {
        Some(seen) => violated(
            "I9",
            format!("stamp {} is not above {}", record.stamp, seen.stamp),
        ),
        None => Ok(()),
    }
}

/// M3, M4: a delete or an override without an event time wins against all that its writer holds.
fn writer_wins(cores: &Cores, node: &Node, record: &Record, op: Op) -> Verdict {
    let row = node.rows[usize::from(record.generation)][usize::from(record.key)];
    let left_out = node.leaves_out_at() > 0;
    match op {
        Op::Delete if row.is_live() => violated("M3", format!("a delete did not delete: {row:?}")),
        Op::Override
            if cores.setup.rules.hold(Rule::Override)
                && row.0[1].stamp != record.stamp
                && !left_out =>
        {
            violated("M4", format!("an override did not win: {row:?}"))
        }
        _ => Ok(()),
    }
}

/// I24: what was written is in a log, or was counted; and nobody holds what is in no log.
fn nothing_uncounted(state: &State) -> Verdict {
    if state.lost != state.dead_letters {
        return violated(
            "I24",
            format!(
                "{} records lost, {} counted",
                state.lost, state.dead_letters
            ),
        );
    }
    for (at, node) in state.nodes.iter().enumerate() {
        if (0..2).any(|log| node.applied[log] > state.lens[log]) {
            return violated(
                "I24",
                format!("node {at} holds a record that was dead-lettered"),
            );
        }
    }
    Ok(())
}

/// P2: in one set, equal version vectors mean equal horizons, but for those taken over in snapshots.
fn equal_vectors_equal_horizons(cores: &Cores, state: &State, node: usize) -> Verdict {
    if node == 2 || !cores.setup.has_second {
        return Ok(());
    }
    let [a, b] = [0, 1].map(|at: usize| &state.nodes[at]);
    let horizons = [a, b].map(|node| acts_on(cores, state, node));
    if a.applied == b.applied && !a.is_seeded && !b.is_seeded && horizons[0] != horizons[1] {
        return violated(
            "I22",
            format!("equal version vectors, horizons {horizons:?}"),
        );
    }
    Ok(())
}

/// What a node holds of one row, and what the judge says it should be.
struct Case<'a> {
    node: &'a Node,
    name: String,
    generation: u8,
    held: Row,
    ideal: Row,
    horizon: u8,
}

fn rows_and_reads(cores: &mut Cores, state: &State, at: usize) -> Verdict {
    let node = &state.nodes[at];
    let horizon = acts_on(cores, state, node);
    for generation in 0..node.rows.len() as u8 {
        for key in 0..cores.setup.keys {
            let writes = state
                .covered(node.applied)
                .filter(|record| (record.generation, record.key) == (generation, key));
            let mut writes: Vec<_> = writes.filter_map(Record::write).collect();
            let case = Case {
                node,
                name: format!("node {at}, generation {generation}, key {key}"),
                generation,
                held: node.rows[usize::from(generation)][usize::from(key)],
                ideal: reference::in_version_order(&cores.setup, &mut writes),
                horizon,
            };
            if !case.held.is_empty() || !case.ideal.is_empty() {
                equal_rows(cores, state, &case)?;
                equal_reads(cores, state, &case)?;
            }
        }
    }
    Ok(())
}

/// I6, I22: less what may go, the rows of all orders are the same; swept rows are so without any filter.
fn equal_rows(cores: &mut Cores, state: &State, case: &Case<'_>) -> Verdict {
    let Case {
        node,
        name,
        generation,
        held,
        ideal,
        horizon,
    } = case;
    let purging = cores.definitions(state, node.applied, *horizon);
    let [left, right] = [*held, *ideal].map(|row| cores.left(purging, *generation, *horizon, row));
    if left != right {
        return violated(
            "I22",
            format!(
                "{name} holds {held:?}, less what may go at {horizon} {left:?}; it should be {right:?}"
            ),
        );
    }
    if node.swept > 0 && node.sweeping == 0 {
        let purging = cores.definitions(state, node.applied, node.swept);
        let swept = cores.left(purging, *generation, node.swept, *ideal);
        if *held != swept {
            return violated(
                "I22",
                format!(
                    "{name}, swept to {}, holds {held:?}; its digest is that of {swept:?}",
                    node.swept
                ),
            );
        }
    }
    Ok(())
}

/// I23, P4: answers do not tell how much was swept; a value is shown exactly if it would be, had nothing ever gone.
fn equal_reads(cores: &mut Cores, state: &State, case: &Case<'_>) -> Verdict {
    let Case {
        node,
        name,
        generation,
        held,
        ideal,
        horizon,
    } = case;
    let rules = cores.setup.rules;
    let definitions = cores.definitions(state, node.applied, u8::MAX);
    let purging = cores.definitions(state, node.applied, *horizon);
    let should_live = reference::is_alive(rules, cores.records(definitions), *generation, 0);
    let lives = reference::is_alive(rules, cores.records(definitions), *generation, *horizon);
    let filter = if rules.hold(Rule::ReadFilter) {
        *horizon
    } else {
        0
    };
    for at in READ_TIMES {
        let mut read = |lives: bool, filter: u8, row: Row| {
            if lives {
                cores.read(definitions, *generation, (purging, filter), row, at)
            } else {
                [Answer::NotFound; 2]
            }
        };
        let got = read(lives, filter, *held);
        let wanted = read(should_live, *horizon, *ideal);
        let never_purged = read(should_live, 0, *ideal);
        if got != wanted {
            return violated(
                "I23",
                format!(
                    "{name} reads {got:?} at {at}, should read {wanted:?} at horizon {horizon}"
                ),
            );
        }
        let value = |answer: Answer| matches!(answer, Answer::Value(_)).then_some(answer);
        if at >= *horizon && got.map(value) != never_purged.map(value) {
            return violated(
                "I23",
                format!("{name} reads {got:?} at {at}, but {never_purged:?} had nothing gone"),
            );
        }
    }
    Ok(())
}
