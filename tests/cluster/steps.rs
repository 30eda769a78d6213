//! Clocks that step, each by itself or all at once, in a set that archives: no moment is lost, and the schedule goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use steadfast::backup::layout::PointId;
use steadfast::base::clock::{Clock, SystemClock};
use steadfast::base::{CommitLevel, Micros};
use steadfast::control::{BackupChange, SettingsChange};
use steadfast::node::SetChange;

use crate::archive::{Written, archive_into, archived, change_primary, check, equal, point};
use crate::backup::back_up;
use crate::support::{Manner, Member, until};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// The machine's clock, but for a step, in microseconds.
#[derive(Debug, Default)]
struct Stepping {
    machine: SystemClock,
    step: AtomicI64,
}

impl Stepping {
    fn step(&self, micros: i64) {
        self.step.store(micros, Ordering::Relaxed);
    }
}

impl Clock for Stepping {
    fn wall(&self) -> Micros {
        Micros(self.machine.wall().0 + self.step.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}

/// Three members, and their clocks.
async fn three() -> ([Member; 3], [Arc<Stepping>; 3]) {
    let clocks: [Arc<Stepping>; 3] = Default::default();
    let manner = |clock: &Arc<Stepping>| Manner {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..Manner::default()
    };
    let first = Member::first_as(manner(&clocks[0])).await;
    let second = first.join_as(manner(&clocks[1])).await;
    let third = first.join_as(manner(&clocks[2])).await;
    ([first, second, third], clocks)
}

/// How often the set makes restore points by itself.
async fn every(member: &Member, millis: u64) {
    let change = SettingsChange {
        backup: BackupChange {
            every_ms: Some(millis),
            full_every_ms: Some(0),
            ..BackupChange::default()
        },
        ..SettingsChange::default()
    };
    member.node.change_settings(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_moment_comes_back_as_it_was_though_clocks_step() {
    let (members, clocks) = three().await;
    let dir = tempfile::tempdir().unwrap();
    archive_into(&members.each_ref(), dir.path()).await;
    until("there is a restore point", || point(&members[0]).is_some()).await;
    // A member makes one at a time: those that are made here are not to meet those of the set.
    every(&members[0], 0).await;
    let (mut random, mut written) = (rand::rng(), Written::new());
    for round in 0..6 {
        let primary = members.iter().find(|member| member.serves()).unwrap();
        for clock in &clocks {
            let furthest = *[0, 5_000_000, HOUR, DAY].choose(&mut random).unwrap();
            clock.step(random.random_range(-furthest..=furthest));
        }
        for _ in 0..random.random_range(20..80) {
            let (id, value) = (random.random_range(0..20), random.random());
            let made = primary.put(id, value, CommitLevel::Quorum).await.unwrap();
            assert!(written.keys().all(|stamp| *stamp < made.stamp));
            written.insert(made.stamp, (id, value));
        }
        if random.random() {
            let maker = members.choose(&mut random).unwrap();
            back_up(maker, dir.path(), random.random()).await.unwrap();
        }
        let next = &members[(round + 1) % 3];
        if !next.serves() && random.random() {
            let change = SetChange::SwitchOver(Some(next.status().by));
            change_primary(primary, next, change).await;
        }
    }
    let primary = members.iter().find(|member| member.serves()).unwrap();
    let last = primary.put(0, 0, CommitLevel::All).await.unwrap().stamp;
    written.insert(last, (0, 0));
    equal(primary).await;
    archived(primary).await;
    for member in members {
        member.stop().await;
    }
    // Times between the first and the last that something was written at, and just before.
    let first = written.keys().next().unwrap().hlc.millis();
    let of_writes = written.keys().map(|stamp| stamp.hlc.millis());
    let moments: Vec<u64> = of_writes.flat_map(|millis| [millis - 1, millis]).collect();
    let between = |millis: &&u64| (first..last.hlc.millis()).contains(*millis);
    let moments: Vec<u64> = moments.iter().filter(between).copied().collect();
    for millis in moments.choose_multiple(&mut random, 12) {
        check(dir.path(), &written, *millis).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_does_not_end_the_schedule() {
    let clock = Arc::new(Stepping::default());
    let first = Member::first_as(Manner {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Manner::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    archive_into(&[&first], dir.path()).await;
    every(&first, 3_600_000).await;
    until("there is a restore point", || point(&first).is_some()).await;
    let mut points = vec![point(&first)];
    for step in [30 * DAY, 0, 2 * HOUR] {
        clock.step(step);
        until("there is another one", || {
            point(&first) != *points.last().unwrap()
        })
        .await;
        points.push(point(&first));
    }
    // The order of their names is that in which they were made.
    let names: Vec<PointId> = points
        .into_iter()
        .map(|point| point.unwrap().parse().unwrap())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    first.stop().await;
}
