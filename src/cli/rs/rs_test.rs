use clap::{CommandFactory, Parser};
use proptest::prelude::*;

use super::*;
use v1::member_change::Change;

#[derive(Debug, Parser)]
struct Tool {
    #[command(flatten)]
    args: Args,
}

fn parsed(arguments: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("rs").chain(arguments.split_whitespace());
    Tool::try_parse_from(words).map(|tool| tool.args.command)
}

fn member(number: u64, role: v1::MemberRole) -> v1::Member {
    v1::Member {
        number,
        incarnation: format!("{number:032x}"),
        role: role.into(),
        counts: role == v1::MemberRole::Data,
        boot: number,
        peer_address: format!("node{number}:7401"),
        client_address: format!("node{number}:7400"),
        promise: Some(7),
        lag_records: Some(number * 1_000),
        heard_ago_us: Some(number * 40_000),
        in_contact: true,
        ..v1::Member::default()
    }
}

/// A set of four, as its second member sees it: the third is silent, the fourth joins.
fn four() -> v1::GetReplicaSetResponse {
    let mut members = vec![
        member(1, v1::MemberRole::Data),
        member(2, v1::MemberRole::Data),
        member(3, v1::MemberRole::Arbiter),
        member(4, v1::MemberRole::Data),
    ];
    members[2].heard_ago_us = Some(1_000_001);
    members[2].in_contact = false;
    members[2].trouble = Some("connection refused".to_owned());
    members[3].counts = false;
    members[3].promise = None;
    let add = Change::Add(members[3].incarnation.clone());
    v1::GetReplicaSetResponse {
        answered_by: 2,
        zone: String::new(),
        lineage: "00c0ffee".to_owned(),
        epoch: 7,
        attempt: Some(9),
        primary: Some(1),
        commit_size: 2,
        window_us: 1_700_000_000_000_000,
        horizon_us: 0,
        level: 1,
        members,
        changes: vec![v1::MemberChange { change: Some(add) }],
        settings: Some(v1::Settings {
            silence_ms: 1_000,
            ..v1::Settings::default()
        }),
        agreement: Some(v1::Agreement {
            leader: Some(3),
            term: 4,
            confirmed_ago_us: None,
            voters: vec![1, 2, 3],
        }),
        can_fail_over: false,
        why_not: "member 2 lags".to_owned(),
        archive: Some(v1::Archive {
            bucket: "s3://b".to_owned(),
            through: Some("x".to_owned()),
            unarchived_ms: Some(2_500),
            trouble: None,
            ordered: Some(3),
            last: Some(v1::LastPoint {
                point: "p1".to_owned(),
                member: 2,
                full: true,
                ago_ms: 3_661_000,
            }),
            failed: Some(v1::FailedPoint {
                member: 2,
                ago_ms: 61_500,
                why: "no route".to_owned(),
            }),
            whole_ago_ms: Some(2_000),
            problem: Some("a file".to_owned()),
        }),
    }
}

/// Each line with its runs of spaces made one, and the lines of a table left out.
fn squeezed(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.contains('─') && !line.contains('═'))
        .collect()
}

#[test]
fn the_status_is_one_screen() {
    let expected = [
        "replica set 00c0ffee, as member 2 sees it",
        "primary 1, epoch 7 (epoch 9 is being begun), window until 2023-11-14T22:13:20Z",
        "quorum 2 of 2 data members, 2 in contact",
        "can fail over now no, because member 2 lags",
        "agreement leader 3, term 4, voters 1 2 3",
        "archive s3://b: up to 2.50 s of writes are not archived yet",
        "restore points last 1h 1m 1s ago, full, p1 of member 2; member 3 makes one now; FAILED at member 2, 1m 1s ago: no route; all found whole 2s ago; NOT WHOLE: a file",
        "member role state promise boot lag last heard peer client",
        "1 data primary 7 1 1,000 40.00 ms ago node1:7401 node1:7400",
        "2 data member 7 2 2,000 this node node2:7401 node2:7400",
        "3 arbiter member, silent 7 3 3,000 1.00 s ago node3:7401 node3:7400",
        "4 data joining - 4 4,000 160.00 ms ago node4:7401 node4:7400",
        "under way: member 4 joins",
        "no connection to member 3: connection refused",
    ];
    assert_eq!(squeezed(&render::set(&four())), expected);
}

#[test]
fn the_document_says_all_that_the_screen_does() {
    let json = document::of_set(&four());
    assert_eq!(json["primary"], 1);
    assert_eq!(json["why_not"], "member 2 lags");
    assert_eq!(json["agreement"]["voters"], json!([1, 2, 3]));
    assert_eq!(json["changes"], json!([{"add": "4"}]));
    assert_eq!(json["members"][2]["role"], "arbiter");
    assert_eq!(json["members"][2]["trouble"], "connection refused");
    assert_eq!(json["members"][3]["promise"], json!(null));
    assert_eq!(json["settings"]["silence_ms"], 1_000);
    assert_eq!(json["archive"]["unarchived_ms"], 2_500);
}

#[test]
fn an_archive_is_told_as_it_does() {
    let archive = |unarchived_ms, trouble: Option<&str>| v1::Archive {
        bucket: "s3://b".to_owned(),
        through: None,
        unarchived_ms,
        trouble: trouble.map(str::to_owned),
        ..v1::Archive::default()
    };
    for (archive, expected) in [
        (archive(None, None), "nothing is archived yet"),
        (archive(Some(0), None), "all that is here is archived"),
        (archive(Some(0), Some("no route")), "FAILS: no route"),
    ] {
        let mut set = four();
        set.archive = Some(archive);
        let line = format!("archive s3://b: {expected}");
        let shown = squeezed(&render::set(&set));
        assert!(shown.contains(&line), "{line}");
        assert!(shown.contains(&"restore points none yet".to_owned()));
    }
}

#[test]
fn who_joins_goes_to_the_primary() {
    let mut set = four();
    assert_eq!(render::join_address(&set), "node1:7401");
    set.primary = None;
    assert_eq!(render::join_address(&set), "node2:7401");
}

#[test]
fn commands_take_their_arguments() {
    let Ok(Command::Add { role, expires, .. }) = parsed("add --role read-replica") else {
        panic!("add")
    };
    assert_eq!(
        (role, expires),
        (Role::ReadReplica, Duration::from_secs(900))
    );
    let Ok(Command::Replace { old, new, .. }) = parsed("replace 3 4 --yes") else {
        panic!("replace")
    };
    assert_eq!((old, new), (3, 4));
    let Ok(Command::Switchover { to, .. }) = parsed("switchover --to 2") else {
        panic!("switchover")
    };
    assert_eq!(to, Some(2));
    for wrong in [
        "remove",
        "replace 3",
        "failover",
        "add --expires soon",
        "remove x",
    ] {
        assert!(parsed(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_command_shows_an_example_of_itself() {
    let tool = Tool::command();
    for command in tool.get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string);
        let example = format!("steadfast rs {}", command.get_name());
        assert!(help.unwrap_or_default().contains(&example), "{example}");
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_told_with_what_would() {
    for (text, expected) in [
        ("silence", "expected KEY=VALUE"),
        ("silence=soon", "expected a duration"),
        ("failover=never", "expected automatic, hybrid or manual"),
        ("two-node=grow", "expected refuse or shrink"),
        ("commit-floor=none", "async, quorum or all"),
        ("archive-interval=often", "expected a duration"),
        ("backup-keep-days=all", "expected a number"),
        ("priority.1=256", "from 0 to 255"),
        ("priority.x=1", "\"x\" is no member's number"),
        ("colour=red", "there is no setting \"colour\""),
    ] {
        let error = settings::parse(&[text.to_owned()]).unwrap_err().to_string();
        assert!(
            error.starts_with("INVALID_ARGUMENT: ") && error.contains(expected),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn settings_can_be_set_as_they_are_shown(
        (silence_ms, failover, two_node) in (1_u64..100_000, 1..=3, 1..=2),
        (commit_floor, commit_default) in (1..=3, 1..=3),
        priorities in prop::collection::btree_map(any::<u64>(), 0_u32..=255, 0..4),
        bucket in prop::option::of("s3://[a-z]{3,9}/[a-z]{1,9}\\?region=[a-z]{1,9}"),
        archive_interval_ms in 1_u64..10_000_000,
        (every_ms, full_every_ms) in (0_u64..10_000_000, 0_u64..10_000_000),
        (keep_days, keep_points) in any::<(u32, u32)>(),
    ) {
        let priorities: Vec<_> = priorities
            .into_iter()
            .map(|(number, priority)| v1::Priority { number, priority })
            .collect();
        let shown = render::settings(&v1::Settings {
            failover,
            two_node,
            silence_ms,
            commit_floor,
            commit_default,
            priorities: priorities.clone(),
            backup: Some(v1::BackupSettings {
                bucket: bucket.clone(),
                archive_interval_ms,
                every_ms,
                full_every_ms,
                keep_days,
                keep_points,
            }),
        });
        let texts: Vec<String> = shown.lines().map(str::to_owned).collect();
        let expected = v1::SetSettingsRequest {
            failover: Some(failover),
            two_node: Some(two_node),
            silence_ms: Some(silence_ms),
            commit_floor: Some(commit_floor),
            commit_default: Some(commit_default),
            priorities,
            backup: Some(v1::BackupChange {
                bucket: Some(bucket.unwrap_or_default()),
                archive_interval_ms: Some(archive_interval_ms),
                every_ms: Some(every_ms),
                full_every_ms: Some(full_every_ms),
                keep_days: Some(keep_days),
                keep_points: Some(keep_points),
            }),
        };
        prop_assert_eq!(settings::parse(&texts).unwrap(), expected);
    }
}

#[test]
fn only_its_owner_reads_the_file_of_a_token_and_no_file_is_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let file = new_secret_file(&path).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let error = new_secret_file(&path).unwrap_err().to_string();
    assert!(error.starts_with("FILE: cannot create "), "{error}");
}
