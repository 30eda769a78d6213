//! What the store promises.

use std::ops::ControlFlow;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::base::{Epoch, Lsn, RegionId, Seq};
use crate::model::KeyValue;

const LINEAGE: LineageId = LineageId(7);

fn open(dir: &Path) -> Store {
    Store::open(dir, LINEAGE, &Options::default()).unwrap()
}

fn entity(text: &str) -> EntityKey {
    EntityKey::encode([&KeyValue::String(text.into())])
}

fn stamp(at: u64) -> Stamp {
    Stamp {
        hlc: Hlc(at),
        region: RegionId(1),
        epoch: Epoch(1),
        seq: Seq(at),
    }
}

fn put(store: &Store, view: u64, key: &str, row: &[u8], lsn: u64) {
    let mut changes = store.changes();
    changes.put_row(RowKey::new(ViewId(view), &entity(key)).as_bytes(), row);
    changes
        .commit(&State {
            lsn: Lsn(lsn),
            ..State::default()
        })
        .unwrap();
}

fn get(store: &Store, view: u64, key: &str) -> Option<Vec<u8>> {
    let key = RowKey::new(ViewId(view), &entity(key));
    store
        .rows([key.as_bytes()])
        .unwrap()
        .pop()
        .unwrap()
        .map(|row| row.to_vec())
}

#[test]
fn rows_and_their_state_come_back_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, "a", b"flushed", 10);
    store.flush().unwrap();
    put(&store, 1, "a", b"not flushed", 20);
    assert_eq!(
        (get(&store, 1, "a").unwrap(), store.state().unwrap().lsn),
        (b"not flushed".to_vec(), Lsn(20))
    );
    drop(store);
    let store = open(dir.path());
    // Whether or not closing flushed: the state says what the rows are.
    let row = get(&store, 1, "a").unwrap();
    let expected: &[u8] = if store.state().unwrap().lsn == Lsn(20) {
        b"not flushed"
    } else {
        b"flushed"
    };
    assert_eq!(row, expected);
}

#[test]
fn a_scan_visits_the_rows_of_a_prefix_in_key_order_and_goes_on_behind_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (view, key) in [(1, "b"), (1, "a"), (2, "a"), (1, "ab"), (1, "c"), (0, "z")] {
        put(&store, view, key, key.as_bytes(), 1);
    }
    let scan = |start: ScanStart, limit: usize| {
        let mut seen = Vec::new();
        let all = EntityKey::encode([]);
        let stopped = store
            .scan(ViewId(1), &all, &start, |_, row| {
                seen.push(String::from_utf8(row.to_vec()).unwrap());
                if seen.len() == limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        (seen, stopped.is_some())
    };
    assert_eq!(
        scan(ScanStart::First, 9),
        (vec!["a".into(), "ab".into(), "b".into(), "c".into()], false)
    );
    assert_eq!(
        scan(ScanStart::First, 2),
        (vec!["a".into(), "ab".into()], true)
    );
    assert_eq!(scan(ScanStart::After(entity("ab")), 9).0, ["b", "c"]);
    assert_eq!(scan(ScanStart::After(entity("aa")), 1).0, ["ab"]);
}

#[test]
fn old_requests_are_forgotten_and_later_ones_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let entry = |at| RequestEntry {
        stamp: stamp(at),
        body_hash: Digest(9),
        applied: at,
        older: 1,
        folded: 2,
    };
    let mut changes = store.changes();
    for at in 1..=4 {
        changes.put_request("me", &format!("r{at}"), &entry(at));
    }
    // The same id again, under a later stamp.
    changes.put_request("me", "r1", &entry(9));
    changes.commit(&State::default()).unwrap();
    let mut changes = store.changes();
    assert_eq!(changes.forget_requests(Hlc(3)).unwrap(), 2);
    changes.commit(&State::default()).unwrap();
    let left = |id: &str| store.request("me", id).unwrap().map(|entry| entry.applied);
    assert_eq!(
        [left("r1"), left("r2"), left("r3"), left("r4")],
        [Some(9), None, Some(3), Some(4)]
    );
    assert_eq!(store.request("m", "er3").unwrap(), None);
}

#[test]
fn the_catalogue_until_a_stamp_is_that_of_the_definitions_at_or_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut changes = store.changes();
    for at in [3, 5, 8] {
        let text = format!(
            r#"
            name = "v{at}"
            entity = [{{ name = "id", type = "int64" }}]
            feature = [{{ name = "f", type = "int64" }}]
            "#
        );
        let spec = crate::model::view_file::parse_view(&text).unwrap();
        let create = Catalogue::new().create(spec).unwrap();
        changes.put_definition(&stamp(at), &create);
    }
    changes.commit(&State::default()).unwrap();
    for (until, expected) in [
        (2, 0),
        (3, 1),
        (4, 1),
        (5, 2),
        (7, 2),
        (8, 3),
        (u64::MAX, 3),
    ] {
        let catalogue = store.catalogue_until(Hlc(until)).unwrap();
        assert_eq!(catalogue.views().count(), expected, "until {until}");
    }
}

#[test]
fn another_lineage_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let refused = Store::open(dir.path(), LineageId(8), &Options::default()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::OtherLineage {
                found: LINEAGE,
                expected: LineageId(8),
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn memory_never_contradicts_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let name = |at: u64| format!("{at:04}");
    let mut rng = SmallRng::seed_from_u64(rand::random());
    let mut written = std::collections::BTreeMap::new();
    let (mut known, mut unknown) = (0, 0);
    for round in 0..8 {
        let store = open(dir.path());
        for lsn in 0..200 {
            let at = rng.random_range(0..1_000);
            let row: Vec<u8> = (0..rng.random_range(1..300))
                .map(|_| rng.random())
                .collect();
            put(&store, 1, &name(at), &row, round * 1_000 + lsn);
            written.insert(at, row);
        }
        if rng.random() {
            store.flush().unwrap();
        }
        // Brings an index into memory but not every block.
        let _some = get(&store, 1, &name(rng.random_range(0..1_000)));
        let mut keys: Vec<_> = (0..1_000)
            .map(|at| RowKey::new(ViewId(1), &entity(&name(at))))
            .collect();
        keys.shuffle(&mut rng);
        let keys = || keys.iter().map(RowKey::as_bytes);
        let in_memory: Vec<_> = keys().map(store.in_memory()).collect();
        for (said, stored) in in_memory.into_iter().zip(store.rows(keys()).unwrap()) {
            match said.unwrap() {
                InMemory::Known(row) => {
                    known += 1;
                    assert_eq!(row.as_deref(), stored.as_deref());
                }
                InMemory::Unknown => unknown += 1,
            }
        }
        for (at, row) in &written {
            assert_eq!(get(&store, 1, &name(*at)).as_ref(), Some(row));
        }
        store.flush().unwrap();
    }
    assert!(known > 0 && unknown > 0, "{known} known, {unknown} unknown");
}

/// The names of a store's files of this kind, such as `.sst` or `MANIFEST`.
fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains(part))
        .collect()
}

fn with_flushed_rows() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (0..200).for_each(|at| put(&store, 1, &format!("{at:03}"), &[7; 100], at));
    store.flush().unwrap();
    drop(store);
    dir
}

fn read_all(dir: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let store = Store::open(dir, LINEAGE, &Options::default())?;
    store.state()?;
    let mut rows = Vec::new();
    store.visit_rows(|_, row| rows.push(row.to_vec()))?;
    Ok(rows)
}

#[test]
fn files_that_are_missing_or_cut_short_are_named_and_never_read_as_fewer_rows() {
    for (part, cut) in [("MANIFEST", false), (".sst", false), (".sst", true)] {
        let dir = with_flushed_rows();
        for file in files(dir.path(), part) {
            if cut {
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            } else {
                std::fs::remove_file(&file).unwrap();
            }
        }
        let refused = read_all(dir.path()).unwrap_err();
        let path = dir.path().to_string_lossy();
        assert!(matches!(refused, Error::Engine { .. }), "{refused:?}");
        assert!(refused.to_string().contains(&*path), "{refused}");
    }
}

#[test]
fn a_flipped_bit_of_a_file_of_rows_is_an_error_or_of_no_consequence() {
    let dir = with_flushed_rows();
    let sound = read_all(dir.path()).unwrap();
    assert_eq!(sound.len(), 200);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut refused = 0;
    for _ in 0..40 {
        let dir = with_flushed_rows();
        let files = files(dir.path(), ".sst");
        let file = &files[rng.random_range(0..files.len())];
        let mut bytes = std::fs::read(file).unwrap();
        let at = rng.random_range(0..bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        std::fs::write(file, bytes).unwrap();
        match read_all(dir.path()) {
            Ok(rows) => assert_eq!(rows, sound),
            Err(error) => {
                refused += 1;
                assert!(matches!(error, Error::Engine { .. }), "{error:?}");
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn what_is_stored_beside_the_rows_is_checked_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let spoil = |family: &str, key: &[u8], bytes: &[u8]| {
        store.db.put_cf(store.family(family), key, bytes).unwrap();
    };
    let damaged = |result: Result<(), Error>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    };
    spoil(META, keys::STATE, b"no state");
    damaged(store.state().map(drop), "its state");
    spoil(REQUESTS, &keys::request("me", "r"), b"no entry");
    damaged(store.request("me", "r").map(drop), "a request entry");
    spoil(META, &keys::definition(&stamp(1)), b"{}");
    damaged(store.catalogue().map(drop), "a view definition");
    spoil(META, keys::IDENTITY, b"nobody");
    damaged(store.lineage().map(drop), "its identity");

    let mut newer = vec![FORMAT + 1];
    newer.put_u128_le(LINEAGE.0);
    put_checksum(&mut newer, 0);
    spoil(META, keys::IDENTITY, &newer);
    drop(store);
    let refused = Store::open(dir.path(), LINEAGE, &Options::default()).unwrap_err();
    let (found, known) = (FORMAT + 1, FORMAT);
    assert!(
        matches!(refused, Error::NewerFormat { found: f, known: k, .. } if (f, k) == (found, known)),
        "{refused}"
    );
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Store::open_read_only(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::Missing { .. }), "{refused}");
    assert_eq!(files(dir.path(), ""), Vec::<PathBuf>::new());
}

#[test]
fn files_that_cannot_be_rewritten_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, "a", b"secret", 1);
    store.flush().unwrap();
    // There is no place for new files any more.
    std::fs::remove_dir_all(dir.path()).unwrap();
    let key = RowKey::new(ViewId(1), &entity("a"));
    let refused = store.rewrite_rows([key.as_bytes()]).unwrap_err();
    assert!(matches!(refused, Error::NotRewritten { .. }), "{refused}");
}
