//! A running node, clients of it, and short forms of messages.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use steadfast::base::TaskGroup;
use steadfast::base::clock::SystemClock;
use steadfast::base::disk::{Disk, RealDisk};
use steadfast::config::{Config, Listen};
use steadfast::model::{Items, Value};
use steadfast::node::{Node, StartError};
use steadfast::proto::v1::admin_service_client::AdminServiceClient;
use steadfast::proto::v1::feature_service_client::FeatureServiceClient;
use steadfast::proto::v1::view_service_client::ViewServiceClient;
use steadfast::proto::{items_from_proto, items_to_proto, v1, value_to_proto};
use steadfast::server::{Addresses, Server};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Views with two join keys, with cell merge, and with bounds on event times.
const VIEWS: [&str; 3] = [
    r#"
        name = "legs"
        entity = [{ name = "carrier", type = "string" }, { name = "number", type = "int32" }]
        feature = [
            { name = "delay", type = "double", default = 1.5 },
            { name = "seats", type = "int64" },
            { name = "tags", type = "list<string>" },
        ]
    "#,
    r#"
        name = "profiles"
        entity = [{ name = "carrier", type = "string" }]
        merge = "cell"
        feature = [{ name = "fleet", type = "int32" }, { name = "country", type = "string" }]
    "#,
    r#"
        name = "late"
        entity = [{ name = "carrier", type = "string" }]
        max_lateness = "1h"
        feature = [{ name = "fleet", type = "int32" }]
    "#,
];

pub struct Running {
    pub node: Node,
    pub server: Server,
    pub tasks: TaskGroup,
    pub addresses: Addresses,
    pub channel: Channel,
    directory: TempDir,
}

/// A small node on this directory, on any free ports.
pub fn config_in(directory: &Path) -> Config {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let mut config = Config {
        data_dir: directory.join("data"),
        listen: Listen {
            client: loopback,
            peer: loopback,
            http: loopback,
        },
        ..Config::default()
    };
    config.engine.row_cache_bytes = 4 << 20;
    config.store.block_cache_bytes = 4 << 20;
    config.store.memtable_bytes = 4 << 20;
    config.wal.segment_bytes = 4 << 20;
    config
}

/// A node that serves but has not opened its data.
pub async fn start_unopened() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let config = config_in(directory.path());
    start_with(directory, config, Arc::new(RealDisk)).await
}

/// A node on a directory that may hold data, not opened yet.
pub async fn start_with(directory: TempDir, config: Config, disk: Arc<dyn Disk>) -> Running {
    let tasks = TaskGroup::new();
    let bound = Server::bind(&config).await.unwrap();
    let addresses = bound.addresses();
    let node = Node::new(config, disk, Arc::new(SystemClock::new()));
    let server = bound.serve(node.clone(), &tasks).await.unwrap();
    let channel = connect(addresses.client).await;
    Running {
        node,
        server,
        tasks,
        addresses,
        channel,
        directory,
    }
}

/// A ready node without views.
pub async fn start_empty() -> Running {
    let running = start_unopened().await;
    running.open().await.unwrap();
    running
}

/// A ready node with the views above.
pub async fn start() -> Running {
    let running = start_empty().await;
    running.create_views().await;
    running
}

pub async fn connect(address: std::net::SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

impl Running {
    /// Opens the data.
    pub async fn open(&self) -> Result<(), StartError> {
        self.node.open(self.addresses.reached(None), None).await
    }

    pub async fn create_views(&self) {
        for definition_toml in VIEWS {
            let request = v1::CreateViewRequest {
                definition_toml: definition_toml.to_owned(),
            };
            self.views().create_view(request).await.unwrap();
        }
    }

    pub fn features(&self) -> FeatureServiceClient<Channel> {
        FeatureServiceClient::new(self.channel.clone())
    }

    pub fn views(&self) -> ViewServiceClient<Channel> {
        ViewServiceClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub async fn put(&self, request: v1::PutFeaturesRequest) -> v1::WriteResponse {
        let answer = self.features().put_features(request).await;
        answer.unwrap().into_inner()
    }

    pub async fn get(&self, request: v1::GetFeaturesRequest) -> v1::GetFeaturesResponse {
        let answer = self.features().get_features(request).await;
        answer.unwrap().into_inner()
    }

    /// Status code and body of an HTTP GET.
    pub async fn http(&self, path: &str) -> (u16, String) {
        let mut connection = tokio::net::TcpStream::connect(self.addresses.http)
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body.to_owned())
    }

    /// Waits until `/health/ready` answers with this code; returns its body.
    pub async fn ready(&self, wanted: u16) -> String {
        loop {
            let (code, body) = self.http("/health/ready").await;
            if code == wanted {
                return body;
            }
        }
    }

    pub async fn stop(self) {
        let directory = self.stop_keeping_data().await;
        directory.close().unwrap();
    }

    pub async fn stop_keeping_data(self) -> TempDir {
        let (outcome, directory) = self.end().await;
        outcome.unwrap();
        directory
    }

    /// Stops a node whose log has failed, which it says at the end once more.
    pub async fn stop_failed(self) -> TempDir {
        let (outcome, directory) = self.end().await;
        assert!(outcome.is_err());
        directory
    }

    async fn end(self) -> (Result<(), steadfast::engine::Error>, TempDir) {
        drop(self.channel);
        let limit = Duration::from_secs(10);
        assert!(self.server.drain(limit).await, "drained");
        let outcome = self.node.stop(limit).await;
        assert!(self.tasks.stop(limit).await, "stopped");
        (outcome, self.directory)
    }
}

pub fn text(value: &str) -> v1::Value {
    value_to_proto(Value::String(value.into()))
}

pub fn int32(value: i32) -> v1::Value {
    value_to_proto(Value::Int32(value))
}

pub fn int64(value: i64) -> v1::Value {
    value_to_proto(Value::Int64(value))
}

pub fn double(value: f64) -> v1::Value {
    value_to_proto(Value::Double(value))
}

pub fn null() -> v1::Value {
    value_to_proto(Value::Null)
}

/// Rows of a view, without event times.
pub fn rows(
    view: &str,
    features: &[&str],
    rows: Vec<(Vec<v1::Value>, Vec<v1::Value>)>,
) -> v1::ViewRows {
    let row = |(key, values)| v1::Row {
        key,
        values,
        event_time_us: None,
    };
    v1::ViewRows {
        view: view.into(),
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.into_iter().map(row).collect(),
    }
}

pub fn put(writes: Vec<v1::ViewRows>) -> v1::PutFeaturesRequest {
    v1::PutFeaturesRequest {
        writes,
        ..Default::default()
    }
}

/// One leg of carrier UA with its seats.
pub fn put_leg(number: i32, seats: i64) -> v1::PutFeaturesRequest {
    let key = vec![text("UA"), int32(number)];
    put(vec![rows(
        "legs",
        &["seats"],
        vec![(key, vec![int64(seats)])],
    )])
}

pub fn strings(items: &[&str]) -> Items {
    Items::String(items.iter().map(|item| (*item).to_owned()).collect())
}

pub fn column(join_key: &str, items: Items) -> v1::KeyColumn {
    v1::KeyColumn {
        join_key: join_key.into(),
        values: Some(items_to_proto(items)),
    }
}

pub fn get(entities: Vec<v1::KeyColumn>, views: &[(&str, &[&str])]) -> v1::GetFeaturesRequest {
    let selection = |(view, features): &(&str, &[&str])| v1::ViewSelection {
        view: (*view).to_owned(),
        features: features.iter().map(|name| (*name).to_owned()).collect(),
    };
    v1::GetFeaturesRequest {
        entities,
        views: views.iter().map(selection).collect(),
        ..Default::default()
    }
}

/// A lookup of legs of UA.
pub fn get_legs(numbers: &[i32], features: &[&str]) -> v1::GetFeaturesRequest {
    let carriers = strings(&vec!["UA"; numbers.len()]);
    let entities = vec![
        column("carrier", carriers),
        column("number", Items::Int32(numbers.to_vec())),
    ];
    get(entities, &[("legs", features)])
}

pub fn items(column: &v1::FeatureColumn) -> Items {
    items_from_proto(column.values.clone().unwrap()).unwrap()
}

/// Code, reason and field paths of a failed call. It must have all that an error of ours has.
pub fn failure(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.check_error_details().unwrap();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(info.domain, "steadfast");
    assert!(!status.message().is_empty());
    let violations = details.bad_request().map(|bad| &bad.field_violations);
    let fields = violations.into_iter().flatten();
    (
        status.code(),
        info.reason.clone(),
        fields.map(|violation| violation.field.clone()).collect(),
    )
}

pub fn reason(status: &Status) -> String {
    failure(status).1
}
