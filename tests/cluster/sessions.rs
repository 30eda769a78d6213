//! Sessions, and lookups that may be answered at a lesser level than asked for.

use steadfast::model::Items;
use steadfast::node::SetChange;
use steadfast::proto::{items_from_proto, items_to_proto, v1};
use tonic::{Code, Request};

use crate::calls::{PRIMARY, get, info, put, reason};
use crate::support::{Manner, Member, set_of_three, until};

async fn have_sessions(members: &[&Member]) {
    let can_open = |member: &&Member| member.node.open_session("").is_ok();
    until("the set has a secret", || members.iter().all(can_open)).await;
}

fn of_session(ids: Vec<i64>, level: v1::ReadLevel, token: &str) -> Request<v1::GetFeaturesRequest> {
    Request::new(v1::GetFeaturesRequest {
        session: Some(token.to_owned()),
        ..get(ids, level)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_what_it_wrote_and_read_at_whatever_member_it_asks() {
    let members = set_of_three().await;
    have_sessions(&members.each_ref()).await;
    let mut token = String::new();
    for value in 1..=60 {
        let writer = &members[rand::random_range(0..3)];
        let level = match value % 2 {
            0 => v1::CommitLevel::Async,
            _ => v1::CommitLevel::Quorum,
        };
        let write = v1::PutFeaturesRequest {
            level: level.into(),
            session: Some(token),
            ..put(1, value, "")
        };
        token = writer.ask_put(Request::new(write)).await.unwrap().session;
        for level in [v1::ReadLevel::Local, v1::ReadLevel::Quorum, PRIMARY] {
            let reader = &members[rand::random_range(0..3)];
            let answer = reader.ask_get(of_session(vec![1], level, &token)).await;
            let answer = answer.unwrap();
            let written = items_to_proto(Items::Int64(vec![value]));
            assert_eq!(
                answer.views[0].columns[0].values,
                Some(written),
                "{level:?}"
            );
            let info = answer.info.unwrap();
            assert!(!info.session.is_empty() && !info.degraded);
            token = info.session;
        }
    }
    // A call of no session is given no token.
    let alone = members[1]
        .ask_get(Request::new(get(vec![1], PRIMARY)))
        .await;
    assert_eq!(alone.unwrap().info.unwrap().session, "");
    for member in members {
        member.stop().await;
    }
}

/// Reads a row again and again, at every level and any member, each time with the token of the last answer.
async fn read_on(members: &[&Member], id: i64, value: i64, mut token: String) {
    for _ in 0..12 {
        for level in [v1::ReadLevel::Local, v1::ReadLevel::Quorum, PRIMARY] {
            let reader = members[rand::random_range(0..members.len())];
            let answer = reader.ask_get(of_session(vec![id], level, &token)).await;
            let answer = answer.unwrap();
            let written = items_to_proto(Items::Int64(vec![value]));
            assert_eq!(answer.views[0].columns[0].values, Some(written));
            token = answer.info.unwrap().session;
        }
    }
    // What every member holds whole is not named.
    assert!(token.len() < 400, "{token}");
}

/// The values of all rows, and with what the session goes on.
async fn scan_on(member: &Member, level: v1::ReadLevel, token: &str) -> (Vec<i64>, String) {
    let request = v1::ScanFeaturesRequest {
        view: "v".to_owned(),
        level: level.into(),
        session: Some(token.to_owned()),
        ..v1::ScanFeaturesRequest::default()
    };
    let pages = member.features().await.scan_features(request).await;
    let mut pages = pages.unwrap().into_inner();
    let (mut scanned, mut token) = (Vec::new(), token.to_owned());
    while let Some(page) = pages.message().await.unwrap() {
        let values = page.columns.into_iter().next().unwrap().values.unwrap();
        let Some(Items::Int64(values)) = items_from_proto(values) else {
            panic!("x is an int64");
        };
        scanned.extend(values);
        token = page.session;
    }
    (scanned, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_scans_what_it_wrote_and_scanned_at_whatever_member_it_asks() {
    let members = set_of_three().await;
    have_sessions(&members.each_ref()).await;
    let (mut token, mut written) = (String::new(), Vec::new());
    for id in 1..=20 {
        let write = v1::PutFeaturesRequest {
            level: v1::CommitLevel::Async.into(),
            session: Some(token),
            ..put(id, id, "")
        };
        let writer = &members[rand::random_range(0..3)];
        token = writer.ask_put(Request::new(write)).await.unwrap().session;
        written.push(id);
        for level in [v1::ReadLevel::Local, v1::ReadLevel::Quorum, PRIMARY] {
            // One that has written nothing and scans all is to find all again.
            let mut seen = String::new();
            for _ in 0..2 {
                let reader = &members[rand::random_range(0..3)];
                let (scanned, next) = scan_on(reader, level, &token).await;
                assert_eq!(scanned, written, "{level:?}");
                token = next;
                let reader = &members[rand::random_range(0..3)];
                let (scanned, next) = scan_on(reader, v1::ReadLevel::Local, &seen).await;
                assert!(seen.is_empty() || scanned == written);
                let is_all = scanned == written;
                seen = if is_all { next } else { String::new() };
            }
        }
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_rows_of_logs_that_have_ended_long_ago() {
    let mut alone = Member::first().await;
    have_sessions(&[&alone]).await;
    for value in 1..4 {
        let begun = v1::PutFeaturesRequest {
            session: Some(String::new()),
            ..put(value, value, "")
        };
        let token = alone.ask_put(Request::new(begun)).await.unwrap().session;
        let directory = alone.stop().await;
        alone = Member::start_in(directory, None).await.unwrap();
        until("it serves", || alone.serves()).await;
        for id in 1..=value {
            read_on(&[&alone], id, id, String::new()).await;
        }
        read_on(&[&alone], value, value, token).await;
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_switch_overs() {
    let members = set_of_three().await;
    let all = members.each_ref();
    have_sessions(&all).await;
    for (value, to) in (1..).zip([1, 2, 0, 1]) {
        let write = async |id, level: v1::CommitLevel| {
            let write = v1::PutFeaturesRequest {
                session: Some(String::new()),
                level: level.into(),
                ..put(id, id, "")
            };
            all[0].ask_put(Request::new(write)).await.unwrap().session
        };
        let token = write(value, v1::CommitLevel::Quorum).await;
        let doubtful = write(100 + value, v1::CommitLevel::Async).await;
        let number = members[to].status().by;
        let primary = all.iter().find(|member| member.serves()).unwrap();
        let change = SetChange::SwitchOver(Some(number));
        primary.node.change_set(change).await.unwrap();
        until("it serves", || members[to].serves()).await;
        for id in 1..=value {
            read_on(&all, id, id, String::new()).await;
        }
        read_on(&all, value, value, token).await;
        // It was recovered; what it came to may be forgotten by now, and is not guessed then.
        let lookup = of_session(vec![100 + value], v1::ReadLevel::Local, &doubtful);
        match members[to].ask_get(lookup).await {
            Ok(answer) => {
                let written = items_to_proto(Items::Int64(vec![100 + value]));
                assert_eq!(answer.views[0].columns[0].values, Some(written));
            }
            Err(status) => assert_eq!(reason(&status), "UNRECOVERED"),
        }
        read_on(&all, 100 + value, 100 + value, String::new()).await;
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_this_set_has_not_sealed_is_refused_before_anything_is_done() {
    let (first, other) = (Member::first().await, Member::first().await);
    have_sessions(&[&first, &other]).await;
    let begun = v1::PutFeaturesRequest {
        session: Some(String::new()),
        ..put(1, 1, "")
    };
    let of_other = other.ask_put(Request::new(begun)).await.unwrap().session;
    // Its last byte is of the tag.
    let begun = v1::PutFeaturesRequest {
        session: Some(String::new()),
        ..put(3, 3, "")
    };
    let sealed = first.ask_put(Request::new(begun)).await.unwrap().session;
    let altered = format!("{}{}", &sealed[..sealed.len() - 4], "AAAA");
    let of_other = first
        .ask_get(of_session(vec![1], v1::ReadLevel::Local, &of_other))
        .await;
    assert_eq!(reason(&of_other.unwrap_err()), "UNRECOVERED");
    for token in [&altered, "x", "no text"] {
        let write = v1::PutFeaturesRequest {
            session: Some(token.to_owned()),
            ..put(2, 2, "")
        };
        let read = first
            .ask_get(of_session(vec![1], v1::ReadLevel::Local, token))
            .await;
        let write = first.ask_put(Request::new(write)).await;
        for refused in [read.unwrap_err(), write.unwrap_err()] {
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_eq!(reason(&refused), "INVALID_ARGUMENT");
        }
    }
    let read = first
        .ask_get(Request::new(get(vec![2], PRIMARY)))
        .await
        .unwrap();
    let nothing = items_to_proto(Items::Int64(vec![0]));
    assert_eq!(read.views[0].columns[0].values, Some(nothing));
    for member in [other, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_may_be_is_answered_locally_where_its_level_cannot_be_had() {
    let first = Member::first().await;
    let refuses = Manner {
        refuses: true,
        ..Manner::default()
    };
    let second = first.join_as(refuses).await;
    first.ask_put(Request::new(put(1, 7, ""))).await.unwrap();
    let of_level = |level, on_unavailable: v1::OnUnavailable| v1::GetFeaturesRequest {
        on_unavailable: on_unavailable.into(),
        ..get(vec![1], level)
    };
    let refused = of_level(PRIMARY, v1::OnUnavailable::Fail);
    let refused = second.ask_get(Request::new(refused)).await.unwrap_err();
    assert_eq!(info(&refused).0, "NOT_PRIMARY");
    for (asked, level, degraded) in [
        (PRIMARY, v1::ReadLevel::Local, true),
        (v1::ReadLevel::Quorum, v1::ReadLevel::Quorum, false),
        (v1::ReadLevel::Local, v1::ReadLevel::Local, false),
    ] {
        let request = of_level(asked, v1::OnUnavailable::Local);
        let answer = second.ask_get(Request::new(request)).await.unwrap();
        let info = answer.info.unwrap();
        assert_eq!((info.level(), info.degraded), (level, degraded));
    }
    // What is wrong is wrong at every level.
    let mut wrong = of_level(PRIMARY, v1::OnUnavailable::Local);
    wrong.views[0].view = "none".to_owned();
    let refused = first.ask_get(Request::new(wrong)).await.unwrap_err();
    assert_eq!(reason(&refused), "UNKNOWN_VIEW");
    for member in [second, first] {
        member.stop().await;
    }
}
