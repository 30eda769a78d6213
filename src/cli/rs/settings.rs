//! Pure: settings of a set as `KEY=VALUE`.

use super::super::error::CliError;
use super::document;
use crate::base::CommitLevel;
use crate::client::commit_level_to_wire;
use crate::proto::v1;

/// The changes that these texts ask for; the last one wins.
pub(super) fn parse(texts: &[String]) -> Result<v1::SetSettingsRequest, CliError> {
    let mut changes = v1::SetSettingsRequest::default();
    for text in texts {
        let wrong =
            |problem: String| CliError::wrong("INVALID_ARGUMENT", format!("{text}: {problem}"));
        let pair = text.split_once('=');
        let (key, value) = pair.ok_or_else(|| wrong("expected KEY=VALUE".to_owned()))?;
        change(&mut changes, key, value).map_err(wrong)?;
    }
    Ok(changes)
}

fn change(changes: &mut v1::SetSettingsRequest, key: &str, value: &str) -> Result<(), String> {
    match key {
        "silence" => changes.silence_ms = Some(millis(value)?),
        "failover" => {
            let all = [
                v1::FailoverPolicy::Automatic,
                v1::FailoverPolicy::Hybrid,
                v1::FailoverPolicy::Manual,
            ];
            let found = all
                .into_iter()
                .find(|policy| document::failover(*policy) == value);
            let policy = found.ok_or("expected automatic, hybrid or manual")?;
            changes.failover = Some(policy.into());
        }
        "two-node" => {
            let all = [v1::TwoNode::Refuse, v1::TwoNode::Shrink];
            let found = all
                .into_iter()
                .find(|policy| document::two_node(*policy) == value);
            changes.two_node = Some(found.ok_or("expected refuse or shrink")?.into());
        }
        "commit-floor" => changes.commit_floor = Some(level(value)?),
        "commit-default" => changes.commit_default = Some(level(value)?),
        "backup-bucket" => {
            let bucket = if value == "none" { "" } else { value };
            changes.backup.get_or_insert_default().bucket = Some(bucket.to_owned());
        }
        "archive-interval" => {
            changes.backup.get_or_insert_default().archive_interval_ms = Some(millis(value)?);
        }
        "backup-every" => {
            changes.backup.get_or_insert_default().every_ms = Some(millis_or_never(value)?);
        }
        "backup-full-every" => {
            changes.backup.get_or_insert_default().full_every_ms = Some(millis_or_never(value)?);
        }
        "backup-keep-days" => {
            changes.backup.get_or_insert_default().keep_days = Some(number(value)?);
        }
        "backup-keep-points" => {
            changes.backup.get_or_insert_default().keep_points = Some(number(value)?);
        }
        _ => changes.priorities.push(priority(key, value)?),
    }
    Ok(())
}

fn millis(value: &str) -> Result<u64, String> {
    let span = humantime::parse_duration(value)
        .map_err(|error| format!("expected a duration, such as 1500ms: {error}"))?;
    u64::try_from(span.as_millis()).map_err(|_| "this is too long".to_owned())
}

fn millis_or_never(value: &str) -> Result<u64, String> {
    if value == "never" {
        Ok(0)
    } else {
        millis(value)
    }
}

fn number(value: &str) -> Result<u32, String> {
    value
        .parse()
        .map_err(|_| "expected a number; 0 for none".to_owned())
}

fn level(value: &str) -> Result<i32, String> {
    let level: CommitLevel = value.parse().map_err(|error| format!("{error}"))?;
    Ok(commit_level_to_wire(Some(level)).into())
}

fn priority(key: &str, value: &str) -> Result<v1::Priority, String> {
    let number = key.strip_prefix("priority.").ok_or_else(|| {
        format!(
            "there is no setting {key:?}: expected silence, failover, two-node, commit-floor, commit-default, backup-bucket, archive-interval, backup-every, backup-full-every, backup-keep-days, backup-keep-points or priority.N"
        )
    })?;
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is no member's number"))?;
    let priority: u8 = value
        .parse()
        .map_err(|_| "expected a number from 0 to 255".to_owned())?;
    Ok(v1::Priority {
        number,
        priority: u32::from(priority),
    })
}
