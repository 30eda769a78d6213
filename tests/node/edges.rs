use std::time::Duration;

use steadfast::proto::v1;
use steadfast::server::Server;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1 as reflection, v1alpha as reflection_alpha};

use crate::support::*;

const SERVICES: [&str; 3] = [
    "steadfast.v1.AdminService",
    "steadfast.v1.FeatureService",
    "steadfast.v1.ViewService",
];

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

/// Waits until the overall health at an address is this.
async fn await_health(address: std::net::SocketAddr, wanted: ServingStatus) {
    let mut client = HealthClient::new(connect(address).await);
    let mut changes = client.watch(of("")).await.unwrap().into_inner();
    while let Some(change) = changes.message().await.unwrap() {
        if change.status == wanted as i32 {
            return;
        }
    }
    panic!("the health never was {wanted:?}");
}

#[tokio::test]
async fn health_serves_overall_and_by_service_for_clients_and_peers() {
    let node = start().await;
    await_health(node.addresses.client, ServingStatus::Serving).await;
    await_health(node.addresses.peer, ServingStatus::Serving).await;
    let mut client = HealthClient::new(node.channel.clone());
    for service in SERVICES {
        let health = client.check(of(service)).await.unwrap().into_inner();
        assert_eq!(health.status, ServingStatus::Serving as i32, "{service}");
    }
    let unknown = client.check(of("none")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn watchers_of_health_learn_of_draining_and_new_connections_are_refused() {
    let node = start().await;
    await_health(node.addresses.client, ServingStatus::Serving).await;
    let mut client = HealthClient::new(connect(node.addresses.client).await);
    let mut changes = client.watch(of("")).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());
    let drained = node.server.drain(Duration::from_secs(10));
    let watched = async {
        let last = changes.message().await.unwrap().unwrap();
        drop((changes, client));
        last.status
    };
    let (drained, last) = futures::future::join(drained, watched).await;
    assert!(drained);
    assert_eq!(last, ServingStatus::NotServing as i32);
    assert!(
        tokio::net::TcpStream::connect(node.addresses.client)
            .await
            .is_err()
    );
    let (code, body) = node.http("/health/ready").await;
    assert_eq!(
        (code, body.as_str()),
        (503, r#"{"ready":false,"reason":"the node is stopping"}"#)
    );
    assert_eq!(node.http("/health/live").await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn both_reflection_protocols_list_the_services() {
    let node = start().await;
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(node.channel.clone());
    let asked = tokio_stream::once(request);
    let answer = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let listed = format!("{answer:?}");

    let request = reflection_alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection_alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut client = reflection_alpha::server_reflection_client::ServerReflectionClient::new(
        node.channel.clone(),
    );
    let asked = tokio_stream::once(request);
    let answer = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let listed_alpha = format!("{answer:?}");
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(listed.contains(service), "{listed}");
        assert!(listed_alpha.contains(service), "{listed_alpha}");
    }
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn http_tells_probes_scrapers_and_people() {
    let node = start().await;
    node.put(put_leg(1, 7)).await;
    node.get(get_legs(&[1], &["seats"])).await;
    let refused = node
        .features()
        .get_features(get_legs(&[1], &["none"]))
        .await;
    assert!(refused.is_err());

    assert_eq!(
        node.http("/health/live").await,
        (200, r#"{"live":true}"#.to_owned())
    );
    assert_eq!(
        node.http("/health/ready").await,
        (200, r#"{"ready":true}"#.to_owned())
    );
    let (code, startup) = node.http("/health/startup").await;
    assert!(
        code == 200 && startup.starts_with(r#"{"started":true"#),
        "{startup}"
    );
    let (code, metrics) = node.http("/metrics").await;
    assert_eq!(code, 200);
    for line in [
        r#"steadfast_requests_total{method="PutFeatures",code="OK"} 1"#,
        r#"steadfast_requests_total{method="GetFeatures",code="OK"} 1"#,
        r#"steadfast_requests_total{method="GetFeatures",code="NOT_FOUND"} 1"#,
        r#"steadfast_request_duration_seconds_count{method="PutFeatures",level="quorum"} 1"#,
        r#"steadfast_request_duration_seconds_count{method="GetFeatures",level="local"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(metrics.matches("# EOF").count(), 1);

    let (_, status) = node.http("/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let client = node.addresses.client.to_string();
    assert_eq!(status["listen"]["client"], client.as_str());
    assert_eq!(status["insecure"], false);
    let admin = node
        .admin()
        .get_status(v1::GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    let admin: serde_json::Value = serde_json::from_str(&admin.json).unwrap();
    assert_eq!(admin["listen"], status["listen"]);
    assert_eq!(node.http("/none").await.0, 404);
    node.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config_in(directory.path());
    let first = Server::bind(&config).await.unwrap();
    config.listen.http = first.addresses().http;
    let refused = Server::bind(&config).await.unwrap_err();
    let expected = format!("cannot listen on listen.http = {}", config.listen.http);
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn a_node_that_has_not_opened_its_data_says_so_to_everybody() {
    let node = start_unopened().await;
    let lookup = node.features().get_features(get_legs(&[1], &[])).await;
    let list = node.views().list_views(v1::ListViewsRequest {}).await;
    for status in [lookup.unwrap_err(), list.unwrap_err()] {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "STARTING")
        );
        assert!(status.message().starts_with("the node is starting"));
    }
    assert_eq!(node.http("/health/live").await.0, 200);
    assert_eq!(node.http("/health/ready").await.0, 503);
    let (code, startup) = node.http("/health/startup").await;
    assert_eq!(
        (code, startup.as_str()),
        (
            503,
            r#"{"started":false,"replay":{"done_bytes":0,"total_bytes":0}}"#
        )
    );
    assert_eq!(node.http("/metrics").await.0, 200);
    await_health(node.addresses.client, ServingStatus::NotServing).await;

    node.open().await.unwrap();
    await_health(node.addresses.client, ServingStatus::Serving).await;
    node.views()
        .list_views(v1::ListViewsRequest {})
        .await
        .unwrap();
    assert_eq!(node.http("/health/startup").await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn every_metric_is_explained_to_operators() {
    let node = start().await;
    node.put(put_leg(1, 7)).await;
    let (_, metrics) = node.http("/metrics").await;
    let operations = include_str!("../../docs/OPERATIONS.md");
    let mut named = 0;
    for line in metrics.lines() {
        let Some(metric) = line.strip_prefix("# TYPE steadfast_") else {
            continue;
        };
        let (name, kind) = metric.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let names = ["`", "{"].map(|end| format!("`{name}{suffix}{end}"));
        assert!(
            names.iter().any(|name| operations.contains(name)),
            "{name}{suffix} is not in docs/OPERATIONS.md"
        );
        named += 1;
    }
    assert!(named > 20, "{metrics}");
    node.stop().await;
}
