//! HTTP for probes, scrapers and people: health, metrics, status.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use super::connection::{Gate, GatedListener};
use super::edge::Edge;

/// Serves until the task group stops: probes want answers while the node drains.
pub(super) async fn serve(
    listener: TcpListener,
    gate: Gate,
    edge: Edge,
    registry: Registry,
) -> std::io::Result<()> {
    let stopped = edge.tasks.cancelled();
    let shared = Arc::new((edge, registry));
    let routes = Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/startup", get(startup))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(shared);
    let served = axum::serve(GatedListener { listener, gate }, routes);
    tokio::select! {
        biased;
        () = stopped.cancelled() => Ok(()),
        ended = served => ended,
    }
}

type Shared = State<Arc<(Edge, Registry)>>;

async fn live() -> Response {
    Json(json!({"live": true})).into_response()
}

async fn ready(State(shared): Shared) -> Response {
    match shared.0.readiness() {
        Ok(()) => Json(json!({"ready": true})).into_response(),
        Err(reason) => {
            let body = Json(json!({"ready": false, "reason": reason}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn startup(State(shared): Shared) -> Response {
    let health = shared.0.node.health();
    let replay = health
        .replay
        .map(|replay| json!({"done_bytes": replay.done_bytes, "total_bytes": replay.total_bytes}));
    let code = if health.started {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(json!({"started": health.started, "replay": replay}));
    (code, body).into_response()
}

async fn metrics(State(shared): Shared) -> Response {
    let (edge, registry) = &*shared;
    let mut own = String::new();
    let encoded = text::encode(&mut own, registry);
    debug_assert!(encoded.is_ok(), "writing to a string does not fail");
    let text = join_metrics(&edge.node.metrics_text(), &own);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Two OpenMetrics texts as one, which has one end mark.
fn join_metrics(first: &str, second: &str) -> String {
    let first = first.strip_suffix("# EOF\n").unwrap_or(first);
    format!("{first}{second}")
}

async fn status(State(shared): Shared) -> Response {
    Json(shared.0.status()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_metrics_end_once() {
        assert_eq!(
            join_metrics("a 1\n# EOF\n", "b 2\n# EOF\n"),
            "a 1\nb 2\n# EOF\n"
        );
        assert_eq!(join_metrics("a 1\n", "b 2\n# EOF\n"), "a 1\nb 2\n# EOF\n");
    }
}
