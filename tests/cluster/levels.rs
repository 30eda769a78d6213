//! At which level a write is acknowledged: what it asks for, the set's default, and never below the set's floor. At which level
//! a lookup is answered: what it asks for, the strongest that its views ask for, the node's default.

use std::time::Duration;

use steadfast::base::{NodeNumber, ReadLevel};
use steadfast::client::Client;
use steadfast::model::view_file::parse_view;
use steadfast::node::{CatalogueChange, Error};
use steadfast::proto::v1;
use tonic::Request;

use crate::calls::{get, put};
use crate::support::{DEADLINE, Manner, Member, set_of_three, until};

const LEVELS: [v1::CommitLevel; 3] = [
    v1::CommitLevel::Async,
    v1::CommitLevel::Quorum,
    v1::CommitLevel::All,
];

/// As `rs set` does at any member; seen by the primary on return.
async fn set(at: &Member, primary: &Member, floor: v1::CommitLevel, default: v1::CommitLevel) {
    let changes = v1::SetSettingsRequest {
        commit_floor: Some(floor.into()),
        commit_default: Some(default.into()),
        ..Default::default()
    };
    let agreed = at.admin().await.set_settings(changes).await.unwrap();
    let agreed = agreed.into_inner().settings.unwrap();
    assert_eq!(
        (agreed.commit_floor(), agreed.commit_default()),
        (floor, default)
    );
    let mut admin = primary.admin().await;
    loop {
        let set = admin.get_replica_set(v1::GetReplicaSetRequest {}).await;
        if set.unwrap().into_inner().settings == Some(agreed.clone()) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_acknowledged_at_the_default_and_not_below_the_floor() {
    let members = set_of_three().await;
    let primary = &members[0];
    let mut writes = 0;
    for floor in LEVELS {
        for default in LEVELS.into_iter().filter(|default| *default >= floor) {
            set(&members[writes % 3], primary, floor, default).await;
            for asked in [None].into_iter().chain(LEVELS.map(Some)) {
                let mut request = put(1, 1, &format!("write {writes}"));
                request.level = asked.unwrap_or_default().into();
                let expected = asked.map_or(default, |asked| asked.max(floor));
                let asked_at = &members[writes % 3];
                for repeated in [false, true] {
                    let written = asked_at.ask_put(Request::new(request.clone())).await;
                    let written = written.unwrap();
                    assert_eq!((written.level(), written.repeated), (expected, repeated));
                    // Of three members one, two, and three.
                    assert!(written.copies >= u32::try_from(i32::from(expected)).unwrap());
                }
                writes += 1;
            }
        }
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_acknowledged_at_the_default_level() {
    let [first, second, third] = set_of_three().await;
    set(&first, &first, v1::CommitLevel::Async, v1::CommitLevel::All).await;
    let gone: NodeNumber = third.status().by;
    let _directory = third.stop().await;
    until("the third is silent", || {
        let heard = first.status().members[&gone].heard_ago;
        heard.is_none_or(|ago| ago > Duration::from_secs(2))
    })
    .await;
    let text = r#"
        name = "w"
        entity = [{ name = "id", type = "int64" }]
        feature = [{ name = "f", type = "bool" }]
    "#;
    let create = CatalogueChange::Create(Box::new(parse_view(text).unwrap()));
    let refused = first.node.define(create.clone(), DEADLINE).await;
    assert!(
        matches!(
            refused,
            Err(Error::TooFewMembers {
                present: 2,
                needed: 3
            })
        ),
        "{refused:?}"
    );
    assert!(first.node.catalogue().view("w").is_none());
    set(
        &second,
        &first,
        v1::CommitLevel::Async,
        v1::CommitLevel::Quorum,
    )
    .await;
    first.node.define(create, DEADLINE).await.unwrap();
    for member in [second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_names_no_level_is_answered_at_that_of_its_views_or_of_the_node() {
    let member = Member::first_as(Manner {
        read_level: ReadLevel::Bounded(Duration::from_secs(60)),
        ..Manner::default()
    });
    let member = member.await;
    let endpoint = member.addresses.client.to_string();
    let client = Client::to(&[endpoint]).await.unwrap();
    let definition = r#"
        name = "w"
        read_level = "quorum"
        entity = [{ name = "id", type = "int64" }]
        feature = [{ name = "x", type = "int64" }]
    "#;
    client.create_view(definition.to_owned()).await.unwrap();
    let level_of = async |views: &[&str], asked| {
        let view = |view: &&str| v1::ViewSelection {
            view: (*view).to_owned(),
            features: Vec::new(),
        };
        let lookup = v1::GetFeaturesRequest {
            views: views.iter().map(view).collect(),
            ..get(vec![1], asked)
        };
        client.get(lookup).await.unwrap().info.unwrap().level()
    };
    let none = v1::ReadLevel::Unspecified;
    assert_eq!(level_of(&["v"], none).await, v1::ReadLevel::Bounded);
    assert_eq!(level_of(&["w"], none).await, v1::ReadLevel::Quorum);
    assert_eq!(level_of(&["v", "w"], none).await, v1::ReadLevel::Quorum);
    let local = v1::ReadLevel::Local;
    assert_eq!(level_of(&["v", "w"], local).await, local);
    for (said, expected) in [
        ("primary", v1::ReadLevel::Primary),
        ("local", v1::ReadLevel::Bounded),
        ("default", v1::ReadLevel::Bounded),
    ] {
        let alteration = format!("read_level = \"{said}\"");
        let altered = client.alter_view("w", alteration).await.unwrap();
        assert_eq!(altered.read_level, said.replace("default", ""));
        assert_eq!(level_of(&["v", "w"], none).await, expected, "{said}");
    }
    member.stop().await;
}
