//! Schedules that chance finds too rarely: what the model of the protocol found to go wrong without a rule, done step by
//! step. What is not told here, such as delays and what clients ask for, is decided by the seed.

use steadfast::base::rule::{Rule, without};

use crate::faults::Plan;
use crate::finish;
use crate::world::{MILLI, World};

/// No step takes longer.
const PATIENCE: u64 = 20_000 * MILLI;
const SEEDS: std::ops::Range<u64> = 0..8;

/// Nodes of which nothing goes wrong but what the script does, once all of them are members.
fn members(nodes: usize, seed: u64) -> World {
    let mut world = World::new(seed, Plan::without_faults(nodes));
    world.verbose = std::env::var_os("STEADFAST_TRACE").is_some();
    world.until(|world| {
        let control = world.agreement.now();
        let open = control.open.as_ref();
        let is_complete = open.is_some_and(|open| open.members.len() == nodes);
        is_complete && control.attempt_epoch() == control.open_epoch() && world.primary().is_some()
    });
    world.run_until(world.now + 500 * MILLI);
    world
}

impl World {
    fn until(&mut self, is_reached: impl Fn(&World) -> bool) {
        let limit = self.now + PATIENCE;
        while self.violation.is_none() && self.now < limit && !is_reached(self) {
            self.run_until(self.now + MILLI / 2);
        }
        assert!(
            self.violation.is_some() || is_reached(self),
            "a step of the script is never reached"
        );
    }
}

impl World {
    /// All nodes but this one, those after it first.
    fn others(&self, of: usize) -> Vec<usize> {
        let nodes = self.nodes.len();
        (1..nodes).map(|step| (of + step) % nodes).collect()
    }

    fn cut_off(&mut self, at: usize) {
        for other in self.others(at) {
            self.part(at, other);
        }
        self.faults.cut_from_agreement(at);
    }

    fn part(&mut self, one: usize, other: usize) {
        self.faults.cut(one, other);
        self.faults.cut(other, one);
    }

    fn join(&mut self, one: usize, other: usize) {
        self.faults.mend(one, other);
        self.faults.mend(other, one);
    }

    fn until_replaced(&mut self) {
        let epoch = self.agreement.now().open_epoch();
        self.until(|world| world.agreement.now().open_epoch() > epoch);
    }
}

/// Q1: the members of an epoch are replaced by two of them. One of those that are not asked any more has promised the next
/// epoch, the others do not know of it; together they answer quorum reads.
fn read_from_former_members(seed: u64) -> Option<String> {
    let mut world = members(5, seed);
    world.faults.operator_is_away = true;
    let primary = world.primary()?;
    let others = world.others(primary);
    world.cut_off(others[0]);
    world.cut_off(others[1]);
    let [me, stays] = [primary, others[2]].map(|at| world.nodes[at].disk.incarnation);
    let now = world.clock();
    let replica = &mut world.nodes[primary].live.as_mut()?.replica;
    replica.hand_over(now, me, [me, stays].into()).unwrap();
    world.go_on(primary);
    world.until_replaced();
    world.run_until(world.now + 800 * MILLI);
    finish(world).violation
}

/// I4: a member's directory is replaced by a copy made before it promised the epoch that was then opened. With it the
/// primary that was replaced, and does not know it, would still commit.
fn start_without_the_promise(seed: u64) -> Option<String> {
    let mut world = members(3, seed);
    let deposed = world.primary()?;
    world.cut_off(deposed);
    world.run_until(world.now + 600 * MILLI);
    let others = world.others(deposed);
    for at in &others {
        world.nodes[*at].backup = Some(world.nodes[*at].disk.clone());
    }
    world.until_replaced();
    let primary = world.agreement.now().primary();
    let is_primary = |at: &&usize| primary == Some(world.nodes[**at].disk.incarnation);
    let primary = *others.iter().find(is_primary)?;
    let third = *others.iter().find(|at| **at != primary)?;
    world.part(primary, third);
    world.roll_back(third);
    world.join(deposed, third);
    world.run_until(world.now + 900 * MILLI);
    world.part(deposed, third);
    world.join(deposed, primary);
    world.run_until(world.now + 1_000 * MILLI);
    finish(world).violation
}

/// A script goes well with all rules, and badly without the one it is for, on some seed at least.
fn is_noticed(rule: Rule, script: impl Fn(u64) -> Option<String>) {
    for seed in SEEDS {
        assert_eq!(script(seed), None, "seed {seed}");
    }
    let mut without_it = SEEDS.filter_map(|seed| Some((seed, without(rule, || script(seed))?)));
    let found = without_it.next();
    println!("{rule:?}: {found:?}");
    assert!(found.is_some(), "nobody misses {rule:?}");
}

#[test]
fn reading_from_former_members_is_noticed() {
    is_noticed(Rule::ReadOpening, read_from_former_members);
}

#[test]
fn a_start_without_the_promise_is_noticed() {
    is_noticed(Rule::BootPromise, start_without_the_promise);
}
