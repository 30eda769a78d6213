//! Any member takes any call: what only the primary answers is forwarded there, once, or refused with its address.

use std::time::Duration;

use steadfast::base::ReadLevel;
use steadfast::control::Role;
use steadfast::model::Items;
use steadfast::proto::v1::ingest_features_response::Outcome;
use steadfast::proto::v1::view_service_client::ViewServiceClient;
use steadfast::proto::{items_to_proto, v1};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request};
use tower::util::MapRequestLayer;

use crate::calls::{PRIMARY, QUORUM, delete, get, info, marked, put, reason};
use crate::support::{Manner, Member, set_of_three, until};
use crate::way::Way;

#[tokio::test(flavor = "multi_thread")]
async fn every_member_takes_writes_and_reads_of_the_primary() {
    let [first, second, third] = set_of_three().await;
    let replica = first.join(Role::ReadReplica).await;
    // Before, it may yet stop for a moment to go on with the primary's store.
    let knows_view = || replica.node.catalogue().view("v").is_some();
    until("the replica has the primary's rows", knows_view).await;
    let members = [&first, &second, &third, &replica];
    for (id, member) in (0..).zip(members) {
        let written = member.ask_put(Request::new(put(id, 7 * id, ""))).await;
        let written = written.unwrap();
        assert_eq!((written.applied, written.level()), (1, QUORUM));
        for level in [PRIMARY, v1::ReadLevel::Quorum] {
            for asked in members {
                let answer = asked.ask_get(Request::new(get(vec![id, -1], level))).await;
                let answer = answer.unwrap();
                let at_primary = first.ask_get(Request::new(get(vec![id, -1], level))).await;
                assert_eq!(answer.views, at_primary.unwrap().views);
                let column = &answer.views[0].columns[0];
                let values = items_to_proto(Items::Int64(vec![7 * id, 0]));
                assert_eq!(column.values, Some(values));
                let info = answer.info.unwrap();
                assert_eq!((info.level(), info.epoch), (level, written.epoch));
            }
        }
        let gone = member.features().await.delete_features(delete(id)).await;
        assert_eq!(gone.unwrap().into_inner().applied, 1);
        assert_eq!(first.get(id, ReadLevel::Primary).await.unwrap(), None);
    }
    for member in [replica, third, second, first] {
        member.stop().await;
    }
}

/// It may not have heard yet of a view that the primary has.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_judges_nothing_of_the_primarys_by_the_views_it_knows_itself() {
    let first = Member::first().await;
    let second = first.join_as(Manner::default()).await;
    let (view, mut puts, mut deletes) = ("w".to_owned(), put(0, 0, ""), delete(0));
    puts.writes[0].view.clone_from(&view);
    deletes.deletes[0].view.clone_from(&view);
    let mut features = second.features().await;
    let mut views = ViewServiceClient::new(second.channel().await);
    let drop_view = v1::DropViewRequest { name: view.clone() };
    let mut refused = vec![
        second.ask_put(marked(puts)).await.unwrap_err(),
        features.delete_features(marked(deletes)).await.unwrap_err(),
        views.drop_view(marked(drop_view)).await.unwrap_err(),
    ];
    for level in [PRIMARY, v1::ReadLevel::Quorum] {
        let mut lookup = get(vec![0], level);
        lookup.views[0].view.clone_from(&view);
        refused.push(second.ask_get(marked(lookup)).await.unwrap_err());
    }
    for status in refused {
        assert_eq!(reason(&status), "NOT_PRIMARY", "{status:?}");
    }
    let mut local = get(vec![0], v1::ReadLevel::Local);
    local.views[0].view = view;
    let local = second.ask_get(Request::new(local)).await.unwrap_err();
    assert_eq!(reason(&local), "UNKNOWN_VIEW");
    for member in [second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_streams_and_what_is_forgotten_are_forwarded_too() {
    let first = Member::first().await;
    let second = first.join_as(Manner::default()).await;
    let mut views = ViewServiceClient::new(second.channel().await);
    let text = r#"
        name = "w"
        entity = [{ name = "id", type = "int64" }]
        feature = [{ name = "f", type = "bool" }]
    "#;
    let request = v1::CreateViewRequest {
        definition_toml: text.into(),
    };
    views.create_view(request.clone()).await.unwrap();
    let again = views.create_view(request).await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again)),
        (Code::AlreadyExists, "VIEW_EXISTS".into())
    );
    assert!(first.node.catalogue().view("w").is_some());
    views
        .drop_view(v1::DropViewRequest { name: "w".into() })
        .await
        .unwrap();
    assert!(first.node.catalogue().view("w").is_none());

    let wrong = v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: "w".into(),
            ..put(0, 0, "").writes.remove(0)
        }],
        ..put(0, 0, "")
    };
    let batches = (0..100_u64).map(move |sequence| {
        let id = i64::try_from(sequence).unwrap();
        let batch = if sequence == 50 {
            wrong.clone()
        } else {
            put(id, id, "")
        };
        v1::IngestFeaturesRequest {
            sequence,
            batch: Some(batch),
        }
    });
    let batches = tokio_stream::iter(batches);
    let answers = second.features().await.ingest_features(batches).await;
    let mut answers = answers.unwrap().into_inner();
    for sequence in 0..100 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, sequence);
        match answer.outcome.unwrap() {
            Outcome::Written(written) => assert_eq!(written.copies, 2),
            Outcome::Error(error) => assert_eq!((sequence, &*error.reason), (50, "UNKNOWN_VIEW")),
        }
    }
    assert!(answers.message().await.unwrap().is_none());

    let key = v1::KeyPart {
        join_key: "id".into(),
        value: "7".into(),
    };
    let entity = v1::ForgetRequest {
        key: vec![key],
        view: String::new(),
    };
    let mut stages = second
        .admin()
        .await
        .forget(entity)
        .await
        .unwrap()
        .into_inner();
    let mut seen = Vec::new();
    while let Some(stage) = stages.message().await.unwrap() {
        seen.push(stage.stage());
    }
    assert_eq!(seen.last(), Some(&v1::ForgetStage::ErasedFromStore));
    assert_eq!(first.get(7, ReadLevel::Primary).await.unwrap(), None);
    assert_eq!(first.get(8, ReadLevel::Primary).await.unwrap(), Some(8));
    for member in [second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_forward_names_the_primary() {
    let first = Member::first().await;
    let refuses = Manner {
        refuses: true,
        ..Manner::default()
    };
    let second = first.join_as(refuses).await;
    let written = second.ask_put(Request::new(put(1, 1, ""))).await;
    let read = second.ask_get(Request::new(get(vec![1], PRIMARY))).await;
    for refused in [written.unwrap_err(), read.unwrap_err()] {
        assert_eq!(refused.code(), Code::Unavailable);
        let (reason, metadata) = info(&refused);
        assert_eq!(reason, "NOT_PRIMARY");
        assert_eq!(metadata["primary"], first.addresses.client.to_string());
    }
    assert_eq!(first.get(1, ReadLevel::Primary).await.unwrap(), None);
    for member in [second, first] {
        member.stop().await;
    }
}

/// Two members each of which is sent on to the other would send a call on for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_forwarded_is_not_forwarded_again() {
    let way = Way::new().await;
    let lies = Manner::reached_at(way.address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    let third = first.join_as(Manner::default()).await;
    // Whoever would reach the primary comes to the third, which believes that the way leads elsewhere.
    way.lead_to(third.addresses.client);
    for member in [&second, &third] {
        let written = member.ask_put(Request::new(put(1, 1, ""))).await;
        let read = member.ask_get(Request::new(get(vec![1], PRIMARY))).await;
        for refused in [written.unwrap_err(), read.unwrap_err()] {
            assert_eq!(reason(&refused), "NOT_PRIMARY", "{refused}");
        }
    }
    way.lead_to(first.addresses.client);
    let refused = third.ask_put(marked(put(1, 1, ""))).await.unwrap_err();
    assert_eq!(info(&refused).1["primary"], way.address.to_string());
    assert_eq!(first.get(1, ReadLevel::Primary).await.unwrap(), None);
    for member in [third, second, first] {
        member.stop().await;
    }
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_with_its_headers_a_deadline_and_a_mark() {
    let way = Way::new().await;
    let lies = Manner::reached_at(way.address);
    let first = Member::first_as(lies).await;
    let second = first.join_as(Manner::default()).await;
    // Knows none of our methods, and so says of each.
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell = MapRequestLayer::new(move |request: http::Request<Body>| {
        let _heard = tell.send(request.headers().clone());
        request
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    way.lead_to(listener.local_addr().unwrap());
    let (_, nothing) = tonic_health::server::health_reporter();
    let serve = Server::builder().layer(tell).add_service(nothing);
    let serve = serve.serve_with_incoming(TcpIncoming::from(listener));
    let asked = async {
        for seconds in [1, 7, 50] {
            let limit = Duration::from_secs(seconds);
            let mut write = Request::new(put(1, 1, ""));
            write.set_timeout(limit);
            write.metadata_mut().insert("from", "me".parse().unwrap());
            let mut read = Request::new(get(vec![1], PRIMARY));
            read.set_timeout(limit);
            let unknown = second.ask_put(write).await.unwrap_err();
            assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");
            let unknown = second.ask_get(read).await.unwrap_err();
            assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");
            for from in [Some("me"), None] {
                let headers = told.recv().await.unwrap();
                let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
                assert_eq!(header("from"), from);
                assert_eq!(header("steadfast-forwarded"), Some("true"));
                let left = header("grpc-timeout").unwrap().strip_suffix('u').unwrap();
                let left = Duration::from_micros(left.parse().unwrap());
                assert!(left < limit && left > limit / 2, "{left:?} of {limit:?}");
            }
        }
    };
    tokio::select! {
        () = asked => {}
        ended = serve => panic!("{ended:?}"),
    }
    for member in [second, first] {
        member.stop().await;
    }
    way.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arbiter_forwards_every_lookup() {
    let first = Member::first().await;
    let arbiter = first.join(Role::Arbiter).await;
    for id in 0..10 {
        arbiter
            .ask_put(Request::new(put(id, id, "")))
            .await
            .unwrap();
    }
    for level in [v1::ReadLevel::Local, PRIMARY] {
        let answer = arbiter.ask_get(Request::new(get(vec![3], level))).await;
        let info = answer.unwrap().info.unwrap();
        assert_eq!(
            info.node,
            first.status().members[&first.status().by]
                .incarnation
                .to_string()
        );
    }
    let mut views = ViewServiceClient::new(arbiter.channel().await);
    let listed = views.list_views(v1::ListViewsRequest {}).await.unwrap();
    assert_eq!(listed.into_inner().views.len(), 1);
    let name = "v".to_owned();
    views.get_view(v1::GetViewRequest { name }).await.unwrap();
    for member in [arbiter, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_over_can_be_asked_of_any_member() {
    let members = set_of_three().await;
    for to in [1, 2, 0, 2, 1, 0] {
        let number = members[to].status().by;
        let asked = members.iter().find(|member| !member.serves()).unwrap();
        let request = v1::SwitchOverRequest { to: Some(number.0) };
        asked.admin().await.switch_over(request).await.unwrap();
        until("it serves", || members[to].serves()).await;
        let knows = |member: &Member| member.status().primary == Some(number);
        until("all know", || members.iter().all(knows)).await;
        for member in &members {
            member.ask_put(Request::new(put(1, 1, ""))).await.unwrap();
        }
    }
    for member in members {
        member.stop().await;
    }
}
