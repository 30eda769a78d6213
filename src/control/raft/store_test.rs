//! What the Raft store promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload};
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::log_store::LogStore;
use super::super::state_machine::StateMachine;
use super::super::types::{Membership, StorageError, TypeConfig};
use super::*;
use crate::base::{IncarnationId, LineageId, RegionId};
use crate::control::Command;

fn control() -> ControlState {
    ControlState::new(LineageId(1), RegionId(2), IncarnationId(3))
}

fn nothing_agreed() -> Agreed {
    Agreed {
        applied: None,
        membership: StoredMembership::default(),
        control: control(),
    }
}

/// What openraft's suite needs, and nobody else.
impl From<u64> for NodeNumber {
    fn from(number: u64) -> NodeNumber {
        NodeNumber(number)
    }
}

struct Fresh;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let machine = StateMachine::new(store.clone(), nothing_agreed());
        Ok((dir, LogStore(store), machine))
    }
}

#[test]
fn the_store_does_what_openraft_asks_of_one() {
    Suite::test_all(Fresh).unwrap();
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, NodeNumber(1)), index)
}

fn entries(indices: std::ops::Range<u64>) -> Vec<Entry> {
    let entry = |index| Entry {
        log_id: log_id(1, index),
        payload: EntryPayload::Normal(Command::Evict {
            incarnation: IncarnationId(u128::from(index) << 64),
            expected_open: None,
        }),
    };
    indices.map(entry).collect()
}

/// A store with a vote, a state, and the entries 6 to 39.
fn filled(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let membership = Membership::new(
        vec![BTreeSet::from([NodeNumber(1)])],
        BTreeMap::from([(NodeNumber(1), crate::control::Addresses::default())]),
    );
    let agreed = Agreed {
        applied: Some(log_id(1, 5)),
        membership: StoredMembership::new(Some(log_id(1, 5)), membership),
        control: control(),
    };
    let vote = Some(Vote::new(3, NodeNumber(1)));
    store.begin(NodeNumber(1), vote, &agreed).unwrap();
    for start in (6..40).step_by(2) {
        store.append(&entries(start..start + 2)).unwrap();
    }
}

/// Everything that a store says.
fn said(store: &Store) -> Result<String, Error> {
    store.check()?;
    let extent = store.extent()?;
    let end = extent.last.map_or(0, |last| last.index + 1);
    let first = extent.purged.map_or(0, |purged| purged.index + 1);
    Ok(format!(
        "{:?} {:?} {:?} {:?} {:?}",
        store.number()?,
        store.vote()?,
        store.agreed()?,
        extent,
        store.entries(first, end)?
    ))
}

fn opened(dir: &Path) -> Result<String, Error> {
    said(&Store::open(dir)?)
}

#[test]
fn what_was_kept_is_there_after_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let before = opened(dir.path()).unwrap();
    assert!(before.contains("index: 39"), "{before}");
    let store = Store::open(dir.path()).unwrap();
    store.truncate(30).unwrap();
    store.purge(log_id(1, 10)).unwrap();
    store.save_vote(&Vote::new(4, NodeNumber(2))).unwrap();
    let changed = said(&store).unwrap();
    drop(store);
    assert_eq!(opened(dir.path()).unwrap(), changed);
    let store = Store::open(dir.path()).unwrap();
    let extent = store.extent().unwrap();
    assert_eq!(
        (extent.purged, extent.last),
        (Some(log_id(1, 10)), Some(log_id(1, 29)))
    );
    assert_eq!(store.entries(11, 30).unwrap(), entries(11..30));
}

#[test]
fn values_are_as_in_format_2() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let log_id = r#"{"leader_id":{"term":1,"node_id":1},"index":5}"#;
    let entry = r#"{"log_id":{"leader_id":{"term":1,"node_id":1},"index":7},"payload":{"Normal":{"evict":{"incarnation":"00000000000000070000000000000000"}}}}"#;
    let vote = r#"{"leader_id":{"term":3,"node_id":1},"committed":false}"#;
    for (key, body) in [
        (FORMAT_KEY.to_vec(), "2"),
        (b"number".to_vec(), "1"),
        (b"vote".to_vec(), vote),
        (b"purged".to_vec(), log_id),
        (b"entry \0\0\0\0\0\0\0\x07".to_vec(), entry),
    ] {
        let value = store.db.get(&key).unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&value[4..]).unwrap(), body);
        let sealed = [&key[..], body.as_bytes()].concat();
        assert_eq!(value[..4], crc32fast::hash(&sealed).to_le_bytes());
    }
    let agreed = store.db.get(b"agreed").unwrap().unwrap();
    let agreed: serde_json::Value = serde_json::from_slice(&agreed[4..]).unwrap();
    assert_eq!(agreed["applied"].to_string(), log_id);
    assert_eq!(
        agreed["membership"].to_string(),
        format!(
            r#"{{"log_id":{log_id},"membership":{{"configs":[[1]],"nodes":{{"1":{{"peer":"","client":""}}}}}}}}"#
        )
    );
    let control = serde_json::to_value(control()).unwrap();
    assert_eq!(agreed["control"], control);
}

#[test]
fn a_directory_belongs_to_one_member_and_an_empty_one_to_none() {
    let dir = tempfile::tempdir().unwrap();
    let empty = opened(dir.path()).unwrap_err();
    assert!(matches!(empty, Error::Empty { .. }), "{empty}");
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let taken = store.begin(NodeNumber(2), None, &nothing_agreed());
    let taken = taken.unwrap_err().to_string();
    assert!(taken.contains("member 1"), "{taken}");
}

#[test]
fn a_value_that_is_not_what_was_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let values = [
        (NUMBER.to_vec(), "number"),
        (VOTE.to_vec(), "vote"),
        (AGREED.to_vec(), "agreed"),
        (PURGED.to_vec(), "purged"),
        (entry_key(6), "entry 6"),
        (entry_key(23), "entry 23"),
        (entry_key(39), "entry 39"),
    ];
    for (key, name) in values {
        let sound = store.db.get(&key).unwrap().unwrap();
        let mut flipped = sound.clone();
        flipped[sound.len() / 2] ^= 4;
        for damaged in [
            flipped,
            sound[..3].to_vec(),
            store.db.get(VOTE).unwrap().unwrap(),
        ] {
            if damaged != sound {
                store.db.put(&key, &damaged).unwrap();
                let error = said(&store).unwrap_err().to_string();
                assert!(error.contains(&format!(" {name} ")), "{name}: {error}");
            }
        }
        store.db.put(&key, &sound).unwrap();
    }
    said(&store).unwrap();
    store.db.delete(entry_key(23)).unwrap();
    let hole = said(&store).unwrap_err().to_string();
    assert!(hole.contains("entry 23 is missing"), "{hole}");
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let mut writes = store.writes();
    writes.put(FORMAT_KEY, &(FORMAT + 1)).unwrap();
    writes.commit(true).unwrap();
    drop(store);
    let newer = Store::open(dir.path()).unwrap_err().to_string();
    assert!(newer.contains("format 3"), "{newer}");
}

#[test]
fn a_store_of_format_1_is_read_and_written_on_in_format_2() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let now = said(&store).unwrap();
    let mut agreed: serde_json::Value = store.get(AGREED).unwrap().unwrap();
    let control = agreed["control"].as_object_mut().unwrap();
    assert!(control.remove("history").is_some());
    let mut writes = store.writes();
    writes.put(FORMAT_KEY, &1).unwrap();
    writes.put(AGREED, &agreed).unwrap();
    writes.commit(true).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(said(&store).unwrap(), now);
    assert_eq!(store.get::<u32>(FORMAT_KEY).unwrap(), Some(2));
}

/// The files of a store that hold what was written.
fn data_files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_data = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("log" | "sst"))
    };
    let mut files: Vec<PathBuf> = paths.filter(is_data).collect();
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A length can be damaged so that the last write looks as if it was cut short, which is not to be told apart here:
    /// then the log ends before it.
    #[test]
    fn a_flipped_bit_is_refused_or_harms_only_the_last_write(place: prop::sample::Index, bit in 0..8u8, is_flushed: bool) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        if is_flushed {
            Store::open(dir.path()).unwrap().db.flush().unwrap();
        }
        let before = opened(dir.path()).unwrap();
        let files = data_files(dir.path());
        let file = files.iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        let mut bytes = fs::read(file).unwrap();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(file, &bytes).unwrap();
        match opened(dir.path()) {
            Err(error) => prop_assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}"),
            Ok(after) if after == before => {}
            Ok(after) => {
                prop_assert!(at + 2_000 > bytes.len() && !is_flushed, "at {at} of {}: {after}", bytes.len());
            }
        }
    }

    #[test]
    fn a_write_that_was_cut_short_was_never_made(cut in 1..200usize) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let store = Store::open(dir.path()).unwrap();
        store.append(&entries(40..41)).unwrap();
        drop(store);
        let files = data_files(dir.path());
        let log = files.iter().rfind(|file| file.extension().unwrap() == "log").unwrap();
        let bytes = fs::read(log).unwrap();
        fs::write(log, &bytes[..bytes.len() - cut.min(bytes.len())]).unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.check().unwrap();
        prop_assert_eq!(store.extent().unwrap().last, Some(log_id(1, 39)));
    }
}
