//! A port that speaks gRPC: what each connection to it may take.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tower::layer::util::{Identity, Stack};

use super::admission::AdmissionLayer;
use super::connection::Gate;
use super::deadline;
use super::forward::ForwardLayer;
use super::lanes::LanesLayer;
use super::metrics::MetricsLayer;

/// Requests that one connection may have under way; more wait at the client.
const STREAMS_PER_CONNECTION: u32 = 256;
const FRAME_BYTES: u32 = 16 << 10;
const HEADER_LIST_BYTES: u32 = 16 << 10;
/// Streams that a client may open and reset at once, before the connection is closed for it.
const RESET_STREAMS: usize = 32;
/// How often in the stall limit a silent connection is pinged, so that one whose client is there is never silent.
const PINGS: u32 = 3;
/// After this a connection is told to go away when its requests are done, so that clients spread again over nodes that
/// were restarted. There is no limit to that, because the library's cuts the connection without a word.
const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);

/// What every call passes through.
pub(super) type Layers =
    Stack<LanesLayer, Stack<ForwardLayer, Stack<AdmissionLayer, Stack<MetricsLayer, Identity>>>>;

/// A port that is bound but not served yet.
pub(super) struct Port {
    pub listener: TcpListener,
    pub gate: Gate,
    /// Bytes of one stream that may be on their way before its handler has taken them.
    pub stream_window: u32,
    /// Bytes of one connection.
    pub connection_window: u32,
}

impl Port {
    /// Serves until `closing`, then until the last connection has ended.
    pub async fn serve(
        self,
        routes: Routes,
        layers: Layers,
        closing: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let gate = self.gate;
        let keepalive = Some(gate.stall() / PINGS);
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let incoming = incoming.filter_map(move |io| {
            let admitted = io.map(|io| gate.admit(io)).transpose();
            async move { admitted }
        });
        tonic::transport::Server::builder()
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .http2_max_header_list_size(HEADER_LIST_BYTES)
            .max_frame_size(FRAME_BYTES)
            .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS))
            .http2_max_local_error_reset_streams(Some(RESET_STREAMS))
            .http2_keepalive_interval(keepalive)
            .http2_keepalive_timeout(keepalive)
            .timeout(deadline::MOST)
            .max_connection_age(CONNECTION_AGE)
            .layer(layers)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, closing.cancelled_owned())
            .await
    }
}
