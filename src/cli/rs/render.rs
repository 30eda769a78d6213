//! Pure: a set as people read it.

use std::time::Duration;

use super::super::output::{grouped, readable, table};
use super::document;
use crate::base::Micros;
use crate::client::commit_level_name;
use crate::proto::v1;
use v1::member_change::Change;

/// One screen.
pub(super) fn set(set: &v1::GetReplicaSetResponse) -> String {
    let mut out = table([
        "member",
        "role",
        "state",
        "promise",
        "boot",
        "lag",
        "last heard",
        "peer",
        "client",
    ]);
    for member in &set.members {
        let heard = member.heard_ago_us.map(Duration::from_micros);
        let heard = if member.number == set.answered_by {
            "this node".to_owned()
        } else {
            heard.map_or("never".to_owned(), |ago| format!("{} ago", readable(ago)))
        };
        out.add_row([
            member.number.to_string(),
            role(member).to_owned(),
            state(set, member),
            member
                .promise
                .map_or("-".to_owned(), |epoch| epoch.to_string()),
            member.boot.to_string(),
            member.lag_records.map_or("-".to_owned(), grouped),
            heard,
            or_dash(&member.peer_address),
            or_dash(&member.client_address),
        ]);
    }
    let mut lines = vec![header(set)];
    lines.extend(agreement(set));
    lines.extend(set.archive.as_ref().map(archive));
    lines.push(out.to_string());
    lines.extend(
        set.changes
            .iter()
            .filter_map(|change| under_way(set, change)),
    );
    let troubles = set.members.iter().filter_map(|member| {
        let trouble = member.trouble.as_ref()?;
        Some(format!(
            "no connection to member {}: {trouble}",
            member.number
        ))
    });
    lines.extend(troubles);
    lines.join("\n")
}

fn header(set: &v1::GetReplicaSetResponse) -> String {
    let primary = set
        .primary
        .map_or("none".to_owned(), |number| number.to_string());
    let attempt = set
        .attempt
        .map(|epoch| format!(" (epoch {epoch} is being begun)"));
    let counting = set.members.iter().filter(|member| member.counts);
    let heard = counting.clone().filter(|member| member.in_contact);
    let failover = if set.can_fail_over {
        "yes".to_owned()
    } else {
        format!("no, because {}", set.why_not)
    };
    format!(
        "replica set {}, as member {} sees it\n\
         primary            {primary}, epoch {}{}, window until {}\n\
         quorum             {} of {} data members, {} in contact\n\
         can fail over now  {failover}",
        set.lineage,
        set.answered_by,
        set.epoch,
        attempt.unwrap_or_default(),
        Micros(set.window_us),
        set.commit_size,
        counting.count(),
        heard.count(),
    )
}

fn agreement(set: &v1::GetReplicaSetResponse) -> Option<String> {
    let agreement = set.agreement.as_ref()?;
    let leader = agreement
        .leader
        .map_or("no leader".to_owned(), |leader| format!("leader {leader}"));
    let voters: Vec<String> = agreement.voters.iter().map(u64::to_string).collect();
    Some(format!(
        "agreement          {leader}, term {}, voters {}",
        agreement.term,
        voters.join(" ")
    ))
}

fn archive(archive: &v1::Archive) -> String {
    let state = match (archive.unarchived_ms, &archive.trouble) {
        (_, Some(trouble)) => format!("FAILS: {trouble}"),
        (None, None) => "nothing is archived yet".to_owned(),
        (Some(0), None) => "all that is here is archived".to_owned(),
        (Some(ms), None) => {
            let age = readable(Duration::from_millis(ms));
            format!("up to {age} of writes are not archived yet")
        }
    };
    let mut lines = vec![format!("archive            {}: {state}", archive.bucket)];
    let ago = |ms| humantime::format_duration(Duration::from_secs(ms / 1_000));
    let last = archive.last.as_ref().map(|last| {
        let kind = if last.full { "full" } else { "incremental" };
        let (point, member, ago) = (&last.point, last.member, ago(last.ago_ms));
        format!("last {ago} ago, {kind}, {point} of member {member}")
    });
    let ordered = archive
        .ordered
        .map(|member| format!("member {member} makes one now"));
    let failed = archive.failed.as_ref().map(|failed| {
        let (member, ago, why) = (failed.member, ago(failed.ago_ms), &failed.why);
        format!("FAILED at member {member}, {ago} ago: {why}")
    });
    let whole = archive
        .whole_ago_ms
        .map(|ms| format!("all found whole {} ago", ago(ms)));
    let problem = archive
        .problem
        .as_ref()
        .map(|problem| format!("NOT WHOLE: {problem}"));
    let parts = [last, ordered, failed, whole, problem]
        .into_iter()
        .flatten();
    let parts: Vec<String> = parts.collect();
    let parts = if parts.is_empty() {
        "none yet".to_owned()
    } else {
        parts.join("; ")
    };
    lines.push(format!("restore points     {parts}"));
    lines.join("\n")
}

fn under_way(set: &v1::GetReplicaSetResponse, change: &v1::MemberChange) -> Option<String> {
    let name = |incarnation: &str| document::number(set, incarnation);
    Some(match change.change.as_ref()? {
        Change::Add(who) => format!("under way: member {} joins", name(who)),
        Change::Remove(who) => format!("under way: member {} leaves", name(who)),
        Change::Replace(v1::Replacement { old, new }) => {
            format!(
                "under way: member {} takes the place of member {}",
                name(new),
                name(old)
            )
        }
    })
}

/// What a member does.
pub(super) fn role(member: &v1::Member) -> &'static str {
    document::role(member.role())
}

/// How far a member takes part.
pub(super) fn state(set: &v1::GetReplicaSetResponse, member: &v1::Member) -> String {
    let is_added = set.changes.iter().any(|change| match &change.change {
        Some(Change::Add(who)) => *who == member.incarnation,
        Some(Change::Remove(_) | Change::Replace(_)) | None => false,
    });
    let counts_later = member.role() == v1::MemberRole::Data && !member.counts;
    let state = if Some(member.number) == set.primary {
        "primary"
    } else if is_added || counts_later {
        "joining"
    } else {
        "member"
    };
    let silent = if member.in_contact { "" } else { ", silent" };
    format!("{state}{silent}")
}

/// Where a new node joins: at the primary, or else at the member that answers.
pub(super) fn join_address(set: &v1::GetReplicaSetResponse) -> &str {
    let at = set.primary.unwrap_or(set.answered_by);
    let member = set.members.iter().find(|member| member.number == at);
    member.map_or("HOST:PORT", |member| member.peer_address.as_str())
}

/// The settings, as `rs set` takes them.
pub(super) fn settings(settings: &v1::Settings) -> String {
    let span = |ms| {
        let span = humantime::format_duration(Duration::from_millis(ms));
        span.to_string().replace(' ', "")
    };
    let mut lines = vec![
        format!("silence={}", span(settings.silence_ms)),
        format!("failover={}", document::failover(settings.failover())),
        format!("two-node={}", document::two_node(settings.two_node())),
        format!(
            "commit-floor={}",
            commit_level_name(settings.commit_floor())
        ),
        format!(
            "commit-default={}",
            commit_level_name(settings.commit_default())
        ),
    ];
    let priorities = settings.priorities.iter();
    lines.extend(priorities.map(|of| format!("priority.{}={}", of.number, of.priority)));
    if let Some(backup) = &settings.backup {
        let bucket = backup.bucket.as_deref().unwrap_or("none");
        let interval = span(backup.archive_interval_ms);
        lines.push(format!("backup-bucket={bucket}"));
        lines.push(format!("archive-interval={interval}"));
        let every = |ms| {
            if ms == 0 {
                "never".to_owned()
            } else {
                span(ms)
            }
        };
        lines.push(format!("backup-every={}", every(backup.every_ms)));
        lines.push(format!("backup-full-every={}", every(backup.full_every_ms)));
        lines.push(format!("backup-keep-days={}", backup.keep_days));
        lines.push(format!("backup-keep-points={}", backup.keep_points));
    }
    lines.join("\n")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}
