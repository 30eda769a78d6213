//! What several reigns archive, whatever happens to them, against what was written.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::backup::layout::PointId;
use crate::backup::manifest::Manifest;
use crate::backup::plan::{Archive, Impossible, LogPlan, Plan};
use crate::base::{AppliedVv, BootNumber, IncarnationId, LineageId, NodeNumber, RegionId, Seq};
use crate::control::{BackupChange, BucketChange, Cause, Command, SettingsChange};
use crate::storage::{Snapshot, State};

const REGION: RegionId = RegionId(5);
const MEMBER: IncarnationId = IncarnationId(2);
const BUCKET: &str = "file:///bucket";

#[derive(Debug, Clone)]
enum Action {
    /// The primary writes so many records.
    Write(u64),
    /// The agreement learns what the primary holds.
    Acknowledge,
    /// The archiver takes so many steps, with objects of so many records; the last one is done and not said to be done.
    Archive { steps: usize, records: u64 },
    /// An archiver that was deposed takes a step by what it knew.
    ArchiveDeposed,
    /// A new reign, which finds all of the log but so many records. Its WAL holds what is older, or does not.
    Replace { hidden: u64, reaches_back: bool },
    /// What was hidden of the oldest log that is not closed comes to light, and it is closed.
    Recover,
    /// Of those that wait, nothing comes to light any more.
    GiveUp,
    /// A restore point is made.
    Back,
    /// The log here lets go of what is there so far.
    LetGo,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        4 => (1..6u64).prop_map(Action::Write),
        3 => Just(Action::Acknowledge),
        5 => (1..8usize, 1..5u64).prop_map(|(steps, records)| Action::Archive { steps, records }),
        1 => Just(Action::ArchiveDeposed),
        2 => (0..4u64, prop::bool::weighted(0.8))
            .prop_map(|(hidden, reaches_back)| Action::Replace { hidden, reaches_back }),
        2 => Just(Action::Recover),
        1 => Just(Action::GiveUp),
        2 => Just(Action::Back),
        1 => prop::bool::weighted(0.2).prop_map(|lets_go| if lets_go { Action::LetGo } else { Action::Acknowledge }),
    ];
    proptest::collection::vec(action, 1..60)
}

/// One log.
#[derive(Debug, Clone, Default)]
struct Log {
    /// The stamps of its records.
    stamps: Vec<u64>,
    /// How many of them the primary holds.
    visible: u64,
    /// The first one that its WAL holds.
    kept_from: u64,
}

/// Records.
type Taken = BTreeSet<(Epoch, u64)>;

struct World {
    control: ControlState,
    logs: BTreeMap<Epoch, Log>,
    /// What the members have folded.
    folded: Epoch,
    now: u64,
    extended: u64,
    archive: Archive,
    archiver: Option<Archiver>,
    deposed: Option<(Archiver, ControlState)>,
    points: Vec<Manifest>,
    /// Moments that a plan from a point has called final, with what it took.
    promised: Vec<(usize, Hlc, Taken)>,
}

fn log(epoch: Epoch) -> LogId {
    LogId {
        region: REGION,
        epoch,
    }
}

fn chain(epoch: Epoch, seq: u64) -> Chain {
    Chain(u128::from(epoch.0) << 64 | u128::from(seq))
}

fn place(seq: u64) -> usize {
    usize::try_from(seq).unwrap()
}

impl World {
    fn new() -> World {
        let mut world = World {
            control: ControlState::new(LineageId(1), REGION, MEMBER),
            logs: BTreeMap::new(),
            folded: Epoch::NONE,
            now: 10,
            extended: 0,
            archive: Archive::default(),
            archiver: None,
            deposed: None,
            points: Vec::new(),
            promised: Vec::new(),
        };
        let bucket = Some(BucketChange::Into(BUCKET.to_owned()));
        world.agree(Command::Set(SettingsChange {
            backup: BackupChange {
                bucket,
                ..BackupChange::default()
            },
            ..SettingsChange::default()
        }));
        world.replace(0, true);
        world
    }

    fn agree(&mut self, command: Command) {
        self.control.apply(command).unwrap();
    }

    fn epoch(&self) -> Epoch {
        self.control.open_epoch()
    }

    fn held(&self) -> VersionVector {
        let mut held = VersionVector::new();
        for (epoch, of) in &self.logs {
            held.advance(log(*epoch), Seq(of.visible));
        }
        held.fold(REGION, self.folded);
        held
    }

    fn state(&self) -> State {
        let newest = self.logs.values().filter_map(|log| {
            let held = log.stamps.get(..place(log.visible))?;
            held.last()
        });
        State {
            newest: Hlc(newest.max().copied().unwrap_or(0)),
            applied: AppliedVv(self.held()),
            ..State::default()
        }
    }

    fn write(&mut self, records: u64) {
        let epoch = self.epoch();
        for _ in 0..records {
            if self.now >= self.control.ceiling.0 {
                self.acknowledge();
            }
            self.now += 1;
            let log = self.logs.get_mut(&epoch).unwrap();
            log.stamps.push(self.now);
            log.visible += 1;
        }
    }

    fn acknowledge(&mut self) {
        self.folded = self.control.foldable(&self.held());
        self.extended += 1;
        let extend = Command::Extend {
            epoch: self.epoch(),
            number: self.extended,
            ceiling: Hlc(self.now + 7),
            acked: vec![(MEMBER, self.held())],
        };
        self.agree(extend);
    }

    fn replace(&mut self, hidden: u64, reaches_back: bool) {
        let before = self.epoch();
        if let Some(log) = self.logs.get_mut(&before) {
            // What is on enough members is not hidden from anybody.
            let acked = &self.control.members[&MEMBER].acked;
            let spread = acked.last(self.control.log(before)).unwrap().0;
            log.visible = log.visible.saturating_sub(hidden).max(spread);
        }
        self.agree(Command::Begin {
            candidate: MEMBER,
            boot: BootNumber::NONE,
            members: [MEMBER].into(),
            expected_open: before,
            expected_attempt: before,
            cause: Cause::Planned,
        });
        let epoch = self.control.attempt_epoch();
        self.agree(Command::Open { epoch });
        self.now = self.now.max(self.control.ceiling.0);
        self.logs.insert(epoch, Log::default());
        let deposed = self.archiver.take();
        self.deposed = deposed.map(|archiver| (archiver, self.control.clone()));
        if !reaches_back {
            self.let_go();
        }
        self.acknowledge();
    }

    fn let_go(&mut self) {
        for log in self.logs.values_mut() {
            log.kept_from = log.visible + 1;
        }
    }

    /// Ends the oldest log that may.
    fn close(&mut self, with_hidden: bool) {
        let open = self.epoch();
        let mut logs = self.control.logs.iter();
        let found = logs.find(|(epoch, state)| **state == LogState::Active && **epoch < open);
        let Some((&epoch, _)) = found else {
            return;
        };
        let of = self.logs.get_mut(&epoch).unwrap();
        if with_hidden {
            of.visible = u64::try_from(of.stamps.len()).unwrap();
        } else {
            of.stamps.truncate(place(of.visible));
        }
        let last = of.visible;
        self.agree(Command::Close {
            by: open,
            epoch,
            last: Seq(last),
            digest: if last == 0 { 0 } else { chain(epoch, last).0 },
        });
    }

    fn back(&mut self) {
        // A backup waits until all that it holds is on enough members.
        self.acknowledge();
        let point = PointId {
            begun_millis: self.now,
            random: 0,
        };
        self.points.push(Manifest {
            point,
            generation: point,
            parent: None,
            program: String::new(),
            member: NodeNumber::FIRST,
            control: self.control.disclosed(),
            snapshot: Snapshot {
                state: self.state(),
                files: Vec::new(),
            },
        });
    }

    fn archive(&mut self, steps: usize, records: u64, is_cut_off: bool) {
        let held = self.held();
        let mut archiver = match self.archiver.take() {
            Some(archiver) => archiver,
            None => Archiver::new(&self.control, &held, BUCKET.to_owned()).unwrap(),
        };
        for step in 1..=steps {
            let control = self.control.clone();
            let Some(next) = archiver.next(&control, &held) else {
                break;
            };
            let done = self.take(&mut archiver, next, records);
            if !done {
                break;
            }
            if is_cut_off && step == steps {
                // The next step is done in the bucket, and nobody knows.
                if let Some(next) = archiver.next(&control, &held) {
                    let mut forgotten = archiver.clone();
                    let _unknown = self.take(&mut forgotten, next, records);
                }
            }
        }
        self.archiver = Some(archiver);
    }

    fn archive_deposed(&mut self) {
        if let Some((mut archiver, control)) = self.deposed.take() {
            let held = control.members[&MEMBER].acked.clone();
            match archiver.next(&control, &held) {
                Some(Step::Tell(claim)) => {
                    let refused = self.control.apply(Command::Archive(claim));
                    assert!(refused.is_err(), "the agreement knows that it is deposed");
                }
                Some(step) => {
                    let _done = self.take(&mut archiver, step, 2);
                    self.deposed = Some((archiver, control));
                }
                None => {}
            }
        }
    }

    /// Returns whether there may be another step.
    fn take(&mut self, archiver: &mut Archiver, step: Step, records: u64) -> bool {
        match step {
            Step::Begin(stretch) => {
                let stretches = &mut self.archive.stretches;
                if !stretches.contains(&stretch) {
                    stretches.push(stretch);
                }
                archiver.begun();
            }
            Step::Put(missing) => return self.put(archiver, missing, records),
            Step::End(end) => {
                let ends = self.archive.ends.entry(end.log).or_default();
                ends.insert(end);
                archiver.ended(&end);
            }
            Step::Tell(claim) => {
                self.agree(Command::Archive(claim.clone()));
                archiver.told(&claim);
            }
        }
        true
    }

    fn put(&mut self, archiver: &mut Archiver, missing: Missing, records: u64) -> bool {
        let epoch = missing.log.epoch;
        let of = &self.logs[&epoch];
        let next = missing.after.next();
        let segments = self.archive.segments.entry(missing.log).or_default();
        let there = segments.iter().find(|segment| segment.from == next);
        if let Some(there) = there.copied() {
            archiver.put(&there);
            return true;
        }
        if next.0 < of.kept_from {
            // It may be deposed by now, and hold records of later epochs.
            let held = self.held();
            archiver.begin_anew(&self.control, &held);
            return true;
        }
        let to = missing.through.0.min(missing.after.0 + records);
        let segment = Segment {
            log: missing.log,
            from: next,
            to: Seq(to),
            newest: Hlc(of.stamps[place(to) - 1]),
            chain: chain(epoch, to),
        };
        segments.insert(segment);
        archiver.put(&segment);
        true
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Write(records) => self.write(*records),
            Action::Acknowledge => self.acknowledge(),
            Action::Archive { steps, records } => self.archive(*steps, *records, true),
            Action::ArchiveDeposed => self.archive_deposed(),
            Action::Replace {
                hidden,
                reaches_back,
            } => self.replace(*hidden, *reaches_back),
            Action::Recover => self.close(true),
            Action::GiveUp => self.close(false),
            Action::Back => self.back(),
            Action::LetGo => self.let_go(),
        }
    }

    /// What plans call final now is what must stay true.
    fn promise(&mut self) {
        for (nth, point) in self.points.iter().enumerate() {
            for until in 0..=self.now + 2 {
                let plan = Plan::new(point, &self.archive, Hlc(until));
                if let Ok(plan) = plan
                    && plan.is_final()
                {
                    let taken = self.taken(point, &plan);
                    self.promised.push((nth, Hlc(until), taken));
                }
            }
        }
    }

    /// The records of a restore point and of a plan that follows it.
    fn taken(&self, point: &Manifest, plan: &Plan) -> Taken {
        let mut taken = BTreeSet::new();
        let AppliedVv(held) = &point.snapshot.state.applied;
        for (epoch, of) in &self.logs {
            let last = held.last(log(*epoch));
            // Folded, all of it is held.
            let last = last.map_or(u64::MAX, |last| last.0);
            let all = (1..).zip(&of.stamps).map(|(seq, _)| seq);
            taken.extend(all.take_while(|seq| *seq <= last).map(|seq| (*epoch, seq)));
        }
        for LogPlan { log, segments, .. } in &plan.logs {
            for segment in segments {
                let stamps = &self.logs[&log.epoch].stamps;
                let all = (segment.from.0..=segment.to.0)
                    .filter(|seq| stamps[place(*seq) - 1] <= plan.until.0);
                taken.extend(all.map(|seq| (log.epoch, seq)));
            }
        }
        taken
    }

    /// All records up to a moment.
    fn written(&self, until: Hlc) -> Taken {
        let mut written = BTreeSet::new();
        for (epoch, of) in &self.logs {
            let early = of.stamps.iter().filter(|stamp| **stamp <= until.0).count();
            written.extend((1..=u64::try_from(early).unwrap()).map(|seq| (*epoch, seq)));
        }
        written
    }

    /// Everything comes to light, is closed and archived.
    fn settle(&mut self) {
        for _ in 0..self.logs.len() {
            self.close(true);
        }
        for _ in 0..3 {
            self.write(1);
            self.acknowledge();
            self.archive(usize::MAX, 3, false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_final_stays_true_and_all_is_final_in_the_end(actions in actions()) {
        let mut world = World::new();
        for (nth, action) in actions.iter().enumerate() {
            world.act(action);
            if nth % 7 == 0 {
                world.promise();
            }
        }
        world.promise();
        world.settle();
        for (point, until, taken) in &world.promised {
            prop_assert_eq!(taken, &world.written(*until), "from point {} to {}", point, until.0);
        }
        // Nobody has lacked anything since the archive began the last time.
        world.back();
        world.write(5);
        world.acknowledge();
        world.archive(usize::MAX, 2, false);
        let archived = world.control.archived.clone().unwrap();
        prop_assert_eq!(&archived.through, &world.held());
        for point in &world.points {
            let AppliedVv(held) = &point.snapshot.state.applied;
            let holds_base = point.control.covers(held, &archived.base);
            let first = point.snapshot.state.newest.0;
            for until in first..=world.now {
                match Plan::new(point, &world.archive, Hlc(until)) {
                    Ok(plan) => {
                        prop_assert!(plan.is_final() || !holds_base, "{until}: {plan:?}");
                        if plan.is_final() {
                            prop_assert_eq!(world.taken(point, &plan), world.written(Hlc(until)));
                        }
                    }
                    Err(Impossible::Gap { .. } | Impossible::Missing { .. }) if !holds_base => {}
                    Err(cause) => prop_assert!(false, "{until}: {cause}"),
                }
            }
        }
    }
}

#[test]
fn nothing_is_archived_that_is_not_on_enough_members() {
    let mut world = World::new();
    world.archive(usize::MAX, 100, false);
    world.back();
    world.acknowledge();
    world.write(3);
    world.archive(usize::MAX, 100, false);
    assert!(world.archive.segments.values().all(BTreeSet::is_empty));
    world.acknowledge();
    world.archive(usize::MAX, 100, false);
    let archived: Vec<_> = world.archive.segments.values().flatten().collect();
    assert_eq!(archived.len(), 1);
    assert_eq!((archived[0].from, archived[0].to), (Seq(1), Seq(3)));
}

#[test]
fn a_primary_whose_epoch_is_being_overtaken_does_not_begin() {
    let mut world = World::new();
    let expected = world.epoch();
    world.agree(Command::Begin {
        candidate: MEMBER,
        boot: BootNumber::NONE,
        members: [MEMBER].into(),
        expected_open: expected,
        expected_attempt: expected,
        cause: Cause::Planned,
    });
    let archiver = Archiver::new(&world.control, &world.held(), BUCKET.to_owned());
    assert!(archiver.is_none());
}
