//! `steadfast backup prune`

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, table};
use super::super::progress::{Position, Progress, megabytes};
use super::{Chosen, failed, open};
use crate::backup::inventory::Object;
use crate::backup::layout::{Named, PointId};
use crate::backup::prune::{self, Pruning};
use crate::backup::repository::Repository;
use crate::backup::retention::Keep;
use crate::base::clock::{Clock, SystemClock, sleep};
use crate::base::{LineageId, explained};

/// How often it is shown how far it has come.
const SHOW_EVERY: Duration = Duration::from_millis(200);

const DETAILS: &str = "\
Kept are the latest N restore points with --keep-points, and with --keep-days those of the last N days with the one before \
them, so that whatever moment of these days could be restored still can be. With both, what either keeps is kept. The latest \
one is always kept.

A restore point that is not kept is marked as dropped: it is listed and restored by time no more. Only 24 hours later are \
its files removed that no other one needs, then its manifest, so that whoever is restoring it can end; and with it the \
archived records that all others hold already. Uploads that were broken off two days ago are removed, too. Nothing is \
removed that was written less than 24 hours ago. So prune now and then, such as once a day: each time ends what the time \
before began, even if that was killed.

Ages are told by the bucket's clock, for which a small object is written and removed again. With --dry-run nothing is \
written: the clock of this machine stands in for it.

If the manifest of a restore point that is kept cannot be read nothing is removed. What is no object of a backup is left \
alone and counted.

Examples:
  steadfast backup prune s3://backups/prod --keep-days 30 --dry-run
  steadfast backup prune s3://backups/prod --keep-days 7 --keep-points 10";

/// Remove what no restore point needs that is kept
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
#[command(group = clap::ArgGroup::new("keep").required(true).multiple(true))]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// Keep what takes one back to each moment of so many days.
    #[arg(long, value_name = "N", group = "keep")]
    keep_days: Option<u32>,
    /// Keep so many of the latest restore points.
    #[arg(long, value_name = "N", group = "keep")]
    keep_points: Option<NonZeroU32>,
    /// Only print what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Of which history, if the bucket holds several; if not given, that of the latest restore point.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// What was, or would be, done.
struct Report {
    bucket: String,
    is_dry: bool,
    pruning: Pruning,
    foreign: Vec<String>,
    others: Vec<LineageId>,
}

/// Finds what goes, and removes it.
///
/// # Errors
/// If the bucket holds no restore point, what is needed cannot be read, or something cannot be removed.
pub async fn run(args: Args) -> Result<(), CliError> {
    let repository = open(&args.url)?;
    let inventory = repository.inventory().await.map_err(failed)?;
    let Chosen { lineage, others } = Chosen::of(&repository, &inventory, args.lineage)?;
    let now = match args.dry_run {
        true => SystemClock::new().wall(),
        false => repository.now(lineage).await.map_err(failed)?,
    };
    let keep = Keep {
        days: args.keep_days,
        points: args.keep_points,
    };
    let pruning = Pruning::plan(&repository, lineage, keep, now).await?;
    if !args.dry_run {
        carry_out(&pruning, &repository).await?;
    }
    let report = Report {
        bucket: repository.bucket().to_string(),
        is_dry: args.dry_run,
        pruning,
        foreign: inventory.strange,
        others,
    };
    match args.output {
        Output::Json => print_json(&report.to_json()),
        Output::Table => print(&report.to_text()),
    }
}

/// Removes what goes, and shows how far that is.
async fn carry_out(pruning: &Pruning, repository: &Repository) -> Result<(), CliError> {
    let removed = AtomicU64::new(0);
    let total = u64::try_from(pruning.removal.len()).unwrap_or(u64::MAX);
    let position = Position::of(Some(total));
    let mut progress = Progress::new(repository.bucket().to_string(), position.clone());
    let mut removing = Box::pin(pruning.carry_out(repository, &removed));
    let outcome = loop {
        tokio::select! {
            outcome = &mut removing => break outcome,
            () = sleep(SHOW_EVERY) => {
                let done = removed.load(Ordering::Relaxed);
                position.advance(done - position.done());
                progress.step(&format!("removed {} of {} objects", grouped(done), grouped(total)));
            }
        }
    };
    progress.finish();
    let done = grouped(removed.load(Ordering::Relaxed));
    outcome.map_err(|cause| {
        let so_far = format!("{done} of {} objects are removed", grouped(total));
        CliError::from(cause).with(&so_far)
    })
}

impl From<prune::Error> for CliError {
    fn from(error: prune::Error) -> CliError {
        match error {
            prune::Error::Repository(cause) => failed(cause),
            error @ prune::Error::Unreadable(_) => {
                CliError::failed("UNREADABLE", explained(&error))
            }
            error @ prune::Error::Overtaken { .. } => {
                CliError::failed("OVERTAKEN", explained(&error))
            }
        }
    }
}

/// Counts objects, and their bytes, by what they are.
fn counted(objects: &[Object]) -> BTreeMap<&'static str, (u64, u64)> {
    let mut counted = BTreeMap::new();
    for object in objects {
        let kind = match object.named {
            Named::StoreFile(_) => "files",
            Named::Segment(_) => "records",
            Named::End(_) => "ends of logs",
            Named::Stretch(_) => "stretches",
            Named::Point(_) => "manifests",
            Named::Dropped(_) => "marks",
        };
        let (count, bytes) = counted.entry(kind).or_insert((0, 0));
        *count += 1;
        *bytes += object.bytes;
    }
    counted
}

impl Report {
    fn to_json(&self) -> Json {
        let Pruning {
            lineage,
            choice,
            removal,
            left,
            left_bytes,
            held_up,
        } = &self.pruning;
        let names = |points: &mut dyn Iterator<Item = &PointId>| {
            Json::Array(points.map(|point| json!(point.to_string())).collect())
        };
        let counted = counted(removal).into_iter();
        let removed = counted.map(|(kind, (objects, bytes))| {
            (
                kind.to_owned(),
                json!({ "objects": objects, "bytes": bytes }),
            )
        });
        json!({
            "bucket": self.bucket,
            "lineage": lineage.to_string(),
            "dry_run": self.is_dry,
            "kept": names(&mut choice.kept.iter()),
            "dropped": names(&mut choice.dropped.iter()),
            "waiting": names(&mut choice.waiting.iter()),
            "removed": removed.collect::<serde_json::Map<String, Json>>(),
            "removed_objects": removal.len(),
            "removed_bytes": removal.iter().map(|object| object.bytes).sum::<u64>(),
            "left_objects": left,
            "left_bytes": left_bytes,
            "held_up": held_up,
            "foreign_objects": self.foreign.len(),
            "other_lineages": self.others.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    fn to_text(&self) -> String {
        let Pruning {
            lineage,
            choice,
            removal,
            left,
            left_bytes,
            held_up,
        } = &self.pruning;
        let would = |done: &str| match self.is_dry {
            true => format!("would be {done}"),
            false => done.to_owned(),
        };
        let mut text = String::new();
        let mut line = |more: String| text.push_str(&format!("{more}\n"));
        if let Some(earliest) = choice.kept.first() {
            let count = choice.kept.len();
            line(format!(
                "kept: {} of lineage {lineage}, from {earliest} on",
                restore_points(count)
            ));
        }
        for point in &choice.dropped {
            line(format!("{}: {point}", would("dropped")));
        }
        if !choice.waiting.is_empty() {
            let waiting = restore_points(choice.waiting.len());
            line(format!(
                "waiting: {waiting} dropped less than 24 hours ago, whose files stay so long"
            ));
        }
        if !removal.is_empty() {
            let mut table = table([&would("removed"), "objects", "MB"]);
            for (kind, (count, bytes)) in counted(removal) {
                table.add_row([kind, &grouped(count), &megabytes(bytes)]);
            }
            line(table.to_string());
        }
        for cause in held_up {
            line(format!(
                "nothing is removed as long as this was dropped less than 24 hours ago: {cause}"
            ));
        }
        if let Some(foreign) = self.foreign.first() {
            let count = self.foreign.len();
            line(format!(
                "left alone: {count} objects that are none of a backup, such as {foreign}"
            ));
        }
        for other in &self.others {
            line(format!(
                "left alone: lineage {other}, unless --lineage names it"
            ));
        }
        let (left, left_bytes) = (grouped(*left), megabytes(*left_bytes));
        line(format!("left: {left} objects, {left_bytes} MB"));
        text
    }
}

fn restore_points(count: usize) -> String {
    match count {
        1 => "1 restore point".to_owned(),
        count => format!("{count} restore points"),
    }
}
