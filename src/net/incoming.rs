//! The receiving end of a wire.

use std::sync::Arc;

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::hello::{Hello, Refusal};
use super::wires::{Inbound, Shared, Wires};
use crate::base::IncarnationId;
use crate::proto::{Invalid, Problem, v1};
use v1::peer_message::Content;

/// What a member that called says, until its stream ends.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    from: IncarnationId,
}

impl Wires {
    /// Judges the first message of a stream. Answered with the hello that is returned, the stream may go on.
    ///
    /// # Errors
    /// Why the caller is not talked to.
    pub fn answer(&self, first: Option<v1::PeerMessage>) -> Result<(Incoming, Hello), Refusal> {
        let judged = self.judge_first(first);
        match &judged {
            Ok((_, hello)) => info!(peer = %hello.to, "a peer calls"),
            Err(cause) => {
                self.shared.metrics.refused_hellos.inc();
                warn!(%cause, "the call of a peer is refused");
            }
        }
        judged
    }

    fn judge_first(&self, first: Option<v1::PeerMessage>) -> Result<(Incoming, Hello), Refusal> {
        let Some(Content::Hello(hello)) = first.and_then(|message| message.content) else {
            return Err(Problem::HelloNotFirst.at("hello").into());
        };
        let hello = Hello::try_from(hello)?;
        self.judge(&hello)?;
        if let Some(peer) = self.shared.peer(hello.from) {
            peer.called.notify_one();
        }
        let incoming = Incoming {
            shared: Arc::clone(&self.shared),
            from: hello.from,
        };
        Ok((incoming, self.hello(hello.from)))
    }
}

impl Incoming {
    /// Cancelled when nobody takes in any more what comes; the stream is to end then.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.shared.tasks.cancelled()
    }

    /// Hands a message to the inbox.
    ///
    /// # Errors
    /// If it cannot be read; the stream is to end.
    pub fn take(&self, message: v1::PeerMessage) -> Result<(), Invalid> {
        if let Some(peer) = self.shared.peer(self.from) {
            peer.counters.received_messages.inc();
            let bytes = message.encoded_len();
            peer.counters
                .received_bytes
                .inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
            peer.hear();
        }
        let read = (self.shared.inbox)(self.from, Inbound::Message(message));
        read.inspect_err(|cause| {
            self.shared.metrics.bad_messages.inc();
            warn!(peer = %self.from, %cause, "a message of a peer cannot be read");
        })
    }
}
