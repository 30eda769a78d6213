//! Who may start: a voter whose directory is an older state votes in nothing.

use std::path::Path;

use steadfast::base::{BootNumber, BootToken, IncarnationId, VersionVector};
use steadfast::control::raft::Starts;
use steadfast::control::{BootClaim, Command, LEVEL};
use steadfast::proto::v1::RaftMessage;

use crate::group::{Member, group, leader, register};

fn copy(from: &Path, to: &Path) {
    let _gone = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn boot(member: &Member, known: &[u64], token: u64) -> Command {
    Command::Boot(BootClaim {
        incarnation: member.incarnation,
        known: known.iter().copied().map(BootToken).collect(),
        token: BootToken(token),
        held: VersionVector::new(),
        addresses: member.addresses(),
        level: LEVEL,
    })
}

#[test]
fn a_rolled_back_directory_is_told_so_and_votes_in_nothing() {
    let mut group = group(3);
    let lead = leader(&group);
    let back = (lead + 1) % 3;
    let backup = tempfile::tempdir().unwrap();
    let older = backup.path().join("raft");
    group[back].kill();
    copy(&group[back].path(), &older);
    group[back].start();
    group[back].run(group[back].raft().admitted()).unwrap();
    for at in 0..20 {
        group[lead]
            .insist(&register(IncarnationId(100 + at)))
            .unwrap();
    }
    group[back].learns(|state| state.members.contains_key(&IncarnationId(119)));
    group[back].kill();
    copy(&older, &group[back].path());
    group[back].start();
    let refused = group[back].run(group[back].raft().admitted()).unwrap_err();
    assert!(refused.contains("held the Raft log up to"), "{refused}");
    let failed = group[back].run(group[back].raft().failure());
    assert!(failed.contains("held the Raft log up to"), "{failed}");
    // It is not the majority that the leader lacks now.
    let other = (lead + 2) % 3;
    group[other].kill();
    let alone = group[lead].propose(register(IncarnationId(200)));
    assert!(alone.is_err(), "{alone:?}");
    group[other].start();
    group[lead].insist(&register(IncarnationId(200))).unwrap();
}

#[test]
fn a_copy_that_was_not_started_last_is_told_so() {
    let mut group = group(3);
    let lead = leader(&group);
    let copied = (lead + 1) % 3;
    group[copied]
        .insist(&boot(&group[copied], &[], 10))
        .unwrap();
    group[copied]
        .insist(&boot(&group[copied], &[10], 11))
        .unwrap();
    for (known, may) in [(&[10, 11, 12][..], true), (&[10, 12][..], false)] {
        group[copied].kill();
        group[copied].starts = Starts {
            boot: BootNumber(1),
            known: known.iter().copied().map(BootToken).collect(),
        };
        group[copied].start();
        let admitted = group[copied].run(group[copied].raft().admitted());
        assert_eq!(admitted.is_ok(), may, "{admitted:?}");
        assert!(may || admitted.unwrap_err().contains("was started 2 times"));
    }
}

#[test]
fn who_is_behind_does_not_object_to_a_start_for_an_earlier_one() {
    let mut group = group(3);
    let lead = leader(&group);
    let (started, behind) = ((lead + 1) % 3, (lead + 2) % 3);
    let incarnation = group[started].incarnation;
    let first = boot(&group[started], &[], 10);
    group[started].insist(&first).unwrap();
    group[behind].learns(|state| state.members[&incarnation].token == Some(BootToken(10)));
    group[behind].kill();
    let second = boot(&group[started], &[10], 11);
    group[started].insist(&second).unwrap();
    group[started].kill();
    group[lead].kill();
    // It has forgotten the first token by then, which is all that the other knows.
    group[started].starts = Starts {
        boot: BootNumber(2),
        known: [BootToken(11)].into(),
    };
    group[behind].start();
    group[started].start();
    let started = &group[started];
    started.run(started.raft().admitted()).unwrap();
    started.insist(&register(IncarnationId(55))).unwrap();
}

#[test]
fn who_starts_waits_until_a_majority_has_answered() {
    let mut group = group(3);
    group.iter_mut().for_each(Member::kill);
    group[0].start();
    let alone = group[0].run(async {
        let soon = std::time::Duration::from_millis(700);
        steadfast::base::clock::timeout(soon, group[0].raft().admitted()).await
    });
    assert!(alone.is_err(), "{alone:?}");
    group[1].start();
    for member in &group[..2] {
        member.run(member.raft().admitted()).unwrap();
    }
    group[1].insist(&register(IncarnationId(55))).unwrap();
}

#[test]
fn a_question_to_somebody_else_is_refused() {
    let group = group(1);
    let right = RaftMessage {
        lineage: group[0].state().lineage.to_string(),
        number: 1,
        body: r#"{"canvass":{"last":null}}"#.into(),
        wall_millis: 0,
    };
    let ask = |question: RaftMessage| {
        let answer = group[0].run(group[0].raft().answer(&question));
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    assert_eq!(ask(right.clone()), r#"{"canvass":false}"#);
    let number = RaftMessage {
        number: 2,
        ..right.clone()
    };
    let lineage = RaftMessage {
        lineage: "f".repeat(32),
        ..right.clone()
    };
    for other in [number, lineage] {
        let refused = ask(other);
        assert!(refused.contains("here is member 1 of lineage"), "{refused}");
    }
    for garbage in ["", "{}", "[1", r#"{"canvass":{"last":7}}"#, "\u{0}"] {
        let body = garbage.as_bytes().to_vec().into();
        let refused = ask(RaftMessage {
            body,
            ..right.clone()
        });
        assert!(refused.contains("refused"), "{refused}");
    }
}
