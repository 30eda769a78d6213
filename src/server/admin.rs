//! The admin service: what an operator asks.

use tonic::{Request, Response, Status};

use super::edge::Edge;
use crate::proto::v1;
use crate::proto::v1::admin_service_server::AdminService;

pub(super) struct Admin(pub(super) Edge);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let json = self.0.status().to_string();
        Ok(Response::new(v1::GetStatusResponse { json }))
    }
}
