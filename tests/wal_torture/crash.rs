//! The power goes after every call that changes the disk, and again during recovery.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::SimDisk;
use super::history::{History, Step, open, random_steps};
use super::seeds;

/// How many outcomes of a loss of power are tried: all of them if there are no more, else some.
const OUTCOMES: usize = 8;
/// The same for a second loss of power, during recovery.
const SECOND_OUTCOMES: usize = 3;

/// A way of using a log.
pub struct Case {
    pub segment_bytes: u64,
    sector: usize,
    pub steps: Vec<Step>,
}

impl Case {
    pub fn random(rng: &mut StdRng) -> Case {
        let (segment_bytes, sector) = match rng.random_range(0..3) {
            0 => (rng.random_range(100..1000), 512),
            1 => (rng.random_range(1000..3000), 512),
            _ => (rng.random_range(3000..9000), 4096),
        };
        let count = rng.random_range(8..24);
        Case {
            segment_bytes,
            sector,
            steps: random_steps(rng, count, segment_bytes),
        }
    }

    /// Opens a new log and does the steps, until the power goes.
    pub fn play(&self, disk: &SimDisk) -> History {
        let mut history = History::new();
        if let Ok((mut log, _)) = open(disk, self.segment_bytes) {
            // The only error there can be is the loss of power.
            let _until = history.play(&mut log, &self.steps);
        }
        history
    }

    pub fn disk(&self, seed: u64) -> SimDisk {
        SimDisk::new(self.sector, seed)
    }
}

/// Combinations of outcomes: all if there are at most `limit`, else none kept, all kept, and random ones.
pub fn combinations(outcomes: &[usize], limit: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let number = outcomes
        .iter()
        .try_fold(1usize, |product, count| product.checked_mul(*count))
        .filter(|number| *number <= limit);
    if let Some(number) = number {
        return (0..number)
            .map(|mut nth| {
                let digit = |count: &usize| {
                    let digit = nth % count;
                    nth /= count;
                    digit
                };
                outcomes.iter().map(digit).collect()
            })
            .collect();
    }
    let mut all = vec![
        vec![0; outcomes.len()],
        outcomes.iter().map(|count| count - 1).collect(),
    ];
    all.extend((2..limit).map(|_| {
        let pick = |count: &usize| rng.random_range(0..*count);
        outcomes.iter().map(pick).collect::<Vec<_>>()
    }));
    all
}

/// Recovers, and goes on working with what is there, through one more loss of power at the end.
fn recover_and_go_on(disk: &SimDisk, mut history: History, segment_bytes: u64, rng: &mut StdRng) {
    let mut log = history.reopen(disk, segment_bytes).expect("recovers");
    let mut steps = random_steps(rng, 4, segment_bytes);
    steps.push(Step::Append(b"after".to_vec()));
    steps.push(Step::Sync);
    history.play(&mut log, &steps).expect("goes on");
    let nothing_kept = vec![0; disk.outcomes().len()];
    let disk = disk.after_power_loss(&nothing_kept);
    history
        .reopen(&disk, segment_bytes)
        .expect("recovers again");
}

/// Recovers with the power going after each of recovery's own calls.
fn crash_during_recovery(disk: &SimDisk, history: &History, case: &Case, rng: &mut StdRng) {
    for calls in 0.. {
        let disk = disk.copy();
        disk.cut_power_after(calls);
        if open(&disk, case.segment_bytes).is_ok() {
            return;
        }
        for picks in combinations(&disk.outcomes(), SECOND_OUTCOMES, rng) {
            let disk = disk.after_power_loss(&picks);
            history
                .clone()
                .reopen(&disk, case.segment_bytes)
                .expect("recovers from a crash of recovery");
        }
    }
}

fn torture(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let case = Case::random(&mut rng);
    let disk = case.disk(seed);
    case.play(&disk);
    for calls in 0..=disk.changes() {
        let disk = case.disk(seed);
        disk.cut_power_after(calls);
        let history = case.play(&disk);
        for picks in combinations(&disk.outcomes(), OUTCOMES, &mut rng) {
            let disk = disk.after_power_loss(&picks);
            crash_during_recovery(&disk, &history, &case, &mut rng);
            recover_and_go_on(&disk, history.clone(), case.segment_bytes, &mut rng);
        }
    }
}

#[test]
fn nothing_durable_is_lost_wherever_the_power_goes_and_whatever_was_not_synced() {
    for seed in seeds(300) {
        eprintln!("seed {seed}");
        torture(seed);
    }
}

#[test]
fn small_sets_of_outcomes_are_tried_completely() {
    let mut rng = StdRng::seed_from_u64(0);
    let all = combinations(&[2, 3], 6, &mut rng);
    assert_eq!(all.len(), 6);
    assert!(all.contains(&vec![1, 2]));
    let some = combinations(&[2; 40], 5, &mut rng);
    assert_eq!(some.len(), 5);
}
