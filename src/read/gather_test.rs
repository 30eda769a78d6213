//! Quorum reads of a small set that writes, fails over and changes members, judged as max-registers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::Epoch;
use crate::base::rule::without;
use crate::control::seal_size;

const KEYS: usize = 2;

fn vouched(epoch: u64, members: &[usize]) -> Vouched {
    Vouched {
        epoch: Epoch(epoch),
        members: members.iter().map(|member| id(*member)).collect(),
    }
}

fn id(node: usize) -> IncarnationId {
    IncarnationId(node as u128)
}

/// A record: it puts a rank at a key, and the greatest rank is the row.
struct Write {
    key: usize,
    rank: u32,
    epoch: u64,
    is_acknowledged: bool,
}

#[derive(Default)]
struct Node {
    promise: u64,
    /// The epoch of the opening record held.
    opening: u64,
    held: BTreeSet<usize>,
}

/// What the primary of an epoch does, whether or not it knows that its time is over.
struct Reign {
    epoch: u64,
    primary: usize,
    members: Vec<usize>,
    /// All it holds, in the order in which it is streamed.
    stream: Vec<usize>,
    /// How far each node has received it.
    received: BTreeMap<usize, usize>,
}

/// An epoch that is begun and sealed, but not open.
struct Change {
    epoch: u64,
    sealed: Vec<usize>,
    members: Vec<usize>,
}

struct Read {
    gather: Gather<u32>,
    /// What each key's row must be at least.
    least: [Option<u32>; KEYS],
    is_done: [bool; KEYS],
    /// Answers under way.
    answers: Vec<(usize, Vouched, [Option<u32>; KEYS])>,
}

struct World {
    rng: StdRng,
    nodes: Vec<Node>,
    writes: Vec<Write>,
    reigns: Vec<Reign>,
    change: Option<Change>,
    /// The last epoch begun.
    begun: u64,
    /// The greatest rank that every later read must see.
    least: [Option<u32>; KEYS],
    reads: Vec<Read>,
    decided: usize,
}

impl World {
    /// So many members, and two more nodes that may become members and receive the stream at any rate.
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let members: Vec<usize> = (0..rng.random_range(1..=5)).collect();
        let mut nodes: Vec<Node> = (0..members.len() + 2).map(|_| Node::default()).collect();
        (nodes[0].promise, nodes[0].opening) = (1, 1);
        let reign = Reign {
            epoch: 1,
            primary: 0,
            members,
            stream: Vec::new(),
            received: BTreeMap::from([(0, 0)]),
        };
        World {
            rng,
            nodes,
            writes: Vec::new(),
            reigns: vec![reign],
            change: None,
            begun: 1,
            least: [None; KEYS],
            reads: Vec::new(),
            decided: 0,
        }
    }

    fn row(&self, node: usize, key: usize) -> Option<u32> {
        let writes = self.nodes[node]
            .held
            .iter()
            .map(|write| &self.writes[*write]);
        writes
            .filter(|write| write.key == key)
            .map(|write| write.rank)
            .max()
    }

    fn write(&mut self, reign: usize) {
        let reign = &mut self.reigns[reign];
        if self.nodes[reign.primary].promise != reign.epoch {
            return;
        }
        let write = self.writes.len();
        self.writes.push(Write {
            key: self.rng.random_range(0..KEYS),
            rank: self.rng.random(),
            epoch: reign.epoch,
            is_acknowledged: false,
        });
        reign.stream.push(write);
        reign.received.insert(reign.primary, reign.stream.len());
        self.nodes[reign.primary].held.insert(write);
    }

    /// The primary sends a node its ping, opening record and some records; the node's acknowledgement comes back.
    fn replicate(&mut self, reign: usize, to: usize) {
        let reign = &mut self.reigns[reign];
        if self.nodes[reign.primary].promise != reign.epoch || self.nodes[to].promise > reign.epoch
        {
            return;
        }
        self.nodes[to].promise = reign.epoch;
        if self.nodes[to].opening != reign.epoch {
            let lacks: Vec<usize> = self.nodes[to]
                .held
                .difference(&self.nodes[reign.primary].held)
                .copied()
                .collect();
            self.nodes[reign.primary].held.extend(&lacks);
            reign.stream.extend(lacks);
            reign.received.insert(reign.primary, reign.stream.len());
            self.nodes[to].opening = reign.epoch;
        }
        let received = reign.received.entry(to).or_default();
        let more = self.rng.random_range(0..=reign.stream.len() - *received);
        self.nodes[to]
            .held
            .extend(&reign.stream[*received..*received + more]);
        *received += more;
        let acks = reign
            .members
            .iter()
            .map(|member| reign.received.get(member).copied().unwrap_or(0));
        let mut acks: Vec<usize> = acks.collect();
        acks.sort_unstable_by(|a, b| b.cmp(a));
        for write in &reign.stream[..acks[commit_size(acks.len()) - 1]] {
            let write = &mut self.writes[*write];
            if write.epoch == reign.epoch && !write.is_acknowledged {
                write.is_acknowledged = true;
                self.least[write.key] = self.least[write.key].max(Some(write.rank));
            }
        }
    }

    fn seal(&mut self) {
        let basis = &self.reigns.last().unwrap().members;
        let mut sealed = basis.clone();
        sealed.shuffle(&mut self.rng);
        sealed.truncate(seal_size(basis.len()));
        let mut members = basis.clone();
        if self.rng.random_bool(0.4) {
            let others: Vec<usize> = (0..self.nodes.len())
                .filter(|node| !basis.contains(node))
                .collect();
            let leaves = self.rng.random_range(0..members.len());
            members[leaves] = others[self.rng.random_range(0..others.len())];
        }
        self.begun += 1;
        for node in &sealed {
            self.nodes[*node].promise = self.begun;
        }
        let epoch = self.begun;
        self.change = Some(Change {
            epoch,
            sealed,
            members,
        });
    }

    fn open(&mut self, change: Change) {
        let recovered: BTreeSet<usize> = change
            .sealed
            .iter()
            .flat_map(|node| self.nodes[*node].held.clone())
            .collect();
        let mut holders = change.members.clone();
        holders.shuffle(&mut self.rng);
        holders.truncate(commit_size(change.members.len()));
        if self.rng.random_bool(0.5) && change.members.contains(&change.sealed[0]) {
            holders.retain(|node| *node != change.sealed[0]);
            holders.insert(0, change.sealed[0]);
        }
        let primary = holders[0];
        for node in &holders {
            self.nodes[*node].promise = change.epoch;
            self.nodes[*node].held.extend(&recovered);
        }
        self.nodes[primary].opening = change.epoch;
        let stream: Vec<usize> = self.nodes[primary].held.iter().copied().collect();
        self.reigns.push(Reign {
            epoch: change.epoch,
            primary,
            members: change.members,
            received: BTreeMap::from([(primary, stream.len())]),
            stream,
        });
    }

    fn begin_read(&mut self) {
        self.reads.push(Read {
            gather: Gather::new(KEYS),
            least: self.least,
            is_done: [false; KEYS],
            answers: Vec::new(),
        });
    }

    /// Some node answers (Q1); the answer travels.
    fn answer(&mut self, read: usize, node: usize) {
        let Node {
            promise, opening, ..
        } = self.nodes[node];
        let Some(reign) = self
            .reigns
            .iter()
            .find(|reign| reign.epoch == promise && opening == promise)
        else {
            return;
        };
        let vouched = vouched(reign.epoch, &reign.members);
        let rows = std::array::from_fn(|key| self.row(node, key));
        self.reads[read].answers.push((node, vouched, rows));
    }

    fn deliver(&mut self, read: usize) -> Result<(), String> {
        let Read {
            gather, answers, ..
        } = &mut self.reads[read];
        if answers.is_empty() {
            return Ok(());
        }
        let (from, vouched, rows) = answers.swap_remove(self.rng.random_range(0..answers.len()));
        let asked = self.rng.random_range(0..=KEYS);
        gather.on_answer(
            id(from),
            vouched,
            rows.into_iter().enumerate().skip(asked % KEYS),
        );
        (0..KEYS).try_for_each(|key| self.judge(read, key))
    }

    /// A max-register: a read sees at least what was acknowledged or read before it began, and only what was written.
    fn judge(&mut self, read: usize, key: usize) -> Result<(), String> {
        let read = &mut self.reads[read];
        let Some(row) = read.gather.decided(key).map(Option::<&u32>::copied) else {
            return Ok(());
        };
        if std::mem::replace(&mut read.is_done[key], true) {
            return Ok(());
        }
        self.decided += 1;
        let is_written = |rank| {
            self.writes
                .iter()
                .any(|write| write.key == key && write.rank == rank)
        };
        if row < read.least[key] || !row.is_none_or(is_written) {
            return Err(format!("read {row:?}, not {:?}", read.least[key]));
        }
        self.least[key] = self.least[key].max(row);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let reign = self
            .rng
            .random_range(self.reigns.len().saturating_sub(2)..self.reigns.len());
        let node = self.rng.random_range(0..self.nodes.len());
        // Few reads at a time, begun again and again.
        let read = self
            .rng
            .random_range(self.reads.len().saturating_sub(3)..self.reads.len().max(1));
        match self.rng.random_range(0..40) {
            0..4 => self.write(reign),
            4..16 => self.replicate(reign, node),
            16..18 => self.begin_read(),
            18..28 if !self.reads.is_empty() => self.answer(read, node),
            28..38 if !self.reads.is_empty() => return self.deliver(read),
            38 => match self.change.take() {
                Some(change) => self.open(change),
                None if self.rng.random_bool(0.3) => self.seal(),
                None => {}
            },
            _ => {}
        }
        Ok(())
    }
}

/// Runs one seed; says how many keys were decided.
fn run(seed: u64) -> Result<usize, String> {
    let mut world = World::new(seed);
    (0..400).try_for_each(|_| world.step())?;
    Ok(world.decided)
}

#[test]
fn quorum_reads_of_a_changing_set_are_linearizable() {
    let mut decided = 0;
    for seed in 0..3_000 {
        decided += run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(decided > 15_000, "{decided} keys were decided");
}

#[test]
fn without_any_one_rule_some_read_is_wrong() {
    for rule in [Rule::ReadMembers, Rule::ReadSize, Rule::ReadAgree] {
        let wrong = (0..20_000).find(|seed| without(rule, || run(*seed)).is_err());
        assert!(wrong.is_some(), "nothing is wrong without {rule:?}");
    }
}

fn read_of_one(answers: &[(usize, Vouched, Option<u32>)]) -> Option<Option<u32>> {
    let mut gather = Gather::new(1);
    for (from, vouched, row) in answers {
        gather.on_answer(id(*from), vouched.clone(), [(0, *row)]);
    }
    gather.decided(0).map(Option::<&u32>::copied)
}

#[test]
fn the_row_that_most_members_name_is_decided_absence_included() {
    let of_three = || vouched(4, &[0, 1, 2]);
    assert_eq!(read_of_one(&[(0, of_three(), Some(7))]), None);
    assert_eq!(
        read_of_one(&[(0, of_three(), Some(7)), (1, of_three(), None)]),
        None
    );
    let two_of_three = [
        (0, of_three(), Some(7)),
        (1, of_three(), None),
        (2, of_three(), Some(7)),
    ];
    assert_eq!(read_of_one(&two_of_three), Some(Some(7)));
    let absent = [
        (0, of_three(), None),
        (1, of_three(), Some(7)),
        (2, of_three(), None),
    ];
    assert_eq!(read_of_one(&absent), Some(None));
}

#[test]
fn answers_for_two_epochs_or_of_others_than_members_do_not_add_up() {
    let [old, new] = [3, 4].map(|epoch| vouched(epoch, &[0, 1, 2]));
    assert_eq!(
        read_of_one(&[(0, old, Some(7)), (1, new.clone(), Some(7))]),
        None
    );
    assert_eq!(
        read_of_one(&[(0, new.clone(), Some(7)), (3, new.clone(), Some(7))]),
        None
    );
    assert_eq!(
        read_of_one(&[(3, new.clone(), Some(7)), (4, new, Some(7))]),
        None
    );
}

#[test]
fn half_of_an_even_set_does_not_decide() {
    let of_four = || vouched(1, &[0, 1, 2, 3]);
    let half = [(0, of_four(), Some(1)), (1, of_four(), Some(1))];
    assert_eq!(read_of_one(&half), None);
    let of_two = vouched(1, &[0, 1]);
    assert_eq!(read_of_one(&[(0, of_two, None)]), None);
}

#[test]
fn a_member_counts_once_and_by_its_last_answer() {
    let of_three = || vouched(1, &[0, 1, 2]);
    assert_eq!(
        read_of_one(&[(0, of_three(), Some(7)), (0, of_three(), Some(7))]),
        None
    );
    let moved_on = [
        (0, of_three(), Some(7)),
        (0, of_three(), Some(8)),
        (1, of_three(), Some(7)),
    ];
    assert_eq!(read_of_one(&moved_on), None);
    let caught_up = [
        (0, of_three(), Some(8)),
        (1, of_three(), Some(7)),
        (1, of_three(), Some(8)),
    ];
    assert_eq!(read_of_one(&caught_up), Some(Some(8)));
}

proptest! {
    #[test]
    fn each_key_is_decided_by_itself_and_stays_so(keys in 1..6usize, decided: prop::sample::Index) {
        let decided = decided.index(keys);
        let mut gather = Gather::new(keys);
        for from in 0..2 {
            let rows = [(decided, Some(3)), (keys, Some(4))];
            gather.on_answer(id(from), vouched(1, &[0, 1, 2]), rows);
        }
        let others: Vec<usize> = (0..keys).filter(|key| *key != decided).collect();
        prop_assert_eq!(gather.undecided().collect::<Vec<_>>(), others);
        for from in 1..3 {
            gather.on_answer(id(from), vouched(2, &[0, 1, 2]), [(decided, None)]);
        }
        prop_assert_eq!(gather.decided(decided), Some(Some(&3)));
        prop_assert_eq!(gather.decided(keys), None);
    }
}
