//! Steps that concern a horizon: to agree on it, to log it, to hear of it, to sweep to it (P1 to P4).

use super::cores::Cores;
use super::rules::Rule;
use super::state::{A, B, GENERATIONS, Horizon, Kind, Membership, Node, Record, Stamp, State};
use super::steps::{Step, append, end, is_registered, may_log};

/// The time of the horizon that a node acts on, 0 if none (P3).
pub fn acts_on(cores: &Cores, state: &State, node: &Node) -> u8 {
    let rules = cores.setup.rules;
    let known = (0..usize::from(state.agreed)).filter(|at| node.known & 1 << at != 0);
    let known = known.map(|at| state.horizons[at]);
    let covers = |horizon: &Horizon| (0..2).all(|log| node.applied[log] >= horizon.covered[log]);
    let acted_on = if !rules.hold(Rule::Cover) {
        known.max_by_key(|horizon| horizon.time)
    } else if rules.hold(Rule::KeepLast) {
        known.filter(covers).max_by_key(|horizon| horizon.time)
    } else {
        known.max_by_key(|horizon| horizon.time).filter(covers)
    };
    acted_on.map_or(0, |horizon| horizon.time)
}

pub fn learn(cores: &Cores, state: &State, node: usize, out: &mut Vec<(Step, State)>) {
    let known = state.nodes[node].known;
    let next_unknown = (0..state.agreed).find(|at| known & 1 << at == 0);
    if let Some(at) = next_unknown
        && !cores.setup.rules.hold(Rule::HorizonRecord)
        && is_registered(state, node)
    {
        let mut next = *state;
        next.nodes[node].known |= 1 << at;
        out.push((Step::Learn(node), next));
    }
}

pub fn sweep(cores: &mut Cores, state: &State, node: usize, out: &mut Vec<(Step, State)>) {
    let held = state.nodes[node];
    let is_second = held.sweeping > 0;
    let target = if is_second {
        held.sweeping
    } else {
        acts_on(cores, state, &held)
    };
    if target <= held.swept {
        return;
    }
    let purging = cores.definitions(state, held.applied, target);
    let mut next = *state;
    let swept = &mut next.nodes[node];
    let key = usize::from(is_second);
    for generation in 0..GENERATIONS {
        let row = held.rows[generation][key];
        swept.rows[generation][key] = cores.left(purging, generation as u8, target, row);
    }
    let is_done = is_second || cores.setup.keys == 1;
    (swept.swept, swept.sweeping) = if is_done {
        (target, 0)
    } else {
        (held.swept, target)
    };
    out.push((Step::Sweep(node), next));
}

/// P1. The times tried are those after which another set of records lies at or below the horizon.
pub fn agree(cores: &Cores, state: &State, out: &mut Vec<(Step, State)>) {
    if state.agreed >= cores.setup.horizons {
        return;
    }
    let rules = cores.setup.rules;
    let logs = [A, B].map(|log| &state.logs[log][..usize::from(end(state, log))]);
    let is_applied = |log: usize, at: usize| {
        let mut nodes = cores
            .setup
            .nodes()
            .iter()
            .filter(|node| is_registered(state, **node));
        nodes.all(|node| usize::from(state.nodes[*node].applied[log]) > at)
    };
    let mut times = vec![state.clocks[A].max(state.clocks[B]) + cores.setup.idle];
    let mut first_pending = u8::MAX;
    for log in [A, B] {
        for (at, record) in logs[log].iter().enumerate() {
            times.push(record.stamp.time());
            if !is_applied(log, at) && rules.hold(Rule::Applied) {
                first_pending = first_pending.min(record.stamp.time());
                times.push(record.stamp.time() - 1);
            }
        }
    }
    let last = state.horizons[..usize::from(state.agreed)]
        .last()
        .map_or(0, |last| last.time);
    times.retain(|time| *time > last && *time < first_pending);
    times.sort_unstable();
    times.dedup();
    for time in times {
        let mut next = *state;
        let below = |log: usize| {
            logs[log]
                .iter()
                .filter(|record| record.stamp.time() <= time)
                .count() as u8
        };
        let covered = [below(A), below(B)];
        next.horizons[usize::from(state.agreed)] = Horizon { time, covered };
        next.agreed += 1;
        let promises_b = rules.hold(Rule::Closed) && state.membership != Membership::Evicted;
        next.clocks[A] = next.clocks[A].max(time);
        if promises_b {
            next.clocks[B] = next.clocks[B].max(time);
        }
        out.push((Step::Agree(time), next));
    }
}

/// P2: each region's primary logs what was agreed.
pub fn log_horizon(cores: &mut Cores, state: &State, region: usize, out: &mut Vec<(Step, State)>) {
    let at = state.logged[region];
    let is_out = region == B && state.membership == Membership::Evicted;
    if at >= state.agreed
        || is_out
        || !may_log(state, region, 1)
        || !cores.setup.rules.hold(Rule::HorizonRecord)
    {
        return;
    }
    let mut next = *state;
    next.logged[region] += 1;
    let record = Record {
        kind: Kind::Horizon,
        arg: at,
        stamp: Stamp::new(state.clocks[region] + 1, region),
        ..Record::default()
    };
    append(cores, &mut next, region, record);
    out.push((Step::LogHorizon(region), next));
}
