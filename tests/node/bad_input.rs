use axum::body::Body as HttpBody;
use steadfast::base::{Clock as _, clock::SystemClock};
use steadfast::model::Items;
use steadfast::proto::v1;
use tonic::codegen::Service as _;
use tonic::codegen::http::Request;
use tonic::{Code, Status};

use crate::support::*;

const PUT: &str = "/steadfast.v1.FeatureService/PutFeatures";

/// What a call with these bytes as its gRPC body comes to.
async fn call(node: &Running, path: &str, body: Vec<u8>) -> Status {
    let request = Request::builder()
        .method("POST")
        .uri(format!("http://{}{path}", node.addresses.client))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(HttpBody::from(body)))
        .unwrap();
    let mut channel = node.channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let answer = channel.call(request).await.unwrap();
    Status::from_header_map(answer.headers()).expect("a status in the headers")
}

/// A gRPC frame that says it holds `length` bytes.
fn frame(length: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn a_body_that_is_no_message_is_refused_and_the_node_stays_up() {
    let node = start().await;
    let whole = prost::Message::encode_to_vec(&put_leg(1, 7));
    let length = u32::try_from(whole.len()).unwrap();
    let not_utf8 = [0x0a, 4, 0x0a, 2, 0xff, 0xfe];
    let cases = [
        ("truncated frame", frame(length, &whole[..whole.len() - 3])),
        ("truncated header", vec![0, 0, 0]),
        (
            "truncated message",
            frame(length - 3, &whole[..whole.len() - 3]),
        ),
        ("no frame", vec![]),
        ("invalid UTF-8", frame(6, &not_utf8)),
        ("unknown compression", {
            let mut frame = frame(length, &whole);
            frame[0] = 7;
            frame
        }),
    ];
    for (what, body) in cases {
        let status = call(&node, PUT, body).await;
        let (code, reason, _) = failure(&status);
        assert_eq!(
            (code, reason.as_str()),
            (Code::InvalidArgument, "INVALID_ARGUMENT"),
            "{what}"
        );
        assert!(
            status.message().starts_with("the message cannot be read: "),
            "{what}: {}",
            status.message()
        );
    }
    assert_eq!(node.put(put_leg(1, 7)).await.applied, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_message_beyond_six_mebibytes_is_refused_by_its_length() {
    let node = start().await;
    let status = call(&node, PUT, frame((6 << 20) + 1, &[])).await;
    let (code, reason, _) = failure(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::InvalidArgument, "TOO_LARGE")
    );
    assert!(status.message().contains("6291457"), "{}", status.message());
    node.stop().await;
}

#[tokio::test]
async fn a_method_that_is_not_there_is_said_not_to_be() {
    let node = start().await;
    for path in ["/steadfast.v1.FeatureService/Sing", "/x/y"] {
        let status = call(&node, path, frame(0, &[])).await;
        assert_eq!(reason(&status), "UNIMPLEMENTED", "{path}");
    }
    node.stop().await;
}

#[tokio::test]
async fn refused_writes_name_reason_and_field_and_leave_nothing_behind() {
    let node = start().await;
    let good = || {
        rows(
            "legs",
            &["seats"],
            vec![(vec![text("UA"), int32(1)], vec![int64(1)])],
        )
    };
    let with = |group| put(vec![good(), group]);
    let leg = |key, value| rows("legs", &["seats"], vec![(key, vec![value])]);
    let key = || vec![text("UA"), int32(2)];
    let long = "x".repeat(3 << 19);
    let cases = [
        (
            with(rows("none", &[], vec![])),
            "UNKNOWN_VIEW",
            "writes[1].view",
        ),
        (
            with(rows("legs", &["none"], vec![])),
            "UNKNOWN_FEATURE",
            "writes[1].features[0]",
        ),
        (
            with(leg(key(), int32(1))),
            "WRONG_TYPE",
            "writes[1].rows[0].values[0]",
        ),
        (
            with(leg(vec![text("UA"), double(f64::NAN)], int64(1))),
            "WRONG_TYPE",
            "writes[1].rows[0].key[1]",
        ),
        (
            with(leg(vec![text(&long), int32(1)], int64(1))),
            "TOO_LARGE",
            "writes[1].rows[0].key",
        ),
        (
            with(rows(
                "profiles",
                &["country"],
                vec![(vec![text("UA")], vec![text(&long)])],
            )),
            "TOO_LARGE",
            "writes[1].rows[0].values[0]",
        ),
        (
            with(rows(&long, &[], vec![])),
            "TOO_LARGE",
            "writes[1].view",
        ),
        (
            with(rows(
                "profiles",
                &["country"],
                vec![(vec![text("UA")], vec![v1::Value::default()])],
            )),
            "INVALID_ARGUMENT",
            "writes[1].rows[0].values",
        ),
    ];
    for (request, expected, field) in cases {
        let status = node.features().put_features(request).await.unwrap_err();
        let (_, reason, fields) = failure(&status);
        assert_eq!(
            (reason.as_str(), fields),
            (expected, vec![field.to_owned()]),
            "{}",
            status.message()
        );
        assert!(status.message().len() < 1_000);
    }
    let answer = node.get(get_legs(&[1, 2], &["seats"])).await;
    assert_eq!(answer.views[0].columns[0].statuses[..], [3, 3]);
    node.stop().await;
}

#[tokio::test]
async fn an_event_time_too_far_ahead_or_too_late_refuses_the_whole_batch() {
    let node = start().await;
    let now = SystemClock::new().wall().0;
    let hours = |count: i64| count * 3_600_000_000;
    let batch = |event_time_us| {
        let mut late = rows("late", &["fleet"], vec![(vec![text("UA")], vec![int32(1)])]);
        late.rows[0].event_time_us = Some(event_time_us);
        let leg = rows(
            "legs",
            &["seats"],
            vec![(vec![text("UA"), int32(1)], vec![int64(1)])],
        );
        put(vec![leg, late])
    };
    for (event_time_us, expected) in [
        (now + hours(48), "EVENT_TIME_TOO_FAR_AHEAD"),
        (now - hours(48), "TOO_LATE"),
    ] {
        let refused = node.features().put_features(batch(event_time_us)).await;
        let (code, reason, fields) = failure(&refused.unwrap_err());
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, expected));
        assert_eq!(fields, ["writes[1].rows[0].event_time_us"]);
    }
    let answer = node.get(get_legs(&[1], &["seats"])).await;
    assert_eq!(answer.views[0].columns[0].statuses[..], [3]);
    node.stop().await;
}

#[tokio::test]
async fn refused_lookups_name_reason_and_field() {
    let node = start().await;
    let columns = |numbers| {
        vec![
            column("carrier", strings(&["UA"])),
            column("number", numbers),
        ]
    };
    let good = || columns(Items::Int32(vec![1]));
    let cases = [
        (
            get(good(), &[("none", &[])]),
            "UNKNOWN_VIEW",
            "views[0].view",
        ),
        (
            get(good(), &[("legs", &["seats", "none"])]),
            "UNKNOWN_FEATURE",
            "views[0].features[1]",
        ),
        (
            get(columns(Items::Int64(vec![1])), &[("legs", &[])]),
            "WRONG_TYPE",
            "entities[1].values",
        ),
        (
            get(columns(Items::Double(vec![f64::NAN])), &[("legs", &[])]),
            "WRONG_TYPE",
            "entities[1].values",
        ),
        (get_legs(&[0; 10_001], &[]), "TOO_LARGE", "entities"),
    ];
    for (request, expected, field) in cases {
        let status = node.features().get_features(request).await.unwrap_err();
        let (_, reason, fields) = failure(&status);
        assert_eq!(
            (reason.as_str(), fields),
            (expected, vec![field.to_owned()]),
            "{}",
            status.message()
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn an_answer_beyond_sixteen_mebibytes_is_refused_before_it_is_gathered() {
    let node = start().await;
    let long = text(&"x".repeat(1 << 16));
    let rows = rows(
        "profiles",
        &["country", "fleet"],
        vec![(vec![text("UA")], vec![long, int32(1)])],
    );
    node.put(put(vec![rows])).await;
    // All of it would be 640 megabytes.
    let all = || vec![column("carrier", strings(&["UA"; 10_000]))];
    let request = get(all(), &[("profiles", &["country"])]);
    let status = node.features().get_features(request).await.unwrap_err();
    let (_, reason, fields) = failure(&status);
    assert_eq!(
        (reason.as_str(), fields),
        ("TOO_LARGE", vec!["entities".to_owned()])
    );
    assert!(
        status.message().contains("16777216"),
        "{}",
        status.message()
    );
    // The same rows are no trouble when their large values are not asked for.
    let answer = node.get(get(all(), &[("profiles", &["fleet"])])).await;
    assert_eq!(answer.views[0].columns[0].statuses.len(), 10_000);
    node.stop().await;
}

#[tokio::test]
async fn a_repeated_delete_of_an_unknown_view_is_refused_alike() {
    let node = start().await;
    let request = v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: "none".into(),
            keys: vec![v1::Key::default()],
        }],
        ..Default::default()
    };
    for _ in 0..2 {
        let status = node
            .features()
            .delete_features(request.clone())
            .await
            .unwrap_err();
        let (code, reason, fields) = failure(&status);
        assert_eq!((code, reason.as_str()), (Code::NotFound, "UNKNOWN_VIEW"));
        assert_eq!(fields, ["deletes[0].view"]);
    }
    node.stop().await;
}
