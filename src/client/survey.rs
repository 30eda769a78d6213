//! Asking a node how its set is.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Request, Status};

use super::routes::Told;
use crate::proto::v1;
use v1::admin_service_client::AdminServiceClient;

/// How long a node may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn ask(channel: Channel) -> Result<v1::GetReplicaSetResponse, Status> {
    let mut request = Request::new(v1::GetReplicaSetRequest {});
    request.set_timeout(LIMIT);
    let mut admin = AdminServiceClient::new(channel);
    Ok(admin.get_replica_set(request).await?.into_inner())
}

/// Where the node stands.
pub(super) fn zone(set: &v1::GetReplicaSetResponse) -> String {
    set.zone.clone()
}

/// What it says of the set. Addresses that do not lead anywhere from here are left out.
pub(super) fn told(set: v1::GetReplicaSetResponse, leads: impl Fn(&str) -> bool) -> Told {
    let mut told = Told {
        epoch: set.epoch,
        ..Told::default()
    };
    for member in set.members {
        if !leads(&member.client_address) {
            continue;
        }
        if Some(member.number) == set.primary {
            told.primary = Some(member.client_address.clone());
        }
        let is_arbiter = member.role() == v1::MemberRole::Arbiter;
        told.members.push((member.client_address, is_arbiter));
    }
    told
}
