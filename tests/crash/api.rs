//! The node's services, as far as the test needs them.

use std::collections::BTreeMap;

use steadfast::base::Stamp;
use steadfast::proto::v1::feature_service_client::FeatureServiceClient;
use steadfast::proto::v1::view_service_client::ViewServiceClient;
use steadfast::proto::v1::{self, items, value};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::history::{Kind, RowId, Seen, Write};

/// The views of twin rows.
const TWINS: [&str; 2] = ["twin_row", "twin_cell"];
/// The view of timed rows.
const TIMED: &str = "timed";
const PRESENT: u8 = 1;
const NOT_FOUND: u8 = 3;

/// A connection.
#[derive(Clone)]
pub struct Api {
    features: FeatureServiceClient<Channel>,
    views: ViewServiceClient<Channel>,
}

/// Everything in the views.
pub struct Contents {
    /// The epoch in which it was read.
    pub epoch: u64,
    /// The rows that have a value.
    pub rows: BTreeMap<RowId, Seen>,
}

impl Api {
    pub async fn connect(address: &str) -> Result<Api, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Api {
            features: FeatureServiceClient::new(channel.clone()),
            views: ViewServiceClient::new(channel),
        })
    }

    /// Creates a view with one feature, keyed by a number.
    pub async fn create_view(&mut self, name: &str, merge: &str) -> Result<(), Status> {
        let definition_toml = format!(
            r#"
            name = "{name}"
            entity = [{{ name = "id", type = "int64" }}]
            merge = "{merge}"
            feature = [{{ name = "value", type = "int64" }}]
            "#
        );
        let request = v1::CreateViewRequest { definition_toml };
        self.views.create_view(request).await.map(drop)
    }

    pub async fn create_views(&mut self) -> Result<(), Status> {
        for (name, merge) in [(TWINS[0], "row"), (TWINS[1], "cell"), (TIMED, "row")] {
            self.create_view(name, merge).await?;
        }
        Ok(())
    }

    pub async fn drop_view(&mut self, name: &str) -> Result<(), Status> {
        let name = name.to_owned();
        let request = v1::DropViewRequest { name };
        self.views.drop_view(request).await.map(drop)
    }

    /// The names of the views in force.
    pub async fn list_views(&mut self) -> Vec<String> {
        let views = self.views.list_views(v1::ListViewsRequest {}).await;
        let views = views.unwrap().into_inner().views;
        views.into_iter().map(|view| view.name).collect()
    }

    pub async fn write(&mut self, write: &Write) -> Result<v1::WriteResponse, Status> {
        let answer = match write.value {
            Some(_) => self.features.put_features(put(write)).await,
            None => self.features.delete_features(delete(write)).await,
        };
        answer.map(tonic::Response::into_inner)
    }

    /// Opens a stream of writes.
    pub async fn ingest(
        &mut self,
        batches: impl tokio_stream::Stream<Item = v1::IngestFeaturesRequest> + Send + 'static,
    ) -> Result<tonic::Streaming<v1::IngestFeaturesResponse>, Status> {
        let answer = self.features.ingest_features(batches).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Looks all keys below `keys` up and scans all views; both must say the same.
    pub async fn contents(&mut self, keys: i64, level: v1::ReadLevel) -> Contents {
        let (epoch, looked_up) = self.look_up(keys, level).await;
        let mut rows = BTreeMap::new();
        for (view, found) in &looked_up {
            let scanned = self.scan(view).await;
            assert_eq!(&scanned, found, "{view}: a scan and a lookup differ");
        }
        assert_eq!(
            looked_up[TWINS[0]], looked_up[TWINS[1]],
            "an atomic batch is there in part"
        );
        for (kind, view) in [(Kind::Twin, TWINS[0]), (Kind::Timed, TIMED)] {
            rows.extend(
                looked_up[view]
                    .iter()
                    .map(|(key, seen)| ((kind, *key), *seen)),
            );
        }
        Contents { epoch, rows }
    }

    async fn look_up(
        &mut self,
        keys: i64,
        level: v1::ReadLevel,
    ) -> (u64, BTreeMap<&'static str, BTreeMap<i64, Seen>>) {
        let keys: Vec<i64> = (0..keys).collect();
        let names = [TWINS[0], TWINS[1], TIMED];
        let request = lookup(&keys, &names, level);
        let answer = self
            .features
            .get_features(request)
            .await
            .unwrap()
            .into_inner();
        let rows = answer.views.iter().zip(names).map(|(view, name)| {
            assert_eq!(view.view, name);
            (name, rows_of(name, &keys, &view.columns[0]))
        });
        (answer.info.unwrap().epoch, rows.collect())
    }

    /// Looks up the rows of a write that has just been acknowledged: none may be older than it.
    pub async fn check_visible(&mut self, write: &Write, stamp: Stamp) -> Result<(), Status> {
        if write.kind == Kind::Timed {
            return Ok(());
        }
        let request = lookup(&write.keys, &TWINS, v1::ReadLevel::Local);
        let answer = self.features.get_features(request).await?.into_inner();
        for view in &answer.views {
            let column = &view.columns[0];
            for (status, event_time) in column.statuses.iter().zip(&column.event_times_us) {
                let is_older = *status == PRESENT && *event_time < stamp.hlc.micros().0;
                assert!(!is_older, "{write:?} at {stamp} is not visible: {view:?}");
            }
        }
        Ok(())
    }

    async fn scan(&mut self, view: &str) -> BTreeMap<i64, Seen> {
        let request = v1::ScanFeaturesRequest {
            view: view.into(),
            include_event_times: true,
            ..Default::default()
        };
        let mut pages = self
            .features
            .scan_features(request)
            .await
            .unwrap()
            .into_inner();
        let mut rows = BTreeMap::new();
        while let Some(page) = pages.message().await.unwrap() {
            if let (Some(entities), Some(column)) = (page.entities.first(), page.columns.first()) {
                rows.extend(rows_of(view, int64s(entities.values.as_ref()), column));
            }
        }
        rows
    }
}

fn lookup(keys: &[i64], views: &[&str], level: v1::ReadLevel) -> v1::GetFeaturesRequest {
    let items = v1::Int64Items {
        items: keys.to_vec(),
    };
    let entities = vec![v1::KeyColumn {
        join_key: "id".into(),
        values: Some(v1::Items {
            kind: Some(items::Kind::Int64s(items)),
        }),
    }];
    let select = |view: &&str| v1::ViewSelection {
        view: (*view).into(),
        features: vec![],
    };
    v1::GetFeaturesRequest {
        entities,
        views: views.iter().map(select).collect(),
        level: level.into(),
        include_event_times: true,
        ..Default::default()
    }
}

fn int64s(items: Option<&v1::Items>) -> &[i64] {
    match items.and_then(|items| items.kind.as_ref()) {
        Some(items::Kind::Int64s(items)) => &items.items,
        other => panic!("int64 values expected: {other:?}"),
    }
}

/// The rows that have a value.
fn rows_of(view: &str, keys: &[i64], column: &v1::FeatureColumn) -> BTreeMap<i64, Seen> {
    let values = int64s(column.values.as_ref());
    let mut rows = BTreeMap::new();
    for (at, key) in keys.iter().enumerate() {
        let event_time = if view == TIMED {
            column.event_times_us[at]
        } else {
            0
        };
        match column.statuses[at] {
            PRESENT => {
                let value = Some(values[at]);
                rows.insert(*key, Seen { value, event_time });
            }
            NOT_FOUND => {}
            other => panic!("{view} {key} has status {other}"),
        }
    }
    rows
}

fn int64(number: i64) -> v1::Value {
    v1::Value {
        kind: Some(value::Kind::Int64Value(number)),
    }
}

fn views_of(write: &Write) -> &'static [&'static str] {
    match write.kind {
        Kind::Twin => &TWINS,
        Kind::Timed => &[TIMED],
    }
}

/// The request that puts a write's value.
pub fn put(write: &Write) -> v1::PutFeaturesRequest {
    let row = |key: &i64| v1::Row {
        key: vec![int64(*key)],
        values: write.value.map(int64).into_iter().collect(),
        event_time_us: (write.kind == Kind::Timed).then_some(write.event_time),
    };
    let rows: Vec<_> = write.keys.iter().map(row).collect();
    let group = |view: &&str| v1::ViewRows {
        view: (*view).into(),
        features: vec!["value".into()],
        rows: rows.clone(),
    };
    v1::PutFeaturesRequest {
        writes: views_of(write).iter().map(group).collect(),
        level: write.level.into(),
        request_id: write.request_id.clone(),
        override_stored: false,
        session: None,
    }
}

fn delete(write: &Write) -> v1::DeleteFeaturesRequest {
    let key = |key: &i64| v1::Key {
        key: vec![int64(*key)],
        event_time_us: None,
    };
    let keys: Vec<_> = write.keys.iter().map(key).collect();
    let group = |view: &&str| v1::ViewKeys {
        view: (*view).into(),
        keys: keys.clone(),
    };
    v1::DeleteFeaturesRequest {
        deletes: views_of(write).iter().map(group).collect(),
        level: write.level.into(),
        request_id: write.request_id.clone(),
        session: None,
    }
}

/// The stamp of an acknowledged write.
pub fn stamp(answer: &v1::WriteResponse) -> Stamp {
    answer.stamp.parse().unwrap()
}

/// The machine-readable reason of a failure.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{:?}", status.code()), |info| info.reason)
}

/// Can this be said of a write whose node has just gone?
pub fn is_about_the_node(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    )
}
