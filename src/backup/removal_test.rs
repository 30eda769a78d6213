use std::num::NonZeroU32;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::super::retention::Keep;
use super::*;
use crate::backup::inventory::Holdings;
use crate::backup::layout::{Chain, End, FileId};
use crate::base::{
    AppliedVv, Epoch, IncarnationId, LineageId, NodeNumber, RegionId, Seq, VersionVector,
};
use crate::control::{ControlState, LogState, OpenConfig};
use crate::storage::{FileName, Snapshot, State, StoreFile};

const REGION: RegionId = RegionId(5);
const HOUR: Duration = Duration::from_secs(3_600);
const NOW_HOURS: u32 = 5_000;

fn now() -> Micros {
    Micros(0).plus(HOUR * NOW_HOURS)
}

fn log(epoch: u64) -> LogId {
    LogId {
        region: REGION,
        epoch: Epoch(epoch),
    }
}

fn point(hours_ago: u32, random: u32) -> PointId {
    PointId {
        begun_millis: u64::from(NOW_HOURS - hours_ago) * 3_600_000,
        random,
    }
}

/// A bucket, and what its objects hold.
#[derive(Debug, Clone, Default)]
struct World {
    objects: Vec<Object>,
    manifests: BTreeMap<PointId, Manifest>,
    stretches: Vec<Stretch>,
}

impl World {
    fn put(&mut self, named: Named, hours_ago: u32) {
        let modified = now().minus(HOUR * hours_ago);
        if self.objects.iter().all(|object| object.named != named) {
            self.objects.push(Object {
                named,
                bytes: 1,
                modified,
            });
        }
    }

    fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        for object in &self.objects {
            holdings.add(object.named, object.bytes);
        }
        holdings
    }

    fn archive(&self) -> Archive {
        let holdings = self.holdings();
        let there = |stretch: &&Stretch| holdings.stretches.contains(&stretch.id());
        Archive {
            stretches: self.stretches.iter().filter(there).cloned().collect(),
            segments: holdings.segments,
            ends: holdings.ends,
        }
    }

    fn needed(&self, choice: &Choice) -> Vec<Manifest> {
        let needed = choice.needed();
        needed.map(|point| self.manifests[&point].clone()).collect()
    }

    /// The steps of a prune, those of one stage in any order.
    fn steps(&self, keep: Keep, random: &mut SmallRng) -> Vec<Step> {
        let choice = Choice::new(keep, &self.objects, now());
        let needed = self.needed(&choice);
        let going = removal(&self.objects, &choice, &needed, &self.archive(), now());
        let mut steps: Vec<Step> = choice.dropped.iter().copied().map(Step::Drop).collect();
        for stage in stages(&going) {
            let mut stage: Vec<Object> = stage.to_vec();
            stage.shuffle(random);
            steps.extend(stage.into_iter().map(Step::Remove));
        }
        steps
    }

    fn after(&self, steps: &[Step]) -> World {
        let mut world = self.clone();
        for step in steps {
            match step {
                Step::Drop(point) => world.put(Named::Dropped(*point), 0),
                Step::Remove(gone) => world.objects.retain(|object| object != gone),
            }
        }
        world
    }

    fn names(&self) -> BTreeSet<String> {
        let names = self.objects.iter().map(|object| object.named.to_string());
        names.collect()
    }

    /// Generations that look like uploads that were broken off.
    fn unfinished(&self) -> BTreeSet<PointId> {
        let holdings = self.holdings();
        let generations = holdings.files.keys().copied();
        generations
            .filter(|generation| !holdings.manifests.contains_key(generation))
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Drop(PointId),
    Remove(Object),
}

/// Stamps of the records of each log, by epoch from 1.
type History = Vec<Vec<u64>>;

fn history(random: &mut SmallRng) -> History {
    let mut hlc = 0;
    let logs = (0..random.random_range(1..6)).map(|_| {
        let stamps = (0..random.random_range(0..9)).map(|_| {
            hlc += random.random_range(1..4);
            hlc
        });
        stamps.collect()
    });
    logs.collect()
}

fn length(history: &History, epoch: u64) -> u64 {
    u64::try_from(history[usize::try_from(epoch - 1).unwrap()].len()).unwrap()
}

fn stamp(history: &History, epoch: u64, seq: u64) -> Hlc {
    let log = &history[usize::try_from(epoch - 1).unwrap()];
    Hlc(log[usize::try_from(seq - 1).unwrap()])
}

fn chain(epoch: u64, seq: u64) -> Chain {
    Chain(u128::from(epoch) << 64 | u128::from(seq))
}

/// Some records of each log up to an epoch, and all of those that are folded.
fn held(history: &History, random: &mut SmallRng) -> (VersionVector, u64) {
    let known = random.random_range(1..=u64::try_from(history.len()).unwrap());
    let mut held = VersionVector::new();
    let folded = random.random_range(0..known) + u64::from(random.random_ratio(1, 10));
    held.fold(REGION, Epoch(folded));
    for epoch in 1..=known {
        let all = length(history, epoch);
        let some = if random.random() {
            all
        } else {
            random.random_range(0..=all)
        };
        held.advance(log(epoch), Seq(some));
    }
    (held, known)
}

/// A restore point of a member that is now ahead of those before, now behind.
fn manifest(history: &History, point: PointId, random: &mut SmallRng) -> Manifest {
    let (applied, known) = held(history, random);
    let mut control = ControlState::new(LineageId(1), REGION, IncarnationId(2));
    for epoch in applied.base(REGION).0 + 1..=known {
        let last = length(history, epoch);
        let is_closed = epoch < known && random.random();
        let state = if is_closed {
            let (last, digest) = (Seq(last), 0);
            LogState::Closed { last, digest }
        } else {
            LogState::Active
        };
        control.logs.insert(Epoch(epoch), state);
    }
    control.open = Some(OpenConfig {
        epoch: Epoch(known),
        members: BTreeSet::new(),
    });
    let held = applied
        .logs()
        .map(|(log, last)| stamp(history, log.epoch.0, last.0));
    let newest = held.max().unwrap_or(Hlc::ZERO);
    let state = State {
        applied: AppliedVv(applied),
        newest,
        ..State::default()
    };
    let files = Vec::new();
    Manifest {
        point,
        generation: point,
        parent: None,
        program: String::new(),
        member: NodeNumber::FIRST,
        control,
        snapshot: Snapshot { state, files },
    }
}

/// What archivers wrote of a history: records in pieces of any size, some of them twice, some missing.
fn archive(world: &mut World, history: &History, random: &mut SmallRng) {
    let epochs = u64::try_from(history.len()).unwrap();
    for epoch in 1..=epochs {
        let all = length(history, epoch);
        let mut next = 1;
        while next <= all {
            let from = random.random_range(1..=next);
            let to = random.random_range(next..=all);
            let segment = Segment {
                log: log(epoch),
                from: Seq(from),
                to: Seq(to),
                newest: stamp(history, epoch, to),
                chain: Chain(chain(epoch, to).0 + u128::from(random.random_ratio(1, 60))),
            };
            if random.random_ratio(19, 20) {
                world.put(Named::Segment(segment), random.random_range(0..200));
            }
            next = to + random.random_range(0..=1);
            next += u64::from(next == to);
        }
        if epoch < epochs && random.random() {
            let (log, last, chain) = (log(epoch), Seq(all), chain(epoch, all));
            let end = End { log, last, chain };
            world.put(Named::End(end), random.random_range(0..200));
        }
        for _ in 0..random.random_range(0..3) {
            let unfinished = (1..=epoch).filter(|_| random.random_ratio(1, 3));
            let stretch = Stretch {
                since: floor(history, epoch),
                epoch: Epoch(epoch),
                unfinished: unfinished.map(log).collect(),
                base: match random.random() {
                    true => held(history, random).0,
                    false => VersionVector::new(),
                },
            };
            world.put(Named::Stretch(stretch.id()), random.random_range(0..200));
            world.stretches.push(stretch);
        }
    }
    world.stretches.sort_by_key(Stretch::id);
    world.stretches.dedup();
}

/// All stamps of an epoch lie above it.
fn floor(history: &History, epoch: u64) -> Hlc {
    let before = &history[..usize::try_from(epoch - 1).unwrap()];
    let last = before.iter().rev().find_map(|log| log.last());
    Hlc(last.copied().unwrap_or(0))
}

/// Generations of files, with restore points that name some of them, and uploads that were broken off.
fn files(world: &mut World, history: &History, random: &mut SmallRng) {
    for number in 0..random.random_range(1..5) {
        let generation = point(random.random_range(0..200), number);
        let mut points = BTreeSet::new();
        if random.random_ratio(3, 4) {
            points.insert(generation);
        }
        for _ in 0..random.random_range(0..4) {
            let hours_ago =
                u32::try_from(u64::from(NOW_HOURS) - generation.begun_millis / 3_600_000);
            points.insert(point(
                random.random_range(0..=hours_ago.unwrap()),
                random.random(),
            ));
        }
        let digests: Vec<blake3::Hash> = (0..random.random_range(1..6))
            .map(|file: u8| blake3::hash(&[u8::try_from(number).unwrap(), file]))
            .collect();
        for digest in &digests {
            let file = FileId {
                generation,
                digest: *digest,
            };
            world.put(Named::StoreFile(file), random.random_range(0..100));
        }
        for point in points {
            let mut manifest = manifest(history, point, random);
            manifest.generation = generation;
            let some = random.random_range(0..=digests.len());
            let some = digests.iter().choose_multiple(random, some);
            manifest.snapshot.files = some.into_iter().map(|digest| store_file(*digest)).collect();
            world.manifests.insert(point, manifest);
            world.put(Named::Point(point), random.random_range(0..100));
            if random.random_ratio(1, 3) {
                world.put(Named::Dropped(point), random.random_range(0..60));
            }
        }
    }
    for _ in 0..random.random_range(0..3) {
        let never = point(random.random_range(0..100), random.random());
        world.put(Named::Dropped(never), random.random_range(0..60));
    }
}

fn store_file(digest: blake3::Hash) -> StoreFile {
    StoreFile {
        name: FileName::parse("000012.sst").unwrap(),
        bytes: 1,
        digest,
    }
}

fn world(random: &mut SmallRng) -> World {
    let mut world = World::default();
    let history = history(random);
    files(&mut world, &history, random);
    archive(&mut world, &history, random);
    world.objects.shuffle(random);
    world
}

fn keep(random: &mut SmallRng) -> Keep {
    Keep {
        days: random.random::<bool>().then(|| random.random_range(0..9)),
        points: NonZeroU32::new(random.random_range(0..5)),
    }
}

/// The greatest epoch of which anything is known: what a restored set begins behind.
fn begun(base: &Manifest, archive: &Archive) -> Epoch {
    let archived = archive.segments.keys().map(|log| log.epoch);
    let stretches = archive.stretches.iter().map(|stretch| stretch.epoch);
    let held = base.snapshot.state.applied.0.logs();
    let known = base.control.logs.keys().copied();
    let epochs = archived.chain(stretches).chain(known);
    let epochs = epochs.chain(held.map(|(log, _)| log.epoch));
    epochs.max().unwrap_or(Epoch::NONE)
}

proptest! {
    #[test]
    fn every_way_from_a_restore_point_that_is_needed_stays_as_it_was(seed: u64) {
        let random = &mut SmallRng::seed_from_u64(seed);
        let (world, keep) = (world(random), keep(random));
        let mut steps = world.steps(keep, random);
        // However far it comes.
        steps.truncate(random.random_range(0..=steps.len()));
        let (before, after) = (world.archive(), world.after(&steps).archive());
        let choice = Choice::new(keep, &world.objects, now());
        for base in world.needed(&choice) {
            prop_assert_eq!(begun(&base, &before), begun(&base, &after));
            for until in (0..150).chain([u64::MAX]).map(Hlc) {
                let plan = |archive| Plan::new(&base, archive, until);
                prop_assert_eq!(plan(&before), plan(&after), "{} until {}: {:?}", base.point, until, steps);
            }
        }
    }

    #[test]
    fn however_far_a_removal_comes_the_next_one_ends_it_and_nothing_is_lost_between(seed: u64) {
        let random = &mut SmallRng::seed_from_u64(seed);
        let (world, keep) = (world(random), keep(random));
        let (all, choice) = (world.steps(keep, random), Choice::new(keep, &world.objects, now()));
        let done = world.after(&all);
        prop_assert_eq!(done.steps(keep, random), [], "there is no end");
        let unfinished = world.unfinished();
        for steps in 0..all.len() {
            let part = world.after(&all[..steps]);
            prop_assert!(part.unfinished().is_subset(&unfinished), "{:?}", &all[..steps]);
            let holdings = part.holdings();
            for manifest in world.needed(&choice) {
                prop_assert!(holdings.manifests.contains_key(&manifest.point));
                for file in &manifest.snapshot.files {
                    prop_assert!(holdings.holds(manifest.object(file), file.bytes));
                }
            }
            let rest = part.steps(keep, random);
            prop_assert_eq!(part.after(&rest).names(), done.names());
        }
        for step in all {
            if let Step::Remove(object) = step {
                prop_assert!(object.age(now()) >= GRACE);
            }
        }
    }
}

/// What goes if only the latest restore point is kept.
fn gone(world: &World) -> Vec<String> {
    let keep = Keep {
        days: None,
        points: NonZeroU32::new(1),
    };
    let choice = Choice::new(keep, &world.objects, now());
    let going = removal(
        &world.objects,
        &choice,
        &world.needed(&choice),
        &world.archive(),
        now(),
    );
    going
        .iter()
        .map(|object| object.named.to_string())
        .collect()
}

/// A restore point of these files, of a generation.
fn named_point(world: &mut World, at: PointId, generation: PointId, digests: &[&[u8]]) {
    let history = vec![vec![1]];
    let mut manifest = manifest(&history, at, &mut SmallRng::seed_from_u64(1));
    manifest.generation = generation;
    manifest.snapshot.files = digests
        .iter()
        .map(|of| store_file(blake3::hash(of)))
        .collect();
    world.manifests.insert(at, manifest);
    world.put(Named::Point(at), 100);
}

fn file(generation: PointId, of: &[u8]) -> Named {
    let digest = blake3::hash(of);
    Named::StoreFile(FileId { generation, digest })
}

#[test]
fn what_a_dropped_restore_point_alone_names_goes_once_its_mark_is_a_day_old() {
    let (first, second) = (point(90, 0), point(80, 0));
    let world = |mark_hours: u32| {
        let mut world = World::default();
        named_point(&mut world, first, first, &[b"shared", b"old"]);
        named_point(&mut world, second, first, &[b"shared", b"new"]);
        for of in ["shared", "old", "new"] {
            world.put(file(first, of.as_bytes()), 80);
        }
        world.put(Named::Dropped(first), mark_hours);
        world
    };
    assert_eq!(gone(&world(23)), [""; 0]);
    // Its manifest stays with the files of its generation.
    assert_eq!(gone(&world(24)), [file(first, b"old").to_string()]);
    let mut later = world(24);
    let third = point(10, 0);
    named_point(&mut later, third, third, &[]);
    later.put(Named::Dropped(second), 30);
    let mut all = later.names();
    all.remove(&Named::Point(third).to_string());
    let going = gone(&later);
    assert_eq!(going.iter().cloned().collect::<BTreeSet<_>>(), all);
    assert!(
        going[..3].iter().all(|name| name.starts_with("files/")),
        "{going:?}"
    );
    assert!(
        going[3..5].iter().all(|name| name.starts_with("points/")),
        "{going:?}"
    );
}

#[test]
fn an_upload_that_may_go_on_is_left_alone() {
    let kept = point(200, 0);
    let upload = |begun: u32, latest: u32| {
        let mut world = World::default();
        named_point(&mut world, kept, kept, &[]);
        for (of, hours_ago) in [("a", 90), ("b", latest)] {
            world.put(file(point(begun, 1), of.as_bytes()), hours_ago);
        }
        gone(&world).len()
    };
    assert_eq!(upload(47, 47), 0, "begun a short while ago");
    assert_eq!(upload(48, 24), 2);
    assert_eq!(upload(90, 23), 0, "one of its files has just come");
    // The same of files that an incremental one sends.
    let mut world = World::default();
    named_point(&mut world, kept, kept, &[]);
    world.put(file(kept, b"a"), 90);
    assert_eq!(gone(&world).len(), 1);
    world.put(file(kept, b"b"), 1);
    assert_eq!(gone(&world).len(), 0);
}

/// Two logs, of which the kept restore point holds the first whole and some of the second, folded or not.
fn two_logs(folded: u64) -> World {
    let mut world = World::default();
    let history: History = vec![vec![1, 2, 3], vec![4, 5, 6, 7]];
    let kept = point(50, 0);
    named_point(&mut world, kept, kept, &[]);
    let manifest = world.manifests.get_mut(&kept).unwrap();
    let mut applied = VersionVector::new();
    applied.fold(REGION, Epoch(folded));
    applied.advance(log(1), Seq(3));
    applied.advance(log(2), Seq(3));
    manifest.snapshot.state.applied = AppliedVv(applied);
    manifest.control.logs = [(Epoch(2), LogState::Active)].into();
    for (epoch, from, to) in [(1, 1, 1), (1, 2, 3), (2, 1, 2), (2, 3, 3), (2, 4, 4)] {
        let segment = Segment {
            log: log(epoch),
            from: Seq(from),
            to: Seq(to),
            newest: stamp(&history, epoch, to),
            chain: chain(epoch, to),
        };
        world.put(Named::Segment(segment), 100);
    }
    let end = End {
        log: log(1),
        last: Seq(3),
        chain: chain(1, 3),
    };
    world.put(Named::End(end), 100);
    // Two primaries of the second epoch, say: one that was restarted has another log unfinished.
    for (epoch, unfinished) in [(1, vec![]), (2, vec![]), (2, vec![log(1)])] {
        let stretch = Stretch {
            since: floor(&history, epoch),
            epoch: Epoch(epoch),
            base: VersionVector::new(),
            unfinished: unfinished.into_iter().collect(),
        };
        world.put(Named::Stretch(stretch.id()), 100);
        world.stretches.push(stretch);
    }
    world
}

/// What sort of objects, of which epoch, by the last record.
fn archived(names: &[String]) -> Vec<String> {
    let short = |name: &String| match Named::parse(&format!("{}/{name}", LineageId(1))) {
        Some((_, Named::Segment(segment))) => format!("{}:{}", segment.log.epoch, segment.to),
        Some((_, Named::End(end))) => format!("end of {}", end.log.epoch),
        Some((_, Named::Stretch(id))) => format!("stretch of {}", id.epoch),
        other => panic!("{other:?} is not archived"),
    };
    let mut all: Vec<String> = names.iter().map(short).collect();
    all.sort();
    all
}

#[test]
fn what_all_restore_points_hold_goes_from_the_archive() {
    let going = archived(&gone(&two_logs(0)));
    assert_eq!(going, ["1:1", "1:3", "2:2", "2:3", "stretch of 2"]);
    let folded = archived(&gone(&two_logs(1)));
    let all = [
        "1:1",
        "1:3",
        "2:2",
        "2:3",
        "end of 1",
        "stretch of 1",
        "stretch of 2",
    ];
    assert_eq!(folded, all);
    // Whether the last log that is known may go on nobody knows, and it tells what a restored set begins behind.
    let going = archived(&gone(&two_logs(2)));
    assert_eq!(
        going,
        ["1:1", "1:3", "end of 1", "stretch of 1", "stretch of 2"]
    );
}

#[test]
fn nothing_goes_that_tells_of_a_gap() {
    let mut world = two_logs(1);
    let mut base = VersionVector::new();
    base.advance(log(2), Seq(4));
    let gap = Stretch {
        since: Hlc(20),
        epoch: Epoch(3),
        base,
        unfinished: BTreeSet::new(),
    };
    world.put(Named::Stretch(gap.id()), 100);
    world.stretches.push(gap);
    assert_eq!(archived(&gone(&world)), ["2:2", "2:3"]);
}

#[test]
fn a_log_with_two_histories_is_left_alone() {
    let mut world = two_logs(0);
    let segments = world.archive().segments;
    let other = segments[&log(2)]
        .iter()
        .find(|segment| segment.to == Seq(2));
    let mut other = *other.unwrap();
    other.chain.0 ^= 1;
    world.put(Named::Segment(other), 100);
    assert_eq!(archived(&gone(&world)), ["1:1", "1:3", "stretch of 2"]);
}

#[test]
fn a_history_without_a_restore_point_is_left_alone() {
    let mut world = two_logs(1);
    world.put(Named::Dropped(point(50, 0)), 40);
    assert_eq!(gone(&world), [""; 0]);
}
