//! gRPC health: overall (`""`) and by service, kept as the node's readiness is.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::edge::Edge;
use crate::base::clock::sleep;
use crate::proto::v1::admin_service_server::SERVICE_NAME as ADMIN;
use crate::proto::v1::feature_service_server::SERVICE_NAME as FEATURES;
use crate::proto::v1::view_service_server::SERVICE_NAME as VIEWS;

/// How soon a change of readiness shows.
const INTERVAL: Duration = Duration::from_millis(100);
const SERVICES: [&str; 4] = ["", FEATURES, VIEWS, ADMIN];

/// The health of one listener's services.
#[derive(Debug, Clone)]
pub(super) struct Health(HealthReporter);

impl Health {
    /// Of services that do not serve yet.
    pub(super) async fn new() -> Health {
        let health = Health(HealthReporter::new());
        health.set(ServingStatus::NotServing).await;
        health
    }

    pub(super) fn reporter(&self) -> HealthReporter {
        self.0.clone()
    }

    async fn set(&self, status: ServingStatus) {
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Ends the streams of those who watch.
    async fn end(mut self) {
        for service in SERVICES {
            self.0.clear_service_status(service).await;
        }
    }
}

/// Follows the node's readiness until draining begins; then says NOT_SERVING and lets the connections be closed.
pub(super) async fn follow(
    edge: Edge,
    healths: Vec<Health>,
) -> Result<(), std::convert::Infallible> {
    let stopped = edge.tasks.cancelled();
    let mut shown = None;
    while !edge.draining.is_cancelled() {
        let status = match edge.readiness() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        if shown.replace(status) != Some(status) {
            for health in &healths {
                health.set(status).await;
            }
        }
        tokio::select! {
            () = stopped.cancelled() => return Ok(()),
            () = edge.draining.cancelled() => {}
            () = sleep(INTERVAL) => {}
        }
    }
    for health in &healths {
        health.set(ServingStatus::NotServing).await;
    }
    edge.closing.cancel();
    for health in healths {
        health.end().await;
    }
    stopped.cancelled().await;
    Ok(())
}
