//! What passes through a node on the way to the primary and back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::way::Way;
use crate::server::admission::Intake;

/// What a client sends. It is counted until the connection to the primary takes it, which it does only as there is room.
pub(super) struct Asking {
    body: Body,
    intake: Intake,
}

impl Asking {
    pub fn new(body: Body, intake: Intake) -> Asking {
        Asking { body, intake }
    }
}

impl HttpBody for Asking {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        drop(self.intake.take());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the primary answers. If it is lost meanwhile, the answer ends with a status that says what that means.
pub(super) struct Answering {
    body: Body,
    /// Until it is lost.
    way: Option<Way>,
}

impl Answering {
    pub fn new(body: Body, way: Way) -> Answering {
        let way = Some(way);
        Answering { body, way }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.way.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match (frame, self.way.take()) {
            (Some(Err(cause)), Some(way)) => {
                let mut trailers = HeaderMap::new();
                let lost = Status::from(way.lost(cause.message()));
                let ended = lost.add_header(&mut trailers);
                Some(ended.map(|()| Frame::trailers(trailers)))
            }
            (frame, way) => {
                self.way = way;
                frame
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.way.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
