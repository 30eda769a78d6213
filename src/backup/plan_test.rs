use proptest::prelude::*;

use super::*;
use crate::backup::layout::{Chain, PointId};
use crate::base::{
    AppliedVv, Epoch, IncarnationId, LineageId, NodeNumber, RegionId, VersionVector,
};
use crate::control::{ControlState, OpenConfig};
use crate::storage::{Snapshot, State};

const REGION: RegionId = RegionId(5);

fn log(epoch: u64) -> LogId {
    LogId {
        region: REGION,
        epoch: Epoch(epoch),
    }
}

/// A history: the stamps of each log's records, by epoch from 1. Those of a later epoch are greater, but for the tail of a log
/// whose writer was replaced, which may have gone on up to the next epoch's beginning.
type History = Vec<Vec<u64>>;

fn chain(epoch: u64, seq: u64) -> Chain {
    Chain(u128::from(epoch) << 64 | u128::from(seq))
}

fn epoch_of(at: usize) -> u64 {
    u64::try_from(at).unwrap() + 1
}

fn histories() -> impl Strategy<Value = History> {
    let log = proptest::collection::vec(1..5u64, 1..12);
    proptest::collection::vec(log, 1..4).prop_map(|steps| {
        let mut now = 0;
        let steps = steps.into_iter();
        let stamps = |steps: Vec<u64>| {
            steps
                .into_iter()
                .map(|step| {
                    now += step;
                    now
                })
                .collect()
        };
        steps.map(stamps).collect()
    })
}

/// A restore point that holds the first so many records of each log.
fn base(history: &History, held: &[u64]) -> Manifest {
    let mut control = ControlState::new(LineageId(1), REGION, IncarnationId(2));
    let mut applied = VersionVector::new();
    let mut newest = 0;
    for (at, last) in held.iter().enumerate() {
        applied.advance(log(epoch_of(at)), Seq(*last));
        let last = usize::try_from(*last).unwrap();
        newest = newest.max(history[at][..last].last().copied().unwrap_or(0));
        let epoch = Epoch(epoch_of(at));
        control.logs.insert(epoch, LogState::Active);
        control.open = Some(OpenConfig {
            epoch,
            members: BTreeSet::new(),
        });
    }
    let point = PointId {
        begun_millis: 0,
        random: 0,
    };
    Manifest {
        point,
        generation: point,
        parent: None,
        program: String::new(),
        member: NodeNumber::FIRST,
        control,
        snapshot: Snapshot {
            state: State {
                applied: AppliedVv(applied),
                newest: Hlc(newest),
                ..State::default()
            },
            files: Vec::new(),
        },
    }
}

fn segment(history: &History, epoch: u64, from: u64, to: u64) -> Segment {
    let (at, last) = (
        usize::try_from(epoch - 1).unwrap(),
        usize::try_from(to - 1).unwrap(),
    );
    Segment {
        log: log(epoch),
        from: Seq(from),
        to: Seq(to),
        newest: Hlc(history[at][last]),
        chain: chain(epoch, to),
    }
}

/// All records but the last `left` of the last log, cut at random places by several archivers; the logs before have ended.
fn archive(history: &History, left: usize, cuts: &[(u64, u64)]) -> Archive {
    let mut archive = Archive::default();
    for (at, records) in history.iter().enumerate() {
        let epoch = epoch_of(at);
        let is_last = at + 1 == history.len();
        let archived = records.len() - if is_last { left.min(records.len()) } else { 0 };
        let end = u64::try_from(archived).unwrap();
        let segments = archive.segments.entry(log(epoch)).or_default();
        let mut next = 1;
        let mut cuts = cuts.iter().cycle();
        while next <= end {
            let (bytes, back) = cuts.next().copied().unwrap_or((3, 0));
            let to = (next + bytes).min(end);
            segments.insert(segment(
                history,
                epoch,
                next.saturating_sub(back).max(1),
                to,
            ));
            next = to + 1;
        }
        if !is_last {
            let last = Seq(end);
            let chain = chain(epoch, end);
            archive.ends.entry(log(epoch)).or_default().insert(End {
                log: log(epoch),
                last,
                chain,
            });
        }
    }
    archive
}

/// What a plan takes: the records of each log up to the moment.
fn taken(plan: &Plan, history: &History) -> BTreeSet<(u64, u64)> {
    let mut taken = BTreeSet::new();
    for LogPlan {
        log,
        after,
        segments,
    } in &plan.logs
    {
        let mut last = *after;
        for segment in segments {
            assert!(
                segment.from <= last.next() && segment.to > last,
                "each goes on"
            );
            last = segment.to;
        }
        let stamps = &history[usize::try_from(log.epoch.0 - 1).unwrap()];
        for seq in after.0 + 1..=last.0 {
            let stamp = stamps[usize::try_from(seq - 1).unwrap()];
            if Hlc(stamp) <= plan.until {
                taken.insert((log.epoch.0, seq));
            }
        }
    }
    taken
}

/// What a plan should take.
fn wanted(history: &History, held: &[u64], until: u64) -> BTreeSet<(u64, u64)> {
    let mut wanted = BTreeSet::new();
    for (at, stamps) in history.iter().enumerate() {
        let held = held.get(at).copied().unwrap_or(0);
        let numbered = (1u64..).zip(stamps);
        let follows = numbered.filter(|(seq, stamp)| *seq > held && **stamp <= until);
        wanted.extend(follows.map(|(seq, _)| (epoch_of(at), seq)));
    }
    wanted
}

prop_compose! {
    /// A history, how much of each log a restore point holds, how many records are not archived yet, cuts, and a moment.
    fn cases()(history in histories())(
        held in history.iter().map(|log| 0..=u64::try_from(log.len()).unwrap()).collect::<Vec<_>>(),
        left in 0..4usize,
        cuts in proptest::collection::vec((0..4u64, 0..3u64), 1..5),
        until in 0..60u64,
        known in 1..=history.len(),
        history in Just(history),
    ) -> (History, Vec<u64>, usize, Vec<(u64, u64)>, u64) {
        (history, held.into_iter().take(known).collect(), left, cuts, until)
    }
}

proptest! {
    #[test]
    fn what_is_taken_is_all_up_to_the_moment_if_it_is_final((history, held, left, cuts, until) in cases()) {
        let base = base(&history, &held);
        let archive = archive(&history, left, &cuts);
        match Plan::new(&base, &archive, Hlc(until)) {
            Err(Impossible::TooLate { newest }) => prop_assert!(newest > Hlc(until)),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(plan) => {
                let (taken, wanted) = (taken(&plan, &history), wanted(&history, &held, until));
                prop_assert!(taken.is_subset(&wanted));
                prop_assert!(!plan.is_final() || taken == wanted, "{plan:?}");
                prop_assert_eq!(plan.is_final(), plan.growing.is_empty());
                let archived = history.last().map_or(0, |log| log[..log.len() - left.min(log.len())].last().copied().unwrap_or(0));
                prop_assert!(plan.is_final() || until > archived, "what is archived is final");
            }
        }
    }

    #[test]
    fn no_missing_segment_is_passed_over(
        (history, held, left, cuts, until) in cases(),
        removed in proptest::collection::vec(any::<prop::sample::Index>(), 1..3),
    ) {
        let base = base(&history, &held);
        let mut archive = archive(&history, left, &cuts);
        for index in removed {
            let all: Vec<Segment> = archive.segments.values().flatten().copied().collect();
            if let Some(segment) = (!all.is_empty()).then(|| all[index.index(all.len())]) {
                archive.segments.get_mut(&segment.log).unwrap().remove(&segment);
            }
        }
        let wanted = |until| wanted(&history, &held, until);
        match Plan::new(&base, &archive, Hlc(until)) {
            Ok(plan) => prop_assert!(!plan.is_final() || taken(&plan, &history) == wanted(until)),
            Err(Impossible::TooLate { newest }) => prop_assert!(newest > Hlc(until)),
            Err(Impossible::Missing { log, from, to, reachable }) => {
                let segments = archive.segments[&log].iter();
                for seq in from.0..=to.0 {
                    prop_assert!(segments.clone().all(|segment| Seq(seq) < segment.from || segment.to < Seq(seq)));
                }
                // What is called reachable is.
                if reachable >= base.snapshot.state.newest {
                    let plan = Plan::new(&base, &archive, reachable).unwrap();
                    prop_assert_eq!(taken(&plan, &history), wanted(reachable.0));
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn another_history_of_a_log_is_seen((history, held, left, cuts, _) in cases(), index: prop::sample::Index) {
        let base = base(&history, &held);
        let mut archive = archive(&history, left, &cuts);
        let all: Vec<Segment> = archive.segments.values().flatten().copied().collect();
        prop_assume!(!all.is_empty());
        let mut segment = all[index.index(all.len())];
        segment.chain = Chain(segment.chain.0 ^ 1 << 100);
        archive.segments.get_mut(&segment.log).unwrap().insert(segment);
        let planned = Plan::new(&base, &archive, Hlc(u64::MAX));
        prop_assert!(matches!(planned, Err(Impossible::Fork { .. })), "{planned:?}");
    }
}

/// Two epochs, of which the first has not ended; a restore point that holds two records of it.
fn two_logs() -> (History, Manifest, Archive) {
    let history = vec![vec![1, 2, 3, 9], vec![10, 20, 30]];
    let base = base(&history, &[2]);
    let mut archive = archive(&history, 0, &[(9, 0)]);
    archive.ends.clear();
    (history, base, archive)
}

#[test]
fn what_lies_beyond_the_mark_of_a_log_that_may_grow_is_provisional() {
    let (_, base, mut archive) = two_logs();
    let plan = |archive: &Archive, until| Plan::new(&base, archive, Hlc(until)).unwrap();
    assert!(plan(&archive, 9).is_final());
    assert_eq!(plan(&archive, 10).growing, [log(1)].into());
    assert_eq!(plan(&archive, 10).final_through, Hlc(9));
    let end = End {
        log: log(1),
        last: Seq(4),
        chain: chain(1, 4),
    };
    archive.ends.insert(log(1), [end].into());
    assert!(plan(&archive, 30).is_final());
    assert_eq!(plan(&archive, 31).growing, [log(2)].into());
    // A log of which nothing is archived, and that nobody would know of otherwise.
    archive.stretches.push(stretch(3, 31, VersionVector::new()));
    let listed = plan(&archive, 32);
    assert_eq!(
        listed.final_through,
        Hlc(30),
        "the log of epoch 2 may go on"
    );
    assert_eq!(listed.growing, [log(2), log(3)].into());
}

fn stretch(epoch: u64, since: u64, base: VersionVector) -> Stretch {
    Stretch {
        since: Hlc(since),
        epoch: Epoch(epoch),
        base,
        unfinished: [log(epoch)].into(),
    }
}

#[test]
fn a_log_that_ends_behind_what_is_archived_lacks_its_end() {
    let (_, base, mut archive) = two_logs();
    let end = End {
        log: log(1),
        last: Seq(6),
        chain: chain(1, 6),
    };
    archive.ends.insert(log(1), [end].into());
    let missing = Impossible::Missing {
        log: log(1),
        from: Seq(5),
        to: Seq(6),
        reachable: Hlc(9),
    };
    assert_eq!(Plan::new(&base, &archive, Hlc(20)), Err(missing));
    assert!(Plan::new(&base, &archive, Hlc(9)).is_ok());
}

#[test]
fn records_behind_an_end_are_another_history() {
    let (_, base, mut archive) = two_logs();
    let end = End {
        log: log(1),
        last: Seq(3),
        chain: chain(1, 3),
    };
    archive.ends.insert(log(1), [end].into());
    let planned = Plan::new(&base, &archive, Hlc(20));
    assert!(
        matches!(planned, Err(Impossible::Fork { .. })),
        "{planned:?}"
    );
}

#[test]
fn a_gap_between_stretches_is_passed_only_by_a_restore_point_behind_it() {
    let (history, early, mut archive) = two_logs();
    let end = End {
        log: log(1),
        last: Seq(4),
        chain: chain(1, 4),
    };
    archive.ends.insert(log(1), [end].into());
    // The second record of the second epoch, and all of a third one, were never archived.
    archive
        .segments
        .insert(log(2), [segment(&history, 2, 1, 1)].into());
    let mut from = VersionVector::new();
    from.advance(log(1), Seq(4));
    from.advance(log(2), Seq(2));
    archive.stretches.push(stretch(4, 40, from.clone()));
    let gap = Impossible::Gap {
        since: Hlc(40),
        reachable: Hlc(10),
    };
    assert_eq!(Plan::new(&early, &archive, Hlc(11)), Err(gap));
    assert!(Plan::new(&early, &archive, Hlc(10)).unwrap().is_final());
    let mut late = base(&history, &[4, 3]);
    from.advance(log(2), Seq(3));
    late.snapshot.state.applied.0 = from;
    assert!(Plan::new(&late, &archive, Hlc(50)).is_ok());
}
