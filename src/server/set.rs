//! Pure: the replica set between what the node says and what goes over the wire.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::status::Failure;
use crate::backup::bucket::BucketUrl;
use crate::base::{CommitLevel, NodeNumber};
use crate::control::{
    BackupChange, BackupSettings, BucketChange, FailoverPolicy, Intent, Rejection, Role, Settings,
    SettingsChange, TwoNode,
};
use crate::node::{self, AgreementStatus, ArchiveStatus, MemberStatus, SetStatus};
use crate::proto::{Invalid, Problem, commit_level_to_proto, v1};
use v1::member_change::Change;

/// For how many milliseconds a join token may be good: it is to be used at once, by somebody who has it at hand.
const TOKEN_LIFE_MS: RangeInclusive<u64> = 1_000..=86_400_000;

/// The status of a set as an answer.
pub(super) fn status_to_proto(status: SetStatus) -> v1::GetReplicaSetResponse {
    let members = status.members.into_iter();
    v1::GetReplicaSetResponse {
        answered_by: status.by.0,
        zone: status.zone.unwrap_or_default(),
        lineage: status.lineage,
        epoch: status.epoch.0,
        attempt: status.attempt.map(|epoch| epoch.0),
        primary: status.primary.map(|number| number.0),
        commit_size: u32::try_from(status.commit_size).unwrap_or(u32::MAX),
        window_us: status.window.micros().0,
        horizon_us: status.horizon.micros().0,
        level: status.level,
        members: members
            .map(|(number, member)| member_to_proto(number, member))
            .collect(),
        changes: status.intents.iter().map(change_to_proto).collect(),
        settings: Some(settings_to_proto(&status.settings)),
        archive: status.archive.map(archive_to_proto),
        agreement: status.agreement.map(agreement_to_proto),
        can_fail_over: status.can_fail_over.is_ok(),
        why_not: status.can_fail_over.err().unwrap_or_default(),
    }
}

fn member_to_proto(number: NodeNumber, member: MemberStatus) -> v1::Member {
    v1::Member {
        number: number.0,
        incarnation: member.incarnation.to_string(),
        role: role_to_proto(member.role).into(),
        counts: member.counts,
        boot: member.boot.0,
        peer_address: member.addresses.peer,
        client_address: member.addresses.client,
        serves: member.serves,
        promise: member.promise.map(|epoch| epoch.0),
        durable: member.durable,
        applied: member.applied,
        lag_records: member.lag_records,
        heard_ago_us: member.heard_ago.map(micros),
        trouble: member.trouble,
        in_contact: member.in_contact,
        alone: member.alone,
    }
}

fn change_to_proto(intent: &Intent) -> v1::MemberChange {
    let change = match intent {
        Intent::Add { incarnation } => Change::Add(incarnation.to_string()),
        Intent::Remove { incarnation } => Change::Remove(incarnation.to_string()),
        Intent::Replace { old, new } => Change::Replace(v1::Replacement {
            old: old.to_string(),
            new: new.to_string(),
        }),
    };
    v1::MemberChange {
        change: Some(change),
    }
}

fn agreement_to_proto(agreement: AgreementStatus) -> v1::Agreement {
    v1::Agreement {
        leader: agreement.leader.map(|number| number.0),
        term: agreement.term,
        confirmed_ago_us: agreement.confirmed_ago.map(micros),
        voters: agreement.voters.iter().map(|number| number.0).collect(),
    }
}

fn archive_to_proto(archive: ArchiveStatus) -> v1::Archive {
    v1::Archive {
        bucket: archive.bucket,
        through: archive.through,
        unarchived_ms: archive.unarchived_for.map(millis),
        trouble: archive.trouble,
        ordered: archive.ordered.map(|number| number.0),
        last: archive.last.map(|(made, ago)| v1::LastPoint {
            point: made.point,
            member: made.member.0,
            full: made.full,
            ago_ms: millis(ago),
        }),
        failed: archive.failed.map(|(failed, ago)| v1::FailedPoint {
            member: failed.member.0,
            ago_ms: millis(ago),
            why: failed.why,
        }),
        whole_ago_ms: archive.whole_ago.map(millis),
        problem: archive.problem,
    }
}

/// The settings as an answer.
pub(super) fn settings_to_proto(settings: &Settings) -> v1::Settings {
    let failover = match settings.failover {
        FailoverPolicy::Automatic => v1::FailoverPolicy::Automatic,
        FailoverPolicy::Hybrid => v1::FailoverPolicy::Hybrid,
        FailoverPolicy::Manual => v1::FailoverPolicy::Manual,
    };
    let two_node = match settings.two_node {
        TwoNode::Refuse => v1::TwoNode::Refuse,
        TwoNode::Shrink => v1::TwoNode::Shrink,
    };
    let priorities = settings.priorities.iter();
    v1::Settings {
        failover: failover.into(),
        two_node: two_node.into(),
        silence_ms: settings.silence_ms,
        commit_floor: commit_level_to_proto(settings.commit_floor).into(),
        commit_default: commit_level_to_proto(settings.commit_default).into(),
        priorities: priorities
            .map(|(number, priority)| v1::Priority {
                number: number.0,
                priority: u32::from(*priority),
            })
            .collect(),
        backup: Some(backup_to_proto(&settings.backup)),
    }
}

fn backup_to_proto(settings: &BackupSettings) -> v1::BackupSettings {
    v1::BackupSettings {
        bucket: settings.bucket.clone(),
        archive_interval_ms: settings.archive_interval_ms,
        every_ms: settings.every_ms,
        full_every_ms: settings.full_every_ms,
        keep_days: settings.keep_days,
        keep_points: settings.keep_points,
    }
}

fn role_to_proto(role: Role) -> v1::MemberRole {
    match role {
        Role::Data => v1::MemberRole::Data,
        Role::Arbiter => v1::MemberRole::Arbiter,
        Role::ReadReplica => v1::MemberRole::ReadReplica,
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What a request for a join token asks for.
///
/// # Errors
/// If there is no such role, or the token would be good for too short or too long.
pub(super) fn token_to_issue(
    request: &v1::IssueJoinTokenRequest,
) -> Result<(Role, Duration), Invalid> {
    let role = match v1::MemberRole::try_from(request.role) {
        Ok(v1::MemberRole::Unspecified | v1::MemberRole::Data) => Role::Data,
        Ok(v1::MemberRole::Arbiter) => Role::Arbiter,
        Ok(v1::MemberRole::ReadReplica) => Role::ReadReplica,
        Err(_) => return Err(unknown("role", request.role).at("role")),
    };
    let expires_in_ms = within(request.expires_in_ms, TOKEN_LIFE_MS)
        .map_err(|problem| problem.at("expires_in_ms"))?;
    Ok((role, Duration::from_millis(expires_in_ms)))
}

/// What a request changes of the settings.
///
/// # Errors
/// If a field is none of what it can be.
pub(super) fn settings_change(request: &v1::SetSettingsRequest) -> Result<SettingsChange, Invalid> {
    let at = |field: &'static str| move |problem: Problem| problem.at(field);
    let mut priorities = BTreeMap::new();
    for (nth, given) in request.priorities.iter().enumerate() {
        let priority = priority(given.priority)
            .map_err(|problem| problem.at(format!("priorities[{nth}].priority")))?;
        priorities.insert(NodeNumber(given.number), priority);
    }
    let failover = request.failover.map(failover).transpose();
    let two_node = request.two_node.map(two_node).transpose();
    let commit_floor = request.commit_floor.map(level).transpose();
    let commit_default = request.commit_default.map(level).transpose();
    Ok(SettingsChange {
        failover: failover.map_err(at("failover"))?,
        two_node: two_node.map_err(at("two_node"))?,
        silence_ms: request.silence_ms,
        commit_floor: commit_floor.map_err(at("commit_floor"))?,
        commit_default: commit_default.map_err(at("commit_default"))?,
        priorities,
        backup: backup_change(request.backup.as_ref()).map_err(at("backup.bucket"))?,
    })
}

fn backup_change(change: Option<&v1::BackupChange>) -> Result<BackupChange, Problem> {
    let Some(change) = change else {
        return Ok(BackupChange::default());
    };
    let bucket = |url: &String| {
        if url.is_empty() {
            return Ok(BucketChange::Nowhere);
        }
        let parsed: Result<BucketUrl, _> = url.parse();
        let why = |cause| Problem::BadUrl {
            why: format!("{cause}"),
        };
        parsed.map_err(why).map(|_| BucketChange::Into(url.clone()))
    };
    Ok(BackupChange {
        bucket: change.bucket.as_ref().map(bucket).transpose()?,
        archive_interval_ms: change.archive_interval_ms,
        every_ms: change.every_ms,
        full_every_ms: change.full_every_ms,
        keep_days: change.keep_days,
        keep_points: change.keep_points,
    })
}

fn failover(code: i32) -> Result<FailoverPolicy, Problem> {
    match v1::FailoverPolicy::try_from(code) {
        Ok(v1::FailoverPolicy::Automatic) => Ok(FailoverPolicy::Automatic),
        Ok(v1::FailoverPolicy::Hybrid) => Ok(FailoverPolicy::Hybrid),
        Ok(v1::FailoverPolicy::Manual) => Ok(FailoverPolicy::Manual),
        Ok(v1::FailoverPolicy::Unspecified) | Err(_) => Err(unknown("failover policy", code)),
    }
}

fn two_node(code: i32) -> Result<TwoNode, Problem> {
    match v1::TwoNode::try_from(code) {
        Ok(v1::TwoNode::Refuse) => Ok(TwoNode::Refuse),
        Ok(v1::TwoNode::Shrink) => Ok(TwoNode::Shrink),
        Ok(v1::TwoNode::Unspecified) | Err(_) => Err(unknown("policy for two nodes", code)),
    }
}

fn level(code: i32) -> Result<CommitLevel, Problem> {
    match v1::CommitLevel::try_from(code) {
        Ok(v1::CommitLevel::Async) => Ok(CommitLevel::Async),
        Ok(v1::CommitLevel::Quorum) => Ok(CommitLevel::Quorum),
        Ok(v1::CommitLevel::All) => Ok(CommitLevel::All),
        Ok(v1::CommitLevel::Unspecified) | Err(_) => Err(unknown("commit level", code)),
    }
}

fn priority(value: u32) -> Result<u8, Problem> {
    u8::try_from(value).map_err(|_| Problem::OutOfRange {
        value: u64::from(value),
        least: 0,
        most: u64::from(u8::MAX),
    })
}

fn within(value: u64, range: RangeInclusive<u64>) -> Result<u64, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Problem::OutOfRange {
        value,
        least: *range.start(),
        most: *range.end(),
    })
}

fn unknown(what: &'static str, code: i32) -> Problem {
    Problem::UnknownCode { what, code }
}

/// The failure of a change of settings, at the field that the set refuses.
pub(super) fn settings_failure(error: node::Error) -> Failure {
    let mut field = String::new();
    if let node::Error::SetRefused(Rejection::SilenceOutOfRange { .. }) = error {
        field.push_str("silence_ms");
    } else if let node::Error::SetRefused(Rejection::DefaultBelowFloor { .. }) = error {
        field.push_str("commit_default");
    } else if let node::Error::SetRefused(Rejection::NoSuchNumber { .. }) = error {
        field.push_str("priorities");
    } else if let node::Error::SetRefused(Rejection::IntervalOutOfRange { name, .. }) = &error {
        field = format!("backup.{name}");
    }
    let failure = Failure::from(error);
    if field.is_empty() {
        return failure;
    }
    failure.in_field(field)
}

/// The failure of a replacement, at the member that it cannot be done with.
pub(super) fn replacement_failure(error: node::Error, new: NodeNumber) -> Failure {
    let is_new = matches!(error, node::Error::NoSuchMember { number } if number == new);
    Failure::from(error).in_field(if is_new { "new" } else { "old" })
}

#[cfg(test)]
#[path = "set_test.rs"]
mod tests;
