//! A voter's way into the agreement, and what it does when nobody leads.
//!
//! START: a starting voter is mute until a majority of voters, itself included, has answered its Hello, the leader that any
//! of them follows among them, and none knows of a start that its directory does not, or of a longer log.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::core::{Core, Gate};
use super::election::is_majority;
use super::message::{Answer, Ask, Greeting, Hello, Starts};
use super::types::Membership;
use crate::base::NodeNumber;
use crate::base::clock::{sleep, timeout};

/// How often is looked whether it is time to stand.
const TICK: Duration = Duration::from_millis(25);
/// How long a voter's answer is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Runs until the group stops. Ends early if this member may never take part, or cannot any more.
pub(super) async fn take_part(
    core: Arc<Core>,
    starts: Starts,
    cancelled: CancellationToken,
) -> Result<(), String> {
    let part = async {
        core.introduce(starts).await?;
        loop {
            core.look_after_leader().await?;
            sleep(TICK).await;
        }
    };
    tokio::select! {
        () = cancelled.cancelled() => Ok(()),
        ended = part => ended,
    }
}

impl Core {
    async fn introduce(&self, starts: Starts) -> Result<(), String> {
        let me = self.peers.me;
        // Before its core runs the metrics say of everyone that it has no vote.
        let runs = self.raft.with_raft_state(|_| ()).await;
        runs.map_err(|fatal| fatal.to_string())?;
        loop {
            let last = self.store.extent().map_err(|error| error.to_string())?.last;
            let hello = Hello {
                number: me,
                starts: starts.clone(),
                last,
            };
            let membership = self.membership();
            let asked = self
                .ask_voters(&membership, Ask::Hello(hello.clone()))
                .await;
            let is_greeting = |(member, answer)| {
                if let Answer::Hello(greeting) = answer {
                    Some((member, greeting))
                } else {
                    None
                }
            };
            let greetings: Vec<(NodeNumber, Greeting)> = asked
                .into_iter()
                .filter_map(is_greeting)
                .chain([(me, self.greet(&hello))])
                .collect();
            let objection = greetings
                .iter()
                .find_map(|(_, known)| known.objection.clone());
            if let Some(objection) = objection {
                self.gate.send_replace(Gate::Shut(objection.clone()));
                return Err(objection);
            }
            let answered: BTreeSet<NodeNumber> = greetings.iter().map(|(at, _)| *at).collect();
            let mut leaders = greetings.iter().filter_map(|(_, known)| known.leader);
            let has_asked_leader = leaders.all(|leader| answered.contains(&leader));
            let voters = membership.get_joint_config();
            let is_voter = voters.iter().any(|voters| voters.contains(&me));
            if !is_voter || has_asked_leader && is_majority(voters, &answered) {
                self.gate.send_replace(Gate::Open);
                return Ok(());
            }
            sleep(TICK).await;
        }
    }

    /// Stands for election if nobody leads and enough voters would vote for this one.
    async fn look_after_leader(&self) -> Result<(), String> {
        if self.raft.metrics().has_changed().is_err() {
            // A core that has panicked does not say so.
            return Err("the agreement has ended".to_owned());
        }
        let metrics = self.metrics();
        metrics.running_state.map_err(|fatal| fatal.to_string())?;
        let me = self.peers.me;
        let membership = metrics.membership_config.membership();
        let voters = membership.get_joint_config();
        let is_voter = voters.iter().any(|voters| voters.contains(&me));
        if metrics.state == ServerState::Leader || !is_voter {
            return Ok(());
        }
        let now = self.peers.clock.monotonic();
        if !self.election().is_due(now, rand::random()) {
            return Ok(());
        }
        let would_win = self.canvass(membership).await?;
        // Who got this one's vote meanwhile is given the time to lead.
        let now = self.peers.clock.monotonic();
        if would_win && self.election().would_vote(now) {
            info!(number = %me, "nobody leads the agreement: standing for election");
            let stood = self.raft.trigger().elect().await;
            stood.map_err(|fatal| fatal.to_string())?;
        }
        Ok(())
    }

    /// Would a majority vote for this one? Known as soon as so many say so: who does not answer holds nobody up.
    async fn canvass(&self, membership: &Membership) -> Result<bool, String> {
        let last = self.store.extent().map_err(|error| error.to_string())?.last;
        let question = Ask::Canvass { last };
        let mut asked = self.asked(membership, &question);
        let mut yes = BTreeSet::from([self.peers.me]);
        let voters = membership.get_joint_config();
        while !is_majority(voters, &yes) {
            match asked.next().await {
                Some(Some((member, Answer::Canvass(true)))) => yes.insert(member),
                Some(_) => continue,
                None => return Ok(false),
            };
        }
        Ok(true)
    }

    fn membership(&self) -> Membership {
        self.metrics().membership_config.membership().clone()
    }

    /// Asks all other voters at once; those who do not answer soon are left out.
    async fn ask_voters(&self, membership: &Membership, ask: Ask) -> Vec<(NodeNumber, Answer)> {
        let asked = self.asked(membership, &ask);
        asked.filter_map(ready).collect().await
    }

    /// The answers of all other voters, as they come.
    fn asked(
        &self,
        membership: &Membership,
        ask: &Ask,
    ) -> FuturesUnordered<impl Future<Output = Option<(NodeNumber, Answer)>>> {
        let voters: BTreeSet<NodeNumber> = membership.voter_ids().collect();
        let others = voters.into_iter().filter(|voter| *voter != self.peers.me);
        others
            .map(|voter| self.ask_soon(voter, membership, ask))
            .collect()
    }

    fn ask_soon(
        &self,
        voter: NodeNumber,
        membership: &Membership,
        ask: &Ask,
    ) -> impl Future<Output = Option<(NodeNumber, Answer)>> {
        let known = membership.get_node(&voter).cloned().unwrap_or_default();
        async move {
            let asked = self.peers.ask(voter, &known, ask);
            let answer = timeout(PATIENCE, asked).await.ok()?.ok()?;
            Some((voter, answer))
        }
    }
}
