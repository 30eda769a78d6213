//! Going through states: all of them, breadth first, so that what is found is shortest; or at random, where there are too
//! many.

use std::collections::HashSet;
use std::fmt;

use steadfast::model::Digest;

use super::cores::Cores;
use super::invariants::{Violation, check};
use super::setup::Setup;
use super::state::State;
use super::steps::{Step, next};

/// What a search found.
#[derive(Debug, Default)]
pub struct Outcome {
    pub states: usize,
    pub transitions: u64,
    pub depth: usize,
    /// Were all states looked at?
    pub is_exhaustive: bool,
    /// Distinct questions asked of the project's functions.
    pub questions: usize,
    pub counterexample: Option<Counterexample>,
}

/// What is violated, and the steps to it.
#[derive(Debug)]
pub struct Counterexample {
    pub violation: Violation,
    pub steps: Vec<Step>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:2}. {step}", at + 1)?;
        }
        write!(f, "  => {}", self.violation)
    }
}

/// All states, or as many as `cap`, nearest first.
pub fn breadth_first(setup: &Setup, cap: usize) -> Outcome {
    let mut cores = Cores::new(setup);
    let mut outcome = Outcome::default();
    let mut seen = HashSet::new();
    // By which step each state was reached first, and from which.
    let mut reached: Vec<(u32, Option<Step>)> = vec![(0, None)];
    let mut level = vec![(0, State::default())];
    let (mut steps, mut bytes) = (Vec::new(), Vec::new());
    while !level.is_empty() {
        let mut deeper = Vec::new();
        for (from, state) in level {
            next(&mut cores, &state, &mut steps);
            for (step, to) in steps.drain(..) {
                outcome.transitions += 1;
                to.encode(&mut bytes);
                if !seen.insert(Digest::of(&bytes).0) {
                    continue;
                }
                let id = u32::try_from(reached.len()).unwrap();
                reached.push((from, Some(step)));
                if let Err(violation) = check(&mut cores, &state, step, &to) {
                    let steps = path(&reached, id);
                    outcome.depth += 1;
                    outcome.counterexample = Some(Counterexample { violation, steps });
                    return Outcome {
                        states: seen.len(),
                        questions: cores.questions(),
                        ..outcome
                    };
                }
                deeper.push((id, to));
            }
            if seen.len() >= cap {
                return Outcome {
                    states: seen.len(),
                    questions: cores.questions(),
                    ..outcome
                };
            }
        }
        outcome.depth += usize::from(!deeper.is_empty());
        level = deeper;
    }
    Outcome {
        states: seen.len(),
        questions: cores.questions(),
        is_exhaustive: true,
        ..outcome
    }
}

fn path(reached: &[(u32, Option<Step>)], mut at: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    while let (from, Some(step)) = reached[at as usize] {
        steps.push(step);
        at = from;
    }
    steps.reverse();
    steps
}

/// So many random walks to their ends.
pub fn walks(setup: &Setup, count: usize, mut seed: u64) -> Outcome {
    let mut cores = Cores::new(setup);
    let mut outcome = Outcome::default();
    let mut steps = Vec::new();
    for _ in 0..count {
        let (mut state, mut taken) = (State::default(), Vec::new());
        loop {
            next(&mut cores, &state, &mut steps);
            if steps.is_empty() {
                break;
            }
            seed = xorshift(seed);
            let (step, to) = steps.swap_remove((seed % steps.len() as u64) as usize);
            taken.push(step);
            outcome.transitions += 1;
            if let Err(violation) = check(&mut cores, &state, step, &to) {
                outcome.counterexample = Some(Counterexample {
                    violation,
                    steps: taken,
                });
                return Outcome {
                    questions: cores.questions(),
                    ..outcome
                };
            }
            state = to;
        }
        outcome.depth = outcome.depth.max(taken.len());
    }
    Outcome {
        questions: cores.questions(),
        ..outcome
    }
}

fn xorshift(mut seed: u64) -> u64 {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^ seed << 17
}
