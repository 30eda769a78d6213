//! A store takes the place of another: wholly or not at all, whenever the process dies.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;
use crate::base::disk::{DiskFile, RealDisk};
use crate::base::{Epoch, Hlc, LogId, Lsn, Micros, Missing, RegionId, Seq, VersionVector};
use crate::engine::{Checkpoint, Engine, Fate, LogWriter, Options, Recovered, ReplayProgress};
use crate::model::cells::put_cell;
use crate::model::record::{Body, RowGroup, RowWrite, Rows};
use crate::model::{
    EntityKey, FeatureId, KeyValue, MergeMode, Order, Scalar, Value, ValueType, ViewId,
};
use crate::storage::{Incoming, Snapshot, State};

const LINEAGE: LineageId = LineageId(9);
const REGION: RegionId = RegionId(3);
const VIEW: ViewId = ViewId(77);
const KEYS: i64 = 20;
const WAL: wal::Options = wal::Options {
    segment_bytes: 2 << 10,
    retain_bytes: 1 << 30,
    stall_limit_ms: 10_000,
};

/// A disk under a process that dies after so many calls: from then on everything fails.
#[derive(Debug)]
struct MortalDisk {
    left: AtomicI64,
    /// The renaming whose directory has not been synced since.
    unsynced: Mutex<Option<(PathBuf, PathBuf)>>,
}

impl MortalDisk {
    fn new(calls: i64) -> MortalDisk {
        MortalDisk {
            left: AtomicI64::new(calls),
            unsynced: Mutex::default(),
        }
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn live(&self) -> io::Result<&RealDisk> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(&RealDisk);
        }
        self.left.store(-1, Ordering::SeqCst);
        Err(io::Error::other("the process has died"))
    }

    /// The power fails too: a renaming that was not synced has not happened. Only that of the store is undone; those of
    /// the WAL have their own torture.
    fn lose_renaming(&self) {
        if let Some((from, to)) = self.unsynced.lock().unwrap().take()
            && to.is_dir()
        {
            RealDisk.rename(&to, &from).unwrap();
        }
    }
}

impl Disk for MortalDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.live()?.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.live()?.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.live()?.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.live()?.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.live()?.rename(from, to)?;
        *self.unsynced.lock().unwrap() = Some((from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.live()?.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.live()?.sync_dir(dir)?;
        *self.unsynced.lock().unwrap() = None;
        Ok(())
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.live()?.available_bytes(dir)
    }
}

fn recover(disk: Arc<dyn Disk>, dir: &Path) -> Result<Recovered, Error> {
    let options = Options {
        row_cache_bytes: 1 << 20,
        ..Options::default()
    };
    let store = storage::Options::default();
    let mut recovered = Recovered::open(disk, dir, LINEAGE, &options, WAL, &store)?;
    recovered.replay(&ReplayProgress::default())?;
    Ok(recovered)
}

fn start(dir: &Path) -> Engine {
    let recovered = recover(Arc::new(RealDisk), dir).unwrap();
    recovered.start().unwrap()
}

fn entity(at: i64) -> EntityKey {
    EntityKey::encode([&KeyValue::Int64(at)])
}

fn put(key: i64, value: i64) -> Body {
    let mut cells = Vec::new();
    let number = ValueType::Scalar(Scalar::Int64);
    put_cell(&mut cells, FeatureId(1), number, &Value::Int64(value));
    let write = RowWrite {
        key: entity(key),
        event_time: Micros(value),
        cells: Some(cells.into()),
    };
    Body::Rows(Rows {
        older: 0,
        folded: 0,
        groups: vec![RowGroup {
            view: VIEW,
            merge: MergeMode::Row,
            order: Order::EventTime,
            rows: vec![write],
        }],
    })
}

/// Appends values to one log, and waits for them.
fn write(engine: &Engine, log: &mut LogWriter, values: std::ops::Range<i64>) {
    for value in values {
        let (fate, told) = oneshot::channel();
        let hlc = log.newest().next();
        let body = put(value % KEYS, value);
        engine
            .append_next(log, hlc, None, body, Some(Fate::new(fate)))
            .unwrap();
        told.blocking_recv().unwrap().unwrap();
    }
}

fn rows(engine: &Engine) -> BTreeMap<i64, Vec<u8>> {
    let row = |at| Some((at, engine.row(VIEW, &entity(at)).unwrap().row()?.to_vec()));
    (0..KEYS).filter_map(row).collect()
}

/// Copies all files of a directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn receive(checkpoint: &Path, dir: &Path, snapshot: &Snapshot) -> Received {
    copy(checkpoint, &incoming_dir(dir));
    let mut incoming = Incoming::open(&incoming_dir(dir), snapshot.clone()).unwrap();
    assert!(incoming.next_part().unwrap().is_none());
    incoming.verify(LINEAGE).unwrap()
}

/// A member's directory and the checkpoint of a primary that has all the member has and more.
struct Setup {
    dir: tempfile::TempDir,
    snapshot: Snapshot,
    old: (State, BTreeMap<i64, Vec<u8>>),
    new: (State, BTreeMap<i64, Vec<u8>>),
    /// What comes along.
    tail: Vec<Missing>,
    records: Vec<bytes::Bytes>,
}

/// The bytes of records, if all of them are there.
fn read(engine: &Engine, wanted: &[Missing]) -> Option<Vec<bytes::Bytes>> {
    let records = engine.records(wanted, usize::MAX).unwrap()?;
    Some(records.into_iter().map(|record| record.bytes).collect())
}

impl Setup {
    fn new() -> Setup {
        Setup::with_tail(200)
    }

    /// What comes behind so many records comes along.
    fn with_tail(after: u64) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let [primary, member, checkpoint] =
            ["primary", "member", "checkpoint"].map(|name| dir.path().join(name));
        let (engine, mut log) = (start(&primary), LogWriter::new(REGION, Epoch(1), Hlc(0)));
        write(&engine, &mut log, 0..60);
        // A store that is lost is not made anew from the log.
        engine.flush().unwrap();
        assert!(engine.wal().first() > Lsn::ZERO);
        engine.stop().unwrap();
        let held = engine.state();
        drop(engine);
        copy(&primary, &member);
        let engine = start(&primary);
        write(&engine, &mut log, 60..200);
        let tail = |held: &VersionVector| {
            let unspread = held.logs().map(|(log, through)| Missing {
                log,
                after: Seq(after),
                through,
            });
            unspread.filter(|tail| tail.after < tail.through).collect()
        };
        let made = engine.checkpoint(dir.path().join("made"), tail).unwrap();
        copy(&dir.path().join("made"), &checkpoint);
        let snapshot = made.snapshot().clone();
        let new = (snapshot.state.clone(), rows(&engine));
        let tail: Vec<_> = tail(&snapshot.state.applied.0);
        let records = read(&engine, &tail).unwrap();
        let engine = start(&member);
        let old = (State::clone(&held), rows(&engine));
        engine.stop().unwrap();
        Setup {
            dir,
            snapshot,
            old,
            new,
            tail,
            records,
        }
    }

    /// The member's directory anew, with the store received.
    fn member(&self, name: &str) -> (PathBuf, Received) {
        let dir = self.dir.path().join(name);
        copy(&self.dir.path().join("member"), &dir);
        let received = receive(&self.dir.path().join("checkpoint"), &dir, &self.snapshot);
        (dir, received)
    }
}

fn reseed_and_open(disk: Arc<dyn Disk>, dir: &Path, received: &Received) -> Result<(), Error> {
    let options = storage::Options::default();
    reseed(&disk, dir, LINEAGE, WAL, &options, received)?;
    recover(disk, dir)?;
    Ok(())
}

/// Checks a directory, which is to hold one of the two wholly, and that it can be used. Returns whether it is the new one.
fn check(setup: &Setup, dir: &Path) -> bool {
    let engine = start(dir);
    let state = engine.state();
    let is_new = state.applied == setup.new.0.applied;
    let expected = if is_new { &setup.new } else { &setup.old };
    assert_eq!(rows(&engine), expected.1);
    let lsn = state.lsn;
    assert_eq!(
        *state,
        State {
            lsn,
            ..expected.0.clone()
        }
    );
    assert!(!dir.join(OLD).exists());
    if is_new {
        // Whoever reads the log finds no gap in it, and what came along.
        let log = engine.wal();
        assert!(log.read_from(lsn).unwrap().next().is_none());
        assert_eq!(log.first() == lsn, setup.tail.is_empty());
        assert_eq!(read(&engine, &setup.tail).as_ref(), Some(&setup.records));
        let before = setup.tail.first().map_or(Seq(200), |tail| tail.after);
        if before > Seq::NONE {
            let first = Missing {
                log: LogId {
                    region: REGION,
                    epoch: Epoch(1),
                },
                after: Seq(before.0 - 1),
                through: Seq(200),
            };
            assert_eq!(read(&engine, &[first]), None, "all else is gone");
        }
        assert!(!tail::path_in(&store_dir(dir)).exists());
    }
    // Another log, which both can follow.
    let mut log = LogWriter::new(REGION, Epoch(7), Hlc(1 << 40));
    write(&engine, &mut log, 1_000..1_010);
    let (state, found) = (engine.state(), rows(&engine));
    drop(engine);
    let engine = start(dir);
    assert_eq!((&engine.state(), rows(&engine)), (&state, found));
    is_new
}

#[test]
fn a_received_store_takes_the_place_and_the_log_begins_behind_it() {
    let setup = Setup::new();
    let (dir, received) = setup.member("whole");
    reseed_and_open(Arc::new(RealDisk), &dir, &received).unwrap();
    assert!(!incoming_dir(&dir).exists());
    assert!(check(&setup, &dir));
    // The records of the primary that follow the snapshot follow here.
    let mut recovered = recover(Arc::new(RealDisk), &dir).unwrap();
    recovered.fold(REGION, Epoch(7)).unwrap();
}

#[test]
fn a_process_that_dies_at_any_call_leaves_the_old_store_or_the_new_one() {
    dies_at_any_call(&Setup::new(), &[false, true]);
}

#[test]
fn records_that_come_along_are_there_once_whenever_the_process_dies() {
    dies_at_any_call(
        &Setup::with_tail(rand::random_range(60..200)),
        &[rand::random()],
    );
    let setup = Setup::with_tail(199);
    assert_eq!(setup.records.len(), 1);
}

#[test]
fn records_that_came_along_damaged_are_refused_and_nothing_of_them_is_logged() {
    let setup = Setup::with_tail(150);
    for at in 0..40 {
        let (dir, received) = setup.member(&format!("damaged-{at}"));
        let options = storage::Options::default();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        reseed(&disk, &dir, LINEAGE, WAL, &options, &received).unwrap();
        let path = tail::path_in(&store_dir(&dir));
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        if at % 4 == 0 {
            bytes.truncate(rand::random_range(0..whole.len()));
        } else {
            let place = if at % 4 == 1 { 0..4 } else { 0..whole.len() };
            bytes[rand::random_range(place)] ^= 1 << rand::random_range(0..8);
        }
        std::fs::write(&path, bytes).unwrap();
        let refused = recover(Arc::clone(&disk), &dir);
        let says = crate::base::explained(&refused.unwrap_err());
        assert!(says.contains("TAIL"), "{says}");
        std::fs::write(&path, whole).unwrap();
        assert!(check(&setup, &dir));
    }
}

fn dies_at_any_call(setup: &Setup, losses: &[bool]) {
    for &loses_renaming in losses {
        let mut seen = Vec::new();
        for calls in 0.. {
            let (dir, received) = setup.member(&format!("{calls}-{loses_renaming}"));
            let disk = Arc::new(MortalDisk::new(calls));
            let done = reseed_and_open(Arc::clone(&disk) as Arc<dyn Disk>, &dir, &received);
            if loses_renaming {
                disk.lose_renaming();
            }
            if !disk.is_dead() {
                done.unwrap();
                break;
            }
            // The next start dies as early, or a little later, too.
            let again = Arc::new(MortalDisk::new(calls % 7));
            let _died = recover(Arc::clone(&again) as Arc<dyn Disk>, &dir);
            if loses_renaming {
                again.lose_renaming();
            }
            seen.push(check(setup, &dir));
            std::fs::remove_dir_all(&dir).unwrap();
        }
        assert!(
            seen.is_sorted(),
            "once the new one is there it stays: {seen:?}"
        );
        let new = seen.iter().filter(|is_new| **is_new).count();
        assert!(new > 5 && seen.len() - new > 5, "{seen:?}");
    }
}

#[test]
fn a_store_that_an_engine_still_uses_is_not_replaced() {
    let setup = Setup::new();
    let (dir, received) = setup.member("used");
    let engine = start(&dir);
    engine.stop().unwrap();
    let options = storage::Options::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let refused = reseed(&disk, &dir, LINEAGE, WAL, &options, &received);
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    drop(engine);
    assert!(!check(&setup, &dir));
}

#[test]
fn half_a_removed_store_is_removed_and_never_used_again() {
    let setup = Setup::new();
    let (dir, received) = setup.member("half");
    let options = storage::Options::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    reseed(&disk, &dir, LINEAGE, WAL, &options, &received).unwrap();
    std::fs::remove_file(dir.join(OLD).join("CURRENT")).unwrap();
    assert!(check(&setup, &dir));
}

#[test]
fn the_log_behind_a_checkpoint_is_kept_for_as_long_as_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, mut log) = (start(dir.path()), LogWriter::new(REGION, Epoch(1), Hlc(0)));
    write(&engine, &mut log, 0..60);
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    let first = engine.checkpoint(one.clone(), |_| vec![]).unwrap();
    write(&engine, &mut log, 60..120);
    let second = engine.checkpoint(two, |_| vec![]).unwrap();
    write(&engine, &mut log, 120..180);
    let flushed_to = || {
        engine.flush().unwrap();
        engine.wal().first()
    };
    let place = |checkpoint: &Checkpoint| checkpoint.snapshot().state.lsn;
    assert!(flushed_to() <= place(&first) && engine.wal().read_from(place(&first)).is_ok());
    assert!(one.exists());
    drop(first);
    assert!(!one.exists());
    let behind_first = flushed_to();
    assert!(behind_first <= place(&second) && engine.wal().read_from(place(&second)).is_ok());
    let last = place(&second);
    drop(second);
    assert!(flushed_to() > last && last > behind_first);
}
