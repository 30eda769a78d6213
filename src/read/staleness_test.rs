use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::{Epoch, IncarnationId, LineageId, LogId, RegionId, Seq};
use crate::control::{LogState, OpenConfig};

fn control() -> ControlState {
    ControlState::new(LineageId(1), RegionId(1), IncarnationId(1))
}

fn log(epoch: u64) -> LogId {
    LogId {
        region: RegionId(1),
        epoch: Epoch(epoch),
    }
}

fn upto(seq: u64) -> VersionVector {
    let mut vector = VersionVector::new();
    vector.advance(log(1), Seq(seq));
    vector
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A set seen from outside, with one clock for all.
struct World {
    rng: StdRng,
    now: Duration,
    /// All records in the order in which this node will apply them, with when each was acknowledged.
    records: Vec<(LogId, Seq, Option<Duration>)>,
    /// Appended by the primary of the last epoch.
    epoch: u64,
    applied: usize,
    /// Probes that have not reached the primary, then their answers that have not reached this node.
    probes: Vec<ProbeNumber>,
    answers: Vec<(ProbeNumber, VersionVector)>,
    node: Staleness,
    claims: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        World {
            node: Staleness::new(ProbeNumber(rng.random())),
            rng,
            now: ms(1),
            records: Vec::new(),
            epoch: 1,
            applied: 0,
            probes: Vec::new(),
            answers: Vec::new(),
            claims: 0,
        }
    }

    fn vector(&self, count: usize) -> VersionVector {
        let mut vector = VersionVector::new();
        for (log, seq, _) in &self.records[..count] {
            vector.advance(*log, *seq);
        }
        vector
    }

    fn append(&mut self) {
        let seq = self
            .vector(self.records.len())
            .last(log(self.epoch))
            .unwrap();
        self.records.push((log(self.epoch), seq.next(), None));
    }

    /// Acknowledges everything up to some record that is not acknowledged yet.
    fn acknowledge(&mut self) {
        let upto = self.rng.random_range(0..=self.records.len());
        for (_, _, acknowledged) in &mut self.records[..upto] {
            acknowledged.get_or_insert(self.now);
        }
    }

    /// A later epoch opens: what was not acknowledged may be lost, unless this node has it already.
    fn change(&mut self) {
        let mut at = 0;
        let applied = self.applied;
        let lost = self.rng.random_bool(0.5);
        self.records.retain(|(_, _, acknowledged)| {
            at += 1;
            at <= applied || acknowledged.is_some() || !lost
        });
        self.epoch += 1;
    }

    fn take<T>(rng: &mut StdRng, from: &mut Vec<T>) -> Option<T> {
        (!from.is_empty()).then(|| from.swap_remove(rng.random_range(0..from.len())))
    }

    fn step(&mut self) {
        match self.rng.random_range(0..16) {
            0..3 => self.now += ms(self.rng.random_range(1..20)),
            3..6 => self.append(),
            6..8 => self.acknowledge(),
            8..10 => {
                let probe = self.node.probe(self.now);
                self.probes.push(probe);
            }
            10..12 => {
                if let Some(probe) = World::take(&mut self.rng, &mut self.probes) {
                    self.answers.push((probe, self.vector(self.records.len())));
                }
            }
            12 => {
                World::take(&mut self.rng, &mut self.probes);
            }
            13 => {
                if let Some((probe, position)) = World::take(&mut self.rng, &mut self.answers) {
                    self.node.on_answer(probe, position);
                }
            }
            14 => self.applied = self.rng.random_range(self.applied..=self.records.len()),
            _ if self.rng.random_bool(0.1) => self.change(),
            _ => {}
        }
        self.node.on_applied(&control(), &self.vector(self.applied));
        self.check();
    }

    fn check(&mut self) {
        let Some(claimed) = self.node.staleness(self.now) else {
            return;
        };
        self.claims += 1;
        let missing = self.records[self.applied..].iter();
        let oldest = missing
            .filter_map(|(_, _, acknowledged)| *acknowledged)
            .min();
        let truly = oldest.map_or(Duration::ZERO, |oldest| self.now - oldest);
        assert!(claimed >= truly, "claimed {claimed:?}, truly {truly:?}");
    }
}

#[test]
fn no_claim_is_less_than_the_true_staleness() {
    let mut claims = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.step());
        claims += world.claims;
    }
    assert!(claims > 50_000, "{claims} claims were judged");
}

#[test]
fn nothing_is_claimed_without_an_answer_that_is_applied() {
    let mut node = Staleness::new(ProbeNumber(u64::MAX));
    let probe = node.probe(ms(1));
    node.on_applied(&control(), &upto(9));
    assert_eq!(node.staleness(ms(5)), None);
    node.on_answer(probe, upto(3));
    node.on_applied(&control(), &upto(2));
    assert_eq!(node.staleness(ms(5)), None);
    node.on_applied(&control(), &upto(3));
    assert_eq!(node.staleness(ms(5)), Some(ms(4)));
    assert_eq!(
        node.staleness(ms(50)),
        Some(ms(49)),
        "it grows when cut off"
    );
}

#[test]
fn the_newest_applied_position_counts_in_whatever_order_answers_come() {
    let mut node = Staleness::new(ProbeNumber(1));
    let probes: Vec<_> = (1..=4).map(|at| node.probe(ms(at * 10))).collect();
    node.on_answer(probes[3], upto(9));
    node.on_answer(probes[2], upto(3));
    node.on_applied(&control(), &upto(3));
    assert_eq!(node.staleness(ms(40)), Some(ms(10)));
    node.on_answer(probes[1], upto(1));
    node.on_applied(&control(), &upto(3));
    assert_eq!(node.staleness(ms(40)), Some(ms(10)));
    node.on_answer(probes[3], upto(1));
    node.on_applied(&control(), &upto(8));
    assert_eq!(
        node.staleness(ms(40)),
        Some(ms(10)),
        "the first answer stays"
    );
    node.on_applied(&control(), &upto(9));
    assert_eq!(node.staleness(ms(40)), Some(ms(0)));
}

#[test]
fn of_several_positions_applied_at_once_the_newest_counts() {
    let mut node = Staleness::new(ProbeNumber(1));
    let probes: Vec<_> = (1..=3).map(|at| node.probe(ms(at * 10))).collect();
    for (probe, seq) in probes.into_iter().zip(1..) {
        node.on_answer(probe, upto(seq));
    }
    node.on_applied(&control(), &upto(3));
    assert_eq!(node.staleness(ms(35)), Some(ms(5)));
}

#[test]
fn a_position_in_folded_logs_is_reached_by_a_node_that_holds_them_whole() {
    let mut control = control();
    let (last, digest) = (Seq(4), 0);
    control
        .logs
        .insert(Epoch(1), LogState::Closed { last, digest });
    // A log is closed once a later epoch is open.
    control.logs.insert(Epoch(2), LogState::Active);
    control.open = Some(OpenConfig {
        epoch: Epoch(2),
        members: [IncarnationId(1)].into(),
    });
    let mut position = VersionVector::new();
    position.fold(RegionId(1), Epoch(1));
    let mut node = Staleness::new(ProbeNumber(1));
    let probe = node.probe(ms(1));
    node.on_answer(probe, position);
    node.on_applied(&control, &upto(3));
    assert_eq!(node.staleness(ms(5)), None);
    node.on_applied(&control, &upto(4));
    assert_eq!(node.staleness(ms(5)), Some(ms(4)));
}

#[test]
fn a_node_that_always_lags_claims_little_more_than_its_lag() {
    for lag in [0, 1, 5, 31, 32, 33, 100, 1_000] {
        let mut node = Staleness::new(ProbeNumber(1));
        for tick in 0..8 * lag + 200 {
            let probe = node.probe(ms(tick));
            node.on_answer(probe, upto(tick));
            node.on_applied(&control(), &upto(tick.saturating_sub(lag)));
            assert!(node.probes.len() <= REMEMBERED);
            if tick > 4 * lag {
                let claimed = node.staleness(ms(tick)).unwrap();
                assert!(
                    claimed <= ms(2 * lag + 1),
                    "{claimed:?} at a lag of {lag} ms"
                );
            }
        }
    }
}

#[test]
fn a_node_hears_again_after_having_been_cut_off() {
    let mut node = Staleness::new(ProbeNumber(1));
    (0..1_000).for_each(|at| {
        node.probe(ms(at));
    });
    let probe = node.probe(ms(1_000));
    node.on_answer(probe, upto(1));
    node.on_applied(&control(), &upto(1));
    assert_eq!(node.staleness(ms(1_001)), Some(ms(1)));
    assert!(node.probes.is_empty());
}
