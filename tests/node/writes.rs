use steadfast::model::Items;
use steadfast::proto::v1;

use crate::support::*;

fn at(event_time_us: i64, request: v1::PutFeaturesRequest) -> v1::PutFeaturesRequest {
    let mut request = request;
    for row in request.writes.iter_mut().flat_map(|group| &mut group.rows) {
        row.event_time_us = Some(event_time_us);
    }
    request
}

#[tokio::test]
async fn a_put_over_two_views_is_answered_with_counts_stamp_epoch_copies_and_level() {
    let node = start().await;
    let legs = rows(
        "legs",
        &["seats", "delay"],
        vec![
            (vec![text("UA"), int32(1)], vec![int64(150), double(2.5)]),
            (vec![text("UA"), int32(1)], vec![int64(160), null()]),
        ],
    );
    let profiles = rows(
        "profiles",
        &["fleet"],
        vec![(vec![text("UA")], vec![int32(900)])],
    );
    let written = node.put(put(vec![legs, profiles])).await;
    assert_eq!((written.applied, written.older, written.folded), (2, 0, 1));
    assert_eq!(
        (written.copies, written.level()),
        (1, v1::CommitLevel::Quorum)
    );
    let stamp: steadfast::base::Stamp = written.stamp.parse().unwrap();
    assert_eq!(stamp.epoch.0, written.epoch);

    let answer = node.get(get_legs(&[1], &["seats", "delay"])).await;
    let columns = &answer.views[0].columns;
    assert_eq!(items(&columns[0]), Items::Int64(vec![160]));
    assert_eq!(
        (&columns[0].statuses[..], &columns[1].statuses[..]),
        (&[1u8][..], &[2u8][..])
    );
    node.stop().await;
}

#[tokio::test]
async fn an_older_event_time_does_not_win_and_says_so() {
    let node = start().await;
    assert_eq!(node.put(at(20, put_leg(1, 200))).await.applied, 1);
    let late = node.put(at(10, put_leg(1, 100))).await;
    assert_eq!((late.applied, late.older), (0, 1));
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(items(&answer.views[0].columns[0]), Items::Int64(vec![200]));
    node.stop().await;
}

#[tokio::test]
async fn each_level_is_reached_on_a_set_of_one() {
    let node = start().await;
    for level in [
        v1::CommitLevel::Async,
        v1::CommitLevel::Quorum,
        v1::CommitLevel::All,
    ] {
        let mut request = put_leg(1, 1);
        request.set_level(level);
        let written = node.put(request).await;
        assert_eq!((written.level(), written.copies), (level, 1));
    }
    node.stop().await;
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_first_result_and_another_body_is_refused() {
    let node = start().await;
    let named = |request| v1::PutFeaturesRequest {
        request_id: "once".into(),
        ..request
    };
    let first = node.put(named(put_leg(1, 7))).await;
    let again = node.put(named(put_leg(1, 7))).await;
    assert_eq!((first.repeated, again.repeated), (false, true));
    assert_eq!((&first.stamp, first.applied), (&again.stamp, again.applied));

    let other = node.features().put_features(named(put_leg(1, 8))).await;
    let (_, reason, fields) = failure(&other.unwrap_err());
    assert_eq!(
        (reason.as_str(), fields),
        ("REQUEST_ID_REUSED", vec!["request_id".to_owned()])
    );
    node.stop().await;
}

#[tokio::test]
async fn deleted_rows_are_not_found() {
    let node = start().await;
    node.put(put_leg(1, 7)).await;
    let request = v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: "legs".into(),
            keys: vec![v1::Key {
                key: vec![text("UA"), int32(1)],
                event_time_us: None,
            }],
        }],
        ..Default::default()
    };
    let deleted = node.features().delete_features(request).await.unwrap();
    assert_eq!(deleted.into_inner().applied, 1);
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(answer.views[0].columns[0].statuses[..], [3]);
    node.stop().await;
}

#[tokio::test]
async fn an_override_wins_against_a_row_pinned_in_the_far_future() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config_in(directory.path());
    config.write.event_time_ahead_seconds = 10 * 365 * 86_400;
    let disk = std::sync::Arc::new(steadfast::base::disk::RealDisk);
    let node = start_with(directory, config, disk).await;
    node.open().await.unwrap();
    node.create_views().await;
    let fleet = |view: &str, fleet| {
        let row = (vec![text("UA")], vec![int32(fleet)]);
        put(vec![rows(view, &["fleet"], vec![row])])
    };
    let in_five_years = steadfast::base::Clock::wall(&steadfast::base::clock::SystemClock::new())
        .plus(std::time::Duration::from_secs(5 * 365 * 86_400));
    // One view merges by cell, the other by row.
    for view in ["profiles", "late"] {
        node.put(at(in_five_years.0, fleet(view, 1))).await;
        assert_eq!(node.put(fleet(view, 2)).await.older, 1);
        let overriding = v1::PutFeaturesRequest {
            override_stored: true,
            ..fleet(view, 3)
        };
        assert_eq!(node.put(overriding.clone()).await.applied, 1);
        let mut lookup = get(
            vec![column("carrier", strings(&["UA"]))],
            &[(view, &["fleet"])],
        );
        lookup.include_event_times = true;
        let answer = node.get(lookup).await;
        let fleet = &answer.views[0].columns[0];
        assert_eq!(items(fleet), Items::Int32(vec![3]));
        assert_eq!(fleet.event_times_us, [in_five_years.0]);

        let timed = node.features().put_features(at(20, overriding)).await;
        let expected = vec!["writes[0].rows[0].event_time_us".to_owned()];
        let (_, reason, fields) = failure(&timed.unwrap_err());
        assert_eq!((reason.as_str(), fields), ("INVALID_ARGUMENT", expected));
    }
    node.stop().await;
}
