//! Breadth first through all states a scope reaches, so that a counterexample is a shortest one.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::scope::Model;
use crate::state::{NODES, Renaming, State};
use crate::step::{Kind, Step, Steps};

/// One state in so many is healed.
const HEALED_ONE_IN: u64 = 64;

/// What a search found.
pub struct Report {
    pub states: usize,
    pub steps: u64,
    pub healed: u64,
    pub depth: usize,
    /// Kinds of steps that were taken, one bit each.
    pub taken: u64,
    pub end: End,
}

pub enum End {
    Exhausted,
    Capped,
    Broken(Counterexample),
}

/// A way to a state that must not be.
pub struct Counterexample {
    pub why: String,
    pub steps: Vec<Step>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            writeln!(f, "    {:2}. {step}", i + 1)?;
        }
        write!(f, "    => {}", self.why)
    }
}

/// How a state was reached: from which, by which step.
#[derive(Clone, Copy)]
struct Origin(u32, Step);

impl Model {
    /// Searches until nothing is new, something is broken, or `most` states are known.
    pub fn search(&self, most: usize) -> Report {
        Search::new(self, most).run()
    }

    /// All steps out of a state.
    pub fn next(&self, s: &State, out: &mut Steps) {
        out.0.clear();
        self.begin(s, out);
        self.extend(s, out);
        for e in 0..usize::from(s.begun) {
            if s.running >> e & 1 == 0 {
                continue;
            }
            if !s.is_open(e) {
                self.change(s, e, out);
            }
            if s.caught_up >> e & 1 == 1 {
                self.lead(s, e, out);
            }
            if self.scope.close {
                self.close(s, e, out);
            }
        }
        self.move_on(s, out);
        self.evict(s, out);
        if self.scope.contact {
            self.contact(s, out);
        }
        if self.scope.primary_reads {
            self.primary_read(s, out);
        }
        if self.scope.quorum_reads {
            self.quorum_read(s, out);
        }
        self.faults(s, out);
        for (_, after) in &mut out.0 {
            self.forget(after);
        }
    }

    /// The renamings of nodes that change nothing: they keep the first primary and the set of configurations.
    fn symmetries(&self) -> Vec<Renaming> {
        let mut found = Vec::new();
        let mut node = [0, 1, 2, 3, 4];
        permute(&mut node, 1, &mut |node| {
            let renaming = Renaming::new(*node);
            let configs = self.scope.configs;
            let same = configs.iter().all(|d| configs.contains(&renaming.set(*d)));
            let first = renaming.set(configs[0]) == configs[0];
            let used = configs.iter().fold(0, |all, d| all | d);
            let idle_stay = (0..NODES).all(|n| used >> n & 1 == 1 || usize::from(node[n]) == n);
            if same && first && idle_stay {
                found.push(renaming);
            }
        });
        found
    }
}

fn permute(node: &mut [u8; NODES], from: usize, visit: &mut impl FnMut(&[u8; NODES])) {
    if from == NODES {
        visit(node);
        return;
    }
    for i in from..NODES {
        node.swap(from, i);
        permute(node, from + 1, visit);
        node.swap(from, i);
    }
}

struct Search<'a> {
    model: &'a Model,
    most: usize,
    symmetries: Vec<Renaming>,
    seen: HashSet<u64, BuildHasherDefault<Hashed>>,
    origins: Vec<Origin>,
    report: Report,
}

impl<'a> Search<'a> {
    fn new(model: &'a Model, most: usize) -> Search<'a> {
        // The first is the identity.
        let symmetries = model.symmetries().into_iter().skip(1).collect();
        let report = Report {
            states: 0,
            steps: 0,
            healed: 0,
            depth: 0,
            taken: 0,
            end: End::Exhausted,
        };
        Search {
            model,
            most,
            symmetries,
            seen: HashSet::default(),
            origins: Vec::new(),
            report,
        }
    }

    fn run(mut self) -> Report {
        let start = self.model.start();
        let nothing = Step {
            kind: Kind::Lapse,
            epoch: 0,
            node: 0,
            detail: 0,
        };
        self.seen.insert(self.fingerprint(&start));
        self.origins.push(Origin(0, nothing));
        let (mut layer, mut next, mut out) = (vec![(start, 0)], Vec::new(), Steps::default());
        while !layer.is_empty() {
            for (state, id) in layer.drain(..) {
                self.model.next(&state, &mut out);
                for (step, after) in out.0.drain(..) {
                    if let Some(why) = self.visit(&state, id, step, after, &mut next) {
                        self.report.end = End::Broken(Counterexample {
                            why,
                            steps: self.way(id, step),
                        });
                        return self.done();
                    }
                }
                if self.origins.len() >= self.most {
                    self.report.end = End::Capped;
                    return self.done();
                }
            }
            std::mem::swap(&mut layer, &mut next);
            self.report.depth += 1;
        }
        self.done()
    }

    /// Judges one step and keeps the state it leads to. Returns what it breaks.
    fn visit(
        &mut self,
        before: &State,
        from: u32,
        step: Step,
        after: State,
        next: &mut Vec<(State, u32)>,
    ) -> Option<String> {
        self.report.steps += 1;
        self.report.taken |= 1 << step.kind as u64;
        if let Some(broken) = self.model.judge(before, step, &after) {
            return Some(format!("{} is broken: {}", broken.number, broken.claim));
        }
        let fingerprint = self.fingerprint(&after);
        if !self.seen.insert(fingerprint) {
            return None;
        }
        let id = u32::try_from(self.origins.len()).expect("searches end below 2^32 states");
        self.origins.push(Origin(from, step));
        next.push((after, id));
        let is_sampled = fingerprint.is_multiple_of(HEALED_ONE_IN);
        if !self.model.is_healed() || self.model.rules.are_complete() && !is_sampled {
            return None;
        }
        self.report.healed += 1;
        self.model.heal(&after).err().map(str::to_owned)
    }

    fn done(mut self) -> Report {
        self.report.states = self.origins.len();
        self.report
    }

    fn way(&self, mut id: u32, last: Step) -> Vec<Step> {
        let mut steps = vec![last];
        while id != 0 {
            let Origin(from, step) = self.origins[id as usize];
            steps.push(step);
            id = from;
        }
        steps.reverse();
        steps
    }

    /// The same for states that differ only by a renaming.
    fn fingerprint(&self, s: &State) -> u64 {
        let renamed = self.symmetries.iter().map(|by| hash(&s.renamed(by)));
        renamed.fold(hash(s), u64::min)
    }
}

fn hash(s: &State) -> u64 {
    let mut hasher = Mixer::default();
    s.hash(&mut hasher);
    hasher.finish()
}

/// Mixes eight bytes at a time. All arrays are of fixed length, so lengths say nothing.
struct Mixer(u64);

impl Default for Mixer {
    fn default() -> Mixer {
        Mixer(0x9e37_79b9_7f4a_7c15)
    }
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.0 = product ^ product >> 32;
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_isize(&mut self, discriminant: isize) {
        self.mix(discriminant as u64);
    }

    fn finish(&self) -> u64 {
        let product = (self.0 ^ self.0 >> 29).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        product ^ product >> 32
    }
}

/// For what is hashed already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are kept");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
