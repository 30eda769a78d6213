//! Lists against what [`Gather`] decides of the same answers, and whole scans of a set that writes meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::Epoch;
use crate::control::commit_size;

const KEYS: u8 = 12;

fn id(node: usize) -> IncarnationId {
    IncarnationId(node as u128)
}

fn vouched(epoch: u64, members: usize) -> Vouched {
    Vouched {
        epoch: Epoch(epoch),
        members: (0..members).map(id).collect(),
    }
}

fn listed(keys: &[u8], until: Option<u8>) -> Listed<u8> {
    Listed {
        keys: keys.to_vec(),
        until,
    }
}

/// Who answers in which epoch, what is listed, and up to where that is complete.
fn answers() -> impl Strategy<Value = Vec<(usize, u64, BTreeSet<u8>, Option<u8>)>> {
    let keys = prop::collection::btree_set(0..KEYS, 0..8);
    let answer = (0..6_usize, 1..3_u64, keys, prop::option::of(0..KEYS));
    prop::collection::vec(answer, 0..12)
}

proptest! {
    #[test]
    fn what_is_left_out_is_what_a_quorum_read_decides_to_be_absent(members in 1..6_usize, answers in answers()) {
        let (mut ahead, mut gather) = (Ahead::default(), Gather::new(usize::from(KEYS)));
        for (from, epoch, keys, until) in answers {
            let is_within = |key: &u8| until.is_none_or(|until| *key <= until);
            let keys: Vec<u8> = keys.into_iter().filter(is_within).collect();
            let named = (0..KEYS).filter(is_within).map(|key| {
                (usize::from(key), keys.contains(&key).then_some(()))
            });
            if ahead.listed().is_none() {
                gather.on_answer(id(from), vouched(epoch, members), named);
            }
            ahead.on_list(id(from), vouched(epoch, members), Listed { keys, until });
        }
        let Some(ahead) = ahead.listed() else {
            return Ok(());
        };
        prop_assert!(ahead.keys.is_sorted_by(|a, b| a < b));
        for key in 0..KEYS {
            let is_within = ahead.until.is_none_or(|until| key <= until);
            prop_assert!(is_within || !ahead.keys.contains(&key));
            if is_within && !ahead.keys.contains(&key) {
                prop_assert_eq!(gather.decided(usize::from(key)), Some(None));
            }
        }
    }
}

#[test]
fn a_majority_of_one_epoch_lists_and_the_least_end_counts() {
    let mut ahead = Ahead::default();
    ahead.on_list(id(0), vouched(3, 3), listed(&[1, 4, 9], None));
    assert_eq!(ahead.listed(), None, "one of three");
    ahead.on_list(id(1), vouched(2, 3), listed(&[1], None));
    assert_eq!(ahead.listed(), None, "of another epoch");
    ahead.on_list(id(7), vouched(3, 3), listed(&[3], None));
    assert_eq!(ahead.listed(), None, "no data member");
    ahead.on_list(id(2), vouched(3, 3), listed(&[2, 4, 5], Some(5)));
    let known = Some(listed(&[1, 2, 3, 4, 5], Some(5)));
    assert_eq!(ahead.listed(), known);
    ahead.on_list(id(0), vouched(4, 3), listed(&[], None));
    assert_eq!(ahead.listed(), known, "it rests on the first list");
}

#[test]
fn a_list_that_is_cut_ends_with_its_last_key() {
    let all = listed(&[1, 4, 9], None);
    assert_eq!(all.clone().at_most(3), all);
    assert_eq!(all.at_most(2), listed(&[1, 4], Some(4)));
}

/// A write: it puts a row or deletes it, and wins against all before it in the stream.
struct Write {
    key: u8,
    is_put: bool,
}

/// A set with one primary, whose members hold each so much of the stream.
struct World {
    rng: StdRng,
    stream: Vec<Write>,
    held: Vec<usize>,
    /// Of each key the last write that every later read must see.
    least: BTreeMap<u8, usize>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let members = rng.random_range(3..=5);
        World {
            rng,
            stream: Vec::new(),
            held: vec![0; members],
            least: BTreeMap::new(),
        }
    }

    /// The last write of a key that a member holds.
    fn row(&self, member: usize, key: u8) -> Option<usize> {
        let held = &self.stream[..self.held[member]];
        held.iter().rposition(|write| write.key == key)
    }

    fn write(&mut self) {
        let (key, is_put) = (self.rng.random_range(0..KEYS), self.rng.random_bool(0.7));
        self.stream.push(Write { key, is_put });
        self.held[0] = self.stream.len();
    }

    /// Some member receives some records, and what W hold is acknowledged.
    fn replicate(&mut self) {
        let member = self.rng.random_range(1..self.held.len());
        let more = self.stream.len() - self.held[member];
        self.held[member] += self.rng.random_range(0..=more);
        let mut held = self.held.clone();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let committed = held[commit_size(held.len()) - 1];
        for (at, write) in self.stream[..committed].iter().enumerate() {
            let least = self.least.entry(write.key).or_insert(at);
            *least = at.max(*least);
        }
    }

    fn go_on(&mut self) {
        match self.rng.random_range(0..10) {
            0..2 => self.write(),
            2..7 => self.replicate(),
            _ => {}
        }
    }

    /// What a member lists behind a key: so many keys at the most.
    fn list(&mut self, member: usize, after: Option<u8>) -> Listed<u8> {
        let first = after.map_or(0, |after| after + 1);
        let keys = (first..KEYS).filter(|key| self.row(member, *key).is_some());
        let listed = Listed {
            keys: keys.collect(),
            until: None,
        };
        listed.at_most(self.rng.random_range(1..=5))
    }

    fn members(&mut self) -> Vec<usize> {
        let mut members: Vec<usize> = (0..self.held.len()).collect();
        members.shuffle(&mut self.rng);
        members
    }

    /// The row of a key that W members name.
    fn agreed(&mut self, key: u8) -> Option<usize> {
        let mut gather = Gather::new(1);
        loop {
            for member in self.members() {
                self.go_on();
                let row = self.row(member, key);
                gather.on_answer(id(member), vouched(1, self.held.len()), [(0, row)]);
                if let Some(row) = gather.decided(0) {
                    return row.copied();
                }
            }
        }
    }

    /// Some rows behind a key, and behind which key it goes on.
    fn page(&mut self, after: Option<u8>) -> (Vec<(u8, usize)>, Option<u8>) {
        let least = self.least.clone();
        let mut ahead = Ahead::default();
        for member in self.members() {
            self.go_on();
            let listed = self.list(member, after);
            ahead.on_list(id(member), vouched(1, self.held.len()), listed);
        }
        let ahead = ahead.listed().expect("all have answered").at_most(4);
        let first = after.map_or(0, |after| after + 1);
        let last = ahead.until.unwrap_or(KEYS - 1);
        let mut rows = Vec::new();
        for key in first..=last {
            let row = ahead.keys.contains(&key).then(|| self.agreed(key));
            let row = row.flatten();
            assert!(row >= least.get(&key).copied(), "{key} is missed");
            assert!(row.is_none_or(|row| self.stream[row].key == key));
            if let Some(row) = row {
                let least = self.least.entry(key).or_insert(row);
                *least = row.max(*least);
            }
            rows.extend(
                row.filter(|row| self.stream[*row].is_put)
                    .map(|row| (key, row)),
            );
        }
        (rows, ahead.until)
    }
}

#[test]
fn a_scan_finds_each_acknowledged_row_once_and_in_order_while_others_are_written() {
    let mut found = 0;
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        (0..40).for_each(|_| world.go_on());
        let least = world.least.clone();
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let (page, rest) = world.page(after);
            rows.extend(page);
            assert!(rest.is_none() || rest > after, "seed {seed}: it goes on");
            if rest.is_none() {
                break;
            }
            after = rest;
        }
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}: {rows:?}");
        for (key, row) in least {
            let later = &world.stream[row + 1..];
            if later.iter().all(|write| write.key != key) {
                let expected = world.stream[row].is_put.then_some((key, row));
                let scanned = rows.iter().find(|scanned| scanned.0 == key);
                assert_eq!(scanned.copied(), expected, "seed {seed}");
                found += 1;
            }
        }
    }
    assert!(found > 4_000, "{found} rows were not written again");
}
