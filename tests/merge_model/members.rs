//! Steps that concern who is there: snapshots, a node rebuilt, another primary, a region evicted (M2, P7, P8).

use super::cores::Cores;
use super::exchange;
use super::rules::Rule;
use super::state::{A, B, Membership, Node, State};
use super::steps::{Step, region_of};

pub fn snapshots(cores: &mut Cores, state: &State, node: usize, out: &mut Vec<(Step, State)>) {
    let is_other_member = node == 1 - usize::from(state.primary.min(1)) && cores.setup.has_second;
    if state.rebuilds < cores.setup.rebuilds
        && is_other_member
        && state.nodes[node].applied != [0, 0]
    {
        let mut next = *state;
        next.nodes[node] = Node::default();
        next.rebuilds += 1;
        out.push((Step::Rebuild(node), next));
    }
    if state.exchanges >= cores.setup.exchanges || state.membership == Membership::Evicted {
        return;
    }
    for &to in cores.setup.nodes() {
        if to != node {
            let mut next = *state;
            next.nodes[to] = exchange::take(cores, state, node, to);
            next.exchanges += 1;
            raise_clock(cores, &mut next, to);
            out.push((Step::Exchange(node, to), next));
        }
    }
}

/// A writer that has taken in more stamps lies above them (M2).
fn raise_clock(cores: &Cores, state: &mut State, node: usize) {
    let region = region_of(node);
    if cores.setup.rules.hold(Rule::Above) && state.writer(region) == node {
        let newest = newest_time(state, state.nodes[node].applied);
        state.clocks[region] = state.clocks[region].max(newest);
    }
}

fn newest_time(state: &State, applied: [u8; 2]) -> u8 {
    state
        .covered(applied)
        .map(|record| record.stamp.time())
        .max()
        .unwrap_or(0)
}

pub fn promote(cores: &Cores, state: &State, out: &mut Vec<(Step, State)>) {
    if !cores.setup.promotes || state.primary != 0 || state.nodes[1].applied[A] != state.lens[A] {
        return;
    }
    let mut next = State {
        primary: 1,
        ..*state
    };
    let floor = state.log(A).last().map_or(0, |record| record.stamp.time());
    let promised = state.horizons[..usize::from(state.agreed)]
        .iter()
        .map(|horizon| horizon.time);
    next.clocks[A] = promised.fold(floor, u8::max);
    if cores.setup.rules.hold(Rule::AbovePromoted) {
        raise_clock(cores, &mut next, 1);
    }
    out.push((Step::Promote, next));
}

/// P8.
pub fn evict(cores: &Cores, state: &State, out: &mut Vec<(Step, State)>) {
    if !cores.setup.evicts {
        return;
    }
    let rules = cores.setup.rules;
    let others = || cores.setup.nodes().iter().filter(|node| **node != 2);
    let held = others().map(|node| state.nodes[*node].applied[B]);
    let mut next = *state;
    match state.membership {
        Membership::In => {
            next.cut = if rules.hold(Rule::Cut) {
                held.max()
            } else {
                held.min()
            }
            .unwrap_or(0);
            next.membership = Membership::Evicted;
            out.push((Step::Evict, next));
        }
        Membership::Evicted if !rules.hold(Rule::StartOver) => {
            next.membership = Membership::Returned;
            out.push((Step::Return, next));
        }
        Membership::Evicted if held.clone().all(|applied| applied >= state.cut) => {
            let tail = state.lens[B] - state.cut;
            next.membership = Membership::Returned;
            next.lens[B] = state.cut;
            next.lost += tail;
            next.dead_letters += if rules.hold(Rule::Counted) { tail } else { 0 };
            next.nodes[2] = Node {
                is_seeded: true,
                ..state.nodes[usize::from(state.primary)]
            };
            next.clocks[B] = state.clocks[A].max(state.clocks[B]);
            out.push((Step::Return, next));
        }
        Membership::Evicted | Membership::Returned => {}
    }
}
