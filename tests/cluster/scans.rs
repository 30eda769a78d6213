//! Scans at every level, at every member.

use steadfast::base::CommitLevel;
use steadfast::client::Client;
use steadfast::control::Role;
use steadfast::model::Items;
use steadfast::proto::{items_from_proto, v1};
use tonic::{Request, Status};

use crate::calls::{PRIMARY, delete, put, reason};
use crate::support::{Manner, Member, set_of_three, until};

const QUORUM: v1::ReadLevel = v1::ReadLevel::Quorum;

async fn scan(member: &Member, level: v1::ReadLevel) -> Result<Vec<i64>, Status> {
    let request = v1::ScanFeaturesRequest {
        view: "v".to_owned(),
        level: level.into(),
        max_staleness_ms: if level == v1::ReadLevel::Bounded {
            60_000
        } else {
            0
        },
        ..v1::ScanFeaturesRequest::default()
    };
    let mut pages = member
        .features()
        .await
        .scan_features(request)
        .await?
        .into_inner();
    let mut scanned = Vec::new();
    while let Some(page) = pages.message().await? {
        let values = page.columns.into_iter().next().unwrap().values.unwrap();
        let Some(Items::Int64(values)) = items_from_proto(values) else {
            panic!("x is an int64");
        };
        scanned.extend(values);
    }
    Ok(scanned)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_scans_at_strong_levels_what_is_acknowledged() {
    let first = Member::first().await;
    let second = first.join_as(Manner::default()).await;
    let replica = first.join(Role::ReadReplica).await;
    let arbiter = first.join(Role::Arbiter).await;
    let knows_view = || replica.node.catalogue().view("v").is_some();
    until("the replica has the primary's rows", knows_view).await;
    let mut written = Vec::new();
    for id in 0..30 {
        first
            .ask_put(Request::new(put(id, 3 * id, "")))
            .await
            .unwrap();
        written.push(3 * id);
        for level in [PRIMARY, QUORUM] {
            for member in [&first, &second, &replica, &arbiter] {
                assert_eq!(scan(member, level).await.unwrap(), written, "{level:?}");
            }
        }
        let bounded = scan(&second, v1::ReadLevel::Bounded).await.unwrap();
        assert!(written.starts_with(&bounded));
    }
    for member in [arbiter, replica, second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_forward_scans_all_the_same_but_at_level_primary() {
    let first = Member::first().await;
    let refuses = Manner {
        refuses: true,
        ..Manner::default()
    };
    let second = first.join_as(refuses).await;
    let refused = scan(&second, PRIMARY).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_PRIMARY");
    first.put(1, 7, CommitLevel::Quorum).await.unwrap();
    assert_eq!(scan(&second, QUORUM).await.unwrap(), [7]);
    scan(&second, v1::ReadLevel::Local).await.unwrap();
    for member in [second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_at_a_quorum_goes_over_many_pages_and_deletions_while_others_write() {
    let members = set_of_three().await;
    let rows: Vec<i64> = (0..3_000).collect();
    let values = rows.iter().map(|id| (*id, *id));
    members[0]
        .put_all(values, CommitLevel::Quorum)
        .await
        .unwrap();
    // As many as a member lists at a time lie between two rows.
    let is_deleted = |id: &i64| (500..1_200).contains(id) || id % 7 == 0;
    for id in rows.iter().filter(|id| is_deleted(id)) {
        let mut features = members[0].features().await;
        features.delete_features(delete(*id)).await.unwrap();
    }
    let left: Vec<i64> = rows.iter().filter(|id| !is_deleted(id)).copied().collect();
    let (done, mut end) = tokio::sync::oneshot::channel::<()>();
    let writes = async {
        // Behind all others, each written again and again.
        for value in 0.. {
            let (id, level) = (10_000 + value % 50, CommitLevel::Async);
            members[0].put(id, 10_000 + value, level).await.unwrap();
            if end.try_recv().is_ok() {
                break;
            }
        }
    };
    let scans = async {
        for member in members.iter().cycle().take(12) {
            let scanned = scan(member, QUORUM).await.unwrap();
            let (scanned, later) = scanned.split_at(left.len());
            assert_eq!(scanned, left);
            assert!(later.len() <= 50 && later.iter().all(|value| *value >= 10_000));
        }
        done.send(()).unwrap();
    };
    tokio::join!(writes, scans);
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_come_is_waited_for_no_longer_than_a_call() {
    let first = Member::first().await;
    let second = first.join_as(Manner::default()).await;
    first.put(1, 7, CommitLevel::Quorum).await.unwrap();
    let target = format!("steadfast://{}/?deadline=300ms", first.addresses.client);
    let client = Client::connect(&*target).await.unwrap();
    second.stop().await;
    let request = v1::ScanFeaturesRequest {
        view: "v".to_owned(),
        level: QUORUM.into(),
        ..v1::ScanFeaturesRequest::default()
    };
    let mut pages = client.scan(request).await.unwrap();
    // The node would say NO_QUORUM, much later.
    let failure = pages.next().await.unwrap_err();
    assert_eq!(failure.message, "no page within the deadline", "{failure}");
    first.stop().await;
}
