//! Admission: what a request and its answer take of memory is counted, and what does not fit is refused before it is
//! decoded.
//!
//! **Invariants.** Bytes of a request are held from the moment they arrive until its handler has done with them; bytes of
//! an answer from the moment they are made until the connection has taken them.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::connection::{Answers, Client, Waiting};
use super::lanes::WRITES;
use super::metrics::TimedByHandler;
use super::slow::Timed;
use super::status::Failure;
use crate::base::budget::Full;
use crate::base::clock::now_monotonic;
use crate::base::{Account, Held};
use crate::node;

/// What a request takes beside its message and its answer: its headers and the state of its call.
const REQUEST_BYTES: usize = 16 << 10;
/// Counts requests and answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdmissionLayer;

/// A service whose requests are admitted.
#[derive(Debug, Clone)]
pub(super) struct Admitting<S>(S);

/// What of a request is in memory. Its handler finds it in the request's extensions, takes it over with the message, and
/// leaves here what its answer holds.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    arrived: Arc<Mutex<Arrived>>,
    client: IpAddr,
    begun: Instant,
}

#[derive(Debug)]
struct Arrived {
    held: Held,
    /// When the first bytes came of what is held.
    since: Option<Instant>,
}

impl Intake {
    /// All that has arrived since this was called last.
    pub fn take(&self) -> Held {
        let mut arrived = self.lock();
        arrived.since = None;
        arrived.held.take()
    }

    /// Since when a message has been arriving of which not all is there, if one is.
    pub fn arriving_since(&self) -> Option<Instant> {
        self.lock().since
    }

    /// Leaves the memory of an answer to those who send it.
    pub fn leave(&self, answer: Held) {
        self.lock().held = answer;
    }

    /// The request, of which one message has been decoded now.
    pub fn decoded(&self, method: &'static str) -> Timed {
        Timed {
            method,
            client: self.client,
            begun: self.begun,
            decoded: now_monotonic(),
        }
    }

    fn arrived(&self, bytes: usize) -> Result<(), Full> {
        let mut arrived = self.lock();
        arrived.since.get_or_insert_with(now_monotonic);
        arrived.held.grow(bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The intake of a request that came over one of our connections.
pub(super) fn intake<T>(request: &tonic::Request<T>) -> Intake {
    let intake = request.extensions().get::<Intake>().cloned();
    intake.expect("the admission layer stands before every handler")
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Admitting<S> {
        Admitting(inner)
    }
}

impl<S> Service<Request<Body>> for Admitting<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let client = request.extensions().get::<Client>().cloned();
        let client = client.expect("every connection names its client");
        let account = if WRITES.contains(&request.uri().path()) {
            client.writes
        } else {
            client.reads
        };
        let mut held = account.hold();
        if let Err(full) = held.grow(REQUEST_BYTES) {
            return Box::pin(async move { Ok(overloaded(full).into_http()) });
        }
        let intake = Intake {
            arrived: Arc::new(Mutex::new(Arrived { held, since: None })),
            client: client.address,
            begun: now_monotonic(),
        };
        request.extensions_mut().insert(intake.clone());
        let arriving = |body| Arriving {
            body,
            intake: intake.clone(),
        };
        let answer = self.0.call(request.map(arriving).map(Body::new));
        let answers = client.answers;
        Box::pin(async move {
            let answer = answer.await?;
            let is_stream = answer.extensions().get::<TimedByHandler>().is_some();
            let whole = (!is_stream).then(|| answers.wait(intake.take()));
            Ok(answer.map(|body| {
                Body::new(Leaving {
                    body,
                    whole,
                    account,
                    answers,
                })
            }))
        })
    }
}

fn overloaded(full: Full) -> Status {
    Failure::from(node::Error::from(full)).into()
}

/// The body of a request.
struct Arriving {
    body: Body,
    intake: Intake,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(full) = self.intake.arrived(data.len())
        {
            return Poll::Ready(Some(Err(overloaded(full))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
struct Leaving {
    body: Body,
    /// An answer that is no stream, until it is encoded.
    whole: Option<Waiting>,
    account: Account,
    answers: Arc<Answers>,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| {
            frame.map_data(|data| {
                let waiting = self.whole.take();
                let waiting =
                    waiting.unwrap_or_else(|| self.answers.wait(self.account.count(data.len())));
                Bytes::from_owner(Queued {
                    data,
                    _waiting: waiting,
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that are counted until the connection has taken them.
struct Queued {
    data: Bytes,
    _waiting: Waiting,
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
