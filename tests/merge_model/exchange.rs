//! Snapshots between nodes (P7): what the receiver holds after taking one.

use super::cores::Cores;
use super::rules::Rule;
use super::state::{GENERATIONS, KEYS, Node, Row, State, Write};

/// The node `to` after a snapshot from `from`.
pub fn take(cores: &mut Cores, state: &State, from: usize, to: usize) -> Node {
    let (theirs, ours) = (state.nodes[from], state.nodes[to]);
    let mut joined = Node {
        applied: [0, 1].map(|log: usize| theirs.applied[log].max(ours.applied[log])),
        known: ours.known,
        is_seeded: true,
        ..Node::default()
    };
    if cores.setup.rules.hold(Rule::HorizonJoin) {
        joined.known |= theirs.known;
    }
    for generation in 0..GENERATIONS {
        for key in 0..KEYS {
            let rows = [&theirs, &ours].map(|node| node.rows[generation][key]);
            for write in kept(cores, state, rows, (&theirs, &ours)) {
                let row = &mut joined.rows[generation][key];
                *row = cores.merge(*row, write);
            }
        }
    }
    joined
}

/// The items that stay: those that both hold, and those that the other has never seen.
fn kept(cores: &Cores, state: &State, rows: [Row; 2], nodes: (&Node, &Node)) -> Vec<Write> {
    let rules = cores.setup.rules;
    let [theirs, ours] = rows.map(|row| row.items(cores.setup.cells));
    let covers = |node: &Node, item: &Write| state.covers(node.applied, item.item.stamp);
    let row_is_gone = ours.is_empty() && theirs.iter().all(|item| covers(nodes.1, item));
    let is_taken = |item: &Write| {
        let is_gone_here = if rules.hold(Rule::Item) {
            !ours.contains(item) && covers(nodes.1, item)
        } else {
            row_is_gone
        };
        !(rules.hold(Rule::Receiver) && is_gone_here)
    };
    let stays = |item: &Write| {
        let is_gone_there = !theirs.contains(item) && covers(nodes.0, item);
        !(rules.hold(Rule::Sender) && is_gone_there)
    };
    let taken = theirs.iter().filter(|item| is_taken(item));
    taken
        .chain(ours.iter().filter(|item| stays(item)))
        .copied()
        .collect()
}
