//! The small sealed files beside log and store: who a directory is, and what its replica set has agreed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::sealed::{self, Kind};
use steadfast::base::{BootNumber, BootToken, Epoch, Hlc, IncarnationId, LineageId, RegionId, Seq};
use steadfast::control::{
    Attempt, ControlState, Extended, FailoverPolicy, LocalControl, LogState, Member, OpenConfig,
    Role, Settings, TwoNode,
};
use steadfast::node::Identity;

use crate::version_vector;

const CONTROL: &str = r#"steadfast control 2 e7fb69f7
{
  "lineage": "ffffffffffffffffffffffffffffffff",
  "region": "ffffffffffffffff",
  "epoch_base": 7,
  "index": 3,
  "open": {
    "epoch": 8,
    "members": [
      "000000000000000000000000000000a1"
    ]
  },
  "attempt": {
    "epoch": 9,
    "candidate": "000000000000000000000000000000a1",
    "boot": 2,
    "members": [
      "000000000000000000000000000000a1"
    ],
    "basis": [
      "000000000000000000000000000000a1"
    ],
    "floor": 65536000
  },
  "ceiling": 262144000,
  "extended": {
    "epoch": 9,
    "number": 3
  },
  "logs": {
    "8": {
      "closed": {
        "last": 2,
        "digest": 340282366920938463463374607431768211455
      }
    },
    "9": "active"
  },
  "forgotten": 7,
  "writers": {
    "9": "000000000000000000000000000000a1"
  },
  "horizon": 0,
  "members": {
    "000000000000000000000000000000a1": {
      "role": "data",
      "boot": 2,
      "token": 18446744073709551615,
      "acked": {
        "base": [
          [
            "0000000000000005",
            2
          ]
        ],
        "logs": [
          [
            "0000000000000005",
            3,
            9
          ]
        ]
      }
    }
  },
  "evicted": [
    "000000000000000000000000000000a0"
  ],
  "settings": {
    "failover": "hybrid",
    "two_node": "shrink"
  }
}"#;

/// As written before sets had several members.
const CONTROL_1: &str = r#"steadfast control 1 8d0b4b96
{
  "lineage": "ffffffffffffffffffffffffffffffff",
  "region": "ffffffffffffffff",
  "epoch_base": 7,
  "index": 3,
  "open": {
    "epoch": 8,
    "members": [
      "000000000000000000000000000000a1"
    ]
  },
  "attempt": {
    "epoch": 9,
    "candidate": "000000000000000000000000000000a1",
    "members": [
      "000000000000000000000000000000a1"
    ],
    "basis": [
      "000000000000000000000000000000a1"
    ],
    "floor": 65536000
  },
  "ceiling": 262144000,
  "logs": {
    "8": {
      "closed": {
        "last": 2,
        "digest": 340282366920938463463374607431768211455
      }
    },
    "9": "active"
  },
  "horizon": 0,
  "members": {
    "000000000000000000000000000000a1": {
      "boot": 2,
      "token": 18446744073709551615,
      "acked": {
        "base": [
          [
            "0000000000000005",
            2
          ]
        ],
        "logs": [
          [
            "0000000000000005",
            3,
            9
          ]
        ]
      }
    }
  }
}"#;

const IDENTITY: &str = r#"steadfast identity 1 d2552dff
{
  "lineage": "ffffffffffffffffffffffffffffffff",
  "region": "ffffffffffffffff",
  "incarnation": "000000000000000000000000000000a1",
  "boot": 2,
  "tokens": [
    1,
    18446744073709551615
  ],
  "promise": 9
}"#;

fn control() -> ControlState {
    let me = IncarnationId(0xa1);
    let only_me = BTreeSet::from([me]);
    ControlState {
        lineage: LineageId(u128::MAX),
        region: RegionId(u64::MAX),
        epoch_base: 7,
        index: 3,
        open: Some(OpenConfig {
            epoch: Epoch(8),
            members: only_me.clone(),
        }),
        attempt: Some(Attempt {
            epoch: Epoch(9),
            candidate: me,
            boot: BootNumber(2),
            members: only_me.clone(),
            basis: only_me,
            floor: Hlc::from_millis(1000),
        }),
        ceiling: Hlc::from_millis(4000),
        extended: Some(Extended {
            epoch: Epoch(9),
            number: 3,
        }),
        forgotten: Epoch(7),
        writers: BTreeMap::from([(Epoch(9), me)]),
        evicted: BTreeSet::from([IncarnationId(0xa0)]),
        settings: Settings {
            failover: FailoverPolicy::Hybrid,
            two_node: TwoNode::Shrink,
        },
        logs: BTreeMap::from([
            (
                Epoch(8),
                LogState::Closed {
                    last: Seq(2),
                    digest: u128::MAX,
                },
            ),
            (Epoch(9), LogState::Active),
        ]),
        horizon: Hlc::ZERO,
        members: BTreeMap::from([(
            me,
            Member {
                role: Role::Data,
                boot: BootNumber(2),
                token: Some(BootToken(u64::MAX)),
                acked: version_vector(),
            },
        )]),
    }
}

fn identity() -> Identity {
    Identity {
        lineage: LineageId(u128::MAX),
        region: RegionId(u64::MAX),
        incarnation: IncarnationId(0xa1),
        boot: BootNumber(2),
        tokens: BTreeSet::from([BootToken(1), BootToken(u64::MAX)]),
        promise: Epoch(9),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn path(dir: &Path) -> PathBuf {
    dir.join("FILE")
}

#[test]
fn the_control_state_is_kept_as_in_version_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    LocalControl::create(disk(), &path, control()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), CONTROL);
    let read = LocalControl::open(disk(), &path).unwrap().unwrap();
    assert_eq!(read.state(), &control());
}

#[test]
fn a_control_state_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    std::fs::write(&path, CONTROL_1).unwrap();
    let read = LocalControl::open(disk(), &path).unwrap().unwrap();
    let mut expected = ControlState {
        extended: None,
        forgotten: Epoch::NONE,
        writers: BTreeMap::new(),
        evicted: BTreeSet::new(),
        settings: Settings::default(),
        ..control()
    };
    expected.attempt.as_mut().unwrap().boot = BootNumber::NONE;
    assert_eq!(read.state(), &expected);
}

#[test]
fn the_identity_is_kept_as_in_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    let kind = Kind {
        name: "identity",
        version: 1,
    };
    let body = serde_json::to_string_pretty(&identity()).unwrap();
    kind.write(disk().as_ref(), &path, &body).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), IDENTITY);
    let read = kind.read(disk().as_ref(), &path).unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&read).unwrap(), identity());
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    std::fs::write(&path, CONTROL.replacen(" 2 ", " 3 ", 1)).unwrap();
    let refused = LocalControl::open(disk(), &path).unwrap_err();
    assert!(
        matches!(
            refused,
            steadfast::control::Error::File(sealed::Error::NewerVersion {
                found: 3,
                known: 2,
                ..
            })
        ),
        "{refused}"
    );
}
