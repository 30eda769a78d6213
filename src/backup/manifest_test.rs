use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::{AppliedVv, IncarnationId, LogId, RegionId, Seq};
use crate::model::record::Horizon;

fn manifests() -> impl Strategy<Value = Manifest> {
    let files =
        proptest::collection::btree_map(1..1_000_000u32, (any::<u64>(), any::<[u8; 32]>()), 0..5);
    let logs = proptest::collection::btree_map(1..9u64, 1..100u64, 0..4);
    (
        any::<u64>(),
        any::<u128>(),
        any::<Option<u32>>(),
        logs,
        files,
    )
        .prop_map(|(newest, digest, parent, logs, files)| {
            let point = |random| PointId {
                begun_millis: 1_795_000_000_000,
                random,
            };
            let region = RegionId(newest / 3);
            let mut applied = VersionVector::new();
            for (epoch, seq) in logs {
                let epoch = Epoch(epoch);
                applied.advance(LogId { region, epoch }, Seq(seq));
            }
            let control = ControlState::new(LineageId(digest), region, IncarnationId(digest));
            let state = State {
                applied: AppliedVv(applied.clone()),
                newest: Hlc(newest),
                digest: Digest(digest),
                horizon: Some(Horizon {
                    horizon: Hlc(newest / 2),
                    covered: applied,
                }),
                rows: BTreeMap::new(),
                ..State::default()
            };
            let files = files
                .into_iter()
                .map(|(number, (bytes, digest))| StoreFile {
                    name: FileName::parse(&format!("{number:06}.sst")).unwrap(),
                    bytes,
                    digest: digest.into(),
                });
            Manifest {
                point: point(7),
                generation: parent.map_or(point(7), point),
                parent: parent.map(point),
                program: "1.2.3".to_owned(),
                member: NodeNumber(2),
                control,
                snapshot: Snapshot {
                    state,
                    files: files.collect(),
                },
            }
        })
}

fn open(manifest: &Manifest, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::open(manifest.control.lineage, manifest.point, bytes)
}

/// The text with something in it replaced, sealed as if it had been written so.
fn altered(manifest: &Manifest, from: &str, to: &str) -> Vec<u8> {
    let text = manifest.seal();
    let (_, body) = text.split_once('\n').unwrap();
    assert!(body.contains(from), "{body} has no {from}");
    KIND.seal(&body.replacen(from, to, 1)).into_bytes()
}

proptest! {
    #[test]
    fn a_manifest_reads_back_under_its_own_name_only(manifest in manifests()) {
        let text = manifest.seal();
        prop_assert_eq!(&open(&manifest, text.as_bytes()).unwrap(), &manifest);
        let other = PointId { random: 8, ..manifest.point };
        let swapped = Manifest::open(manifest.control.lineage, other, text.as_bytes());
        prop_assert!(matches!(swapped, Err(Error::Disagrees { .. })), "{swapped:?}");
        let elsewhere = Manifest::open(LineageId(manifest.control.lineage.0 ^ 1), manifest.point, text.as_bytes());
        prop_assert!(matches!(elsewhere, Err(Error::Disagrees { .. })), "{elsewhere:?}");
    }

    #[test]
    fn every_changed_or_lost_byte_is_noticed(manifest in manifests(), at: prop::sample::Index, by in 1..128u8) {
        let text = manifest.seal().into_bytes();
        let at = at.index(text.len());
        let mut changed = text.clone();
        changed[at] ^= by;
        // An older version, or another form of a digit of the checksum, is still read as what it is.
        prop_assert!(open(&manifest, &changed).is_ok_and(|read| read == manifest) || open(&manifest, &changed).is_err());
        prop_assert!(open(&manifest, &text[..at]).is_err());
    }

    #[test]
    fn what_contradicts_the_store_is_noticed(manifest in manifests()) {
        let newest = manifest.snapshot.state.newest.0;
        let (from, to) = (format!("\"newest\": {newest}"), format!("\"newest\": {}", newest ^ 1));
        let error = open(&manifest, &altered(&manifest, &from, &to)).unwrap_err();
        prop_assert!(matches!(error, Error::Disagrees { field: "the newest stamp", .. }), "{error}");
    }
}

fn one() -> Manifest {
    let mut manifest = manifests()
        .new_tree(&mut proptest::test_runner::TestRunner::deterministic())
        .unwrap()
        .current();
    let digest = blake3::hash(b"");
    let name = FileName::parse("000012.sst").unwrap();
    manifest.snapshot.files = vec![StoreFile {
        name,
        bytes: 3,
        digest,
    }];
    manifest
}

use proptest::strategy::ValueTree;

#[test]
fn a_file_that_is_named_as_no_file_of_a_store_is_refused() {
    let manifest = one();
    for name in ["../000012.sst", "/etc/passwd", "IDENTITY", ""] {
        let error = open(&manifest, &altered(&manifest, "000012.sst", name)).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{name}: {error}");
    }
}

#[test]
fn a_manifest_of_a_later_version_is_told_as_such() {
    let manifest = one();
    let text = manifest.seal().replacen("backup 1 ", "backup 2 ", 1);
    let error = open(&manifest, text.as_bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Sealed(sealed::Error::NewerVersion {
                found: 2,
                known: 1,
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn unknown_fields_are_refused_and_files_are_named_once() {
    let manifest = one();
    let error = open(
        &manifest,
        &altered(&manifest, "\"program\"", "\"x\": 1, \"program\""),
    )
    .unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let mut twice = manifest.clone();
    twice.snapshot.files.extend(manifest.snapshot.files.clone());
    let error = open(&twice, twice.seal().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}
