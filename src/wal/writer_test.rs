use std::sync::Condvar;

use prometheus_client::registry::Registry;
use tempfile::TempDir;

use super::*;
use crate::base::disk::{DiskFile, RealDisk};

const LINEAGE: LineageId = LineageId(9);

fn open_on(disk: Arc<dyn Disk>, dir: &TempDir) -> Opened {
    let options = Options {
        segment_bytes: 4096,
        stall_limit_ms: 0,
        ..Options::default()
    };
    Wal::open(disk, dir.path(), LINEAGE, options, Lsn::ZERO).unwrap()
}

fn open(dir: &TempDir) -> Opened {
    open_on(Arc::new(RealDisk), dir)
}

fn payloads(wal: &Wal) -> Vec<Bytes> {
    wal.read_from(wal.first())
        .unwrap()
        .map(|entry| entry.unwrap().payload)
        .collect()
}

/// A real disk whose syncs of contents wait while the gate is shut, and fail once it is broken.
#[derive(Debug, Default)]
struct GatedDisk(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct GateState {
    shut: bool,
    broken: bool,
    panics: bool,
    syncs: u64,
    waiting: bool,
}

#[derive(Debug)]
struct GatedFile(Box<dyn DiskFile>, Arc<Gate>);

impl Gate {
    fn set(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn pass(&self) -> std::io::Result<()> {
        self.set(|state| {
            state.waiting = true;
            state.syncs += 1;
        });
        let state = self.state.lock().unwrap();
        let mut state = self.changed.wait_while(state, |state| state.shut).unwrap();
        state.waiting = false;
        let panics = state.panics;
        if state.broken {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        drop(state);
        assert!(!panics, "an invariant is broken");
        Ok(())
    }

    fn wait_until(&self, reached: impl Fn(&GateState) -> bool) -> GateState {
        let state = self.state.lock().unwrap();
        *self
            .changed
            .wait_while(state, |state| !reached(state))
            .unwrap()
    }
}

impl DiskFile for GatedFile {
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn allocate(&self, bytes: u64) -> std::io::Result<()> {
        self.0.allocate(bytes)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.1.pass()?;
        self.0.sync_data()
    }
    fn sync_all(&self) -> std::io::Result<()> {
        self.0.sync_all()
    }
}

impl Disk for GatedDisk {
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile(
            RealDisk.create(path)?,
            Arc::clone(&self.0),
        )))
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile(
            RealDisk.open(path)?,
            Arc::clone(&self.0),
        )))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn available_bytes(&self, dir: &Path) -> std::io::Result<u64> {
        RealDisk.available_bytes(dir)
    }
}

fn gated(dir: &TempDir) -> (Arc<Gate>, Wal) {
    let disk = GatedDisk::default();
    let gate = Arc::clone(&disk.0);
    (gate, open_on(Arc::new(disk), dir).wal)
}

fn assert_shown(wal: &Wal, lines: &[&str]) {
    let mut registry = Registry::default();
    wal.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in lines {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn many_threads_append_and_everything_durable_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(&dir).wal;
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let wal = &wal;
            scope.spawn(move || {
                for n in 0..50u8 {
                    let end = wal.append(vec![thread, n]).unwrap();
                    assert!(wal.durable().reached_blocking(end).unwrap() >= end);
                }
            });
        }
    });
    wal.close().unwrap();
    let before = payloads(&wal);
    drop(wal);
    let after = payloads(&open(&dir).wal);
    assert_eq!(before, after);
    for thread in 0..4u8 {
        let own = after.iter().filter(|payload| payload[0] == thread);
        assert!(own.map(|payload| payload[1]).eq(0..50));
    }
}

#[test]
fn what_is_appended_during_a_sync_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    gate.set(|state| state.shut = true);
    wal.append("first").unwrap();
    gate.wait_until(|state| state.waiting);
    for _ in 0..100 {
        wal.append("more").unwrap();
    }
    gate.set(|state| state.shut = false);
    wal.close().unwrap();
    assert_shown(
        &wal,
        &["wal_sync_payloads_count 2", "wal_sync_payloads_sum 101.0"],
    );
}

#[test]
fn a_quiet_log_is_marked_once() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    let end = wal.append("last").unwrap();
    let marked = end.advance(super::super::log::mark_bytes());
    assert_eq!(wal.durable().reached_blocking(marked).unwrap(), marked);
    let syncs = gate.wait_until(|_| true).syncs;
    assert!(
        wal.durable()
            .reached_within(marked.advance(1), QUIET_LIMIT * 3)
            .unwrap()
            .is_none()
    );
    assert_eq!(gate.wait_until(|_| true).syncs, syncs);
    assert_eq!(wal.append("next").unwrap(), marked.advance(29));
}

#[test]
fn closing_makes_durable_what_is_queued_and_refuses_more() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(&dir).wal;
    let end = wal.append("queued").unwrap();
    wal.close().unwrap();
    wal.close().unwrap();
    assert!(wal.durable().get() >= end);
    assert!(matches!(
        wal.append("late"),
        Err(Error::Poisoned(Poisoned::Closed))
    ));
    assert_eq!(payloads(&wal), ["queued"]);
}

#[test]
fn a_failed_sync_gives_all_waiters_the_cause_and_is_never_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    let durable = wal.append("kept").unwrap();
    wal.durable().reached_blocking(durable).unwrap();
    gate.set(|state| state.broken = true);
    let lost = wal.append("lost").unwrap();
    let cause = wal.durable().reached_blocking(lost).unwrap_err();
    assert!(matches!(cause, Poisoned::Io(failure) if failure.action == "sync"));
    let syncs = gate.wait_until(|_| true).syncs;
    gate.set(|state| state.broken = false);
    assert!(matches!(
        wal.append("late"),
        Err(Error::Poisoned(Poisoned::Io(_)))
    ));
    assert!(wal.release_below(lost).is_err());
    assert!(wal.close().is_err());
    assert_eq!(gate.wait_until(|_| true).syncs, syncs);
    assert_eq!(payloads(&wal), ["kept"]);
}

#[test]
fn a_disk_that_does_not_answer_ends_the_log_though_its_sync_never_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    gate.set(|state| state.shut = true);
    let end = wal.append("stalled").unwrap();
    gate.wait_until(|state| state.waiting);
    assert!(matches!(wal.check_stall(), Err(Poisoned::Stalled { .. })));
    let cause = wal.durable().reached_blocking(end).unwrap_err();
    assert!(matches!(cause, Poisoned::Stalled { .. }));
    assert!(wal.append("late").is_err());
    assert!(wal.close().is_err());
    drop(wal);
    gate.set(|state| state.shut = false);
}

#[test]
fn metrics_say_how_many_payloads_shared_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(&dir).wal;
    wal.append("counted").unwrap();
    wal.close().unwrap();
    let lines = [
        "wal_sync_seconds_count 1",
        "wal_sync_payloads_sum 1.0",
        "wal_sync_bytes_sum 32.0",
        "wal_cut_bytes_total 0",
    ];
    assert_shown(&wal, &lines);
    assert_eq!(wal.size().segments, 1);
}

#[test]
fn a_sealed_segment_can_be_released_however_empty_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(&dir).wal;
    assert_eq!(wal.seal().unwrap(), wal.first(), "nothing is to be sealed");
    let end = wal.append("old").unwrap();
    let sealed = wal.seal().unwrap();
    assert!(sealed >= end && wal.durable().get() >= end);
    assert_eq!(wal.seal().unwrap(), sealed, "a second time nothing is");
    assert_eq!(payloads(&wal), ["old"]);
    wal.append("new").unwrap();
    wal.release_below(sealed).unwrap();
    assert_eq!((wal.first(), wal.size().segments), (sealed, 1));
    wal.close().unwrap();
    assert!(matches!(wal.seal(), Err(Error::Poisoned(Poisoned::Closed))));
    drop(wal);
    assert_eq!(payloads(&open(&dir).wal), ["new"]);
}

#[test]
fn sealing_on_a_disk_that_fails_says_so_and_does_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    gate.set(|state| state.shut = true);
    wal.append("lost").unwrap();
    gate.wait_until(|state| state.waiting);
    std::thread::scope(|scope| {
        let sealing = scope.spawn(|| wal.seal());
        gate.set(|state| {
            state.broken = true;
            state.shut = false;
        });
        let refused = sealing.join().unwrap();
        assert!(
            matches!(refused, Err(Error::Poisoned(Poisoned::Io(_)))),
            "{refused:?}"
        );
    });
}

#[test]
fn a_writer_that_panics_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, wal) = gated(&dir);
    gate.set(|state| state.panics = true);
    let end = wal.append(Bytes::from_static(b"one")).unwrap();
    let waited = wal.durable().reached_blocking(end);
    assert!(matches!(waited, Err(Poisoned::Panicked)), "{waited:?}");
    let refused = wal.append(Bytes::from_static(b"two"));
    assert!(
        matches!(refused, Err(Error::Poisoned(Poisoned::Panicked))),
        "{refused:?}"
    );
}
