//! Scans at every level, at every member.

use steadfast::control::Role;
use steadfast::model::Items;
use steadfast::proto::{items_from_proto, v1};
use tonic::{Request, Status};

use crate::calls::{PRIMARY, put, reason};
use crate::support::{Manner, Member, until};

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
        for level in [PRIMARY, v1::ReadLevel::Quorum] {
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
async fn a_member_that_does_not_forward_scans_its_own_rows_only() {
    let first = Member::first().await;
    let refuses = Manner {
        refuses: true,
        ..Manner::default()
    };
    let second = first.join_as(refuses).await;
    for level in [PRIMARY, v1::ReadLevel::Quorum] {
        let refused = scan(&second, level).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_PRIMARY");
    }
    scan(&second, v1::ReadLevel::Local).await.unwrap();
    for member in [second, first] {
        member.stop().await;
    }
}
