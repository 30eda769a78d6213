use steadfast::model::Items;
use steadfast::proto::{v1, value_to_proto};

use crate::support::*;

#[tokio::test]
async fn a_lookup_answers_each_view_column_by_column_duplicates_in_place() {
    let node = start().await;
    let tags = value_to_proto(steadfast::model::Value::List(strings(&["a", "b"])));
    let legs = rows(
        "legs",
        &["seats", "tags"],
        vec![
            (vec![text("UA"), int32(1)], vec![int64(1), tags]),
            (vec![text("AA"), int32(2)], vec![int64(2), null()]),
        ],
    );
    let profiles = rows(
        "profiles",
        &["fleet"],
        vec![(vec![text("UA")], vec![int32(900)])],
    );
    node.put(put(vec![legs, profiles])).await;

    let entities = vec![
        column("number", Items::Int32(vec![1, 2, 1, 3])),
        column("carrier", strings(&["UA", "AA", "UA", "UA"])),
    ];
    let request = get(entities, &[("legs", &["tags", "seats"]), ("profiles", &[])]);
    let answer = node.get(request).await;
    let views: Vec<&str> = answer.views.iter().map(|view| view.view.as_str()).collect();
    assert_eq!(views, ["legs", "profiles"]);
    let [tags, seats] = &answer.views[0].columns[..] else {
        panic!("two columns")
    };
    assert_eq!(
        (tags.feature.as_str(), tags.r#type.as_str()),
        ("tags", "list<string>")
    );
    assert_eq!(items(tags), strings(&["a", "b", "a", "b"]));
    assert_eq!(tags.list_lengths, [2, 0, 2, 0]);
    assert_eq!(tags.statuses[..], [1, 2, 1, 3]);
    assert_eq!(items(seats), Items::Int64(vec![1, 2, 1, 0]));
    let [fleet, country] = &answer.views[1].columns[..] else {
        panic!("two columns")
    };
    assert_eq!(items(fleet), Items::Int32(vec![900, 0, 900, 900]));
    assert_eq!(country.statuses[..], [3, 3, 3, 3]);
    let info = answer.info.unwrap();
    assert_eq!((info.level(), info.staleness_ms), (v1::ReadLevel::Local, 0));
    assert!(info.epoch > 0 && info.node.len() == 32);
    node.stop().await;
}

#[tokio::test]
async fn defaults_and_event_times_come_when_asked_for_and_are_marked() {
    let node = start().await;
    node.put(put_leg(1, 7)).await;
    let plain = node.get(get_legs(&[1, 2], &["delay"])).await;
    let column = &plain.views[0].columns[0];
    assert_eq!(
        (&column.statuses[..], column.event_times_us.len()),
        (&[3u8, 3][..], 0)
    );

    let filled = node
        .get(v1::GetFeaturesRequest {
            use_defaults: true,
            include_event_times: true,
            ..get_legs(&[1, 2], &["delay", "seats"])
        })
        .await;
    let [delay, seats] = &filled.views[0].columns[..] else {
        panic!("two columns")
    };
    assert_eq!(items(delay), Items::Double(vec![1.5, 1.5]));
    assert_eq!(delay.statuses[..], [19, 19]);
    assert_eq!(seats.statuses[..], [1, 3]);
    assert!(seats.event_times_us[0] > 0 && seats.event_times_us[1] == 0);
    node.stop().await;
}

#[tokio::test]
async fn ten_thousand_entities_are_answered_at_once() {
    let node = start().await;
    node.put(put_leg(9_999, 5)).await;
    let numbers: Vec<i32> = (0..10_000).collect();
    let answer = node.get(get_legs(&numbers, &["seats"])).await;
    let column = &answer.views[0].columns[0];
    assert_eq!((column.statuses.len(), column.statuses[9_999]), (10_000, 1));
    node.stop().await;
}
