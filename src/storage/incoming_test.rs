//! Checkpoints of stores, and receiving them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::{AppliedVv, Epoch, LogId, RegionId};

const LINEAGE: LineageId = LineageId(7);

fn open(dir: &Path) -> Store {
    Store::open(dir, LINEAGE, &Options::default()).unwrap()
}

/// Puts random rows, in several table files.
fn fill(store: &Store, chance: &mut SmallRng, commits: u64) {
    for _ in 0..commits {
        let mut state = store.state().unwrap();
        let log = LogId {
            region: RegionId(1),
            epoch: Epoch(1),
        };
        let AppliedVv(applied) = &mut state.applied;
        let last = applied.last(log).unwrap();
        applied.advance(log, last.next());
        state.lsn = state.lsn.advance(100);
        let mut changes = store.changes();
        for _ in 0..chance.random_range(1..100) {
            let key = chance.random_range(0..10_000_u64).to_be_bytes();
            let row: [u8; 32] = chance.random();
            changes.put_row(&[[0; 8], key].concat(), &row);
        }
        changes.commit(&state).unwrap();
        if chance.random_bool(0.3) {
            store.flush().unwrap();
        }
    }
}

fn rows(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    store
        .visit_rows(|key, row| {
            rows.insert(key.to_vec(), row.to_vec());
        })
        .unwrap();
    rows
}

/// Receives what is missing, in pieces, giving up after `limit` bytes. Returns how many were sent.
fn receive(from: &Path, to: &Path, snapshot: &Snapshot, limit: u64, piece: usize) -> u64 {
    let mut incoming = Incoming::open(to, snapshot.clone()).unwrap();
    let mut sent = 0;
    while let Some(mut part) = incoming.next_part().unwrap() {
        let bytes = std::fs::read(from.join(part.name().as_str())).unwrap();
        let at = usize::try_from(part.offset()).unwrap();
        for piece in bytes[at..].chunks(piece) {
            if sent >= limit {
                return sent;
            }
            part.write(piece).unwrap();
            sent += piece.len() as u64;
        }
        incoming.take(part.finish().unwrap());
    }
    sent
}

#[test]
fn a_checkpoint_is_the_store_at_one_moment_while_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut chance = SmallRng::seed_from_u64(1);
    let store = open(&dir.path().join("store"));
    fill(&store, &mut chance, 20);
    let (state, expected) = (store.state().unwrap(), rows(&store));
    let copy = dir.path().join("checkpoint");
    let snapshot = store.checkpoint(&copy).unwrap();
    assert_eq!(snapshot.state, state);
    fill(&store, &mut chance, 20);
    store
        .rewrite_rows(expected.keys().map(Vec::as_slice))
        .unwrap();
    drop(store);
    assert_eq!(rows(&Store::open_read_only(&copy).unwrap()), expected);
    for file in &snapshot.files {
        let bytes = std::fs::read(copy.join(file.name.as_str())).unwrap();
        assert_eq!(file.bytes, bytes.len() as u64);
        assert_eq!(file.digest, blake3::hash(&bytes));
    }
    let names = RealDisk.list(&copy).unwrap();
    assert_eq!(names.len(), snapshot.files.len());
}

#[test]
fn a_file_name_from_elsewhere_stays_in_its_directory() {
    for good in [
        "CURRENT",
        "MANIFEST-000005",
        "OPTIONS-000123",
        "1234567.sst",
    ] {
        assert_eq!(FileName::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        ".",
        "..",
        "/",
        "../CURRENT",
        "CURRENT/..",
        "a/000001.sst",
        "000001.sst/",
        "LOCK",
        "LOG",
        "IDENTITY",
        "MANIFEST-",
        "MANIFEST-00000a",
        "MANIFEST-000005/../../x",
        ".sst",
        "12345.sst",
        "000012.blob",
        "000001.sst\0",
        "１２３４５６.sst",
        "000000000000000000000.sst",
        "current",
    ] {
        assert!(FileName::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_was_received_before_is_not_sent_again() {
    for seed in 0..12 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        let store = open(&dir.path().join("store"));
        fill(&store, &mut chance, 20);
        let snapshot = store.checkpoint(&from).unwrap();
        let all: u64 = snapshot.files.iter().map(|file| file.bytes).sum();
        let piece = chance.random_range(1_000..50_000);
        let mut sent = 0;
        for _ in 0..5 {
            let limit = chance.random_range(0..all / 4);
            sent += receive(&from, &to, &snapshot, limit, piece);
        }
        sent += receive(&from, &to, &snapshot, u64::MAX, piece);
        assert_eq!(sent, all, "seed {seed}");

        // A later snapshot has most tables in common with it.
        fill(&store, &mut chance, 1);
        let later = dir.path().join("later");
        let snapshot = store.checkpoint(&later).unwrap();
        let known = |file: &&StoreFile| !from.join(file.name.as_str()).exists();
        let new: u64 = snapshot
            .files
            .iter()
            .filter(known)
            .map(|file| file.bytes)
            .sum();
        let sent = receive(&later, &to, &snapshot, u64::MAX, piece);
        assert!(
            new <= sent && sent < all,
            "seed {seed}: {sent} of {all}, of which {new} new"
        );
        let received = Incoming::open(&to, snapshot.clone()).unwrap();
        let received = verified(received).unwrap();
        assert_eq!(received.state(), &snapshot.state);
        assert_eq!(
            rows(&Store::open_read_only(received.dir()).unwrap()),
            rows(&store)
        );
    }
}

/// Verifies what is there whole.
fn verified(mut incoming: Incoming) -> Result<Received, Error> {
    assert!(incoming.next_part()?.is_none());
    incoming.verify(LINEAGE)
}

fn snapshot_in(dir: &Path) -> (PathBuf, Snapshot) {
    let store = open(&dir.join("store"));
    fill(&store, &mut SmallRng::seed_from_u64(3), 20);
    let from = dir.join("from");
    let snapshot = store.checkpoint(&from).unwrap();
    (from, snapshot)
}

#[test]
fn what_was_damaged_on_the_way_or_on_the_disk_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let to = dir.path().join("to");
    for file in snapshot.files.iter().filter(|file| file.bytes > 0) {
        receive(&from, &to, &snapshot, u64::MAX, 10_000);
        let path = to.join(file.name.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        // On the disk, since then.
        std::fs::write(&path, &bytes).unwrap();
        let mut incoming = Incoming::open(&to, snapshot.clone()).unwrap();
        let mut part = incoming.next_part().unwrap().unwrap();
        assert_eq!((part.name(), part.offset()), (&file.name, 0));
        // On the way.
        part.write(&bytes).unwrap();
        assert!(matches!(part.finish(), Err(Error::Differs { .. })));
        let part = incoming.next_part().unwrap().unwrap();
        assert_eq!((part.name(), part.offset()), (&file.name, 0));
        drop(part);
        let incoming = Incoming::open(&to, snapshot.clone()).unwrap();
        assert!(matches!(
            incoming.verify(LINEAGE),
            Err(Error::Differs { .. })
        ));
    }
}

/// Files of a store that was damaged before it was offered are what was offered.
#[test]
fn a_store_that_is_damaged_at_its_sender_is_refused_or_reads_as_it_was() {
    let mut chance = SmallRng::seed_from_u64(5);
    let mut refused = 0;
    for _ in 0..100 {
        let dir = tempfile::tempdir().unwrap();
        let (from, mut snapshot) = snapshot_in(dir.path());
        let expected = rows(&Store::open_read_only(&from).unwrap());
        let is_table = |file: &StoreFile| file.name.as_str().ends_with(".sst");
        let tables = snapshot.files.iter().filter(|file| is_table(file)).count();
        let table = chance.random_range(0..tables);
        let table = snapshot.files.iter().position(is_table).unwrap() + table;
        let path = from.join(snapshot.files.remove(table).name.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        let at = chance.random_range(0..bytes.len());
        bytes[at] ^= 1 << chance.random_range(0..8);
        std::fs::write(&path, &bytes).unwrap();
        snapshot.add(&path).unwrap();
        let to = dir.path().join("to");
        receive(&from, &to, &snapshot, u64::MAX, 10_000);
        match verified(Incoming::open(&to, snapshot).unwrap()) {
            Err(cause) => {
                assert!(cause.is_damage(), "byte {at}: {cause}");
                refused += 1;
            }
            Ok(_) => assert_eq!(rows(&Store::open_read_only(&to).unwrap()), expected),
        }
    }
    assert!(refused > 50, "{refused} of 100");
}

#[test]
fn a_file_is_neither_shorter_nor_longer_than_offered() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let mut incoming = Incoming::open(&dir.path().join("to"), snapshot).unwrap();
    let mut part = incoming.next_part().unwrap().unwrap();
    let bytes = std::fs::read(from.join(part.name().as_str())).unwrap();
    part.write(&bytes[1..]).unwrap();
    assert!(matches!(part.write(b"ab"), Err(Error::Differs { .. })));
    assert!(matches!(part.finish(), Err(Error::Differs { .. })));
}

#[test]
fn what_is_no_file_of_the_snapshot_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let to = dir.path().join("to");
    receive(&from, &to, &snapshot, u64::MAX, 10_000);
    for strange in ["999999.sst", "LOG", "LOCK"] {
        std::fs::write(to.join(strange), b"strange").unwrap();
    }
    verified(Incoming::open(&to, snapshot).unwrap()).unwrap();
    assert_eq!(RealDisk.list(&to).unwrap(), RealDisk.list(&from).unwrap());
}

#[test]
fn a_store_of_another_lineage_or_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let to = dir.path().join("to");
    receive(&from, &to, &snapshot, u64::MAX, 10_000);
    let mut incoming = Incoming::open(&to, snapshot.clone()).unwrap();
    assert!(incoming.next_part().unwrap().is_none());
    let other = incoming.verify(LineageId(8));
    assert!(matches!(other, Err(Error::OtherLineage { .. })));
    let mut ahead = snapshot;
    ahead.state.newest = ahead.state.newest.next();
    let ahead = verified(Incoming::open(&to, ahead).unwrap());
    assert!(matches!(ahead, Err(Error::Differs { .. })));
}

#[test]
fn a_table_that_the_manifest_does_not_name_or_that_is_missing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let to = dir.path().join("to");
    let is_table = |file: &StoreFile| file.name.as_str().ends_with(".sst");
    let at = snapshot.files.iter().position(is_table).unwrap();
    let mut without = snapshot.clone();
    without.files.remove(at);
    receive(&from, &to, &without, u64::MAX, 10_000);
    verified(Incoming::open(&to, without).unwrap()).unwrap_err();

    let mut with = snapshot.clone();
    let mut strange = snapshot.files[at].clone();
    strange.name = FileName::parse("999999.sst").unwrap();
    std::fs::copy(
        from.join(snapshot.files[at].name.as_str()),
        from.join("999999.sst"),
    )
    .unwrap();
    with.files.push(strange);
    receive(&from, &to, &with, u64::MAX, 10_000);
    let refused = verified(Incoming::open(&to, with).unwrap());
    assert!(matches!(refused, Err(Error::Differs { .. })));
}

#[test]
fn a_received_store_begins_at_a_place_of_the_wal_here_and_is_otherwise_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (from, snapshot) = snapshot_in(dir.path());
    let to = dir.path().join("to");
    receive(&from, &to, &snapshot, u64::MAX, 10_000);
    let received = verified(Incoming::open(&to, snapshot.clone()).unwrap()).unwrap();
    received
        .begin_at(Lsn(5), LINEAGE, &Options::default())
        .unwrap();
    // Opened for writing it would begin to compact.
    let store = Store::open_read_only(&to).unwrap();
    let lsn = Lsn(5);
    assert_eq!(
        store.state().unwrap(),
        State {
            lsn,
            ..snapshot.state.clone()
        }
    );
    assert_eq!(rows(&store), rows(&Store::open_read_only(&from).unwrap()));
    drop(store);
    // If it was not used after all, most of it need not be received again.
    let tables = snapshot
        .files
        .iter()
        .filter(|file| file.name.as_str().ends_with(".sst"));
    let others: u64 = snapshot.files.iter().map(|file| file.bytes).sum::<u64>()
        - tables.map(|file| file.bytes).sum::<u64>();
    assert!(receive(&from, &to, &snapshot, u64::MAX, 10_000) <= others);
    verified(Incoming::open(&to, snapshot).unwrap()).unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_a_name_that_leads_elsewhere(name in "\\PC{0,12}|(MANIFEST-|OPTIONS-)?[0-9./]{4,9}(\\.sst)?") {
        if let Ok(name) = FileName::parse(&name) {
            let path = Path::new("dir").join(name.as_str());
            prop_assert_eq!(path.parent(), Some(Path::new("dir")));
            prop_assert_eq!(path.components().count(), 2);
        }
    }
}
