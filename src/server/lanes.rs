//! Writes are served apart from lookups: on threads that give way, so that a lookup never waits for a batch that is
//! being decoded.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::status::Failure;
use crate::base::task::Background;
use crate::proto::Reason;

/// The methods that write rows.
pub(super) const WRITES: [&str; 3] = [
    "/steadfast.v1.FeatureService/PutFeatures",
    "/steadfast.v1.FeatureService/IngestFeatures",
    "/steadfast.v1.FeatureService/DeleteFeatures",
];

/// Puts writes on the threads of `.0`.
#[derive(Debug, Clone)]
pub(super) struct LanesLayer(pub(super) Arc<Background>);

impl<S> Layer<S> for LanesLayer {
    type Service = Lanes<S>;

    fn layer(&self, inner: S) -> Lanes<S> {
        Lanes {
            inner,
            aside: Arc::clone(&self.0),
        }
    }
}

/// A service whose writes are served aside.
#[derive(Debug, Clone)]
pub(super) struct Lanes<S> {
    inner: S,
    aside: Arc<Background>,
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Lanes<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_write = WRITES.contains(&request.uri().path());
        let answer = self.inner.call(request);
        if !is_write {
            return Box::pin(answer);
        }
        let answer = self.aside.run(answer);
        Box::pin(async move { answer.await.unwrap_or_else(|| Ok(stopping())) })
    }
}

fn stopping() -> Response<Body> {
    tonic::Status::from(Failure::new(Reason::Stopping, "the node is stopping")).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn every_method_that_writes_rows_is_one_of_the_service() {
        let descriptors: prost_types::FileDescriptorSet =
            prost::Message::decode(v1::DESCRIPTORS).unwrap();
        let services = descriptors.file.iter().flat_map(|file| &file.service);
        let paths: Vec<String> = services
            .flat_map(|service| {
                let paths = service.method.iter();
                paths.map(|method| format!("/steadfast.v1.{}/{}", service.name(), method.name()))
            })
            .collect();
        assert!(
            WRITES
                .iter()
                .all(|write| paths.iter().any(|path| path == write))
        );
    }
}
