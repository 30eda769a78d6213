use steadfast::base::{Clock as _, clock::SystemClock};
use steadfast::model::Items;
use steadfast::proto::{items_to_proto, v1};

use crate::support::*;

const CLICKS: &str = r#"
    name = "clicks"
    entity = [{ name = "user", type = "int64" }]
    ttl = "30d"
    feature = [{ name = "count", type = "int64", default = 0 }]
"#;

fn create(definition: &str) -> v1::CreateViewRequest {
    v1::CreateViewRequest {
        definition_toml: definition.into(),
    }
}

fn named(name: &str) -> v1::GetViewRequest {
    v1::GetViewRequest { name: name.into() }
}

#[tokio::test]
async fn a_view_is_created_described_listed_extended_and_dropped() {
    let node = start_empty().await;
    let mut views = node.views();
    let created = views
        .create_view(create(CLICKS))
        .await
        .unwrap()
        .into_inner()
        .view
        .unwrap();
    assert_eq!(
        (created.name.as_str(), created.generation, created.rows),
        ("clicks", 0, 0)
    );
    assert_eq!(created.ttl_us, 30 * 24 * 3_600_000_000);

    let count = rows("clicks", &["count"], vec![(vec![int64(1)], vec![int64(3)])]);
    node.put(put(vec![count])).await;
    let described = views
        .get_view(named("clicks"))
        .await
        .unwrap()
        .into_inner()
        .view
        .unwrap();
    assert_eq!(
        (described.id.as_str(), described.rows),
        (created.id.as_str(), 1)
    );

    let request = v1::AddFeatureRequest {
        view: "clicks".into(),
        definition_toml: "name = \"score\"\ntype = \"double\"\n".into(),
    };
    let extended = views
        .add_feature(request.clone())
        .await
        .unwrap()
        .into_inner()
        .view
        .unwrap();
    let names: Vec<&str> = extended
        .features
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    assert_eq!(
        (extended.id.as_str(), names),
        (created.id.as_str(), vec!["count", "score"])
    );
    assert_eq!(
        reason(&views.add_feature(request).await.unwrap_err()),
        "FEATURE_EXISTS"
    );

    let listed = views
        .list_views(v1::ListViewsRequest {})
        .await
        .unwrap()
        .into_inner()
        .views;
    assert_eq!(
        listed,
        [views
            .get_view(named("clicks"))
            .await
            .unwrap()
            .into_inner()
            .view
            .unwrap()]
    );

    let drop = v1::DropViewRequest {
        name: "clicks".into(),
    };
    views.drop_view(drop.clone()).await.unwrap();
    let (_, reason, fields) = failure(&views.drop_view(drop).await.unwrap_err());
    assert_eq!(
        (reason.as_str(), fields),
        ("UNKNOWN_VIEW", vec!["name".to_owned()])
    );
    assert!(
        views
            .list_views(v1::ListViewsRequest {})
            .await
            .unwrap()
            .into_inner()
            .views
            .is_empty()
    );

    let again = views
        .create_view(create(CLICKS))
        .await
        .unwrap()
        .into_inner()
        .view
        .unwrap();
    assert_eq!((again.generation, again.rows), (1, 0));
    assert_ne!(again.id, created.id);
    node.stop().await;
}

#[tokio::test]
async fn a_bad_definition_is_refused_for_what_is_wrong() {
    let node = start().await;
    let long = CLICKS.replace("clicks", &"x".repeat(200));
    let cases = [
        ("name = ", "BAD_VIEW_FILE", ""),
        (
            &CLICKS.replace("name = \"clicks\"", ""),
            "BAD_VIEW_FILE",
            "missing field `name`",
        ),
        (
            &CLICKS.replace("\"int64\", default", "\"int65\", default"),
            "BAD_VIEW_FILE",
            "\"int65\" is not a type",
        ),
        (
            &CLICKS.replace("default = 0", "default = \"x\""),
            "BAD_VIEW_FILE",
            "default of feature \"count\"",
        ),
        (
            &CLICKS.replace("ttl", "tll"),
            "BAD_VIEW_FILE",
            "unknown field `tll`",
        ),
        (
            &CLICKS.replace("int64\" }]\n    ttl", "double\" }]\n    ttl"),
            "BAD_VIEW_FILE",
            "not a key type",
        ),
        (&long, "BAD_VIEW_FILE", "is not a name"),
        (
            &CLICKS.replace("clicks", "legs"),
            "VIEW_EXISTS",
            "view \"legs\" exists already",
        ),
    ];
    for (definition, expected, part) in cases {
        let status = node
            .views()
            .create_view(create(definition))
            .await
            .unwrap_err();
        let (_, reason, fields) = failure(&status);
        assert_eq!(
            (reason.as_str(), fields),
            (expected, vec!["definition_toml".to_owned()])
        );
        assert!(status.message().contains(part), "{}", status.message());
    }
    let unknown = node.views().get_view(named("none")).await.unwrap_err();
    assert_eq!(unknown.message(), "there is no view \"none\"");
    node.stop().await;
}

#[tokio::test]
async fn an_altered_view_reads_by_its_new_settings_and_a_longer_ttl_revives_nothing() {
    let node = start_empty().await;
    let definition = CLICKS.replace("30d", "1h");
    node.views().create_view(create(&definition)).await.unwrap();
    let minute = 60_000_000;
    let now = SystemClock::new().wall().0;
    for (user, age) in [(1, 10 * minute), (2, 50 * minute)] {
        let mut written = rows(
            "clicks",
            &["count"],
            vec![(vec![int64(user)], vec![int64(user)])],
        );
        written.rows[0].event_time_us = Some(now - age);
        node.put(put(vec![written])).await;
    }
    let statuses = async || {
        let users = v1::KeyColumn {
            join_key: "user".into(),
            values: Some(items_to_proto(Items::Int64(vec![1, 2, 3]))),
        };
        let request = v1::GetFeaturesRequest {
            entities: vec![users],
            views: vec![v1::ViewSelection {
                view: "clicks".into(),
                features: vec!["count".into()],
            }],
            use_defaults: true,
            ..v1::GetFeaturesRequest::default()
        };
        node.get(request).await.views[0].columns[0]
            .statuses
            .to_vec()
    };
    let alter = async |toml: &str| {
        let request = v1::AlterViewRequest {
            name: "clicks".into(),
            alteration_toml: toml.into(),
        };
        node.views().alter_view(request).await
    };
    // 1 is PRESENT, 3 NOT_FOUND, 4 EXPIRED; 16 more where the default is filled in.
    assert_eq!(statuses().await, [1, 1, 3 + 16]);
    alter("ttl = \"30m\"").await.unwrap();
    assert_eq!(statuses().await, [1, 4 + 16, 3 + 16]);
    alter("ttl = \"9h\"\nremove_default = [\"count\"]")
        .await
        .unwrap();
    assert_eq!(statuses().await, [1, 4, 3]);

    for (toml, expected) in [
        ("", "INVALID_ARGUMENT"),
        ("ttl = \"soon\"", "BAD_VIEW_FILE"),
        ("drop_feature = [\"x\"]", "UNKNOWN_FEATURE"),
        ("[default]\ncount = \"x\"", "WRONG_TYPE"),
    ] {
        assert_eq!(reason(&alter(toml).await.unwrap_err()), expected, "{toml}");
    }
    node.stop().await;
}
