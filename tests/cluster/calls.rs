//! Calls of clients to members, over gRPC.

use std::collections::HashMap;

use steadfast::model::{Items, Value};
use steadfast::proto::v1::admin_service_client::AdminServiceClient;
use steadfast::proto::v1::feature_service_client::FeatureServiceClient;
use steadfast::proto::{items_to_proto, v1, value_to_proto};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::support::Member;

pub const QUORUM: v1::CommitLevel = v1::CommitLevel::Quorum;
pub const PRIMARY: v1::ReadLevel = v1::ReadLevel::Primary;

impl Member {
    pub async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.addresses.client);
        let endpoint = Channel::from_shared(address).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn features(&self) -> FeatureServiceClient<Channel> {
        FeatureServiceClient::new(self.channel().await)
    }

    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel().await)
    }

    pub async fn ask_put(
        &self,
        request: Request<v1::PutFeaturesRequest>,
    ) -> Result<v1::WriteResponse, Status> {
        let answer = self.features().await.put_features(request).await;
        answer.map(|answer| answer.into_inner())
    }

    pub async fn ask_get(
        &self,
        request: Request<v1::GetFeaturesRequest>,
    ) -> Result<v1::GetFeaturesResponse, Status> {
        let answer = self.features().await.get_features(request).await;
        answer.map(|answer| answer.into_inner())
    }
}

pub fn put(id: i64, value: i64, request_id: &str) -> v1::PutFeaturesRequest {
    let row = v1::Row {
        key: vec![value_to_proto(Value::Int64(id))],
        values: vec![value_to_proto(Value::Int64(value))],
        event_time_us: None,
    };
    v1::PutFeaturesRequest {
        writes: vec![v1::ViewRows {
            view: "v".into(),
            features: vec!["x".into()],
            rows: vec![row],
        }],
        level: QUORUM.into(),
        request_id: request_id.into(),
        override_stored: false,
        session: None,
    }
}

pub fn delete(id: i64) -> v1::DeleteFeaturesRequest {
    let key = v1::Key {
        key: vec![value_to_proto(Value::Int64(id))],
        event_time_us: None,
    };
    v1::DeleteFeaturesRequest {
        deletes: vec![v1::ViewKeys {
            view: "v".into(),
            keys: vec![key],
        }],
        level: QUORUM.into(),
        request_id: String::new(),
        session: None,
    }
}

pub fn get(ids: Vec<i64>, level: v1::ReadLevel) -> v1::GetFeaturesRequest {
    v1::GetFeaturesRequest {
        entities: vec![v1::KeyColumn {
            join_key: "id".into(),
            values: Some(items_to_proto(Items::Int64(ids))),
        }],
        views: vec![v1::ViewSelection {
            view: "v".into(),
            features: vec!["x".into()],
        }],
        level: level.into(),
        ..Default::default()
    }
}

/// Reason and metadata of a refusal.
pub fn info(status: &Status) -> (String, HashMap<String, String>) {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("no details: {status:?}"));
    (info.reason, info.metadata)
}

pub fn reason(status: &Status) -> String {
    info(status).0
}

pub fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("steadfast-forwarded", "true".parse().unwrap());
    request
}
