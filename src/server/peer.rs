//! What peers call: the receiving ends of the wires between members.
//!
//! **Invariant.** A stream is taken in until it ends, holds something that cannot be read, or nobody takes it in any more: not
//! only until the node drains, for it still has to hand over then.

use std::future::ready;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{Intake, intake};
use super::edge::Edge;
use super::metrics::TimedByHandler;
use super::status::{Failure, explain};
use crate::base::clock::timeout;
use crate::net::{self, Incoming};
use crate::proto::{Reason, v1};
use v1::replication_service_server::ReplicationService;

/// How long a peer may take until it has said who it is.
const HELLO_LIMIT: Duration = net::STALL;

/// The service behind the wires of other members.
pub(super) struct Replication(pub Edge);

#[tonic::async_trait]
impl ReplicationService for Replication {
    type ExchangeStream = BoxStream<'static, Result<v1::PeerHello, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<v1::PeerMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let wires = self.0.node.wires().ok_or_else(starting)?;
        let intake = intake(&request);
        let mut messages = request.into_inner();
        let first = timeout(HELLO_LIMIT, messages.message()).await;
        let first = first.map_err(|_| silent())?.map_err(explain)?;
        let (incoming, hello) = wires.answer(first).map_err(Failure::from)?;
        let (end, ended) = oneshot::channel();
        let (stopped, over) = (self.0.tasks.cancelled(), incoming.ended());
        let received = async move {
            let received = over.run_until_cancelled(receive(incoming, messages, intake));
            let outcome = stopped.run_until_cancelled(received).await.flatten();
            if let Err(status) = outcome.unwrap_or_else(|| Err(stopping())) {
                // Whoever has gone away does not hear it.
                let _heard = end.send(status);
            }
        };
        self.0.tasks.spawn_finite("peer stream", received);
        let ended = ended.into_stream();
        let ended = ended.filter_map(|status| ready(status.ok().map(Err)));
        let answers = stream::iter([Ok(hello.into())]).chain(ended).boxed();
        let mut response = Response::new(answers);
        response.extensions_mut().insert(TimedByHandler);
        Ok(response)
    }
}

/// Takes in what a peer says until its stream ends.
async fn receive(
    incoming: Incoming,
    mut messages: Streaming<v1::PeerMessage>,
    intake: Intake,
) -> Result<(), Status> {
    while let Some(message) = messages.message().await.map_err(explain)? {
        let _memory = intake.take();
        incoming.take(message).map_err(Failure::from)?;
    }
    Ok(())
}

fn starting() -> Status {
    Failure::new(Reason::Starting, "the node does not know its peers yet").into()
}

fn silent() -> Status {
    Failure::new(Reason::InvalidArgument, "no hello came").into()
}

fn stopping() -> Status {
    Failure::new(Reason::Stopping, "the node is stopping").into()
}
