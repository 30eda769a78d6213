//! The replica set as its operators see and change it.
//!
//! Whatever changes members is written down first, in the agreement, as an intent; whoever is primary carries it out, step
//! by step, and goes on where another left off (`members`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};

use super::{Error, Node, Serving};
use crate::base::clock::timeout;
use crate::base::{
    BootNumber, Epoch, Hlc, IncarnationId, LogId, NodeNumber, Seq, VersionVector, explained,
};
use crate::control::raft::Raft;
use crate::control::{
    Addresses, Command, ControlState, Effect, Intent, Role, Settings, SettingsChange, TokenHash,
    commit_size, seal_size,
};
use crate::replica::Report;

/// How long a switch-over may take before it is said not to have happened.
const SWITCH_WITHIN: Duration = Duration::from_secs(10);
/// How long a node that stops waits for another to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// One screen of a set.
#[derive(Debug, Clone, Serialize)]
pub struct SetStatus {
    /// Who says so.
    pub by: NodeNumber,
    /// The history of data it holds.
    pub lineage: String,
    /// The open epoch.
    pub epoch: Epoch,
    /// The latest attempt, where that is another.
    pub attempt: Option<Epoch>,
    /// The primary of the open epoch; whether it serves is in its own line.
    pub primary: Option<NodeNumber>,
    /// Members that must hold a write of level quorum.
    pub commit_size: usize,
    /// Up to which time the primary may stamp.
    pub window: Hlc,
    /// The purge horizon.
    pub horizon: Hlc,
    /// The members by number.
    pub members: BTreeMap<NodeNumber, MemberStatus>,
    /// Changes of members that are under way.
    pub intents: Vec<Intent>,
    /// What operators chose.
    pub settings: Settings,
    /// How the agreement goes, as the node that answers sees it; `None` while it is alone.
    pub agreement: Option<AgreementStatus>,
    /// Could another member take over now without losing what was acknowledged at quorum? If not, why.
    pub can_fail_over: Result<(), String>,
}

/// One member, as far as the node that answers knows: most is known to the primary alone.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// Its directory.
    pub incarnation: IncarnationId,
    /// What it does.
    pub role: Role,
    /// Is it a data member of the open epoch?
    pub counts: bool,
    /// Its last registered start.
    pub boot: BootNumber,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Is it the node that answers?
    pub is_self: bool,
    /// Does it serve writes now? Known of the node itself only.
    pub serves: bool,
    /// The epoch it has promised, as reported last.
    pub promise: Option<Epoch>,
    /// What it holds durably.
    pub durable: Option<String>,
    /// What can be read there.
    pub applied: Option<String>,
    /// Records that the primary holds and it lacks.
    pub lag_records: Option<u64>,
    /// How long ago it was last heard by the node that answers.
    pub heard_ago: Option<Duration>,
    /// Why there is no connection to it.
    pub trouble: Option<String>,
}

/// How the agreement goes.
#[derive(Debug, Clone, Serialize)]
pub struct AgreementStatus {
    /// Who leads it.
    pub leader: Option<NodeNumber>,
    /// Its term.
    pub term: u64,
    /// How long ago a majority last confirmed the leader, if that is the node that answers.
    pub confirmed_ago: Option<Duration>,
    /// Who votes.
    pub voters: Vec<NodeNumber>,
}

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
    /// The primary of this open epoch may be replaced, though what it alone acknowledged may be missing until it is back.
    Approve(Epoch),
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
    /// The set as this node sees it.
    ///
    /// # Errors
    /// While the node starts.
    pub fn set_status(&self) -> Result<SetStatus, Error> {
        Ok(self.serving()?.set_status())
    }

    /// Does what an operator asks. Changes of members go on after the answer; see [`SetStatus::intents`].
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
            SetChange::Approve(epoch) => self.member.approve(epoch),
        }
        Ok(())
    }

    async fn change_settings(&self, change: SettingsChange) -> Result<Settings, Error> {
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
        let members = open.members.clone();
        let mut standings = self.member.standings();
        let before = standings.borrow_and_update().control.open_epoch();
        self.member.hand_over(to, members)?;
        let opened = standings.wait_for(|standing| standing.control.open_epoch() > before);
        match timeout(SWITCH_WITHIN, opened).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => Err(Error::HandingOver),
        }
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
            (std::cmp::Reverse(priority), lag(&durable, &report.durable))
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

    fn set_status(&self) -> SetStatus {
        let standing = self.member.standing();
        let control = self.agreement.state();
        let me = self.identity.incarnation;
        let number =
            |incarnation: &IncarnationId| control.members.get(incarnation).map(|m| m.number);
        let reports = self.member.reports();
        let wires = self.wires.status();
        let durable = self.engine.durable();
        let applied = self.engine.state().applied.0.clone();
        let open = control.open.as_ref();
        let members = control.members.iter().map(|(incarnation, member)| {
            let (report, wire) = (reports.get(incarnation), wires.get(incarnation));
            let is_self = *incarnation == me;
            let own = |vector: &VersionVector| is_self.then(|| vector.to_string());
            let held = |report: Option<&VersionVector>, own: Option<String>| {
                own.or_else(|| report.map(VersionVector::to_string))
            };
            let status = MemberStatus {
                incarnation: *incarnation,
                role: member.role,
                counts: open.is_some_and(|open| open.members.contains(incarnation)),
                boot: member.boot,
                addresses: member.addresses.clone(),
                is_self,
                serves: is_self && standing.serves.is_some(),
                promise: if is_self {
                    Some(standing.promise)
                } else {
                    report.map(|report| report.promise)
                },
                durable: held(report.map(|report| &report.durable), own(&durable)),
                applied: held(report.map(|report| &report.applied), own(&applied)),
                lag_records: report.map(|report| lag(&durable, &report.durable)),
                heard_ago: wire.and_then(|wire| wire.heard_ago),
                trouble: wire.and_then(|wire| wire.trouble.clone()),
            };
            (member.number, status)
        });
        SetStatus {
            by: number(&me).unwrap_or(NodeNumber::FIRST),
            lineage: control.lineage.to_string(),
            epoch: control.open_epoch(),
            attempt: Some(control.attempt_epoch())
                .filter(|attempt| *attempt != control.open_epoch()),
            primary: control.primary().as_ref().and_then(number),
            commit_size: commit_size(open.map_or(1, |open| open.members.len())),
            window: control.ceiling,
            horizon: control.horizon,
            members: members.collect(),
            intents: control.intents.iter().copied().collect(),
            settings: control.settings.clone(),
            agreement: self.agreement.raft().map(|raft| {
                let status = raft.status();
                AgreementStatus {
                    leader: status.leader,
                    term: status.term,
                    confirmed_ago: status.last_quorum_acked,
                    voters: status.voters.into_iter().collect(),
                }
            }),
            can_fail_over: if standing.serves.is_some() {
                can_fail_over(&control, &reports)
            } else {
                Err("only the primary knows, and this node is not".to_owned())
            },
        }
    }
}

/// Records that one holds and the other lacks, as far as the logs say that are not folded.
pub(super) fn lag(holds: &VersionVector, lacks: &VersionVector) -> u64 {
    let behind = |(log, last): (LogId, Seq)| {
        lacks
            .last(log)
            .map_or(0, |held| last.0.saturating_sub(held.0))
    };
    holds.logs().map(behind).sum()
}

fn can_fail_over(
    control: &ControlState,
    reports: &BTreeMap<IncarnationId, Report>,
) -> Result<(), String> {
    let members = control.open.as_ref().map(|open| &open.members);
    let members = members.ok_or("no epoch was ever opened")?;
    if members.len() < 2 {
        return Err("there is one data member".to_owned());
    }
    let is_there =
        |member: &&IncarnationId| reports.get(*member).is_some_and(|report| report.is_heard);
    let (present, needed) = (
        members.iter().filter(is_there).count(),
        seal_size(members.len()),
    );
    if present < needed {
        return Err(format!(
            "this node hears {present} other data members, and {needed} must agree"
        ));
    }
    Ok(())
}
