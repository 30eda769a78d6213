//! Pure: a set as programs read it.

use serde_json::{Map, Value as Json, json};

use crate::base::Micros;
use crate::client::commit_level_name;
use crate::proto::v1;
use v1::member_change::Change;

/// Everything a node says of its set.
pub(super) fn of_set(set: &v1::GetReplicaSetResponse) -> Json {
    let why_not = (!set.can_fail_over).then_some(&set.why_not);
    json!({
        "answered_by": set.answered_by,
        "lineage": set.lineage,
        "primary": set.primary,
        "epoch": set.epoch,
        "attempt": set.attempt,
        "commit_size": set.commit_size,
        "window": Micros(set.window_us).to_string(),
        "horizon": Micros(set.horizon_us).to_string(),
        "level": set.level,
        "can_fail_over": set.can_fail_over,
        "why_not": why_not,
        "agreement": set.agreement.as_ref().map(of_agreement),
        "members": set.members.iter().map(of_member).collect::<Vec<_>>(),
        "changes": set.changes.iter().map(|change| of_change(set, change)).collect::<Vec<_>>(),
        "settings": set.settings.as_ref().map(of_settings),
        "archive": set.archive.as_ref().map(of_archive),
    })
}

fn of_member(member: &v1::Member) -> Json {
    json!({
        "number": member.number,
        "incarnation": member.incarnation,
        "role": role(member.role()),
        "counts": member.counts,
        "serves": member.serves,
        "boot": member.boot,
        "peer": member.peer_address,
        "client": member.client_address,
        "promise": member.promise,
        "durable": member.durable,
        "applied": member.applied,
        "lag_records": member.lag_records,
        "in_contact": member.in_contact,
        "alone": member.alone,
        "heard_ago_us": member.heard_ago_us,
        "trouble": member.trouble,
    })
}

fn of_agreement(agreement: &v1::Agreement) -> Json {
    json!({
        "leader": agreement.leader,
        "term": agreement.term,
        "confirmed_ago_us": agreement.confirmed_ago_us,
        "voters": agreement.voters,
    })
}

fn of_change(set: &v1::GetReplicaSetResponse, change: &v1::MemberChange) -> Json {
    match &change.change {
        Some(Change::Add(who)) => json!({"add": number(set, who)}),
        Some(Change::Remove(who)) => json!({"remove": number(set, who)}),
        Some(Change::Replace(v1::Replacement { old, new })) => {
            json!({"replace": number(set, old), "by": number(set, new)})
        }
        None => Json::Null,
    }
}

/// The number of the member in this directory; the directory, if it is a member no more.
pub(super) fn number(set: &v1::GetReplicaSetResponse, incarnation: &str) -> String {
    let mut members = set.members.iter();
    let member = members.find(|member| member.incarnation == incarnation);
    member.map_or(incarnation.to_owned(), |member| member.number.to_string())
}

fn of_archive(archive: &v1::Archive) -> Json {
    json!({
        "bucket": archive.bucket,
        "through": archive.through,
        "unarchived_ms": archive.unarchived_ms,
        "trouble": archive.trouble,
        "ordered": archive.ordered,
        "last": archive.last.as_ref().map(|last| json!({
            "point": last.point,
            "member": last.member,
            "full": last.full,
            "ago_ms": last.ago_ms,
        })),
        "failed": archive.failed.as_ref().map(|failed| json!({
            "member": failed.member,
            "ago_ms": failed.ago_ms,
            "why": failed.why,
        })),
        "whole_ago_ms": archive.whole_ago_ms,
        "problem": archive.problem,
    })
}

/// What operators chose.
pub(super) fn of_settings(settings: &v1::Settings) -> Json {
    let priorities = settings.priorities.iter();
    let priorities: Map<String, Json> = priorities
        .map(|of| (of.number.to_string(), of.priority.into()))
        .collect();
    json!({
        "silence_ms": settings.silence_ms,
        "failover": failover(settings.failover()),
        "two_node": two_node(settings.two_node()),
        "commit_floor": commit_level_name(settings.commit_floor()),
        "commit_default": commit_level_name(settings.commit_default()),
        "priorities": priorities,
        "backup": settings.backup.as_ref().map(of_backup),
    })
}

fn of_backup(settings: &v1::BackupSettings) -> Json {
    json!({
        "bucket": settings.bucket,
        "archive_interval_ms": settings.archive_interval_ms,
        "every_ms": settings.every_ms,
        "full_every_ms": settings.full_every_ms,
        "keep_days": settings.keep_days,
        "keep_points": settings.keep_points,
    })
}

/// The name of a role.
pub(super) fn role(role: v1::MemberRole) -> &'static str {
    match role {
        v1::MemberRole::Unspecified => "unknown",
        v1::MemberRole::Data => "data",
        v1::MemberRole::Arbiter => "arbiter",
        v1::MemberRole::ReadReplica => "read-replica",
    }
}

/// The name of a policy.
pub(super) fn failover(policy: v1::FailoverPolicy) -> &'static str {
    match policy {
        v1::FailoverPolicy::Unspecified => "unknown",
        v1::FailoverPolicy::Automatic => "automatic",
        v1::FailoverPolicy::Hybrid => "hybrid",
        v1::FailoverPolicy::Manual => "manual",
    }
}

/// The name of a policy.
pub(super) fn two_node(policy: v1::TwoNode) -> &'static str {
    match policy {
        v1::TwoNode::Unspecified => "unknown",
        v1::TwoNode::Refuse => "refuse",
        v1::TwoNode::Shrink => "shrink",
    }
}
