//! The set's own backups: the primary orders them, the member that is asked makes them.
//!
//! **Invariants.** What is ordered and what became of it is agreed. A member that starts anew makes what it is asked for again, and
//! sends only what is not in the bucket yet. One that is not heard of any more is not waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Serving;
use super::backup::{BackupError, BackupOrder};
use super::survey::MemberStatus;
use crate::backup::bucket::BucketUrl;
use crate::backup::manifest::Manifest;
use crate::base::clock::{now_monotonic, sleep};
use crate::base::{NodeNumber, explained};
use crate::control::{BackupNote, Command, ControlState, Failed, Made, Ordered, Role};

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A member that was asked for a backup and is not in contact for so long is not waited for.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// A member that lacks no more records than this is as good as another.
const CAUGHT_UP: u64 = 10_000;

/// Starts both parts of it.
pub(super) fn spawn(node: &Arc<Serving>) {
    let (ordering, making) = (Arc::clone(node), Arc::clone(node));
    let stopped = node.tasks.cancelled();
    node.tasks.spawn("backup orders", async move {
        let _stopped = stopped.run_until_cancelled(order(&ordering)).await;
        Ok::<(), String>(())
    });
    let stopped = node.tasks.cancelled();
    node.tasks.spawn("backup schedule", async move {
        let _stopped = stopped.run_until_cancelled(make(&making)).await;
        Ok::<(), String>(())
    });
}

/// Orders what is due, as long as this node is primary.
async fn order(node: &Serving) {
    // Since when the member that was asked is not in contact.
    let mut silent = None;
    loop {
        sleep(LOOK_EVERY).await;
        let control = Arc::clone(&node.member.standing().control);
        if node.member.standing().serves != Some(control.open_epoch()) {
            silent = None;
            continue;
        }
        let members = node.member_statuses(&control);
        let note = if let Some(order) = control.backups.ordered {
            let is_there = members.get(&order.member).is_some_and(|it| it.in_contact);
            silent = silent.filter(|_| !is_there);
            let since = *silent.get_or_insert_with(now_monotonic);
            if is_there || since.elapsed() < GONE_AFTER {
                continue;
            }
            let why = "it is not in contact".to_owned();
            node.failed(&control, order, why)
        } else {
            silent = None;
            let now = node.clock.wall_millis();
            let Some(full) = control.backup_due(now) else {
                continue;
            };
            let Some(member) = choose(&control, &members) else {
                continue;
            };
            info!(%member, full, "a backup is due");
            let at = now;
            let order = Ordered { member, full, at };
            let by = control.open_epoch();
            BackupNote::Ordered { by, order }
        };
        if let Err(cause) = node.agreement.agree(Command::Backup(note)).await {
            warn!(%cause, "cannot order a backup; it is tried again");
        }
    }
}

/// Which member makes a backup: not the one that failed just now; who made the last one, since it has sends only what has changed;
/// not the primary; one that is caught up.
fn choose(
    control: &ControlState,
    members: &BTreeMap<NodeNumber, MemberStatus>,
) -> Option<NodeNumber> {
    let backups = &control.backups;
    let failed = backups.failed.as_ref().map(|failed| failed.member);
    let made = backups.made.as_ref().map(|made| made.member);
    let fit = members.iter().filter(|(_, member)| {
        member.in_contact && member.role != Role::Arbiter && member.boot.0 > 0
    });
    let rank = |number: NodeNumber, member: &MemberStatus| {
        let lag = if member.is_self {
            Some(0)
        } else {
            member.lag_records
        };
        let lags = lag.is_none_or(|lag| lag > CAUGHT_UP);
        let failed = failed == Some(number);
        (
            failed,
            lags,
            made != Some(number),
            member.serves,
            lag,
            number,
        )
    };
    let best = fit.min_by_key(|(number, member)| rank(**number, member));
    best.map(|(number, _)| *number)
}

/// Makes what is ordered of this node.
async fn make(node: &Arc<Serving>) {
    loop {
        sleep(LOOK_EVERY).await;
        let control = Arc::clone(&node.member.standing().control);
        let own = control.members.get(&node.identity.incarnation);
        let asked = |order: &Ordered| own.is_some_and(|own| own.number == order.member);
        let (Some(order), Some(bucket)) = (
            control.backups.ordered.filter(asked),
            &control.settings.backup.bucket,
        ) else {
            continue;
        };
        if let Err(why) = node.make_point(bucket, order.full).await {
            let note = Command::Backup(node.failed(&control, order, why));
            if let Err(cause) = node.agreement.agree(note).await {
                warn!(%cause, "cannot tell the set that a backup failed; it is tried again");
            }
        }
    }
}

impl Serving {
    async fn make_point(self: &Arc<Self>, bucket: &str, full: bool) -> Result<(), String> {
        let url: BucketUrl = bucket.parse().map_err(|error| format!("{error}"))?;
        let order = BackupOrder { bucket: url, full };
        match self.back_up(&order, &Arc::default()).await {
            Ok(_) => {
                self.keep_house(bucket, &order.bucket).await;
                Ok(())
            }
            // It is looked again when that one is made.
            Err(BackupError::UnderWay) => Ok(()),
            Err(cause) => Err(explained(&cause)),
        }
    }

    fn failed(&self, control: &ControlState, order: Ordered, why: String) -> BackupNote {
        let bucket = control.settings.backup.bucket.clone();
        BackupNote::Failed {
            bucket: bucket.unwrap_or_default(),
            failed: Failed {
                member: order.member,
                at: self.clock.wall_millis(),
                why,
            },
        }
    }

    /// Tells the set of a restore point, if it is in the set's bucket.
    pub(super) async fn note_point(&self, bucket: &BucketUrl, manifest: &Manifest) {
        let control = self.agreement.state();
        let of_set = control.settings.backup.bucket.clone();
        let is_there = |url: &String| url.parse().is_ok_and(|url: BucketUrl| url == *bucket);
        let Some(of_set) = of_set.filter(is_there) else {
            return;
        };
        let made = Made {
            point: manifest.point.to_string(),
            member: manifest.member,
            full: manifest.is_full(),
            at: self.clock.wall_millis(),
            held: manifest.snapshot.state.applied.0.clone(),
        };
        let bucket = of_set;
        let note = Command::Backup(BackupNote::Made { bucket, made });
        if let Err(cause) = self.agreement.agree(note).await {
            warn!(%cause, "cannot tell the set of a restore point; another one is made in its time");
        }
    }
}

#[cfg(test)]
#[path = "schedule_test.rs"]
mod tests;
