//! `steadfast bench empty-server`: a gRPC server that does nothing, the bound of what any server here could do.
//!
//! It answers every call with the same bytes, neither decoding the request nor encoding the answer.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::future::Ready;
use std::path::Path;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Child;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::super::child;
use super::super::error::CliError;
use super::super::output::print_json;
use super::grpc::Raw;

/// Answer every call with the same bytes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bytes of an answer.
    #[arg(long, value_name = "N")]
    answer_bytes: usize,
}

/// Such a server as a process. Dropping it kills it.
#[derive(Debug)]
pub struct EmptyServer {
    _child: Child,
    /// Where clients connect.
    pub address: String,
}

impl EmptyServer {
    /// Starts one that answers with so many bytes and logs to `directory`.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start(
        binary: &Path,
        directory: &Path,
        answer_bytes: usize,
    ) -> Result<EmptyServer, CliError> {
        let answer_bytes = answer_bytes.to_string();
        let arguments = ["bench", "empty-server", "--answer-bytes", &answer_bytes].map(OsStr::new);
        let log = directory.join("empty-server.log");
        let (child, ready) = child::start(binary, &arguments, &log).await?;
        let address = ready.get("client").and_then(serde_json::Value::as_str);
        Ok(EmptyServer {
            _child: child,
            address: address.unwrap_or_default().to_owned(),
        })
    }
}

/// Serves until it is killed.
///
/// # Errors
/// If it cannot listen.
pub async fn run(args: Args) -> Result<(), CliError> {
    let failed =
        |error: &dyn std::error::Error| CliError::failed("CANNOT_LISTEN", error.to_string());
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    print_json(&json!({"event": "ready", "client": address.to_string()}))?;
    let service = Empty(Bytes::from(vec![0; args.answer_bytes]));
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .map_err(|error| failed(&error))
}

/// Answers every method of the feature service.
#[derive(Debug, Clone)]
struct Empty(Bytes);

impl NamedService for Empty {
    const NAME: &'static str = "steadfast.v1.FeatureService";
}

impl Service<http::Request<Body>> for Empty {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Answer(self.0.clone());
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(answer, request).await) })
    }
}

struct Answer(Bytes);

impl Service<Request<Bytes>> for Answer {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}
