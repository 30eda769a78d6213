//! The small sealed files beside log and store: who a directory is, and what its replica set has agreed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast::base::disk::{Disk, RealDisk};
use steadfast::base::sealed::{self, Kind};
use steadfast::base::{
    BootNumber, BootToken, CommitLevel, Epoch, Hlc, IncarnationId, LineageId, NodeNumber, RegionId,
    Seq,
};
use steadfast::control::{
    Addresses, Attempt, BackupSettings, Backups, Cause, ControlState, EpochNote, Extended,
    FailoverPolicy, Intent, JoinToken, LocalControl, LogState, Member, OpenConfig, Role, Served,
    Settings, TokenHash, TwoNode,
};
use steadfast::node::Identity;

use crate::version_vector;

const CONTROL: &str = r#"steadfast control 4 56446bd0
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
    "floor": 65536000,
    "cause": "gone"
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
      "number": 4,
      "role": "data",
      "boot": 2,
      "token": 18446744073709551615,
      "addresses": {
        "peer": "db-4.example:7401",
        "client": "db-4.example:7400"
      },
      "level": 1,
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
  "next_number": 5,
  "level": 1,
  "settings": {
    "failover": "hybrid",
    "two_node": "shrink",
    "silence_ms": 750,
    "commit_floor": "async",
    "commit_default": "all",
    "priorities": {
      "4": 255
    }
  },
  "tokens": {
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": {
      "role": "read_replica",
      "expires": 18446744073709551615,
      "redeemed": "000000000000000000000000000000a0"
    }
  },
  "intents": [
    {
      "add": {
        "incarnation": "000000000000000000000000000000a1"
      }
    },
    {
      "remove": {
        "incarnation": "000000000000000000000000000000a2"
      }
    },
    {
      "replace": {
        "old": "000000000000000000000000000000a3",
        "new": "000000000000000000000000000000a4"
      }
    }
  ],
  "history": {
    "8": {
      "primary": 4,
      "members": [
        1,
        4
      ],
      "cause": "first",
      "served": {
        "at": 18446744073709551615,
        "unavailable_ms": 412,
        "recovered": [
          7,
          9
        ]
      },
      "last": 2
    },
    "9": {
      "primary": 4,
      "members": [],
      "cause": "planned",
      "served": null,
      "last": null
    }
  }
}"#;

/// As written before there was a history.
const CONTROL_3: &str = r#"steadfast control 3 63991e67
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
      "number": 4,
      "role": "data",
      "boot": 2,
      "token": 18446744073709551615,
      "addresses": {
        "peer": "db-4.example:7401",
        "client": "db-4.example:7400"
      },
      "level": 1,
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
  "next_number": 5,
  "level": 1,
  "settings": {
    "failover": "hybrid",
    "two_node": "shrink",
    "silence_ms": 750,
    "commit_floor": "async",
    "commit_default": "all",
    "priorities": {
      "4": 255
    }
  },
  "tokens": {
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": {
      "role": "read_replica",
      "expires": 18446744073709551615,
      "redeemed": "000000000000000000000000000000a0"
    }
  },
  "intents": [
    {
      "add": {
        "incarnation": "000000000000000000000000000000a1"
      }
    },
    {
      "remove": {
        "incarnation": "000000000000000000000000000000a2"
      }
    },
    {
      "replace": {
        "old": "000000000000000000000000000000a3",
        "new": "000000000000000000000000000000a4"
      }
    }
  ]
}"#;

/// As written before members had numbers.
const CONTROL_2: &str = r#"steadfast control 2 e7fb69f7
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
            cause: Cause::Gone,
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
            silence_ms: 750,
            commit_floor: CommitLevel::Async,
            commit_default: CommitLevel::All,
            priorities: BTreeMap::from([(NodeNumber(4), 255)]),
            backup: BackupSettings::default(),
        },
        next_number: NodeNumber(5),
        level: 1,
        secret: None,
        tokens: BTreeMap::from([(
            TokenHash([0xff; 32]),
            JoinToken {
                role: Role::ReadReplica,
                expires: u64::MAX,
                redeemed: Some(IncarnationId(0xa0)),
            },
        )]),
        intents: BTreeSet::from([
            Intent::Add { incarnation: me },
            Intent::Remove {
                incarnation: IncarnationId(0xa2),
            },
            Intent::Replace {
                old: IncarnationId(0xa3),
                new: IncarnationId(0xa4),
            },
        ]),
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
        archived: None,
        backups: Backups::default(),
        history: BTreeMap::from([
            (
                Epoch(8),
                EpochNote {
                    primary: NodeNumber(4),
                    members: BTreeSet::from([NodeNumber(1), NodeNumber(4)]),
                    cause: Cause::First,
                    served: Some(Served {
                        at: u64::MAX,
                        unavailable_ms: Some(412),
                        recovered: Some((Epoch(7), Seq(9))),
                    }),
                    last: Some(Seq(2)),
                },
            ),
            (
                Epoch(9),
                EpochNote {
                    primary: NodeNumber(4),
                    members: BTreeSet::new(),
                    cause: Cause::Planned,
                    served: None,
                    last: None,
                },
            ),
        ]),
        members: BTreeMap::from([(
            me,
            Member {
                number: NodeNumber(4),
                role: Role::Data,
                boot: BootNumber(2),
                token: Some(BootToken(u64::MAX)),
                addresses: Addresses {
                    peer: "db-4.example:7401".to_owned(),
                    client: "db-4.example:7400".to_owned(),
                },
                level: 1,
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
fn the_control_state_is_kept_as_in_version_4() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    LocalControl::create(disk(), &path, control()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), CONTROL);
    let read = LocalControl::open(disk(), &path).unwrap().unwrap();
    assert_eq!(read.state(), &control());
}

/// What a state is read as that says nothing of the past.
fn control_before_history() -> ControlState {
    let mut control = ControlState {
        history: BTreeMap::new(),
        ..control()
    };
    control.attempt.as_mut().unwrap().cause = Cause::Unrecorded;
    control
}

/// What a state of a lone node is read as that says nothing of numbers, tokens or intents.
fn control_before_numbers() -> ControlState {
    let mut control = ControlState {
        settings: Settings {
            failover: FailoverPolicy::Hybrid,
            two_node: TwoNode::Shrink,
            ..Settings::default()
        },
        next_number: NodeNumber(2),
        tokens: BTreeMap::new(),
        intents: BTreeSet::new(),
        ..control_before_history()
    };
    for member in control.members.values_mut() {
        member.number = NodeNumber(1);
        member.addresses = Addresses::default();
    }
    control
}

#[test]
fn control_states_of_earlier_versions_are_read() {
    let mut of_version_1 = ControlState {
        extended: None,
        forgotten: Epoch::NONE,
        writers: BTreeMap::new(),
        evicted: BTreeSet::new(),
        settings: Settings::default(),
        ..control_before_numbers()
    };
    of_version_1.attempt.as_mut().unwrap().boot = BootNumber::NONE;
    for (text, expected) in [
        (CONTROL_1, of_version_1),
        (CONTROL_2, control_before_numbers()),
        (CONTROL_3, control_before_history()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        std::fs::write(&path, text).unwrap();
        let read = LocalControl::open(disk(), &path).unwrap().unwrap();
        assert_eq!(read.state(), &expected);
    }
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
    std::fs::write(&path, CONTROL.replacen(" 4 ", " 5 ", 1)).unwrap();
    let refused = LocalControl::open(disk(), &path).unwrap_err();
    assert!(
        matches!(
            refused,
            steadfast::control::Error::File(sealed::Error::NewerVersion {
                found: 5,
                known: 4,
                ..
            })
        ),
        "{refused}"
    );
}
