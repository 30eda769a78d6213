//! The replica set as one of its members sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{ArchiveStatus, Error, Node, Serving};
use crate::base::{BootNumber, Epoch, Hlc, IncarnationId, NodeNumber, VersionVector, explained};
use crate::control::raft;
use crate::control::{
    Addresses, ControlState, FailoverPolicy, Intent, LogState, Role, Settings, commit_size,
    seal_size,
};
use crate::net::PeerStatus;
use crate::replica::Report;

/// One screen of a set.
#[derive(Debug, Clone, Serialize)]
pub struct SetStatus {
    /// Who says so.
    pub by: NodeNumber,
    /// Where it stands, if its configuration says so.
    pub zone: Option<String>,
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
    /// The feature level agreed on.
    pub level: u32,
    /// The members by number.
    pub members: BTreeMap<NodeNumber, MemberStatus>,
    /// Changes of members that are under way.
    pub intents: Vec<Intent>,
    /// What operators chose.
    pub settings: Settings,
    /// How the archive does; `None` if the settings name no bucket.
    pub archive: Option<ArchiveStatus>,
    /// How the agreement goes, as the node that answers sees it; `None` while it is alone.
    pub agreement: Option<AgreementStatus>,
    /// Would another member take over now, if the primary was lost, without losing what was acknowledged at quorum? If not,
    /// why.
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
    /// Records that the primary holds and it lacks; `None` if they are not known, or none of them is in a log any more.
    pub lag_records: Option<u64>,
    /// What it may hold that no other member does, as far as the node that answers can tell.
    pub alone: Vec<String>,
    /// Is it, or is the node that answers in contact with it? A primary is while it is heard, others while there is a
    /// connection.
    pub in_contact: bool,
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

impl Node {
    /// The set as this node sees it.
    ///
    /// # Errors
    /// While the node starts.
    pub fn set_status(&self) -> Result<SetStatus, Error> {
        Ok(self.serving()?.set_status())
    }
}

impl Serving {
    fn set_status(&self) -> SetStatus {
        let standing = self.member.standing();
        let control = self.agreement.state();
        let me = self.identity.incarnation;
        let number =
            |incarnation: &IncarnationId| control.members.get(incarnation).map(|m| m.number);
        let agreement = self.agreement.raft().map(|raft| raft.status());
        let members = self.member_statuses(&control);
        let can_fail_over = match &standing.halted {
            Some(halt) => Err(format!("this node takes no part: {}", explained(halt))),
            None => can_fail_over(&control, agreement.as_ref(), &members),
        };
        // One that was evicted is a member no more, but still who it was.
        let was = agreement.as_ref().map(|status| status.number);
        SetStatus {
            by: number(&me).or(was).unwrap_or(NodeNumber::FIRST),
            zone: self.config.set.zone.clone(),
            lineage: control.lineage.to_string(),
            epoch: control.open_epoch(),
            attempt: Some(control.attempt_epoch())
                .filter(|attempt| *attempt != control.open_epoch()),
            primary: control.primary().as_ref().and_then(number),
            commit_size: commit_size(control.open.as_ref().map_or(1, |open| open.members.len())),
            window: control.ceiling,
            horizon: control.horizon,
            level: control.level,
            members,
            intents: control.intents.iter().copied().collect(),
            settings: control.settings.clone(),
            archive: self.archive_status(&control),
            agreement: agreement.map(|status| AgreementStatus {
                leader: status.leader,
                term: status.term,
                confirmed_ago: status.last_quorum_acked,
                voters: status.voters.into_iter().collect(),
            }),
            can_fail_over,
        }
    }

    pub(super) fn member_statuses(
        &self,
        control: &ControlState,
    ) -> BTreeMap<NodeNumber, MemberStatus> {
        let standing = self.member.standing();
        let reports = self.member.reports();
        let wires = self.wires.status();
        let durable = self.engine.durable();
        let applied = self.engine.state().applied.0.clone();
        let open = control.open.as_ref();
        let members = control.members.iter().map(|(incarnation, member)| {
            let (report, wire) = (reports.get(incarnation), wires.get(incarnation));
            let is_self = *incarnation == self.identity.incarnation;
            let own = |vector: &VersionVector| is_self.then(|| vector.to_string());
            let held = |report: Option<&VersionVector>, own: Option<String>| {
                own.or_else(|| report.map(VersionVector::to_string))
            };
            let sign = if standing.serves.is_some() && member.role.holds_rows() {
                Sign::Report
            } else if control.primary() == Some(*incarnation) {
                Sign::Heard
            } else {
                Sign::Connection
            };
            let silence = control.settings.silence();
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
                lag_records: report.and_then(|report| lag(control, &durable, &report.durable)),
                alone: if is_self {
                    Vec::new()
                } else {
                    may_hold_alone(control, *incarnation, &durable)
                },
                in_contact: is_self || is_in_contact(&sign, report, wire, silence),
                heard_ago: wire.and_then(|wire| wire.heard_ago),
                trouble: wire.and_then(|wire| wire.trouble.clone()),
            };
            (member.number, status)
        });
        members.collect()
    }
}

/// What shows that a member is in contact.
enum Sign {
    /// It reports to this node, its primary.
    Report,
    /// It was heard not long ago: it is the primary.
    Heard,
    /// There is a connection: it says nothing while all is well.
    Connection,
}

fn is_in_contact(
    sign: &Sign,
    report: Option<&Report>,
    wire: Option<&PeerStatus>,
    silence: Duration,
) -> bool {
    let heard_ago = wire.and_then(|wire| wire.heard_ago);
    match sign {
        Sign::Report => report.is_some_and(|report| report.is_heard),
        Sign::Heard => heard_ago.is_some_and(|ago| ago < silence),
        Sign::Connection => wire.is_some_and(|wire| wire.connected_for.is_some()),
    }
}

/// What is given up with a member, as far as somebody can tell who holds this.
fn may_hold_alone(
    control: &ControlState,
    incarnation: IncarnationId,
    held: &VersionVector,
) -> Vec<String> {
    let wrote = |(epoch, writer): (&Epoch, &IncarnationId)| {
        let is_active = control.logs.get(epoch) == Some(&LogState::Active);
        (*writer == incarnation && is_active).then(|| {
            format!(
                "the end of the log of epoch {epoch}, which it wrote: writes acknowledged at async"
            )
        })
    };
    let acked = control
        .members
        .get(&incarnation)
        .map(|member| &member.acked);
    let beyond = acked
        .filter(|acked| !control.covers(held, acked))
        .map(|acked| {
            format!("records that this node lacks: it was known to hold {acked}, here are {held}")
        });
    control
        .writers
        .iter()
        .filter_map(wrote)
        .chain(beyond)
        .collect()
}

/// Records that one holds and the other lacks; `None` if it needs a snapshot, because no log goes back so far.
pub(super) fn lag(
    control: &ControlState,
    holds: &VersionVector,
    lacks: &VersionVector,
) -> Option<u64> {
    let missing = control.missing(holds, lacks)?;
    let records = missing
        .iter()
        .map(|missing| missing.through.0.saturating_sub(missing.after.0));
    Some(records.sum())
}

/// Would the others replace the primary by themselves, if it was lost now?
fn can_fail_over(
    control: &ControlState,
    agreement: Option<&raft::Status>,
    members: &BTreeMap<NodeNumber, MemberStatus>,
) -> Result<(), String> {
    let primary = control.primary();
    let primary = primary.ok_or("there is no primary: one is being sought")?;
    let data: Vec<&MemberStatus> = members.values().filter(|member| member.counts).collect();
    if data.len() < 2 {
        return Err("there is one data member".to_owned());
    }
    let is_left = |member: &MemberStatus| member.incarnation != primary && member.in_contact;
    let (present, needed) = (
        data.iter().filter(|member| is_left(member)).count(),
        seal_size(data.len()),
    );
    if present < needed {
        return Err(format!(
            "without the primary {present} data members are in contact, and {needed} must agree"
        ));
    }
    let agreement = agreement.ok_or("this node agrees with itself alone")?;
    let votes = |number: &&NodeNumber| members.get(*number).is_some_and(is_left);
    let (present, voters) = (
        agreement.voters.iter().filter(votes).count(),
        agreement.voters.len(),
    );
    let needed = voters / 2 + 1;
    if present < needed {
        return Err(format!(
            "without the primary {present} voters are in contact, and {needed} of {voters} must agree"
        ));
    }
    match control.settings.failover {
        FailoverPolicy::Automatic => Ok(()),
        FailoverPolicy::Hybrid => Err(
            "the failover policy is hybrid: while the primary is away, an operator decides"
                .to_owned(),
        ),
        FailoverPolicy::Manual => {
            Err("the failover policy is manual: an operator decides".to_owned())
        }
    }
}

#[cfg(test)]
#[path = "survey_test.rs"]
mod tests;
