//! Clients of the node, well and badly behaved.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body as HttpBody;
use steadfast::proto::v1::feature_service_client::FeatureServiceClient;
use steadfast::proto::v1::view_service_client::ViewServiceClient;
use steadfast::proto::v1::{self, items, value};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub const PUT: &str = "/steadfast.v1.FeatureService/PutFeatures";
pub const INGEST: &str = "/steadfast.v1.FeatureService/IngestFeatures";
pub const GET: &str = "/steadfast.v1.FeatureService/GetFeatures";

/// A connection from this loopback address, which is what the node tells clients apart by.
pub async fn connect(address: &str, from: [u8; 4]) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.local_address(Some(IpAddr::from(from)));
    endpoint.connect().await.unwrap()
}

pub async fn create_view(channel: &Channel) {
    let definition_toml = r#"
        name = "v"
        entity = [{ name = "id", type = "int64" }]
        feature = [{ name = "text", type = "string" }, { name = "number", type = "int64" }]
    "#
    .to_owned();
    let request = v1::CreateViewRequest { definition_toml };
    let mut views = ViewServiceClient::new(channel.clone());
    views.create_view(request).await.unwrap();
}

/// Rows with texts of so many bytes.
pub fn rows(ids: std::ops::Range<i64>, bytes: usize) -> v1::PutFeaturesRequest {
    let kind = |kind| v1::Value { kind: Some(kind) };
    let row = |id: i64| v1::Row {
        key: vec![kind(value::Kind::Int64Value(id))],
        values: vec![
            kind(value::Kind::StringValue("x".repeat(bytes))),
            kind(value::Kind::Int64Value(id)),
        ],
        event_time_us: None,
    };
    let rows = v1::ViewRows {
        view: "v".into(),
        features: vec!["text".into(), "number".into()],
        rows: ids.map(row).collect(),
    };
    v1::PutFeaturesRequest {
        writes: vec![rows],
        ..Default::default()
    }
}

pub fn get(ids: impl IntoIterator<Item = i64>, features: &[&str]) -> v1::GetFeaturesRequest {
    let ids = v1::Int64Items {
        items: ids.into_iter().collect(),
    };
    v1::GetFeaturesRequest {
        entities: vec![v1::KeyColumn {
            join_key: "id".into(),
            values: Some(v1::Items {
                kind: Some(items::Kind::Int64s(ids)),
            }),
        }],
        views: vec![v1::ViewSelection {
            view: "v".into(),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
        }],
        ..Default::default()
    }
}

pub fn features(channel: &Channel) -> FeatureServiceClient<Channel> {
    FeatureServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20)
}

/// A frame that says it holds `length` bytes.
pub fn frame(length: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The answer to a call with this body and these headers besides, of which nothing is read yet.
pub async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&str, &str)],
    body: HttpBody,
) -> Result<Response<Body>, tonic::transport::Error> {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("http://node{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(body)).unwrap();
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(request).await
}

/// What a failed call says.
pub fn status(answer: &Response<Body>) -> Status {
    Status::from_header_map(answer.headers()).expect("a status in the headers")
}

pub fn code_and_reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    (
        status.code(),
        info.map_or_else(String::new, |info| info.reason),
    )
}

/// Tries until it succeeds, for at most a minute.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        steadfast::base::clock::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} within a minute");
}
