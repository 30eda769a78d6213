use steadfast::model::Items;
use steadfast::proto::{items_from_proto, v1};

use crate::support::*;

fn scan(prefix: Vec<v1::Value>) -> v1::ScanFeaturesRequest {
    v1::ScanFeaturesRequest {
        view: "legs".into(),
        features: vec!["seats".into()],
        prefix,
        ..Default::default()
    }
}

/// The legs of the answers, as carrier and number, and the last token.
async fn legs(node: &Running, request: v1::ScanFeaturesRequest) -> (Vec<(String, i32)>, Vec<u8>) {
    let mut answers = node
        .features()
        .scan_features(request)
        .await
        .unwrap()
        .into_inner();
    let (mut found, mut token) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        let mut columns = answer
            .entities
            .into_iter()
            .map(|column| items_from_proto(column.values.unwrap()));
        let (Some(Some(Items::String(carriers))), Some(Some(Items::Int32(numbers)))) =
            (columns.next(), columns.next())
        else {
            panic!("columns of carrier and number")
        };
        assert_eq!(answer.columns[0].statuses.len(), numbers.len());
        found.extend(carriers.into_iter().zip(numbers));
        token = answer.resume_token.to_vec();
    }
    (found, token)
}

async fn node_with_legs(of_ua: i32) -> Running {
    let node = start().await;
    let leg = |carrier, number| (vec![text(carrier), int32(number)], vec![int64(1)]);
    let all = (0..of_ua).map(|number| leg("UA", number)).chain([
        leg("AA", 5),
        leg("UB", -5),
        leg("UA", -3),
    ]);
    node.put(put(vec![rows("legs", &["seats"], all.collect())]))
        .await;
    node
}

#[tokio::test]
async fn a_scan_streams_rows_in_key_order_over_many_pages() {
    let node = node_with_legs(2_500).await;
    let (found, _) = legs(&node, scan(vec![])).await;
    let mut expected: Vec<_> = [-3]
        .into_iter()
        .chain(0..2_500)
        .map(|number| ("UA".to_owned(), number))
        .collect();
    expected.insert(0, ("AA".into(), 5));
    expected.push(("UB".into(), -5));
    assert_eq!(found, expected);
    node.stop().await;
}

#[tokio::test]
async fn a_prefix_a_limit_and_a_token_take_part_of_the_rows() {
    let node = node_with_legs(7).await;
    let mut request = v1::ScanFeaturesRequest {
        limit: 3,
        ..scan(vec![text("UA")])
    };
    let mut found = Vec::new();
    loop {
        let (legs, token) = legs(&node, request.clone()).await;
        assert!(legs.len() <= 3);
        if legs.is_empty() {
            break;
        }
        found.extend(legs.into_iter().map(|(_, number)| number));
        request.resume_token = token.into();
    }
    assert_eq!(found, [-3, 0, 1, 2, 3, 4, 5, 6]);
    node.stop().await;
}

#[tokio::test]
async fn a_token_is_refused_by_any_other_scan() {
    let node = node_with_legs(1).await;
    let (_, token) = legs(&node, scan(vec![text("UA")])).await;
    let profiles = v1::ScanFeaturesRequest {
        view: "profiles".into(),
        features: vec![],
        ..scan(vec![])
    };
    for (request, part) in [
        (profiles, "belongs to the view with id"),
        (scan(vec![text("AA")]), "outside the prefix"),
    ] {
        let resume_token = token.clone().into();
        let refused = node
            .features()
            .scan_features(v1::ScanFeaturesRequest {
                resume_token,
                ..request
            })
            .await;
        let status = refused.unwrap_err();
        let (_, reason, fields) = failure(&status);
        assert_eq!(
            (reason.as_str(), fields),
            ("INVALID_ARGUMENT", vec!["resume_token".to_owned()])
        );
        assert!(status.message().contains(part), "{}", status.message());
    }
    node.stop().await;
}
