//! The invariants I1-I27 as far as they are about the state of the protocol, one predicate each.
//!
//! **Outcomes** are what users and operators are promised; they are judged in every run. **Structure** is what the rules
//! establish on the way; it is judged where all rules are in force, so that a run that leaves one out has to show harm.

use crate::rule::Rule;
use crate::scope::{Model, Witness};
use crate::set::{Set, commit_size, each, has, seal_size};
use crate::state::{EPOCHS, NODES, State, number, record_of};
use crate::step::{Kind, Step};

/// A claim about every step that is taken, with the states before and after it.
pub struct Invariant {
    pub number: &'static str,
    pub claim: &'static str,
    pub is_outcome: bool,
    holds: fn(&Model, &State, Step, &State) -> bool,
}

const fn outcome(
    number: &'static str,
    claim: &'static str,
    holds: fn(&Model, &State, Step, &State) -> bool,
) -> Invariant {
    Invariant {
        number,
        claim,
        is_outcome: true,
        holds,
    }
}

const fn structure(
    number: &'static str,
    claim: &'static str,
    holds: fn(&Model, &State, Step, &State) -> bool,
) -> Invariant {
    Invariant {
        number,
        claim,
        is_outcome: false,
        holds,
    }
}

pub const INVARIANTS: &[Invariant] = &[
    outcome(
        "I2",
        "one place of a log has one record",
        one_record_at_a_place,
    ),
    outcome("I3", "what a member holds of a log has no gap", no_gap),
    outcome("I7", "versions follow epochs", versions_follow_epochs),
    outcome("I15", "nothing late is acknowledged or read", nothing_late),
    outcome(
        "I16",
        "a read is not behind what was done before it",
        no_stale_read,
    ),
    outcome(
        "I17",
        "an async write stays on its writer's disk",
        async_stays,
    ),
    outcome(
        "I17",
        "no async ack later than L after being overtaken",
        no_overdue_ack,
    ),
    outcome(
        "I24",
        "what a member stops holding is in a dead-letter file",
        nothing_dropped,
    ),
    outcome(
        "I24",
        "nobody in an epoch holds what lies beyond a final",
        nothing_beyond_a_final,
    ),
    outcome(
        "I3",
        "an epoch opens with all that is closed",
        closed_is_recovered,
    ),
    outcome(
        "planned",
        "a planned change leaves no tail",
        no_tail_after_planned,
    ),
    outcome(
        "witness",
        "a row read without a primary",
        no_read_without_primary,
    ),
    structure("I1", "one process writes an epoch", one_writer),
    structure(
        "I4",
        "a directory that went back is dead",
        went_back_is_dead,
    ),
    structure("I9", "a stamp lies above all its writer holds", stamps_rise),
    structure(
        "I10",
        "an acknowledgement is given under the promise",
        acked_under_promise,
    ),
    structure(
        "I11",
        "W acknowledgements under e commit in e",
        committed_under_epoch,
    ),
    structure(
        "I12",
        "every seal set meets every acknowledged write",
        seals_meet_commits,
    ),
    structure(
        "I13",
        "the latest attempt opens, based on the last opened",
        latest_opens,
    ),
    structure("I14", "T is on W of changed members", transferred),
    structure("I18", "an ack names durable copies", acks_are_copies),
    structure(
        "I27",
        "who is in e holds nothing its primary lacks",
        primary_holds_all,
    ),
];

impl Model {
    /// The first invariant that a step breaks.
    pub fn judge(&self, before: &State, step: Step, after: &State) -> Option<&'static Invariant> {
        let complete = self.rules.are_complete() && self.scope.witness.is_none();
        INVARIANTS
            .iter()
            .filter(|invariant| invariant.is_outcome || complete)
            .find(|invariant| !(invariant.holds)(self, before, step, after))
    }

    /// Records of writers that are neither dead nor evicted.
    pub fn of_living_writers(&self, s: &State) -> Set {
        (0..usize::from(s.begun))
            .filter(|&e| has(s.alive & !s.evicted, s.primary(e)))
            .fold(0, |set, e| set | self.log(e))
    }
}

fn one_record_at_a_place(_: &Model, _: &State, _: Step, s: &State) -> bool {
    let holders = |other: bool| {
        (0..NODES).fold(0, |set: Set, n| {
            let bytes = if other {
                s.other_bytes[n]
            } else {
                !s.other_bytes[n]
            };
            set | s.held[n] & bytes
        })
    };
    holders(true) & holders(false) == 0
}

fn no_gap(m: &Model, _: &State, _: Step, s: &State) -> bool {
    (0..EPOCHS).all(|e| {
        let log = m.log(e);
        s.held.iter().all(|held| {
            let missing = log & !held;
            let after_first_missing = log & !(missing & missing.wrapping_neg()).wrapping_sub(1);
            missing == 0 || held & after_first_missing == 0
        })
    })
}

fn versions_follow_epochs(m: &Model, _: &State, step: Step, s: &State) -> bool {
    if step.kind != Kind::Append || m.scope.windows == 0 {
        return true;
    }
    each(step.detail).all(|i| {
        each(s.written)
            .filter(|&j| m.epoch_of(j) != m.epoch_of(i))
            .all(|j| (m.epoch_of(j) > m.epoch_of(i)) == (m.version(s, j) > m.version(s, i)))
    })
}

fn is_read(step: Step) -> bool {
    matches!(step.kind, Kind::ReadReturn | Kind::QuorumReturn)
}

fn nothing_late(_: &Model, s: &State, step: Step, _: &State) -> bool {
    match step.kind {
        Kind::QuorumAck => s.late & step.detail == 0,
        _ if is_read(step) && step.detail > 0 => !has(s.late, record_of(step.detail)),
        _ => true,
    }
}

fn no_stale_read(_: &Model, s: &State, step: Step, _: &State) -> bool {
    !is_read(step) || step.detail >= s.read.after
}

fn async_stays(m: &Model, _: &State, _: Step, s: &State) -> bool {
    (0..usize::from(s.begun)).all(|e| {
        let writer = s.primary(e);
        let gone = s.async_acked & m.log(e) & !s.held[writer];
        let is_sound = has(s.alive & !s.evicted & !s.mute, writer) && m.holds(Rule::Identity);
        gone == 0 || !is_sound
    })
}

fn no_overdue_ack(m: &Model, before: &State, _: Step, s: &State) -> bool {
    let acked = s.async_acked & !before.async_acked;
    each(acked).all(|i| !has(before.overdue, m.epoch_of(i)))
}

/// Crashes take what was not synced, faults take disks; all else leaves records where they are.
fn nothing_dropped(m: &Model, before: &State, step: Step, s: &State) -> bool {
    let fault = matches!(
        step.kind,
        Kind::Crash | Kind::DiskLoss | Kind::Rollback | Kind::Boot
    );
    fault || (0..NODES).all(|n| before.held[n] & !s.held[n] & !s.dead_letter == 0) || !m.scope.close
}

fn nothing_beyond_a_final(_: &Model, _: &State, _: Step, s: &State) -> bool {
    let now = s.open_epoch();
    each(s.members[now]).all(|n| !s.is_in(n, now) || s.held[n] & s.beyond == 0)
}

fn closed_is_recovered(m: &Model, _: &State, step: Step, s: &State) -> bool {
    let closed = each(s.closed).fold(0, |set, e| set | m.log(e)) & !s.beyond;
    let c = usize::from(step.node);
    step.kind != Kind::Open || closed & !s.held[c] == 0
}

fn no_tail_after_planned(m: &Model, before: &State, step: Step, s: &State) -> bool {
    let e = usize::from(step.epoch);
    let Some(old) = usize::from(before.planned[e]).checked_sub(1) else {
        return true;
    };
    let lives = has(before.running, old);
    step.kind != Kind::CatchUp || !lives || s.async_acked & m.log(old) & !s.target[e] == 0
}

fn no_read_without_primary(m: &Model, s: &State, step: Step, _: &State) -> bool {
    let e = usize::from(step.epoch);
    let found = step.kind == Kind::QuorumReturn && step.detail > 0;
    let without = s.is_latest(e) && !has(s.running, e);
    !(found && without && m.scope.witness == Some(Witness::ReadWithoutPrimary))
}

fn one_writer(_: &Model, _: &State, step: Step, s: &State) -> bool {
    step.kind != Kind::Append || !has(s.restarted, usize::from(step.epoch))
}

fn went_back_is_dead(_: &Model, before: &State, step: Step, s: &State) -> bool {
    let n = usize::from(step.node);
    let is_alive = step.kind == Kind::Boot && has(s.alive, n);
    !is_alive || s.promise[n] == before.begun && before.recorded[n] & !s.held[n] == 0
}

fn stamps_rise(m: &Model, before: &State, step: Step, s: &State) -> bool {
    let own = each(step.detail).map(|i| m.version(s, i)).max();
    let held = before.held[usize::from(step.node)];
    let is_latest = usize::from(before.last_open) == usize::from(step.epoch) + 1;
    step.kind != Kind::Append || !is_latest || each(held).all(|j| Some(m.version(s, j)) < own)
}

fn acked_under_promise(_: &Model, before: &State, _: Step, s: &State) -> bool {
    (0..usize::from(s.begun)).all(|e| {
        (0..NODES).all(|n| {
            let acked = s.acks[e][n] & !before.acks[e][n];
            let sealed = has(s.sealed[e] & !before.sealed[e], n);
            let promised = s.promise[n] == number(e) && acked & !s.durable(n) == 0;
            acked == 0 && !sealed || promised
        })
    })
}

fn committed_under_epoch(_: &Model, s: &State, step: Step, _: &State) -> bool {
    let e = usize::from(step.epoch);
    let d = s.members[e];
    let acked = each(d).filter(|&n| s.acks[e][n] & step.detail != 0).count();
    step.kind != Kind::QuorumAck || acked >= commit_size(d)
}

fn seals_meet_commits(_: &Model, _: &State, _: Step, s: &State) -> bool {
    let d = s.members[s.open_epoch()] & s.alive & !s.mute;
    each(s.quorum_acked).all(|i| {
        let lacking = each(d).filter(|&n| !has(s.durable(n), i)).count();
        lacking < seal_size(s.members[s.open_epoch()])
    })
}

fn latest_opens(_: &Model, s: &State, step: Step, _: &State) -> bool {
    let e = usize::from(step.epoch);
    step.kind != Kind::Open || s.is_latest(e) && s.basis[e] == s.members[s.open_epoch()]
}

fn transferred(_: &Model, s: &State, step: Step, _: &State) -> bool {
    let e = usize::from(step.epoch);
    let d = s.members[e];
    step.kind != Kind::Open
        || s.basis[e] == d
        || each(s.target[e]).all(|i| {
            let with_it = each(d).filter(|&n| has(s.acks[e][n], i)).count();
            with_it >= commit_size(d)
        })
}

fn acks_are_copies(_: &Model, s: &State, step: Step, _: &State) -> bool {
    let d = s.members[usize::from(step.epoch)];
    let copies = each(d).filter(|&n| !has(s.alive & !s.mute, n) || s.durable(n) & step.detail != 0);
    step.kind != Kind::QuorumAck || copies.count() >= commit_size(d)
}

fn primary_holds_all(_: &Model, _: &State, _: Step, s: &State) -> bool {
    each(s.running).all(|e| {
        let c = s.primary(e);
        (0..NODES).all(|n| !s.is_in(n, e) || has(s.mute, n) || s.held[n] & !s.held[c] == 0)
    })
}
