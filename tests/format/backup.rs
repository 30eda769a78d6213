//! What a bucket holds: names, manifests, records of one log, beginnings of stretches.

use std::collections::BTreeMap;

use steadfast::backup::layout::{Chain, End, FileId, Named, PointId, Segment, StretchId};
use steadfast::backup::manifest::Manifest;
use steadfast::backup::records;
use steadfast::backup::stretch::Stretch;
use steadfast::base::{
    AppliedVv, Epoch, Hlc, IncarnationId, LineageId, LogId, NodeNumber, RegionId, Seq, Stamp,
    VersionVector,
};
use steadfast::control::{
    ArchiveClaim, Archived, BackupNote, BackupSettings, Backups, Command, ControlState, Failed,
    Made, Ordered,
};
use steadfast::model::record::Horizon;
use steadfast::model::{Body, Digest, Logged, Record};
use steadfast::storage::{FileName, Snapshot, State, StoreFile};

const LINEAGE: LineageId = LineageId(0xa0);
const LOG: LogId = LogId {
    region: RegionId(5),
    epoch: Epoch(3),
};
const POINT: PointId = PointId {
    begun_millis: 1_795_320_723_123,
    random: 0x1f2e_3d4c,
};

#[test]
fn names_are_what_they_were() {
    let digest = blake3::hash(b"");
    let (chain, generation) = (Chain(0xfe), POINT);
    let segment = Segment {
        log: LOG,
        from: Seq(7),
        to: Seq(12),
        newest: Hlc(0x0abc),
        chain,
    };
    let end = End {
        log: LOG,
        last: Seq(12),
        chain,
    };
    let stretch = StretchId {
        since: Hlc(9),
        epoch: Epoch(3),
        content: 0xab,
    };
    let names = [
        (Named::Point(POINT), "points/20261122T041203.123Z-1f2e3d4c"),
        (
            Named::Dropped(POINT),
            "dropped/20261122T041203.123Z-1f2e3d4c",
        ),
        (
            Named::StoreFile(FileId { generation, digest }),
            "files/20261122T041203.123Z-1f2e3d4c/af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ),
        (
            Named::Segment(segment),
            "archive/0000000000000005/00000000000000000003/00000000000000000007-00000000000000000012.0000000000000abc.000000000000000000000000000000fe",
        ),
        (
            Named::End(end),
            "archive/0000000000000005/00000000000000000003/end.00000000000000000012.000000000000000000000000000000fe",
        ),
        (
            Named::Stretch(stretch),
            "stretches/0000000000000009.00000000000000000003.00000000000000ab",
        ),
    ];
    for (named, name) in names {
        let name = format!("000000000000000000000000000000a0/{name}");
        assert_eq!(named.in_lineage(LINEAGE), name);
        assert_eq!(Named::parse(&name), Some((LINEAGE, named)));
    }
}

fn vector() -> VersionVector {
    let mut vector = VersionVector::new();
    vector.fold(LOG.region, Epoch(2));
    vector.advance(LOG, Seq(12));
    vector
}

#[test]
fn a_manifest_is_what_it_was() {
    let mut control = ControlState::new(LINEAGE, LOG.region, IncarnationId(0xa1));
    control.ceiling = Hlc::from_millis(4_000);
    control.level = 4;
    let manifest = Manifest {
        point: POINT,
        generation: POINT,
        parent: None,
        program: "0.1.0".to_owned(),
        member: NodeNumber(2),
        control: control.disclosed(),
        snapshot: Snapshot {
            state: State {
                applied: AppliedVv(vector()),
                newest: Hlc::from_millis(3_000),
                digest: Digest(0xd1),
                chains: BTreeMap::from([(LOG, Digest(0xfe))]),
                ..State::default()
            },
            files: vec![StoreFile {
                name: FileName::parse("000012.sst").unwrap(),
                bytes: 0,
                digest: blake3::hash(b""),
            }],
        },
    };
    let text = include_str!("manifest.txt");
    assert_eq!(manifest.seal(), text);
    assert_eq!(
        Manifest::open(LINEAGE, POINT, text.as_bytes()).unwrap(),
        manifest
    );
}

#[test]
fn the_beginning_of_a_stretch_is_what_it_was() {
    let stretch = Stretch {
        since: Hlc(9),
        epoch: Epoch(3),
        base: vector(),
        unfinished: [LOG].into(),
    };
    let text = include_str!("stretch.txt");
    assert_eq!(stretch.seal(), text);
    let read = Stretch::open(LINEAGE, stretch.id(), text.as_bytes());
    assert_eq!(read.unwrap(), stretch);
}

/// What compresses them may change; what was compressed is read for ever.
#[test]
fn archived_records_are_read() {
    let object = hex::decode(include_str!("records.hex").trim()).unwrap();
    let segment = Segment {
        log: LOG,
        from: Seq(1),
        to: Seq(2),
        newest: Hlc(20),
        chain: Chain(CHAIN),
    };
    let read = records::decode(LINEAGE, &segment, &object).unwrap();
    assert_eq!(read, written());
    let (again, object) = records::encode(LINEAGE, &read);
    assert_eq!(again, segment);
    assert_eq!(records::decode(LINEAGE, &segment, &object).unwrap(), read);
}

/// Up to the second of them.
const CHAIN: u128 = 0xeb98_2255_99c2_629b_5153_4c32_56f4_7583;

fn written() -> Vec<Logged> {
    let mut chain_before = Digest::EMPTY;
    let mut log = |seq: u64| {
        let stamp = Stamp {
            hlc: Hlc(seq * 10),
            region: LOG.region,
            epoch: LOG.epoch,
            seq: Seq(seq),
        };
        let body = Body::Horizon(Horizon {
            horizon: Hlc(seq),
            covered: vector(),
        });
        let logged = Logged::new(Record {
            stamp,
            chain_before,
            request: None,
            body,
        });
        chain_before = logged.chain_after;
        logged
    };
    vec![log(1), log(2)]
}

/// As they are in the agreement, between fields that are older.
#[test]
fn what_is_agreed_of_the_archive_is_what_it_was() {
    let bucket = "s3://backups/prod".to_owned();
    let settings = BackupSettings {
        bucket: Some(bucket.clone()),
        archive_interval_ms: 5_000,
        every_ms: 6_000,
        full_every_ms: 7_000,
        keep_days: 8,
        keep_points: 9,
    };
    let archived = Archived {
        base: VersionVector::new(),
        through: vector(),
    };
    let claim = Command::Archive(ArchiveClaim {
        by: Epoch(3),
        bucket,
        base: None,
        through: vector(),
    });
    let vector = r#"{"base":[["0000000000000005",2]],"logs":[["0000000000000005",3,12]]}"#;
    let written = [
        serde_json::to_string(&settings),
        serde_json::to_string(&archived),
        serde_json::to_string(&claim),
    ];
    let expected = [
        r#"{"bucket":"s3://backups/prod","archive_interval_ms":5000,"every_ms":6000,"full_every_ms":7000,"keep_days":8,"keep_points":9}"#.to_owned(),
        format!(r#"{{"base":{{"base":[],"logs":[]}},"through":{vector}}}"#),
        format!(
            r#"{{"archive":{{"by":3,"bucket":"s3://backups/prod","base":null,"through":{vector}}}}}"#
        ),
    ];
    assert_eq!(written.map(Result::unwrap), expected);
    assert_eq!(
        serde_json::from_str::<BackupSettings>(&expected[0]).unwrap(),
        settings
    );
    assert_eq!(
        serde_json::from_str::<Archived>(&expected[1]).unwrap(),
        archived
    );
    assert_eq!(
        serde_json::from_str::<Command>(&expected[2]).unwrap(),
        claim
    );
}

#[test]
fn what_is_agreed_of_backups_is_what_it_was() {
    let ordered = Ordered {
        member: NodeNumber(2),
        full: true,
        at: 5,
    };
    let made = Made {
        point: "p".to_owned(),
        member: NodeNumber(2),
        full: false,
        at: 6,
        held: VersionVector::new(),
    };
    let failed = Failed {
        member: NodeNumber(3),
        at: 7,
        why: "no".to_owned(),
    };
    let backups = Backups {
        ordered: Some(ordered),
        made: Some(made.clone()),
        counted_from: 3,
        full_counted_from: 4,
        failed: Some(failed.clone()),
        whole_at: Some(8),
        problem: Some("gone".to_owned()),
    };
    let bucket = || "b".to_owned();
    let by = Epoch(3);
    let notes = [
        BackupNote::Ordered { by, order: ordered },
        BackupNote::Made {
            bucket: bucket(),
            made,
        },
        BackupNote::Failed {
            bucket: bucket(),
            failed,
        },
        BackupNote::Looked {
            bucket: bucket(),
            at: 8,
            problem: None,
        },
    ];
    let ordered = r#"{"member":2,"full":true,"at":5}"#;
    let made = r#"{"point":"p","member":2,"full":false,"at":6,"held":{"base":[],"logs":[]}}"#;
    let failed = r#"{"member":3,"at":7,"why":"no"}"#;
    let expected = format!(
        r#"{{"ordered":{ordered},"made":{made},"counted_from":3,"full_counted_from":4,"failed":{failed},"whole_at":8,"problem":"gone"}}"#
    );
    assert_eq!(serde_json::to_string(&backups).unwrap(), expected);
    assert_eq!(serde_json::from_str::<Backups>(&expected).unwrap(), backups);
    let texts = [
        format!(r#"{{"backup":{{"ordered":{{"by":3,"order":{ordered}}}}}}}"#),
        format!(r#"{{"backup":{{"made":{{"bucket":"b","made":{made}}}}}}}"#),
        format!(r#"{{"backup":{{"failed":{{"bucket":"b","failed":{failed}}}}}}}"#),
        r#"{"backup":{"looked":{"bucket":"b","at":8,"problem":null}}}"#.to_owned(),
    ];
    for (note, text) in notes.into_iter().zip(texts) {
        let command = Command::Backup(note);
        assert_eq!(serde_json::to_string(&command).unwrap(), text);
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
    }
}
