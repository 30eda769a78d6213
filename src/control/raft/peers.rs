//! How members ask each other: who is meant, where that one is reached, and what its clock shows.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::super::member::Addresses;
use super::super::state::ControlState;
use super::clocks::Clocks;
use super::message::{Answer, Ask};
use crate::base::{Clock, LineageId, NodeNumber};
use crate::net::{RaftLines, Unreachable};
use crate::proto::v1::RaftMessage;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("member {member} has told nobody where it is reached")]
    NoAddress { member: NodeNumber },
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("member {member} refuses: {why}")]
    Refused { member: NodeNumber, why: String },
    #[error("the answer of member {member} is none: {problem}")]
    Garbled { member: NodeNumber, problem: String },
}

/// The other members, as one of them sees them.
#[derive(Debug)]
pub(super) struct Peers {
    pub me: NodeNumber,
    lineage: LineageId,
    lines: RaftLines,
    states: watch::Receiver<Arc<ControlState>>,
    pub clock: Arc<dyn Clock>,
    clocks: Mutex<Clocks>,
}

impl Peers {
    pub fn new(
        me: NodeNumber,
        states: watch::Receiver<Arc<ControlState>>,
        clock: Arc<dyn Clock>,
    ) -> Peers {
        let lineage = states.borrow().lineage;
        Peers {
            me,
            lineage,
            lines: RaftLines::default(),
            states,
            clock,
            clocks: Mutex::default(),
        }
    }

    /// Asks a member; `known` is where it was once reached.
    pub async fn ask(
        &self,
        member: NodeNumber,
        known: &Addresses,
        ask: &Ask,
    ) -> Result<Answer, NoAnswer> {
        let address = self.address(member, known)?;
        let question = self.seal(member, ask);
        let answer = self.lines.ask(member, &address, question).await?;
        let garbled = |problem| NoAnswer::Garbled { member, problem };
        let read = self.open(&answer, member).map_err(garbled)?;
        let now = self.clock.monotonic();
        self.clocks().hear(now, member, answer.wall_millis);
        if let Answer::Refused(why) = read {
            return Err(NoAnswer::Refused { member, why });
        }
        Ok(read)
    }

    fn address(&self, member: NodeNumber, known: &Addresses) -> Result<String, NoAnswer> {
        let agreed = self.states.borrow();
        let agreed = agreed
            .member_by_number(member)
            .map(|(_, member)| &member.addresses.peer);
        let mut addresses = agreed.into_iter().chain([&known.peer]);
        let address = addresses.find(|address| !address.is_empty());
        address.cloned().ok_or(NoAnswer::NoAddress { member })
    }

    /// A message about a member: the one that is asked, or the one that answers.
    pub fn seal<T: Serialize>(&self, member: NodeNumber, body: &T) -> RaftMessage {
        RaftMessage {
            lineage: self.lineage.to_string(),
            number: member.0,
            // What is sent is made of numbers, texts and maps whose keys are texts.
            body: serde_json::to_vec(body).unwrap_or_default().into(),
            wall_millis: self.clock.wall_millis(),
        }
    }

    /// What a message says, if it is about this member of this set.
    pub fn open<T: DeserializeOwned>(
        &self,
        message: &RaftMessage,
        member: NodeNumber,
    ) -> Result<T, String> {
        if message.lineage != self.lineage.to_string() || message.number != member.0 {
            return Err(format!(
                "here is member {member} of lineage {}, not member {} of lineage {}",
                self.lineage, message.number, message.lineage
            ));
        }
        serde_json::from_slice(&message.body).map_err(|error| error.to_string())
    }

    /// What the clocks of these members show, this one's included.
    pub fn clocks_of(&self, members: impl Iterator<Item = NodeNumber>) -> Vec<u64> {
        let others = members.filter(|member| *member != self.me);
        let now = self.clock.monotonic();
        let shown: Vec<u64> = self.clocks().shown(now, others).collect();
        [shown, vec![self.clock.wall_millis()]].concat()
    }

    fn clocks(&self) -> std::sync::MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
