//! What may happen next in a state: writes, applying, horizons, sweeping, snapshots, rebuilding, promotion, eviction.

use std::fmt;

use super::cores::Cores;
use super::horizons;
use super::members;
use super::reference::{self, Decision, Request};
use super::rules::Rule;
use super::setup::Op;
use super::state::{A, B, GENERATIONS, HORIZONS, Kind, LOG, Membership, Record, Stamp, State};

/// One step.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A region's primary logs a record that a client asked for in this way.
    Write(usize, Record, Op),
    /// A node applies the next record of a log.
    Apply(usize, usize),
    /// The regions agree on a horizon at this time.
    Agree(u8),
    /// A region's primary logs an agreed horizon.
    LogHorizon(usize),
    /// A node hears of a horizon other than by its log.
    Learn(usize),
    /// A node sweeps a page: one key of all generations.
    Sweep(usize),
    /// The second node takes a snapshot from the first.
    Exchange(usize, usize),
    /// A node starts again from nothing.
    Rebuild(usize),
    Promote,
    Evict,
    Return,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = |region: &usize| ["A", "B"][*region];
        let node = |node: &usize| ["A0", "A1", "B0"][*node];
        match self {
            Step::Write(at, record, op) => write!(f, "{} {record} ({op:?})", region(at)),
            Step::Apply(at, log) => {
                write!(f, "{} applies the next record of {}", node(at), region(log))
            }
            Step::Agree(time) => write!(f, "horizon {time} is agreed"),
            Step::LogHorizon(at) => write!(f, "{} logs the horizon", region(at)),
            Step::Learn(at) => write!(f, "{} hears of the horizon", node(at)),
            Step::Sweep(at) => write!(f, "{} sweeps a page", node(at)),
            Step::Exchange(from, to) => {
                write!(f, "{} takes a snapshot from {}", node(to), node(from))
            }
            Step::Rebuild(at) => write!(f, "{} starts again from nothing", node(at)),
            Step::Promote => write!(f, "A1 becomes primary of A"),
            Step::Evict => write!(f, "B is evicted"),
            Step::Return => write!(f, "B returns"),
        }
    }
}

/// Every step from `state`, with where it leads.
pub fn next(cores: &mut Cores, state: &State, out: &mut Vec<(Step, State)>) {
    out.clear();
    for region in [A, B] {
        writes(cores, state, region, out);
    }
    for &node in cores.setup.nodes() {
        for log in [A, B] {
            if may_apply(state, node, log) {
                let mut next = *state;
                apply(cores, &mut next, node, log);
                out.push((Step::Apply(node, log), next));
            }
        }
        horizons::learn(cores, state, node, out);
        horizons::sweep(cores, state, node, out);
        members::snapshots(cores, state, node, out);
    }
    horizons::agree(cores, state, out);
    for region in [A, B] {
        horizons::log_horizon(cores, state, region, out);
    }
    members::promote(cores, state, out);
    members::evict(cores, state, out);
}

pub fn region_of(node: usize) -> usize {
    if node == 2 { B } else { A }
}

pub fn is_registered(state: &State, node: usize) -> bool {
    node != 2 || state.membership != Membership::Evicted
}

/// How much of a log there is for the others.
pub fn end(state: &State, log: usize) -> u8 {
    if log == B && state.membership == Membership::Evicted {
        state.cut
    } else {
        state.lens[log]
    }
}

fn may_apply(state: &State, node: usize, log: usize) -> bool {
    let end = if region_of(node) == log {
        state.lens[log]
    } else if !is_registered(state, node) {
        0
    } else {
        end(state, log)
    };
    state.nodes[node].applied[log] < end
}

fn apply(cores: &mut Cores, state: &mut State, node: usize, log: usize) {
    let rules = cores.setup.rules;
    let record = state.logs[log][usize::from(state.nodes[node].applied[log])];
    state.nodes[node].applied[log] += 1;
    if let Some(write) = record.write() {
        let held = &state.nodes[node];
        let (generation, key) = (usize::from(record.generation), usize::from(record.key));
        let left_out_at = held.leaves_out_at();
        let purging = cores.definitions(state, held.applied, left_out_at);
        let goes = left_out_at > 0
            && rules.hold(Rule::LeaveOut)
            && cores.goes(purging, record.generation, left_out_at, write);
        let is_known = rules.hold(Rule::Carried) || {
            let all = cores.definitions(state, held.applied, u8::MAX);
            let mut records = cores.records(all).iter();
            records.any(|known| known.kind == Kind::Create && known.generation == record.generation)
        };
        if !goes && is_known {
            let row = &mut state.nodes[node].rows[generation][key];
            *row = cores.merge(*row, write);
        }
    }
    let is_own = record.stamp.region() == region_of(node);
    if record.kind == Kind::Horizon && is_own && rules.hold(Rule::HorizonRecord) {
        state.nodes[node].known |= 1 << record.arg;
    }
    let region = region_of(node);
    if rules.hold(Rule::Above) && state.writer(region) == node {
        state.clocks[region] = state.clocks[region].max(record.stamp.time());
    }
}

pub fn append(cores: &mut Cores, state: &mut State, region: usize, record: Record) {
    state.logs[region][usize::from(state.lens[region])] = record;
    state.lens[region] += 1;
    state.clocks[region] = record.stamp.time();
    let writer = state.writer(region);
    apply(cores, state, writer, region);
}

/// Can a region's primary log so many records more?
pub fn may_log(state: &State, region: usize, room: usize) -> bool {
    let applied = state.nodes[state.writer(region)].applied[region];
    usize::from(state.lens[region]) + room <= LOG && applied == state.lens[region]
}

fn writes(cores: &mut Cores, state: &State, region: usize, out: &mut Vec<(Step, State)>) {
    let written = state
        .log(region)
        .iter()
        .filter(|record| record.kind != Kind::Horizon)
        .count();
    if written >= usize::from(cores.setup.writes[region]) || !may_log(state, region, 1 + HORIZONS) {
        return;
    }
    for &step in cores.setup.steps {
        let stamp = Stamp::new(state.clocks[region] + step, region);
        for &op in cores.setup.ops[region] {
            for record in records(cores, state, region, stamp, op) {
                let mut next = *state;
                append(cores, &mut next, region, record);
                out.push((Step::Write(region, record, op), next));
            }
        }
    }
}

/// The records that a primary may log of a client's wish.
fn records(cores: &mut Cores, state: &State, region: usize, stamp: Stamp, op: Op) -> Vec<Record> {
    let node = state.nodes[state.writer(region)];
    let definitions = cores.definitions(state, node.applied, u8::MAX);
    let forgotten = horizons::acts_on(cores, state, &node);
    let in_force = cores.in_force(definitions, forgotten);
    let Some(generation) = in_force else {
        let generation =
            reference::next_generation(cores.setup.rules, cores.records(definitions), forgotten);
        return match op {
            Op::Create(ttl, lateness) if usize::from(generation) < GENERATIONS => vec![Record {
                kind: Kind::Create,
                generation,
                arg: ttl,
                event_time: lateness as i8,
                stamp,
                ..Record::default()
            }],
            _ => vec![],
        };
    };
    let base = Record {
        generation,
        stamp,
        ..Record::default()
    };
    let altering = |kind, arg| vec![Record { kind, arg, ..base }];
    match op {
        Op::Create(..) => vec![],
        Op::Drop => altering(Kind::Drop, 0),
        Op::Ttl(span) => altering(Kind::Ttl, span),
        Op::Lateness(span) if cores.admits_lateness(definitions, span) => {
            altering(Kind::Lateness, span)
        }
        Op::Lateness(_) => vec![],
        Op::Put(_) | Op::Delete | Op::DeleteAt | Op::Override => {
            let mut all = Vec::new();
            for key in 0..cores.setup.keys {
                let stored = node.rows[usize::from(generation)][usize::from(key)];
                for request in requests(cores, stamp, op) {
                    let decision =
                        cores.decide(definitions, generation, stamp.time(), request, stored);
                    if let Decision::Logged(event_time) = decision {
                        let kind = if request.features == 0 {
                            Kind::Delete
                        } else {
                            Kind::Put
                        };
                        let arg = request.features;
                        all.push(Record {
                            kind,
                            key,
                            arg,
                            event_time,
                            ..base
                        });
                    }
                }
            }
            all
        }
    }
}

fn requests(cores: &Cores, stamp: Stamp, op: Op) -> Vec<Request> {
    let plain = |features| Request {
        features,
        event_time: None,
        is_override: false,
    };
    let overriding = Request {
        is_override: true,
        ..plain(1)
    };
    let at_offsets = |request: Request| {
        let at = |offset: &i8| Request {
            event_time: Some(stamp.time() as i8 + offset),
            ..request
        };
        cores.setup.offsets.iter().map(at).collect()
    };
    match op {
        Op::Put(features) => at_offsets(plain(features)),
        Op::DeleteAt => at_offsets(plain(0)),
        Op::Delete => vec![plain(0)],
        Op::Override if cores.setup.rules.hold(Rule::Override) => vec![overriding],
        _ => at_offsets(overriding),
    }
}
