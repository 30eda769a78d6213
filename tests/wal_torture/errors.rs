//! The n-th call of each kind fails: nothing more is reported durable or written, and what was reported stays.

use std::io::ErrorKind;

use rand::SeedableRng;
use rand::rngs::StdRng;
use steadfast::wal::{Error, Log, Poisoned};

use super::crash::{Case, combinations};
use super::disk::{CALLS, Call, Fault, SimDisk};
use super::history::{History, Step, open, read_all};
use super::seeds;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Every way in which the `nth` call of a kind may fail.
fn faults(call: Call, nth: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for errno in [EIO, ENOSPC] {
        for (forever, works) in [(false, false), (false, true), (true, false), (true, true)] {
            faults.push(Fault {
                call,
                nth,
                errno,
                forever,
                works,
            });
        }
    }
    faults
}

/// The error says what failed and why.
fn assert_names_cause(error: &Error, fault: Fault) {
    assert_eq!(error.is_no_space(), fault.errno == ENOSPC, "{error:?}");
    let (Error::Io(failure) | Error::Poisoned(Poisoned::Io(failure))) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.source.raw_os_error(), Some(fault.errno));
}

/// Whatever is tried, nothing is reported durable any more and no call changes the disk; reading goes on.
fn assert_poisoned(disk: &SimDisk, log: &mut Log, history: &mut History) {
    let (changes, durable) = (disk.changes(), log.durable().get());
    assert!(log.durable().closed().is_some());
    for step in [
        Step::Append(b"late".to_vec()),
        Step::Sync,
        Step::Seal,
        Step::Release(100),
    ] {
        let refused = history.play(log, &[step]);
        assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
    }
    let _nothing_to_do = (
        history.play(log, &[Step::Mark]),
        history.play(log, &[Step::Prepare]),
    );
    assert_eq!(disk.changes(), changes, "went on writing");
    assert_eq!(log.durable().get(), durable, "went on reporting");
    let first = log.first();
    assert_eq!(read_all(log, first).unwrap(), history.durable_from(first));
}

/// The process starts again, with what the page cache shows; later the power goes. Or the power goes at once.
fn assert_everything_is_there(disk: &SimDisk, history: &History, case: &Case, rng: &mut StdRng) {
    let again = disk.copy();
    let mut after = history.clone();
    drop(after.reopen(&again, case.segment_bytes).expect("reopens"));
    let nothing_kept = vec![0; again.outcomes().len()];
    let again = again.after_power_loss(&nothing_kept);
    after
        .reopen(&again, case.segment_bytes)
        .expect("recovers what it had reported");
    for picks in combinations(&disk.outcomes(), 3, rng) {
        let disk = disk.after_power_loss(&picks);
        history
            .clone()
            .reopen(&disk, case.segment_bytes)
            .expect("recovers");
    }
}

fn fail_while_writing(case: &Case, seed: u64, fault: Fault, rng: &mut StdRng) {
    let disk = case.disk(seed);
    disk.fail(fault);
    let mut history = History::new();
    match open(&disk, case.segment_bytes) {
        Err(error) => assert_names_cause(&error, fault),
        Ok((mut log, _)) => {
            let error = history
                .play(&mut log, &case.steps)
                .expect_err("a call fails");
            assert_names_cause(&error, fault);
            assert_poisoned(&disk, &mut log, &mut history);
        }
    }
    disk.repair();
    assert_everything_is_there(&disk, &history, case, rng);
}

#[test]
fn after_any_failing_call_nothing_more_is_reported_and_what_was_reported_stays() {
    for seed in seeds(30) {
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let disk = case.disk(seed);
        case.play(&disk);
        for call in CALLS.into_iter().filter(|call| call.changes()) {
            for fault in (0..disk.count(call)).flat_map(|nth| faults(call, nth)) {
                fail_while_writing(&case, seed, fault, &mut rng);
            }
        }
    }
}

fn fail_while_opening(
    disk: &SimDisk,
    history: &History,
    case: &Case,
    fault: Fault,
    rng: &mut StdRng,
) {
    let disk = disk.copy();
    disk.fail(fault);
    let error = open(&disk, case.segment_bytes).expect_err("a call fails");
    assert_names_cause(&error, fault);
    disk.repair();
    assert_everything_is_there(&disk, history, case, rng);
}

#[test]
fn a_recovery_that_fails_at_any_call_reports_nothing_and_can_be_repeated() {
    for seed in seeds(30) {
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let disk = case.disk(seed);
        let history = case.play(&disk);
        let picks = combinations(&disk.outcomes(), 3, &mut rng).pop().unwrap();
        let disk = disk.after_power_loss(&picks);
        let counted = disk.copy();
        open(&counted, case.segment_bytes).unwrap();
        for call in CALLS {
            for fault in (0..counted.count(call)).flat_map(|nth| faults(call, nth)) {
                fail_while_opening(&disk, &history, &case, fault, &mut rng);
            }
        }
    }
}

#[test]
fn a_failing_read_is_reported_and_does_not_end_writing() {
    let disk = SimDisk::new(512, 0);
    let (mut log, _) = open(&disk, 1000).unwrap();
    let mut history = History::new();
    let write = [Step::Append(b"one".to_vec()), Step::Sync];
    history.play(&mut log, &write).unwrap();
    disk.fail(Fault {
        call: Call::Read,
        nth: 0,
        errno: EIO,
        forever: false,
        works: false,
    });
    let error = read_all(&log, log.first()).unwrap_err();
    assert!(matches!(error, Error::Io(failure) if failure.source.kind() != ErrorKind::NotFound));
    history.play(&mut log, &write).unwrap();
    assert_eq!(read_all(&log, log.first()).unwrap().len(), 2);
}
