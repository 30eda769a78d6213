//! What is remembered of the set's epochs: a primary has noted how it came to take writes; whoever asks is told.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::debug;

use super::{Error, Node, Serving};
use crate::base::Epoch;
use crate::control::{Command, EpochNote, Served};

impl Node {
    /// What is remembered of the latest epochs, as far as this node has learnt.
    ///
    /// # Errors
    /// While the node starts.
    pub fn history(&self) -> Result<BTreeMap<Epoch, EpochNote>, Error> {
        Ok(self.serving()?.agreement.state().history.clone())
    }
}

impl Serving {
    /// Has noted that this node serves, unless that is known.
    pub(super) async fn note_serving(&self) {
        let standing = self.member.standing();
        let (Some(epoch), Some(takeover)) = (standing.serves, standing.takeover) else {
            return;
        };
        let is_noted = |note: &EpochNote| note.served.is_some();
        if self
            .agreement
            .state()
            .history
            .get(&epoch)
            .is_none_or(is_noted)
        {
            return;
        }
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let since_then = self.clock.monotonic().saturating_sub(takeover.at);
        let served = Served {
            at: self.clock.wall_millis().saturating_sub(millis(since_then)),
            unavailable_ms: takeover.unavailable.map(millis),
            recovered: takeover.recovered,
        };
        if let Err(cause) = self.agreement.agree(Command::Serve { epoch, served }).await {
            debug!(%epoch, %cause, "it waits to be noted that this node serves");
        }
    }
}
