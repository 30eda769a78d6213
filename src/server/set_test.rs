use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::base::{BootNumber, Epoch, Hlc, IncarnationId, VersionVector};
use crate::control::{Addresses, Failed, Made};
use crate::proto::Reason;

fn any_settings() -> impl Strategy<Value = Settings> {
    let failover = prop_oneof![
        Just(FailoverPolicy::Automatic),
        Just(FailoverPolicy::Hybrid),
        Just(FailoverPolicy::Manual)
    ];
    let two_node = prop_oneof![Just(TwoNode::Refuse), Just(TwoNode::Shrink)];
    let level = || {
        prop_oneof![
            Just(CommitLevel::Async),
            Just(CommitLevel::Quorum),
            Just(CommitLevel::All)
        ]
    };
    let priorities = btree_map(1_u64..6, 1_u8.., 0..4);
    let backup = (
        option::of("file:///[a-z]{1,9}"),
        any::<[u64; 3]>(),
        any::<[u32; 2]>(),
    );
    let backup = backup.prop_map(|(bucket, intervals, [keep_days, keep_points])| {
        let [archive_interval_ms, every_ms, full_every_ms] = intervals;
        BackupSettings {
            bucket,
            archive_interval_ms,
            every_ms,
            full_every_ms,
            keep_days,
            keep_points,
        }
    });
    (
        failover,
        two_node,
        any::<u64>(),
        level(),
        level(),
        priorities,
        backup,
    )
        .prop_map(
            |(failover, two_node, silence_ms, commit_floor, commit_default, priorities, backup)| {
                let named = priorities.into_iter();
                Settings {
                    failover,
                    two_node,
                    silence_ms,
                    commit_floor,
                    commit_default,
                    priorities: named
                        .map(|(number, value)| (NodeNumber(number), value))
                        .collect(),
                    backup,
                }
            },
        )
}

/// A request that changes all settings to those of the message; who is not in it loses its priority.
fn to_all(settings: &v1::Settings) -> v1::SetSettingsRequest {
    let mut priorities: Vec<v1::Priority> = (1..6)
        .map(|number| v1::Priority {
            number,
            priority: 0,
        })
        .collect();
    priorities.extend(settings.priorities.iter().copied());
    let backup = settings.backup.clone().unwrap_or_default();
    v1::SetSettingsRequest {
        failover: Some(settings.failover),
        two_node: Some(settings.two_node),
        silence_ms: Some(settings.silence_ms),
        commit_floor: Some(settings.commit_floor),
        commit_default: Some(settings.commit_default),
        priorities,
        backup: Some(v1::BackupChange {
            bucket: Some(backup.bucket.unwrap_or_default()),
            archive_interval_ms: Some(backup.archive_interval_ms),
            every_ms: Some(backup.every_ms),
            full_every_ms: Some(backup.full_every_ms),
            keep_days: Some(backup.keep_days),
            keep_points: Some(backup.keep_points),
        }),
    }
}

proptest! {
    #[test]
    fn settings_come_back_as_they_went(settings in any_settings(), before in any_settings()) {
        let request = to_all(&settings_to_proto(&settings));
        let change = settings_change(&request).unwrap();
        prop_assert_eq!(before.with(&change), settings);
    }

    #[test]
    fn what_is_not_given_stays(before in any_settings(), other in any_settings(), given in any::<[bool; 11]>()) {
        let all = to_all(&settings_to_proto(&other));
        let [failover, two_node, silence, floor, default, bucket, interval, every, full, days, points] = given;
        let backup = all.backup.unwrap_or_default();
        let request = v1::SetSettingsRequest {
            failover: all.failover.filter(|_| failover),
            two_node: all.two_node.filter(|_| two_node),
            silence_ms: all.silence_ms.filter(|_| silence),
            commit_floor: all.commit_floor.filter(|_| floor),
            commit_default: all.commit_default.filter(|_| default),
            priorities: Vec::new(),
            backup: (bucket || interval || every || full || days || points).then(|| v1::BackupChange {
                bucket: backup.bucket.filter(|_| bucket),
                archive_interval_ms: backup.archive_interval_ms.filter(|_| interval),
                every_ms: backup.every_ms.filter(|_| every),
                full_every_ms: backup.full_every_ms.filter(|_| full),
                keep_days: backup.keep_days.filter(|_| days),
                keep_points: backup.keep_points.filter(|_| points),
            }),
        };
        let expected = Settings {
            failover: if failover { other.failover } else { before.failover },
            two_node: if two_node { other.two_node } else { before.two_node },
            silence_ms: if silence { other.silence_ms } else { before.silence_ms },
            commit_floor: if floor { other.commit_floor } else { before.commit_floor },
            commit_default: if default { other.commit_default } else { before.commit_default },
            priorities: before.priorities.clone(),
            backup: BackupSettings {
                bucket: if bucket { other.backup.bucket } else { before.backup.bucket.clone() },
                archive_interval_ms: if interval {
                    other.backup.archive_interval_ms
                } else {
                    before.backup.archive_interval_ms
                },
                every_ms: if every { other.backup.every_ms } else { before.backup.every_ms },
                full_every_ms: if full {
                    other.backup.full_every_ms
                } else {
                    before.backup.full_every_ms
                },
                keep_days: if days { other.backup.keep_days } else { before.backup.keep_days },
                keep_points: if points {
                    other.backup.keep_points
                } else {
                    before.backup.keep_points
                },
            },
        };
        let change = settings_change(&request).unwrap();
        prop_assert_eq!(before.with(&change), expected);
    }

    #[test]
    fn a_member_is_told_as_it_is(
        (id, boot, counts, serves, in_contact) in any::<(u128, u64, bool, bool, bool)>(),
        (promise, lag_records, heard_us) in any::<(Option<u64>, Option<u64>, Option<u32>)>(),
        (durable, applied, trouble) in (option::of("[a-z]{1,9}"), option::of("[a-z]{1,9}"), option::of("[a-z]{1,9}")),
        (peer, client) in ("[a-z:]{1,9}", "[a-z:]{1,9}"),
        role in prop_oneof![Just(Role::Data), Just(Role::Arbiter), Just(Role::ReadReplica)],
    ) {
        let heard_ago = heard_us.map(|us| Duration::from_micros(u64::from(us)));
        let member = MemberStatus {
            incarnation: IncarnationId(id),
            role,
            counts,
            boot: BootNumber(boot),
            addresses: Addresses { peer: peer.clone(), client: client.clone() },
            is_self: false,
            serves,
            promise: promise.map(Epoch),
            durable: durable.clone(),
            applied: applied.clone(),
            lag_records,
            alone: vec![durable.clone().unwrap_or_default()],
            in_contact,
            heard_ago,
            trouble: trouble.clone(),
        };
        let expected = v1::Member {
            number: 7,
            incarnation: format!("{id:032x}"),
            role: match role {
                Role::Data => 1,
                Role::Arbiter => 2,
                Role::ReadReplica => 3,
            },
            counts,
            boot,
            peer_address: peer,
            client_address: client,
            serves,
            promise,
            durable: durable.clone(),
            applied,
            lag_records,
            heard_ago_us: heard_us.map(u64::from),
            trouble,
            in_contact,
            alone: vec![durable.unwrap_or_default()],
        };
        prop_assert_eq!(member_to_proto(NodeNumber(7), member), expected);
    }

    #[test]
    fn a_set_is_told_as_it_is(
        (by, epoch, attempt, primary) in any::<(u64, u64, Option<u64>, Option<u64>)>(),
        (window, horizon) in (0_u64..1 << 44, 0_u64..1 << 44),
        settings in any_settings(),
        why_not in option::of("[a-z]{1,9}"),
        (through, trouble) in (option::of("[a-z]{1,9}"), option::of("[a-z]{1,9}")),
        unarchived_ms in option::of(any::<u32>()),
        (old, new) in any::<(u128, u128)>(),
        (leader, term, voters) in any::<(Option<u64>, u64, Vec<u64>)>(),
    ) {
        let status = SetStatus {
            by: NodeNumber(by),
            zone: Some("z".to_owned()),
            lineage: "l".to_owned(),
            epoch: Epoch(epoch),
            attempt: attempt.map(Epoch),
            primary: primary.map(NodeNumber),
            commit_size: 2,
            window: Hlc::from_millis(window),
            horizon: Hlc::from_millis(horizon),
            level: 3,
            members: BTreeMap::new(),
            intents: vec![
                Intent::Add { incarnation: IncarnationId(new) },
                Intent::Remove { incarnation: IncarnationId(old) },
                Intent::Replace { old: IncarnationId(old), new: IncarnationId(new) },
            ],
            settings: settings.clone(),
            archive: Some(ArchiveStatus {
                bucket: "b".to_owned(),
                through: through.clone(),
                unarchived_for: unarchived_ms.map(|ms| Duration::from_millis(ms.into())),
                trouble: trouble.clone(),
                ordered: primary.map(NodeNumber),
                last: Some((
                    Made {
                        point: "p".to_owned(),
                        member: NodeNumber(by),
                        full: true,
                        at: 9,
                        held: VersionVector::new(),
                    },
                    Duration::from_millis(epoch),
                )),
                failed: why_not.clone().map(|why| {
                    let member = NodeNumber(by);
                    (Failed { member, at: 9, why }, Duration::from_millis(epoch))
                }),
                whole_ago: unarchived_ms.map(|ms| Duration::from_millis(ms.into())),
                problem: why_not.clone(),
            }),
            agreement: Some(AgreementStatus {
                leader: leader.map(NodeNumber),
                term,
                confirmed_ago: None,
                voters: voters.iter().copied().map(NodeNumber).collect(),
            }),
            can_fail_over: why_not.clone().map_or(Ok(()), Err),
        };
        let (old, new) = (format!("{old:032x}"), format!("{new:032x}"));
        let change = |change| v1::MemberChange { change: Some(change) };
        let expected = v1::GetReplicaSetResponse {
            answered_by: by,
            zone: "z".to_owned(),
            lineage: "l".to_owned(),
            epoch,
            attempt,
            primary,
            commit_size: 2,
            window_us: i64::try_from(window).unwrap() * 1_000,
            horizon_us: i64::try_from(horizon).unwrap() * 1_000,
            level: 3,
            members: Vec::new(),
            changes: vec![
                change(Change::Add(new.clone())),
                change(Change::Remove(old.clone())),
                change(Change::Replace(v1::Replacement { old, new })),
            ],
            settings: Some(settings_to_proto(&settings)),
            archive: Some(v1::Archive {
                bucket: "b".to_owned(),
                through,
                unarchived_ms: unarchived_ms.map(u64::from),
                trouble,
                ordered: primary,
                last: Some(v1::LastPoint {
                    point: "p".to_owned(),
                    member: by,
                    full: true,
                    ago_ms: epoch,
                }),
                failed: why_not.clone().map(|why| v1::FailedPoint {
                    member: by,
                    ago_ms: epoch,
                    why,
                }),
                whole_ago_ms: unarchived_ms.map(u64::from),
                problem: why_not.clone(),
            }),
            agreement: Some(v1::Agreement { leader, term, confirmed_ago_us: None, voters }),
            can_fail_over: why_not.is_none(),
            why_not: why_not.unwrap_or_default(),
        };
        prop_assert_eq!(status_to_proto(status), expected);
    }

    #[test]
    fn a_token_is_issued_for_a_second_to_a_day(expires_in_ms in prop_oneof![any::<u64>(), 0..200_000_000_u64], role in 0..5) {
        let issued = token_to_issue(&v1::IssueJoinTokenRequest { role, expires_in_ms });
        match issued {
            Ok((issued, expires_in)) => {
                prop_assert_eq!(i32::from(role_to_proto(issued)), role.max(1));
                prop_assert_eq!(expires_in, Duration::from_millis(expires_in_ms));
                prop_assert!((1_000..=86_400_000).contains(&expires_in_ms));
            }
            Err(invalid) if role > 3 => prop_assert_eq!(invalid.field, "role"),
            Err(invalid) => {
                prop_assert_eq!(invalid.field, "expires_in_ms");
                prop_assert!(!(1_000..=86_400_000).contains(&expires_in_ms));
            }
        }
    }
}

#[test]
fn a_field_that_says_nothing_known_is_named() {
    let request = v1::SetSettingsRequest::default;
    let priority = |priority| v1::Priority {
        number: 1,
        priority,
    };
    for (request, field) in [
        (
            v1::SetSettingsRequest {
                failover: Some(0),
                ..request()
            },
            "failover",
        ),
        (
            v1::SetSettingsRequest {
                two_node: Some(3),
                ..request()
            },
            "two_node",
        ),
        (
            v1::SetSettingsRequest {
                commit_floor: Some(0),
                ..request()
            },
            "commit_floor",
        ),
        (
            v1::SetSettingsRequest {
                commit_default: Some(9),
                ..request()
            },
            "commit_default",
        ),
        (
            v1::SetSettingsRequest {
                priorities: vec![priority(255), priority(256)],
                ..request()
            },
            "priorities[1].priority",
        ),
    ] {
        let invalid = settings_change(&request).unwrap_err();
        assert_eq!(invalid.field, field);
        assert_eq!(invalid.problem.reason(), Reason::InvalidArgument);
    }
}

#[test]
fn a_bucket_whose_url_is_none_is_refused() {
    for url in ["bucket", "ftp://b", "file://x"] {
        let backup = Some(v1::BackupChange {
            bucket: Some(url.to_owned()),
            ..v1::BackupChange::default()
        });
        let request = v1::SetSettingsRequest {
            backup,
            ..v1::SetSettingsRequest::default()
        };
        let invalid = settings_change(&request).unwrap_err();
        assert_eq!(invalid.field, "backup.bucket", "{url}");
        assert_eq!(invalid.problem.reason(), Reason::InvalidArgument);
    }
}

#[test]
fn what_the_set_refuses_is_named_by_its_field() {
    let refused = |rejection| settings_failure(node::Error::SetRefused(rejection));
    let silence = refused(Rejection::SilenceOutOfRange {
        silence_ms: 1,
        least: 2,
        most: 3,
    });
    assert_eq!(silence.field.as_deref(), Some("silence_ms"));
    let interval = refused(Rejection::IntervalOutOfRange {
        name: "every_ms".to_owned(),
        ms: 1,
        least: 2,
        most: 3,
    });
    assert_eq!(interval.field.as_deref(), Some("backup.every_ms"));
    let number = NodeNumber(4);
    let unknown = refused(Rejection::NoSuchNumber { number });
    assert_eq!(unknown.field.as_deref(), Some("priorities"));
    assert_eq!(settings_failure(node::Error::Stopping).field, None);
    for (missing, field) in [(4, "new"), (3, "old")] {
        let number = NodeNumber(missing);
        let failure = replacement_failure(node::Error::NoSuchMember { number }, NodeNumber(4));
        assert_eq!(failure.field.as_deref(), Some(field));
    }
}
