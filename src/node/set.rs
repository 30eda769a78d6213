//! The replica set as its operators see and change it.
//!
//! Whatever changes members is written down first, in the agreement, as an intent; whoever is primary carries it out, step
//! by step, and goes on where another left off (`members`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};

use super::survey::lag;
use super::{Error, Node, Serving};
use crate::base::clock::timeout;
use crate::base::{Epoch, IncarnationId, NodeNumber, explained};
use crate::control::raft::Raft;
use crate::control::{
    Addresses, Command, ControlState, Effect, Intent, Role, Settings, SettingsChange, TokenHash,
};

/// How long a switch-over may take before it is said not to have happened.
const SWITCH_WITHIN: Duration = Duration::from_secs(10);
/// How long a node that stops waits for another to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// Leave for one directory to join; the secret is shown once and kept nowhere.
#[derive(Debug, Clone, Serialize)]
pub struct JoinToken {
    /// What `--token-file` holds.
    pub secret: String,
    /// What the directory is to be.
    pub role: Role,
    /// For how long it can be used.
    pub expires_in: Duration,
}

/// What an operator asks of a set.
#[derive(Debug, Clone)]
pub enum SetChange {
    /// A member leaves for good.
    Remove(NodeNumber),
    /// A member that has joined takes the place of another, which leaves for good.
    Replace {
        /// Who goes.
        old: NodeNumber,
        /// Who comes.
        new: NodeNumber,
    },
    /// Another member becomes primary; the best one if none is named.
    SwitchOver(Option<NodeNumber>),
    /// A member that no epoch in force needs is given up at once, with all that it alone holds, if this epoch is open.
    Evict {
        /// Who.
        number: NodeNumber,
        /// The open epoch that the operator has seen.
        epoch: Epoch,
    },
    /// The data members that are not in contact count no more, until they have caught up, if this epoch is open.
    Shrink(Epoch),
    /// The primary of this open epoch may be replaced, though what it alone acknowledged may be missing until it is back.
    Approve(Epoch),
    /// This node replaces the primary of this open epoch now, whether anybody suspects it or not.
    Force(Epoch),
}

/// A directory that would join.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// The token's secret.
    pub secret: String,
    /// Whose directory.
    pub incarnation: IncarnationId,
    /// Where it is reached.
    pub addresses: Addresses,
    /// The feature level that its program understands.
    pub level: u32,
}

/// A directory that has joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its number.
    pub number: NodeNumber,
    /// What is agreed, as JSON.
    pub control: Vec<u8>,
}

impl Node {
    /// Does what an operator asks. Changes of members go on after the answer; see [`SetStatus::intents`](super::SetStatus::intents).
    ///
    /// # Errors
    /// Why it is not done, or not known to be.
    pub async fn change_set(&self, change: SetChange) -> Result<(), Error> {
        self.serving()?.change_set(change).await
    }

    /// Changes some settings of the set; says which are in force then.
    ///
    /// # Errors
    /// Why they are not changed, or not known to be.
    pub async fn change_settings(&self, change: SettingsChange) -> Result<Settings, Error> {
        self.serving()?.change_settings(change).await
    }

    /// Lets one directory join in this role, within this time. From the first token on the set agrees through Raft.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn issue_token(&self, role: Role, expires_in: Duration) -> Result<JoinToken, Error> {
        self.serving()?.issue_token(role, expires_in).await
    }

    /// Lets a directory join by its token.
    ///
    /// # Errors
    /// If the token is unknown, used or expired, or nothing can be agreed now.
    pub async fn admit(&self, applicant: Applicant) -> Result<Joined, Error> {
        self.serving()?.admit(applicant).await
    }

    /// This node's part in Raft, once the set is one of several.
    #[must_use]
    pub fn raft(&self) -> Option<Arc<Raft>> {
        let agreement = self.shared.raft.load();
        agreement.as_ref().and_then(|agreement| agreement.raft())
    }
}

fn hash(secret: &str) -> TokenHash {
    TokenHash(*blake3::hash(secret.trim().as_bytes()).as_bytes())
}

impl Serving {
    /// Raft, from now on if it was not there before.
    async fn with_raft(&self) -> Result<Arc<Raft>, Error> {
        let (agreement, place) = (Arc::clone(&self.agreement), self.place.clone());
        let opened = tokio::task::spawn_blocking(move || agreement.open_to_others(&place));
        let opened = opened.await.map_err(|_| Error::Stopping)?;
        opened.map_err(|cause| Error::NotAgreed {
            cause: explained(&cause),
        })
    }

    async fn change_set(&self, change: SetChange) -> Result<(), Error> {
        match change {
            SetChange::Remove(number) => {
                let incarnation = self.named(number)?;
                self.intend(Intent::Remove { incarnation }).await?;
            }
            SetChange::Replace { old, new } => {
                let (old, new) = (self.named(old)?, self.named(new)?);
                self.intend(Intent::Replace { old, new }).await?;
            }
            SetChange::SwitchOver(to) => self.switch_over(to).await?,
            SetChange::Evict { number, epoch } => self.evict(number, epoch).await?,
            SetChange::Shrink(epoch) => self.shrink(epoch).await?,
            SetChange::Approve(epoch) => {
                self.expect_open(epoch)?;
                self.member.approve(epoch);
            }
            SetChange::Force(epoch) => {
                self.expect_open(epoch)?;
                self.member.force(epoch)?;
                self.later_than(epoch).await?;
            }
        }
        Ok(())
    }

    async fn change_settings(&self, change: SettingsChange) -> Result<Settings, Error> {
        // Who does not understand it must not have to apply it.
        if !change.backup.is_empty() && !self.agreement.state().has_archives() {
            return Err(Error::NoArchives);
        }
        match self.agreement.agree(Command::Set(change)).await? {
            Effect::Settings(settings) => Ok(settings),
            other @ (Effect::Booted(_) | Effect::Begun(_) | Effect::Done) => {
                let cause = format!("something else was answered: {other:?}");
                Err(Error::NotAgreed { cause })
            }
        }
    }

    async fn issue_token(&self, role: Role, expires_in: Duration) -> Result<JoinToken, Error> {
        self.with_raft().await?;
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let now = self.clock.wall_millis();
        let span = u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX);
        let issue = Command::IssueToken {
            hash: hash(&secret),
            role,
            expires: now.saturating_add(span),
            now,
        };
        self.agreement.agree(issue).await?;
        Ok(JoinToken {
            secret,
            role,
            expires_in,
        })
    }

    async fn intend(&self, intent: Intent) -> Result<(), Error> {
        self.agreement.agree(Command::Intend(intent)).await?;
        Ok(())
    }

    fn named(&self, number: NodeNumber) -> Result<IncarnationId, Error> {
        let control = self.agreement.state();
        let named = control
            .members
            .iter()
            .find(|(_, member)| member.number == number);
        let (incarnation, _) = named.ok_or(Error::NoSuchMember { number })?;
        Ok(*incarnation)
    }

    /// Hands over and waits until somebody else serves, or this node does again.
    async fn switch_over(&self, to: Option<NodeNumber>) -> Result<(), Error> {
        let control = self.agreement.state();
        let to = match to {
            Some(number) => self.named(number)?,
            None => self.successor().ok_or(Error::TooFewMembers {
                present: 1,
                needed: 2,
            })?,
        };
        let open = control
            .open
            .as_ref()
            .ok_or(Error::NotPrimary { primary: None })?;
        self.change(to, open.members.clone()).await
    }

    /// Has CHANGE run, and waits until its epoch is open.
    async fn change(
        &self,
        to: IncarnationId,
        members: BTreeSet<IncarnationId>,
    ) -> Result<(), Error> {
        let before = self.member.standing().control.open_epoch();
        self.member.hand_over(to, members)?;
        self.later_than(before).await
    }

    /// Waits until a later epoch is open than this one.
    async fn later_than(&self, before: Epoch) -> Result<(), Error> {
        let mut standings = self.member.standings();
        let opened = standings.wait_for(|standing| standing.control.open_epoch() > before);
        match timeout(SWITCH_WITHIN, opened).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => Err(Error::HandingOver),
        }
    }

    /// Refuses what an operator asks who has seen another epoch open.
    fn expect_open(&self, epoch: Epoch) -> Result<(), Error> {
        let control = self.agreement.state();
        if control.open_epoch() != epoch {
            return Err(Error::SetRefused(control.stale(epoch)));
        }
        Ok(())
    }

    /// Opens an epoch without the data members that are not in contact.
    async fn shrink(&self, epoch: Epoch) -> Result<(), Error> {
        self.expect_open(epoch)?;
        let control = self.agreement.state();
        let me = self.identity.incarnation;
        let reports = self.member.reports();
        let is_heard = |member: &IncarnationId| {
            *member == me || reports.get(member).is_some_and(|report| report.is_heard)
        };
        let all = control.open.as_ref().map(|open| open.members.clone());
        let (left, absent): (BTreeSet<_>, BTreeSet<_>) =
            all.unwrap_or_default().into_iter().partition(is_heard);
        if self.member.standing().serves == Some(epoch) && absent.is_empty() {
            return Err(Error::NobodyAbsent);
        }
        info!(?absent, "shrinking the set");
        self.change(me, left).await
    }

    /// Gives a member up at once. That it would be refused is found out before anything is changed.
    async fn evict(&self, number: NodeNumber, epoch: Epoch) -> Result<(), Error> {
        let evict = Command::Evict {
            incarnation: self.named(number)?,
            expected_open: Some(epoch),
        };
        let control = self.agreement.state();
        ControlState::clone(&control).apply(evict.clone())?;
        if let Some(raft) = self.agreement.raft() {
            let status = raft.status();
            if status.voters.contains(&number) || status.learners.contains(&number) {
                raft.remove(number).await?;
            }
        }
        self.agreement.agree(evict).await?;
        info!(%number, "a member is given up");
        Ok(())
    }

    /// Before it stops, a primary has another member take over, if one can.
    pub(super) async fn hand_over_first(&self) {
        let standing = self.member.standing();
        let members = standing
            .control
            .open
            .as_ref()
            .map_or(0, |open| open.members.len());
        if standing.serves.is_none() || members < 2 {
            return;
        }
        match timeout(HAND_OVER_WITHIN, self.switch_over(None)).await {
            Ok(Ok(())) => info!("handed over"),
            Ok(Err(cause)) => warn!(%cause, "stopping without handing over"),
            Err(_) => warn!("stopping without handing over: nobody took over in time"),
        }
    }

    /// The data member that could take over soonest.
    pub(super) fn successor(&self) -> Option<IncarnationId> {
        let control = self.agreement.state();
        let open = control.open.as_ref()?;
        let reports = self.member.reports();
        let could = reports
            .iter()
            .filter(|(member, report)| open.members.contains(member) && report.is_heard);
        let durable = self.engine.durable();
        let best = could.min_by_key(|(member, report)| {
            let number = control.members.get(member).map(|member| member.number);
            let priority = number.and_then(|number| control.settings.priorities.get(&number));
            let lag = lag(&control, &durable, &report.durable);
            (std::cmp::Reverse(priority), lag.unwrap_or(u64::MAX))
        });
        best.map(|(member, _)| *member)
    }

    async fn admit(&self, applicant: Applicant) -> Result<Joined, Error> {
        let raft = self.agreement.raft().ok_or(Error::NotPrimary {
            primary: self.member.standing().primary(),
        })?;
        let Applicant {
            secret,
            incarnation,
            addresses,
            level,
        } = applicant;
        let agreed = self.agreement.state().level;
        if level < agreed {
            return Err(Error::NotAgreed {
                cause: format!(
                    "its program understands feature level {level}, the set uses {agreed}"
                ),
            });
        }
        let now = self.clock.wall_millis();
        let redeem = Command::Redeem {
            hash: hash(&secret),
            incarnation,
            now,
        };
        self.agreement.agree(redeem).await?;
        let mut states = raft.states();
        let joined = states.wait_for(|control| control.members.contains_key(&incarnation));
        let control = joined.await.map_err(|_| Error::Stopping)?.clone();
        let number = control
            .members
            .get(&incarnation)
            .map_or(NodeNumber::FIRST, |member| member.number);
        let text = serde_json::to_vec(control.as_ref()).map_err(|error| Error::NotAgreed {
            cause: error.to_string(),
        })?;
        info!(%number, %incarnation, peer = addresses.peer, "a directory joins");
        // It can be told only once it has heard who it is.
        self.tasks.spawn_finite("learner", async move {
            if let Err(cause) = raft.add_learner(number, addresses).await {
                warn!(%number, %cause, "a member that joins is not told what is agreed yet");
            }
        });
        Ok(Joined {
            number,
            control: text,
        })
    }
}
